"""Every test file is run by a make target: one that nothing runs shows nothing."""

from __future__ import annotations

import re

from tests.tidy.source import ROOT, tracked_files


def run_folders(makefile: str) -> set[str]:
    """The folders below tests/ that some target gives to pytest."""
    lines = [line for line in makefile.splitlines() if "-m pytest" in line]
    return {word for line in lines for word in re.findall(r"\btests/\w+", line)}


def not_run(paths: list[str], makefile: str) -> list[str]:
    folders = run_folders(makefile)
    files = [path for path in paths if re.fullmatch(r"tests/.*/test_\w+\.py", path)]
    return [path for path in files if "/".join(path.split("/")[:2]) not in folders]


def test_every_test_file_is_run_by_a_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert not_run(list(tracked_files()), makefile) == []


def test_a_file_that_nothing_runs_is_named() -> None:
    makefile = "test:\n\tpython -m pytest -n 2 tests/unit\n\tpython -m tests.crash\n"
    paths = ["tests/unit/a/test_one.py", "tests/crash/test_two.py", "tests/crash/kills.py"]
    assert not_run(paths, makefile) == ["tests/crash/test_two.py"]
