"""Seeds that every change must pass: hostile runs of every kind, and each strategy by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.machine import revision
from guqiao_sdk.proof import restart_rules
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.quorum import Member, ReplicaSet, faulty_max, quorum
from guqiao_sdk.proof.restart import RestartStatement
from services.consensus import restart
from services.consensus.domain.view_change import ViewChanges
from services.consensus.restart import Survivor, compose
from tests.simulation import ceremony
from tests.simulation.byzantine.registry import LYING, STRATEGIES
from tests.simulation.campaign import (
    KINDS,
    MUST_FIRE,
    MUST_MEET,
    ROOT,
    SOMETIMES,
    Outcome,
    campaign,
    judge,
    missing,
    ran,
    replay_of,
)
from tests.simulation.checkers import ViolationError
from tests.simulation.drawing import enumerated, name_of, scenario_of
from tests.simulation.fault_plan import FAULTS, LOSSES, ROT_FAULTS
from tests.simulation.generators import GRID, byzzfuzz, partitions, twins
from tests.simulation.naming import CELLS, parse
from tests.simulation.run import run
from tests.simulation.scenario import SIZES, of_seed

SEEDS = range(1, 13)
TWINS = range(8)

REGRESSIONS = (
    "ceremony/27/1",
    "ceremony/127/6",
    "storm/150+rot+stored",
    "storm/225+stored",
    "ceremony/447/22",
    "ceremony/887/44",
    "storm/500110+rot+stored",
    "ceremony/700087/35004",
    "storm/900079+many",
    "storm/7400076+governed+newcomer",
    "storm/7400100+governed+newcomer+rot+stored",
    "storm/332+governed",
    "ceremony/427/21+sm2",
)
"""Scenarios that once found a mistake, by name: what a seed means to the campaign may change. Of
seed 27: a replica that catches up to a restart takes a block of the epoch that is over from one
that came back. 127: one that had accepted proposals above the header ends in an assertion when it
comes to it. 150: a proposal refused for its time was forgotten, and with it the proof of a second
one. 225: a segment that could not be begun closed the one before it twice. 447: one that is behind
votes in the epoch that is over. 887: one without memory waited for a height that replicas named
which the restarted chain had left behind. 7400076: a new member was silent in an epoch that began
after it came. 7400100: one that had taken a state refused the head of another, which it had asked
for in the epoch before.
And of the simulation itself: 500110 took a replica's own new-view, given back after it lost its
votes and passed on, for a new vote; 700087 lost its quorum before any certificate outlasted a power
cut; 900079 let a liar read a transaction that it had itself made unreadable, and 332 a replica one
that a peer passed on; 427 asked a liar for the time of a block that it does not have.
"""


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("name", [*(str(name_of(seed)) for seed in SEEDS), *REGRESSIONS])
def test_a_hostile_run_stays_safe_and_finishes(name: str) -> None:
    outcome = judge(parse(name))
    assert outcome.violation is None, f"replay: make simulate SCENARIO={name}"
    assert outcome.steps > 0


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("strategy", LYING)
def test_f_liars_with_one_strategy_break_neither_safety_nor_progress(strategy: str) -> None:
    """By turns at four and seven replicas; two thirds keep the chain in the production's store."""
    number = LYING.index(strategy)
    scenario = of_seed(100 + 6 * number + 1, size=(4, 7)[number % 2], strategies=[strategy])
    report = run(replace(scenario, stored=number % 3 > 0))
    assert report.height > 0


def test_the_productions_store_runs_with_f_liars_and_with_a_damaged_replica() -> None:
    scenarios = [scenario_of(seed) for seed in range(300)]
    stored = [each for each in scenarios if each.stored]
    with_f_liars = [each for each in stored if len(each.faulty) == faulty_max(each.size)]
    assert len(stored) >= 40
    assert {each.size for each in with_f_liars} >= {4, 5, 6, 7}
    assert all(each.rot is None or each.stored for each in scenarios)
    assert {each.rot.kind for each in stored if each.rot is not None} == set(ROT_FAULTS)


@pytest.mark.parametrize("size", [4, 7])
def test_f_plus_one_traitors_fork_the_chain_and_the_evidence_names_more_than_f(size: int) -> None:
    report = run(of_seed(24, size=size, strategies=["B28"]))
    assert report.counts["forks"] == 1


@pytest.mark.parametrize("seed", [3, 7, 8, 10, 11, 24, 47])
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
    losses = [each.loss for each in scenarios if each.loss is not None]
    assert len(losses) * 20 == len(scenarios)
    planned |= {kind for loss in losses for kind in loss.kinds}
    drawn_in_the_run = {"drop", "duplicate", "delay", "reorder", "crash"}
    counted_elsewhere = {"corrupt_under", "partition_heal"}
    assert set(FAULTS) - planned == drawn_in_the_run | counted_elsewhere
    many = [each for each in scenarios if each.requests == 200]
    assert len(many) * 10 >= len(scenarios)
    real = [each for each in scenarios if each.scheme == "sm2"]
    assert 0 < len(real) <= 0.05 * len(scenarios)


