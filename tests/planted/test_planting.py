"""The probe can fail: what breaks nothing is reported as not caught, and the run says so."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Final

import pytest

from tests.planted.__main__ import main, plant
from tests.planted.bug import Bug
from tests.planted.bugs import BUGS

HARMLESS: Final = Bug(
    "none",
    "the quorum is written in another way",
    "guqiao_sdk/proof/quorum.py",
    "    return -(-2 * size // 3)",
    "    return (2 * size + 2) // 3",
    rules=("S1", "S2", "S3"),
)
DIRECTED: Final = replace(
    HARMLESS,
    name="a directed test passes",
    rules=(),
    test="tests/unit/proof/test_known_mistakes_of_signatures.py::test_row12",
)
STALE: Final = replace(HARMLESS, name="the source has changed", old="    return 2 * size // 5")
(HARMFUL,) = [each for each in BUGS if (each.row, each.file[-11:]) == ("P14", "ordering.py")]


def reported(output: str) -> dict[str, object]:
    summary = json.loads(output.splitlines()[-1])
    assert isinstance(summary, dict)
    return summary


def test_a_change_that_breaks_nothing_is_reported_as_not_caught(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plant([HARMFUL, HARMLESS, DIRECTED, STALE], seeds=1) == 1
    summary = reported(capsys.readouterr().out)
    missed = [f"none: {each.name}" for each in (HARMLESS, DIRECTED, STALE)]
    assert (summary["planted"], summary["caught"], summary["missed"]) == (4, 1, missed)
    rows = summary["rows"]
    assert isinstance(rows, dict)
    assert rows[missed[0]]["tried"] == 1
    assert "1 passed" in rows[missed[1]]["why"]
    assert "no longer applies to guqiao_sdk/proof/quorum.py" in rows[missed[2]]["why"]


def test_a_run_in_which_all_are_caught_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert plant([HARMFUL], seeds=1) == 0
    summary = reported(capsys.readouterr().out)
    rows = summary["rows"]
    assert isinstance(rows, dict)
    (row,) = rows.values()
    assert (summary["missed"], row["tried"], row["by"][:4]) == ([], 1, "P14:")


def test_a_row_that_no_bug_is_of_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["planted", "P99"])
    assert main() == 2
    assert capsys.readouterr().err == "no bug is of the row P99\n"
