"""Plant every bug in a scratch copy and demand that it is caught: `python -m tests.planted [row]`.

The last line of standard output is one JSON object. Its table says of each bug which rule caught it
and in which seed; `by_chosen_seeds` are those that seeds chosen for them show before others. Exit
code 1 if a bug goes unseen, its patch no longer applies, or its directed test passes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("services", "guqiao_sdk", "bench", "tests", "gen", "pyproject.toml")
PROBE_SECONDS_MAX: Final = 1_800
TEST_FAILED: Final = 1
"""pytest's exit code where tests ran and some failed."""


def main() -> int:
    """Plant and report."""
    started = time.monotonic()
    rows = sys.argv[1:]
    chosen = [n for n, bug in enumerate(BUGS) if not rows or bug.row in rows]
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        results = list(pool.map(_report, chosen))
    missed = [f"{each['row']}: {each['name']}" for each in results if not each["caught"]]
    summary = {
        "planted": len(results),
        "caught": len(results) - len(missed),
        "missed": missed,
        "by_chosen_seeds": [
            f"{each['row']}: {each['name']}" for each in results if each.get("campaign") is False
        ],
        "rows": {f"{each['row']}: {each['name']}": each for each in results},
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary, ensure_ascii=False))
    return 1 if missed else 0


def _report(number: int) -> dict[str, object]:
    bug = BUGS[number]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        result = _try(number, bug, Path(folder))
    seconds = round(time.monotonic() - began, 1)
    word = "caught" if result["caught"] else "MISSED"
    print(f"{word} {bug.row}: {bug.name} ({seconds} s) {result}", file=sys.stderr)
    return {"row": bug.row, "name": bug.name, **result, "seconds": seconds}


def _try(number: int, bug: Bug, scratch: Path) -> dict[str, object]:
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
    return _by_test(bug, scratch) if bug.test else _by_simulator(number, scratch)


def _by_simulator(number: int, scratch: Path) -> dict[str, object]:
    ran = _python(scratch, "-m", "tests.planted.probe", str(number), str(scratch))
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