@pytest.mark.req("G2-13-2")
def test_a_quorum_is_lost_in_every_size_and_never_stands() -> None:
    losses = [(each.size, each.loss) for each in map(scenario_of, range(7, 4_000, 20)) if each.loss]
    assert {size for size, _ in losses} == set(SIZES)
    for size, loss in losses:
        assert quorum(size) > size - len(loss.lost) > 0, "some are left, and they are too few"
        assert len(loss.returned) < quorum(size), "who came back decides nothing alone"


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("name", ["ceremony/127/6", "ceremony/447/22"])
def test_the_ceremonys_checkers_can_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement from whoever holds least, with whatever it then drops."""
    monkeypatch.setattr(ceremony, "compose", _compose_from_the_lowest)
    with pytest.raises(ViolationError, match=r"^Q3"):
        run(parse(name).scenario())


@pytest.mark.req("G2-13-2", "G2-16-4")
def test_votes_of_an_epoch_that_was_lost_would_convict_who_forgot_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a lineage they hold in the epoch of the same number behind the restart."""
    lost = parse("ceremony/1767/88").scenario()
    assert run(lost).fired["epoch_lost"] == 1
    for module in (restart_rules, restart, ceremony):
        monkeypatch.setattr(module, "restarted_set", _without_lineage)
    with pytest.raises(ViolationError, match=r"^S10: evidence names correct"):
        run(lost)


@pytest.mark.parametrize("never", [*LOSSES, *CELLS, *MUST_MEET, *map(ran, KINDS)])
def test_a_long_campaign_fails_where_a_fault_never_fired_or_a_cell_was_never_played(
    never: str,
) -> None:
    fired = Counter({name: 1 for name in MUST_FIRE if name != never})
    total = Outcome("", fired=fired, counts=Counter(dict.fromkeys(SOMETIMES, 1)))
    assert missing(total) == [never]
    total.fired[never] = 1
    assert missing(total) == []


def told_by(names: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The last line of a campaign of these runs."""
    campaign(map(parse, names), jobs=1)
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_a_campaign_counts_each_scenario_of_twins_once_and_each_run_of_byzzfuzz(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["twins/3/3+brief", "twins/4/4+brief", "twins/4/9+brief", "byzzfuzz/0-1-any/7+brief"]
    line = told_by(names, capsys)
    assert (line["twins_scenarios"], line["byzzfuzz_runs"]) == (2, 1)
    assert line["byzzfuzz_runs_met"] == line["cells"]["byzzfuzz 0-1-any"] == 1
    assert (line["seeds"], line["first"], line["last"], line["violations"]) == (0, None, None, 0)


def test_a_run_that_ends_in_a_violation_counts_for_no_volume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view, low: None)
    line = told_by([str(name) for name in enumerated(3)], capsys)
    assert line["violations"] > 0
    assert line["twins_scenarios"] + line["violations"] == 3


def test_a_run_of_byzzfuzz_whose_faults_came_upon_nothing_is_not_counted_as_met() -> None:
    name = parse("byzzfuzz/1-2-small/7+brief")
    assert name.meets(Counter({"B18": 1, "round_cut": 3}))
    assert not name.meets(Counter({"B18": 1}))
    assert not name.meets(Counter({"round_cut": 3}))
    assert parse("byzzfuzz/0-0-any/7").meets(Counter())
    assert not parse("twins/1/1").meets(Counter({"round_cut": 3}))


def test_brief_runs_of_twins_are_held_to_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: nobody answers a view change."""
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view, low: None)
    outcomes = [judge(name) for name in enumerated(8)]
    assert any((each.violation or "").startswith("ViolationError: L") for each in outcomes)


def test_brief_runs_of_twins_are_held_to_safety(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: two of four are a quorum, for the checkers too; so one that exists twice splits the
    others.
    """
    monkeypatch.setattr(ReplicaSet, "quorum", property(lambda self: len(self.members) // 2))
    outcomes = [judge(name) for name in enumerated(8)]
    assert any((each.violation or "").startswith("ViolationError: S") for each in outcomes)


def _without_lineage(
    header: BlockHeader, old_set: ReplicaSet, members: tuple[Member, ...]
) -> ReplicaSet:
    return ReplicaSet(old_set.chain_id, old_set.epoch + 1, members)


def _compose_from_the_lowest(
    survivors: Sequence[Survivor], *rest: Any, **named: Any
) -> RestartStatement:
    certified = [each for each in survivors if each.held().height]
    lowest = min(certified, key=lambda each: each.held().height)
    return compose([lowest], *rest, **named)


def test_the_checkers_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that cannot fail proves nothing: nobody answers a view change."""
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view, low: None)
    with pytest.raises(ViolationError, match=r"^L[14]"):
        run(replace(of_seed(1, size=4, strategies=["B1"]), stored=False))


def test_a_campaign_ends_with_one_line_and_fails_on_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ViewChanges, "quorum_for", lambda self, view, low: None)
    seed = next(each for each in range(1, 50) if scenario_of(each).kind == "betrayal")
    assert campaign([name_of(seed)], jobs=1) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    told = json.loads(shown.out)
    assert told["violations"] == 0
    assert (told["first"], told["last"], told["seeds"]) == (seed, seed, 1)
    assert told["commit"] == revision(ROOT)
    failed = next(each for each in SEEDS if campaign([name_of(each)], jobs=1) == 1)
    assert f"replay: {replay_of(str(name_of(failed)))}\n" in capsys.readouterr().err


def test_a_run_is_replayed_by_its_seed_and_by_its_name() -> None:
    """By the name alone where the campaign draws another run from that seed."""
    drawn = str(name_of(8))
    assert replay_of(drawn).startswith("make simulate SEED=8, ")
    assert replay_of(drawn).endswith(f" make simulate SCENARIO={drawn}")
    assert replay_of("storm/8+sm2") == "make simulate SCENARIO=storm/8+sm2"
