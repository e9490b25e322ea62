"""Branch coverage of the parts in which a mistake costs most: `python -m tests.branches` (T-25).

The tests of these parts run under coverage.py in two processes. What is not covered goes to
standard error, file by file; the last line of standard output is one JSON object. Exit code 1 where
a test fails, or a part has less than `PERCENT_MIN` of its branches or of its statements covered.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import coverage

from bench.machine import revision
from tests.branches.parts import PARTS, PERCENT_MIN, ROOT, SHARES, Figures, figures, shortfalls

MARKERS: Final = "not crash and not kafka"
SEED: Final = 0
"""Of what tests draw: the same branches are taken each time."""


def main() -> int:
    """Run the tests and judge."""
    files = {part.name: part.files() for part in PARTS}
    every = sorted({name for names in files.values() for name in names})
    with tempfile.TemporaryDirectory() as folder:
        held = [Path(folder) / f"share{number}" for number in range(len(SHARES))]
        with ThreadPoolExecutor(len(SHARES)) as threads:
            running = [
                threads.submit(_run, tests, path, every)
                for tests, path in zip(SHARES, held, strict=True)
            ]
            codes = [each.result() for each in running]
        if any(codes):
            print("a test failed: nothing is measured", file=sys.stderr)
            return 1
        report = _report([str(path) for path in held], Path(folder))
    measured = {name: figures(names, report) for name, names in files.items()}
    _show_gaps(every, report)
    found = list(shortfalls(measured))
    for line in found:
        print(line, file=sys.stderr)
    print(json.dumps(_line(measured, found)))
    return 1 if found else 0


def _run(tests: tuple[str, ...], held: Path, every: list[str]) -> int:
    """One process of pytest; what it said where it failed."""
    options = [f"--hypothesis-seed={SEED}"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "coverage", "run", "--branch", f"--data-file={held}"),
            *(f"--include={','.join(every)}", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-m", MARKERS, *options, *tests),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.returncode


def _report(held: list[str], folder: Path) -> dict[str, Any]:
    """What coverage.py makes of all processes together."""
    measured = coverage.Coverage(data_file=str(folder / "all"), config_file=False)
    measured.combine(held)
    measured.json_report(outfile=str(folder / "report.json"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    files = {
        Path(name).resolve().relative_to(ROOT.resolve()).as_posix(): each
        for name, each in report["files"].items()
    }
    return {"files": files}


def _show_gaps(every: list[str], report: dict[str, Any]) -> None:
    for name in every:
        known = report["files"][name]
        gaps = [str(line) for line in known["missing_lines"]]
        gaps += [f"{source}->{target}" for source, target in known["missing_branches"]]
        if gaps:
            print(f"{name}: {' '.join(gaps)}", file=sys.stderr)


def _line(parts: dict[str, Figures], found: list[str]) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "commit": revision(ROOT),
        "percent_min": PERCENT_MIN,
        "branches": {name: round(each.branch_percent, 2) for name, each in parts.items()},
        "statements": {name: round(each.statement_percent, 2) for name, each in parts.items()},
        "short": found,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
