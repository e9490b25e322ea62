"""The judge of `make coverage` can fail: by branches, statements, files that nobody opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.branches import __main__ as command
from tests.branches import parts
from tests.branches.parts import (
    PARTS,
    PERCENT_MIN,
    ROOT,
    SHARES,
    Figures,
    Part,
    figures,
    shortfalls,
)


def summary(branches: tuple[int, int], statements: tuple[int, int]) -> dict[str, Any]:
    """What coverage.py says of a file: taken, of all."""
    return {
        "summary": {
            "covered_branches": branches[0],
            "num_branches": branches[1],
            "covered_lines": statements[0],
            "num_statements": statements[1],
        }
    }


def test_the_files_of_a_part_are_added_up() -> None:
    report = {"files": {"a.py": summary((3, 4), (9, 10)), "b.py": summary((0, 0), (10, 10))}}
    assert figures(["a.py", "b.py"], report) == Figures(4, 3, 20, 19)


def test_a_file_that_no_test_opened_is_named() -> None:
    with pytest.raises(ValueError, match=r"b\.py: no test opened it"):
        figures(["a.py", "b.py"], {"files": {"a.py": summary((1, 1), (1, 1))}})


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (Figures(100, 95, 100, 95), []),
        (Figures(0, 0, 10, 10), []),
        (Figures(1_000, 949, 100, 100), ["log: 94.90 % of its branches, not 95 %"]),
        (Figures(100, 100, 1_000, 949), ["log: 94.90 % of its statements, not 95 %"]),
    ],
)
def test_each_part_must_have_its_branches_and_its_statements(
    part: Figures, found: list[str]
) -> None:
    assert list(shortfalls({"consensus": Figures(10, 10, 10, 10), "log": part})) == found


def test_the_plans_parts_are_there_and_each_pattern_and_test_exists() -> None:
    row = next(
        line
        for line in (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| T-25 |")
    )
    assert f"≥{PERCENT_MIN:g}%" in row
    asked = row.split("|")[2].removeprefix(" branch coverage of ").replace("authZ", "authorisation")
    assert asked.strip().replace(" and ", ", ").split(", ") == [part.name for part in PARTS]
    for part in PARTS:
        assert part.files()
    named = [each.removeprefix("--ignore=") for share in SHARES for each in share]
    assert all((ROOT / each).exists() for each in named)


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"log: no file is called services/nowhere/\*\.py"):
        Part("log", ("services/nowhere/*.py",)).files()


CODE = "def sign(number: int) -> int:\n    if number < 0:\n        return -1\n    return 1\n"
TEST = "from {module} import sign\n\n\ndef test_sign():\n    assert sign({number}) == {sign}\n"


@pytest.mark.parametrize(
    ("numbers", "code", "said"),
    [
        ([(1, 1), (-1, -1)], 0, ""),
        ([(1, 1)], 1, "log: 50.00 % of its branches"),
        ([(1, 1), (-1, 7)], 1, "a test failed: nothing is measured"),
    ],
)
def test_the_command_runs_the_tests_in_two_processes_and_adds_up_what_they_took(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    numbers: list[tuple[int, int]],
    code: int,
    said: str,
) -> None:
    (tmp_path / "measured_sign.py").write_text(CODE)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers =\n  crash\n  kafka\n")
    shares: list[tuple[str, ...]] = []
    for number, sign in numbers:
        name = f"test_sign_{len(shares)}.py"
        (tmp_path / name).write_text(TEST.format(module="measured_sign", number=number, sign=sign))
        shares.append((name,))
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    monkeypatch.setattr(command, "PARTS", (Part("log", ("measured_*.py",)),))
    monkeypatch.setattr(command, "SHARES", tuple(shares))
    monkeypatch.setattr(command, "revision", lambda root: "none")
    assert command.main() == code
    assert said in capsys.readouterr().err
