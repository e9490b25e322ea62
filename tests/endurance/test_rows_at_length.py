"""Rows at the length that the plan asks for, where that is more than every change can wait for."""

from __future__ import annotations

import pytest

from tests.endurance.clusters import (
    SIZE,
    STEPS_OF_LONG_RUNS,
    histories,
    overload,
    play,
    subsets,
)
from tests.simulation.test_known_mistakes_of_clusters import heights

SHARES = 16
"""Over so many tests the exhaustive run is spread, so that all processors share it."""


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("share", range(SHARES))
def test_row05_whoever_sees_the_commits_of_the_next_view_the_batch_is_decided_once(
    share: int,
) -> None:
    """The exhaustive run at n = 4, with every set of replicas that commits in view 1."""
    whole = histories(subsets())
    assert len(whole) == 108 * SIZE * 2**SIZE
    for history in whole[share::SHARES]:
        play(history)


@pytest.mark.timeout(900)
@pytest.mark.req("G2-07-1", "G2-07-6")
def test_row26_ten_minutes_of_overload_leave_nobody_behind_and_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.simulation.cluster.STEPS_MAX", STEPS_OF_LONG_RUNS)
    cluster = overload(minutes=10)
    assert min(heights(cluster)) > 3_000
