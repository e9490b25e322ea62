"""Long runs: `python -m tests.fuzz --inputs 20000`; `--target NAME` for one, `--seed K` for others.

Progress and findings go to standard error, the last line of standard output is one JSON object; the
exit code is 1 if a decoder did not survive an input, refused a good sample, or refused none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.fuzz.harness import FindingError, fuzz
from tests.fuzz.targets import targets
from tests.simulation.campaign import cores

SHOWN_MAX = 5


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=2_000, help="how many for each decoder")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other inputs")
    parser.add_argument("--target", default=None, help="one decoder by name")
    options = parser.parse_args()
    began = time.monotonic()
    names = [each.name for each in targets() if options.target in (None, each.name)]
    if not names:
        parser.error(f"no such decoder; there are: {', '.join(each.name for each in targets())}")
    with ProcessPoolExecutor(cores()) as pool:
        jobs = [(name, options.seed, options.inputs) for name in names]
        results = dict(zip(names, pool.map(_run, jobs), strict=True))
    failed = {name for name, result in results.items() if result["failed"]}
    summary = {
        "inputs": sum(result["inputs"] for result in results.values()),
        "findings": sum(len(result["findings"]) for result in results.values()),
        "failed": sorted(failed),
        "decoders": results,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(summary, ensure_ascii=False))
    return 1 if failed else 0


def _run(job: tuple[str, int, int]) -> dict[str, Any]:
    name, seed, count = job
    [target] = [each for each in targets() if each.name == name]
    try:
        outcome = fuzz(target, seed, count)
    except FindingError as finding:
        print(finding, file=sys.stderr)
        return {
            "inputs": 0,
            "accepted": 0,
            "refused": 0,
            "findings": [str(finding)],
            "failed": True,
        }
    shown = [str(each) for each in outcome.findings[:SHOWN_MAX]]
    print("\n".join(shown), file=sys.stderr, end="\n" if shown else "")
    counts = outcome.counts
    accepted, refused = counts["accepted"], counts.total() - counts["accepted"]
    print(f"{name}: {accepted} accepted, {refused} refused", file=sys.stderr)
    return {
        "inputs": count,
        "accepted": accepted,
        "refused": refused,
        "findings": shown,
        "failed": bool(outcome.findings) or not refused,
    }


if __name__ == "__main__":
    sys.exit(main())
