"""Each planted bug still finds its place in the source: a campaign takes too long to learn that."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.planted.probe import SEEDS_MAX, look_for, rule_of, scenarios
from tests.simulation.checkers import ViolationError
from tests.simulation.drawing import name_of, scenario_of
from tests.simulation.naming import parse as parse_name
from tests.simulation.scenario import Scenario
from tests.tidy.source import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.row}-{bug.name}" for bug in BUGS])
def test_a_planted_bug_finds_its_place_once_and_changes_it(bug: Bug) -> None:
    for file, old, new in bug.places:
        assert (ROOT / file).read_text(encoding="utf-8").count(old) == 1
        assert new != old


SIMULATED = [bug for bug in BUGS if not bug.test]


def rules_of_checkers() -> set[str]:
    """What stands before the colon of a violation, wherever a run can raise one."""
    files = (
        "checkers",
        "watch",
        "cluster",
        "run",
        "forensics",
        "restoring",
        "governed_ledger",
        "ceremony",
    )
    text = "".join((ROOT / f"tests/simulation/{name}.py").read_text("utf-8") for name in files)
    return set(re.findall(r'"([SLPQV]\d+): ', text))


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.row}-{bug.name}" for bug in BUGS])
def test_a_planted_bug_names_the_rules_that_may_catch_it_or_a_test(bug: Bug) -> None:
    assert bool(bug.rules) != bool(bug.test)
    assert set(bug.rules) <= rules_of_checkers()


def playing(fails: Callable[[int], BaseException | None]) -> Callable[[Scenario], None]:
    """Runs that end as `fails` says of their number."""
    played: list[Scenario] = []

    def play(scenario: Scenario) -> None:
        played.append(scenario)
        error = fails(len(played) - 1)
        if error is not None:
            raise error

    return play


def test_only_a_violation_of_a_rule_that_the_bug_names_counts() -> None:
    bug = replace(SIMULATED[0], rules=("S3",), size=None)
    errors = [AssertionError("S3: of the code"), ViolationError("S9: another"), None]
    found = look_for(bug, playing(lambda n: errors[n] if n < 3 else ViolationError("S3: this")))
    assert (found["caught"], found["tried"]) == (True, 4)
    assert found["scenario"] == f"campaign 3: {name_of(3)}"
    assert found["others"] == {"S9": 1, "AssertionError": 1}


@pytest.mark.parametrize("chosen", [(), ("B4",)])
def test_a_bug_that_no_seed_shows_is_not_caught_after_all_of_them(chosen: tuple[str, ...]) -> None:
    bug = replace(SIMULATED[0], rules=("S3",), size=None, strategies=chosen)
    others = look_for(bug, playing(lambda n: AssertionError()))
    assert others == {"caught": False, "tried": SEEDS_MAX, "others": {"AssertionError": SEEDS_MAX}}
    nothing = look_for(bug, playing(lambda n: None))
    assert (nothing["caught"], nothing["tried"]) == (False, SEEDS_MAX)
    late = look_for(bug, playing(lambda n: ViolationError("S3: x") if n == SEEDS_MAX else None))
    assert not late["caught"]


def first_runs(bug: Bug) -> list[tuple[str, Scenario]]:
    return list(itertools.islice(scenarios(bug), SEEDS_MAX))


def test_the_campaigns_seeds_and_chosen_ones_take_turns_and_none_is_left_out() -> None:
    bug = replace(SIMULATED[0], rules=("S3",), strategies=("B4",), size=4)
    tried = first_runs(bug)
    half = SEEDS_MAX // 2
    assert [each for _, each in tried[::2]] == [scenario_of(seed) for seed in range(half)]
    assert [each.seed for _, each in tried[1::2]] == list(range(1, 1 + half))
    assert {each.size for _, each in tried[1::2]} == {4}
    second = look_for(bug, playing(lambda n: ViolationError("S3: x") if n == 3 else None))
    assert (second["scenario"], second["tried"]) == ("chosen 2", 4)
    alone = first_runs(replace(bug, strategies=(), size=None))
    assert [each for _, each in alone] == [scenario_of(seed) for seed in range(SEEDS_MAX)]
    withheld = first_runs(replace(bug, strategies=(), size=None, withheld=True))
    assert {each.kind for _, each in withheld[1::2]} == {"withheld"}


def test_named_scenarios_come_first_and_count_as_seeds() -> None:
    bug = replace(SIMULATED[0], rules=("S3",), size=None, scenarios=("withheld/78", "storm/4"))
    tried = first_runs(bug)
    assert tuple(name for name, _ in tried[:2]) == bug.scenarios
    assert [each.seed for _, each in tried[2:]] == list(range(SEEDS_MAX - 2))
    with pytest.raises(ValueError, match="no scenario is called"):
        first_runs(replace(bug, scenarios=("storm/x",)))


@pytest.mark.parametrize("bug", BUGS, ids=[f"{bug.row}-{bug.name}" for bug in BUGS])
def test_a_bug_is_the_same_in_the_scratch_copy_and_names_scenarios_that_exist(bug: Bug) -> None:
    assert Bug.from_json(bug.to_json()) == bug
    assert [str(parse_name(name)) for name in bug.scenarios] == list(bug.scenarios)


def test_a_violation_names_its_rule_before_the_colon() -> None:
    assert rule_of("S3: replica 0 certifies 1 on 3 signatures: too few") == "S3"
