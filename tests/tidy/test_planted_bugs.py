"""Each planted bug still finds its place in the source: a campaign takes too long to learn that."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.planted.probe import SEEDS_MAX, look_for, rule_of, scenarios
from tests.simulation.checkers import ViolationError
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
    files = ("checkers", "cluster", "run", "forensics", "restoring", "governed_ledger", "ceremony")
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
    assert (found["caught"], found["campaign"], found["seed"], found["tried"]) == (True, True, 3, 4)
    assert found["others"] == {"S9": 1, "AssertionError": 1}
    nothing = look_for(bug, playing(lambda n: AssertionError()))
    assert not nothing["caught"]


def test_the_campaigns_seeds_and_chosen_ones_take_turns_and_are_told_apart() -> None:
    bug = replace(SIMULATED[0], rules=("S3",), strategies=("B4",), size=4, first=7)
    tried = scenarios(bug)
    seeds = {of: [each.seed for campaign, each in tried if campaign is of] for of in (True, False)}
    assert seeds == {True: list(range(SEEDS_MAX)), False: list(range(7, 7 + SEEDS_MAX))}
    assert [campaign for campaign, _ in tried] == [True, False] * SEEDS_MAX
    second = look_for(bug, playing(lambda n: ViolationError("S3: x") if n == 3 else None))
    assert (second["caught"], second["campaign"], second["seed"]) == (True, False, 8)
    assert len(scenarios(replace(bug, strategies=(), size=None))) == SEEDS_MAX
    withheld = scenarios(replace(bug, strategies=(), size=None, withheld=True))
    assert {each.kind for campaign, each in withheld if not campaign} == {"withheld"}


def test_a_violation_names_its_rule_before_the_colon() -> None:
    assert rule_of("S3: replica 0 certifies 1 on 3 signatures: too few") == "S3"
