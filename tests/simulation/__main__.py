"""Long campaigns: `python -m tests.simulation --seeds 1000` or `--seed 17` to replay one.

The last line of standard output is one JSON object; a violation ends with exit code 1 and the line
that replays it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from tests.simulation.byzantine import STRATEGIES
from tests.simulation.cluster import Cluster, Report

FAULTS = ("drop", "duplicate", "delay", "reorder", "partition", "crash", "restart", "clock")
COVERAGE_SEEDS_MIN = 200
"""From this many seeds on, every fault and every strategy must have fired."""


def main() -> int:
    """Run the campaign that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, default=None, help="run this seed alone, twice")
    options = parser.parse_args()
    if options.seed is not None:
        return _campaign([options.seed], twice=True)
    return _campaign(list(range(options.first, options.first + options.seeds)), twice=False)


def _campaign(seeds: list[int], *, twice: bool) -> int:
    started = time.monotonic()
    fired: Counter[str] = Counter()
    steps = views = violations = 0
    for seed in seeds:
        try:
            report = _run(seed, twice=twice)
        except AssertionError as violation:
            violations += 1
            print(f"{violation}\nreplay: make simulate SEED={seed}", file=sys.stderr)
            continue
        steps += report.steps
        views += report.view_changes
        fired.update(report.fired)
    missing = _missing(fired, views) if len(seeds) >= COVERAGE_SEEDS_MIN else []
    if missing:
        print(f"never fired in this campaign: {', '.join(missing)}", file=sys.stderr)
    summary = {
        "seeds": len(seeds),
        "steps": steps,
        "violations": violations,
        "view_changes": views,
        "faults_fired": {name: fired[name] for name in FAULTS},
        "strategies_fired": {name: fired[name] for name in STRATEGIES},
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary))
    return 1 if violations or missing else 0


def _run(seed: int, *, twice: bool) -> Report:
    report = Cluster(seed).run()
    if twice and Cluster(seed).run().trace != report.trace:
        raise AssertionError("H1: the same seed gave two different runs")
    return report


def _missing(fired: Counter[str], views: int) -> list[str]:
    missing = [name for name in (*FAULTS, *STRATEGIES) if not fired[name]]
    return missing if views else [*missing, "view changes"]


if __name__ == "__main__":
    sys.exit(main())
