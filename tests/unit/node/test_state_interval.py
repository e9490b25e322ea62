"""The heights whose state is given follow the genesis, as far as the provable heights allow."""

from __future__ import annotations

import pytest

from services.consensus.state_transfer import state_interval
from services.consensus.store.index import PROVABLE_HEIGHTS


@pytest.mark.parametrize(
    ("parameter", "interval"), [(1, 1), (100, 100), (256, 256), (257, 256), (1_000_000, 256)]
)
def test_a_state_stays_provable_for_three_intervals_more(parameter: int, interval: int) -> None:
    assert state_interval(parameter) == interval
    assert PROVABLE_HEIGHTS - state_interval(parameter) >= 3 * interval
