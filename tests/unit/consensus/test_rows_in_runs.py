"""Rows whose tests are runs of a cluster, as long as every change can wait for; the longer ones
are in `tests/endurance`.
"""

from __future__ import annotations

import pytest

from tests.endurance.clusters import (
    SIZE,
    flap,
    histories,
    pause_two_of_four,
    play,
    reaches,
)
from tests.simulation.test_known_mistakes_of_clusters import heights


def test_the_histories_are_all_that_four_replicas_can_come_to() -> None:
    """N6, N7: who prepared and who committed."""
    found = list(reaches())
    assert len(found) == len(set(found)) == 108
    assert (3, 2, 2, 0) in found  # One has committed, by three that prepared.
    assert (3, 3, 2, 0) in found  # "2 commit in view 0, 1 in view 1".
    assert (3, 1, 1, 1) not in found
    assert (1, 2, 0, 0) not in found
    assert all(reached[0] for reached in found)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("unheard", range(SIZE))
def test_row05_runs_of_all_histories_of_a_batch_decide_it_once(unheard: int) -> None:
    """n = 4, exhaustive: how far each replica came, and whom the view change does not hear; nobody
    sees the commits of the next view. All checkers hold, and every request is decided.
    """
    found = [each for each in histories([frozenset()]) if each.unheard == unheard]
    changed = sum(play(history).counts["view_changes"] > 0 for history in found)
    assert len(found) == 108
    assert changed > 50


@pytest.mark.req("G2-07-1")
def test_row16_two_of_four_that_pause_for_thirty_minutes_stop_nothing_for_good() -> None:
    cluster = pause_two_of_four(minutes=30)
    assert min(heights(cluster)) >= 2


@pytest.mark.req("G2-07-6")
def test_row29_ten_minutes_of_conflicting_requests_and_flapping_do_not_stop_the_chain() -> None:
    cluster, flaps = flap(minutes=10)
    assert flaps > 150
    assert min(heights(cluster)) > 1_000
