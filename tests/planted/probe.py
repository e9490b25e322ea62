"""Run inside a scratch copy with one bug in it: look for a seed that the checkers catch it by."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.consensus.domain import replica
from tests.planted.bugs import BUGS, Bug
from tests.simulation.generators import scenario_of
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, of_seed

SEEDS_MAX = 200


def main() -> None:
    """Answer with one line of JSON."""
    bug = BUGS[int(sys.argv[1])]
    here = Path(sys.argv[2]).resolve()
    assert Path(replica.__file__).resolve().is_relative_to(here), "the scratch copy is not in use"
    print(json.dumps(_look_for(bug)))


def _look_for(bug: Bug) -> dict[str, object]:
    for seed in range(bug.first, bug.first + SEEDS_MAX):
        try:
            run(_scenario(bug, seed))
        except AssertionError as violation:
            # Another exception would be a mistake in the planting and ends the probe.
            tried = seed - bug.first + 1
            return {"caught": True, "seed": seed, "tried": tried, "by": str(violation)[:120]}
    return {"caught": False, "tried": SEEDS_MAX}


def _scenario(bug: Bug, seed: int) -> Scenario:
    if not bug.strategies and bug.size is None and bug.governed is None:
        return scenario_of(seed)
    strategies = list(bug.strategies) or None
    return of_seed(seed, size=bug.size, strategies=strategies, governed=bug.governed)


if __name__ == "__main__":
    main()
