"""Seeds that every change must pass: hostile runs of every kind, and each strategy by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.consensus.domain.view_change import ViewChanges
from tests.simulation.byzantine.registry import LYING, STRATEGIES
from tests.simulation.campaign import campaign, judge
from tests.simulation.checkers import ViolationError
from tests.simulation.fault_plan import FAULTS
from tests.simulation.generators import GRID, byzzfuzz, partitions, scenario_of, twins
from tests.simulation.run import run
from tests.simulation.scenario import SIZES, of_seed

SEEDS = range(1, 13)
TWINS = range(8)

REGRESSIONS: tuple[int, ...] = ()
"""Seeds that once found a mistake of the core."""


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_a_hostile_run_stays_safe_and_finishes(seed: int) -> None:
    outcome = judge(seed)
    assert outcome.violation is None, f"replay: make simulate SEED={seed}"
    assert outcome.steps > 0


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("strategy", LYING)
def test_f_liars_with_one_strategy_break_neither_safety_nor_progress(strategy: str) -> None:
    number = LYING.index(strategy)
    report = run(of_seed(100 + 6 * number + 1, size=(4, 7)[number % 2], strategies=[strategy]))
    assert report.height > 0


@pytest.mark.parametrize("size", [4, 7])
def test_f_plus_one_traitors_fork_the_chain_and_the_evidence_names_more_than_f(size: int) -> None:
    report = run(of_seed(24, size=size, strategies=["B28"]))
    assert report.counts["forks"] == 1


@pytest.mark.parametrize("seed", [3, 8, 10, 24])
def test_the_same_seed_gives_the_same_run_to_the_last_byte(seed: int) -> None:
    scenario = scenario_of(seed)
    assert scenario_of(seed) == scenario
    assert run(scenario).trace == run(scenario).trace


@pytest.mark.parametrize("index", TWINS)
def test_a_replica_that_exists_twice_cannot_split_the_others(index: int) -> None:
    assert run(twins(index)).height > 0


def test_twins_scenarios_do_not_repeat() -> None:
    assert len(partitions(5)) == 16
    plans = {str(twins(index).faults) for index in range(400)}
    assert len(plans) == 400


@pytest.mark.parametrize(("process", "network", "scope"), GRID)
def test_a_few_mutated_and_dropped_rounds_break_nothing(
    process: int, network: int, scope: str
) -> None:
    assert run(byzzfuzz(process, network, scope, seed=7)).height > 0


def test_every_strategy_fault_and_size_is_in_the_campaigns_plan() -> None:
    scenarios = [scenario_of(seed) for seed in range(300)]
    acts = {act.strategy for each in scenarios for acts in each.liars.values() for act in acts}
    doubled = any(each.copies for each in scenarios)
    traitors = any(each.traitors for each in scenarios)
    assert doubled
    assert traitors
    assert acts == set(STRATEGIES) - {"B2", "B28"}
    assert {each.size for each in scenarios} == set(SIZES)
    planned = {fault.kind for each in scenarios for fault in each.faults}
    planned |= {each.rot.kind for each in scenarios if each.rot is not None}
    planned |= {change.kind for each in scenarios for change in each.changes}
    drawn_in_the_run = {"drop", "duplicate", "delay", "reorder", "crash"}
    counted_elsewhere = {"corrupt_under", "partition_heal"}
    assert set(FAULTS) - planned == drawn_in_the_run | counted_elsewhere
    many = [each for each in scenarios if each.requests == 200]
    assert len(many) * 10 == len(scenarios)
    real = [each for each in scenarios if each.scheme == "sm2"]
    assert 0 < len(real) <= 0.05 * len(scenarios)


def test_the_checkers_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that cannot fail proves nothing: nobody answers a view change."""
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view: None)
    with pytest.raises(ViolationError, match=r"^L[14]"):
        run(replace(of_seed(1, size=4, strategies=["B1"]), stored=False))


def test_a_campaign_ends_with_one_line_and_fails_on_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view: None)
    seed = next(each for each in range(1, 50) if scenario_of(each).kind == "betrayal")
    assert campaign([seed], jobs=1) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert '"violations": 0' in shown.out
    failed = next(each for each in SEEDS if campaign([each], jobs=1) == 1)
    assert f"replay: make simulate SEED={failed}" in capsys.readouterr().err
