"""Run inside a scratch copy with one bug in it: look for a seed that a checker catches it by.

The campaign that `make simulate` runs, from seed 0 on; for a bug that asks for them each seed is
followed by one with strategies, a size or a lost quorum. Only a violation of a rule that the bug
names counts: that the code fails somewhere of itself shows no more than that it is broken.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.consensus.domain import replica
from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.simulation.campaign import collect_rarely
from tests.simulation.checkers import ViolationError
from tests.simulation.drawing import scenario_of
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, of_loss, of_seed, of_withheld

SEEDS_MAX: Final = 200


def main() -> None:
    """Answer with one line of JSON."""
    bug = BUGS[int(sys.argv[1])]
    here = Path(sys.argv[2]).resolve()
    assert Path(replica.__file__).resolve().is_relative_to(here), "the scratch copy is not in use"
    collect_rarely()
    print(json.dumps(look_for(bug, run)))


def look_for(bug: Bug, play: Callable[[Scenario], object]) -> dict[str, object]:
    """Try the seeds in order; `others` counts what failed by another rule than the bug's."""
    others: Counter[str] = Counter()
    tried = 0
    for campaign, scenario in scenarios(bug):
        tried += 1
        try:
            play(scenario)
        except ViolationError as violation:
            rule = rule_of(str(violation))
            if rule in bug.rules:
                found = {"caught": True, "campaign": campaign, "seed": scenario.seed}
                return {**found, "tried": tried, "by": str(violation)[:120], "others": others}
            others[rule] += 1
        except Exception as error:
            others[type(error).__name__] += 1
    return {"caught": False, "tried": tried, "others": others}


def scenarios(bug: Bug) -> list[tuple[bool, Scenario]]:
    """The campaign's and the chosen ones by turns; True for those of the campaign."""
    rounds: list[list[tuple[bool, Scenario]]] = []
    for number in range(SEEDS_MAX):
        chosen = bug.first + number
        rounds.append([(True, scenario_of(number))])
        if bug.lost:
            rounds[-1].append((False, of_loss(chosen, chosen)))
        if bug.withheld:
            rounds[-1].append((False, of_withheld(chosen)))
        if bug.strategies or bug.size is not None or bug.governed is not None:
            asked = list(bug.strategies) or None
            scenario = of_seed(chosen, size=bug.size, strategies=asked, governed=bug.governed)
            rounds[-1].append((False, scenario))
    return list(itertools.chain.from_iterable(rounds))


def rule_of(violation: str) -> str:
    """The invariant or row that a violation names: what stands before its colon."""
    return violation.partition(":")[0]


if __name__ == "__main__":
    main()
