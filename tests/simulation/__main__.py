"""Long campaigns: `python -m tests.simulation --seeds 1000 --twins 2000 --grid 20`, any of them or
all; `--seed 17` plays one (twice), and so does `--scenario storm/150+rot+stored`, which names one
whatever the seeds mean by then.

Progress goes to standard error; the last line of standard output is one JSON object. A violation
ends with exit code 1 and the line that replays it.
"""

from __future__ import annotations

import argparse
import sys

from tests.plugins.memory_disk import end_in_order, sweep
from tests.simulation.campaign import (
    COVERAGE_SEEDS_MIN,
    MUST_FIRE,
    campaign,
    collect_rarely,
    cores,
)
from tests.simulation.drawing import enumerated, grid, name_of
from tests.simulation.naming import parse

SEEDS_ALONE = 200


def main() -> int:
    """Run the campaign that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, help="how many seeds to run (alone: 200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, default=None, help="run this seed alone, twice")
    parser.add_argument("--scenario", type=parse, default=None, help="run this one alone, twice")
    parser.add_argument("--grid", type=int, help="play each cell of ByzzFuzz so often (T-3)")
    parser.add_argument("--twins", type=int, help="play so many scenarios of Twins (T-2)")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes to use")
    options = parser.parse_args()
    collect_rarely()
    end_in_order()
    sweep()
    if options.scenario is not None:
        return campaign([options.scenario], jobs=1)
    if options.seed is not None:
        return campaign([name_of(options.seed)], jobs=1)
    alone = options.grid is None and options.twins is None
    seeds = SEEDS_ALONE if options.seeds is None and alone else options.seeds or 0
    brief = [*grid(options.grid or 0, options.first), *enumerated(options.twins or 0)]
    names = [*map(name_of, range(options.first, options.first + seeds)), *brief]
    cells = list(dict.fromkeys(cell for name in brief for cell in name.cells()))
    must_fire = MUST_FIRE if seeds >= COVERAGE_SEEDS_MIN else cells
    return campaign(names, jobs=options.jobs, must_fire=must_fire)


if __name__ == "__main__":
    sys.exit(main())
