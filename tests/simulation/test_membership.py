"""Set changes in the campaign: members join, leave and rotate keys while others lie and break."""

from __future__ import annotations

from random import Random

import pytest

from guqiao_sdk.proof.quorum import faulty_max
from tests.simulation.generators import scenario_of
from tests.simulation.keys import IDEAL
from tests.simulation.membership import (
    JOINED,
    LEFT,
    ROTATED,
    Change,
    plan_changes,
    sets_of,
    sizes_of,
    spare_of,
)
from tests.simulation.run import run
from tests.simulation.scenario import SIZES, of_seed


@pytest.mark.req("G2-07-1", "G2-10-3")
@pytest.mark.parametrize("seed", [4, 12, 28, 36])
def test_the_set_changes_under_faults_and_lies(seed: int) -> None:
    """4 and 28 with a liar at work, 12 and 36 over the production's store."""
    scenario = scenario_of(seed)
    assert len(scenario.changes) == 3
    report = run(scenario)
    begun = sum(report.fired[kind] for kind in (JOINED, LEFT, ROTATED))
    assert begun + report.counts["set_changes_in_calm"] == 3
    assert run(scenario).trace == report.trace  # H1.


def test_one_seed_in_eight_changes_its_set_unless_it_is_of_another_kind() -> None:
    scenarios = [scenario_of(seed) for seed in range(400)]
    governed = [each for each in scenarios if each.changes]
    assert 35 <= len(governed) <= 50
    assert {each.kind for each in governed} == {"storm"}
    assert any(each.stored for each in governed)
    assert any(each.liars for each in governed)
    leavers = [change.seat for each in governed for change in each.changes if change.kind == LEFT]
    assert any(seat in each.liars for seat, each in zip(leavers, governed, strict=True))
    assert {each.size for each in governed} == set(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_keeps_four_members_and_no_more_liars_than_the_smallest_set_bears(size: int) -> None:
    for seed in range(50):
        changes = plan_changes(Random(seed), size, 4_000)
        assert {each.kind for each in changes} == {JOINED, LEFT, ROTATED}
        sets = sets_of(IDEAL, size, changes)
        assert [each.size for each in sets] == sizes_of(size, changes)
        assert min(each.size for each in sets) >= 4
        assert spare_of(size, changes) == min(faulty_max(each.size) for each in sets)
        scenario = of_seed(seed, size, governed=True)
        if not scenario.traitors:
            assert len(scenario.faulty | scenario.damaged) <= spare_of(size, scenario.changes)


def test_a_seat_that_is_left_is_taken_with_another_key() -> None:
    changes = (Change(LEFT, 4, 0), Change(JOINED, 4, 0), Change(ROTATED, 4, 0))
    sets = sets_of(IDEAL, 5, changes)
    keys = [each.members[4].public_key for each in sets if each.size == 5]
    assert len(set(keys)) == 3
