"""Plant every bug in a scratch copy and demand that it is caught: `python -m tests.planted [row]`.

A bug of an order of events must be caught by the simulator within 200 seeds; `tests.planted.probe`
says what counts as one. Any other must be caught by the directed test that it names. The last line
of standard output is one JSON object, whose table says of each bug what caught it, in which run,
and after how many. Exit code 1 where a bug goes unseen (`missed` names it), its patch no longer
applies, or its directed test passes; 2 where no bug is of the row asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.planted.probe import SEEDS_MAX

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("services", "guqiao_sdk", "bench", "tests", "gen", "pyproject.toml")
PROBE_SECONDS_MAX: Final = 1_800
TEST_FAILED: Final = 1
"""pytest's exit code where tests ran and some failed."""


def main() -> int:
    """Plant what the command line asks for."""
    rows = sys.argv[1:]
    chosen = [bug for bug in BUGS if not rows or bug.row in rows]
    if not chosen:
        print(f"no bug is of the row {', '.join(rows)}", file=sys.stderr)
        return 2
    return plant(chosen)


def plant(bugs: Sequence[Bug], seeds: int = SEEDS_MAX) -> int:
    """Plant each, with so many seeds to catch it in, and report; 1 where one is missed."""
    started = time.monotonic()
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        results = list(pool.map(partial(_report, seeds), bugs))
    missed = [f"{each['row']}: {each['name']}" for each in results if not each["caught"]]
    summary = {
        "planted": len(results),
        "caught": len(results) - len(missed),
        "missed": missed,
        "seeds_max": seeds,
        "rows": {f"{each['row']}: {each['name']}": each for each in results},
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary, ensure_ascii=False))
    return 1 if missed else 0


def _report(seeds: int, bug: Bug) -> dict[str, object]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        result = _try(bug, Path(folder), seeds)
    seconds = round(time.monotonic() - began, 1)
    word = "caught" if result["caught"] else "MISSED"
    print(f"{word} {bug.row}: {bug.name} ({seconds} s) {result}", file=sys.stderr)
    return {"row": bug.row, "name": bug.name, **result, "seconds": seconds}


def _try(bug: Bug, scratch: Path, seeds: int) -> dict[str, object]:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, scratch / name, ignore=ignored)
        else:
            shutil.copy(source, scratch / name)
    for file, old, new in bug.places:
        path = scratch / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            return {"caught": False, "why": f"the patch no longer applies to {file}"}
        path.write_text(text.replace(old, new), encoding="utf-8")
    return _by_test(bug, scratch) if bug.test else _by_simulator(bug, scratch, seeds)


def _by_simulator(bug: Bug, scratch: Path, seeds: int) -> dict[str, object]:
    told = (bug.to_json(), str(scratch), str(seeds))
    ran = _python(scratch, "-m", "tests.planted.probe", *told)
    if ran is None:
        return {"caught": False, "why": f"no seed within {PROBE_SECONDS_MAX} s"}
    if ran.returncode != 0:
        return {"caught": False, "why": ran.stderr.decode()[-400:]}
    answer: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _by_test(bug: Bug, scratch: Path) -> dict[str, object]:
    """The directed tests whose names begin as the bug says must fail."""
    file, _, name = bug.test.partition("::")
    ran = _python(scratch, "-m", "pytest", "-q", "-x", file, "-k", name, "-p", "no:cacheprovider")
    if ran is None:
        return {"caught": False, "why": "the directed test did not end"}
    caught = ran.returncode == TEST_FAILED
    why = {} if caught else {"why": ran.stdout.decode()[-300:]}
    return {"caught": caught, "by": bug.test, **why}


def _python(scratch: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    paths = f"{scratch}{os.pathsep}{scratch / 'gen'}"
    environment = {"PATH": os.defpath, "PYTHONPATH": paths, "HOME": str(scratch)}
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=scratch,
            env=environment,
            capture_output=True,
            timeout=PROBE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    sys.exit(main())
