"""Which states are given, and whose offers of them count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.consensus.set_paths import Head
from services.consensus.state_transfer import state_interval
from services.consensus.store.index import PROVABLE_HEIGHTS
from tests.unit.proof.proof_keys import FakeKeys, Replicas


@pytest.mark.parametrize(
    ("parameter", "interval"), [(1, 1), (100, 100), (256, 256), (257, 256), (1_000_000, 256)]
)
def test_a_state_stays_provable_for_three_intervals_more(parameter: int, interval: int) -> None:
    assert state_interval(parameter) == interval
    assert PROVABLE_HEIGHTS - state_interval(parameter) >= 3 * interval


def test_the_offers_of_members_that_are_not_jailed_count() -> None:
    """pbft.md, T3: learners, former members and the jailed may be any number of liars."""
    replicas = Replicas(FakeKeys())
    header = replicas.header(8)
    jailing = replace(replicas.set, jailed=(2,))
    head = Head(header, replicas.certify(header), (), jailing)
    assert [sender for sender in range(8) if head.counts(sender)] == [0, 1, 3]
