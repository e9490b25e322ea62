"""Run inside a scratch copy with one bug in it: look for a seed that a checker catches it by.

What counts as a seed: one simulated run, however it was come by. A bug has `SEEDS_MAX` of them, the
campaign's and the chosen ones together. First come the scenarios that the bug names, then by turns
the campaign's, as `make simulate` plays them from seed 0 on, and the chosen kind of run that the
bug describes, from seed 1 on. None is left out on the way; the search ends with the first
catch. Only a violation of a rule that the bug names counts: that the code fails somewhere of itself
shows no more than that it is broken.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from services.consensus.domain import replica
from tests.planted.bug import Bug
from tests.simulation.campaign import collect_rarely
from tests.simulation.checkers import ViolationError
from tests.simulation.drawing import name_of
from tests.simulation.naming import parse
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, of_seed, of_withheld

SEEDS_MAX: Final = 200


def main() -> None:
    """Answer with one line of JSON."""
    bug, here, seeds = Bug.from_json(sys.argv[1]), Path(sys.argv[2]).resolve(), int(sys.argv[3])
    assert Path(replica.__file__).resolve().is_relative_to(here), "the scratch copy is not in use"
    collect_rarely()
    print(json.dumps(look_for(bug, run, seeds)))


def look_for(
    bug: Bug, play: Callable[[Scenario], object], seeds: int = SEEDS_MAX
) -> dict[str, object]:
    """Try so many seeds in order; `others` counts what failed by another rule than the bug's."""
    others: Counter[str] = Counter()
    tried = 0
    for known, scenario in itertools.islice(scenarios(bug), seeds):
        tried += 1
        try:
            play(scenario)
        except ViolationError as violation:
            rule = rule_of(str(violation))
            if rule in bug.rules:
                found = {"caught": True, "scenario": known, "tried": tried}
                return {**found, "by": str(violation)[:120], "others": others}
            others[rule] += 1
        except Exception as error:
            others[type(error).__name__] += 1
    return {"caught": False, "tried": tried, "others": others}


def scenarios(bug: Bug) -> Iterator[tuple[str, Scenario]]:
    """Without end, each with what it is called."""
    for name in bug.scenarios:
        yield name, parse(name).scenario()
    for number in itertools.count():
        yield f"campaign {number}: {name_of(number)}", name_of(number).scenario()
        yield from _chosen(bug, 1 + number)


def _chosen(bug: Bug, seed: int) -> Iterator[tuple[str, Scenario]]:
    """The runs that a bug asks for beside the campaign's."""
    if bug.withheld:
        yield f"chosen {seed}", of_withheld(seed)
    if bug.strategies or bug.size is not None or bug.governed is not None:
        asked = list(bug.strategies) or None
        drawn = of_seed(seed, size=bug.size, strategies=asked, governed=bug.governed)
        yield f"chosen {seed}", drawn


def rule_of(violation: str) -> str:
    """The invariant or row that a violation names: what stands before its colon."""
    return violation.partition(":")[0]


if __name__ == "__main__":
    main()
