"""Every known mistake has its directed test, named after its row; every safety row a planted bug.

The rows are those of the two tables in `docs/`; `test_p07_row13_…` belongs to both of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pytest

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.tidy.source import ROOT, functions, sources

MISTAKES: Final = "docs/reliability.md"
LESSONS: Final = "docs/field-lessons.md"
SAFETY: Final = "## Safety"
LIVENESS: Final = "## Liveness"
NO_INTERLEAVING: Final = {
    "p15": "one signature of one client",
    "p18": "the spelling of a signature",
    "p19": "one call of the provider",
    "p20": "what differs between processes and machines",
    "row10": "the bytes of one message",
    "row11": "where a node reads its numbers",
    "row12": "what one verifier believes",
}
"""Rows whose planted bug a directed test catches, because no order of events shows it."""


def mistakes(text: str) -> list[str]:
    """The rows P1, P2, ... of the reliability plan, as they stand in names of tests."""
    return [f"p{int(number):02}" for number in re.findall(r"^\| P(\d+) \|", text, re.MULTILINE)]


def lessons(text: str) -> list[str]:
    """The numbered rows of the field lessons, in the same way."""
    return [f"row{int(number):02}" for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]


def rows_of_test(name: str) -> Iterator[str]:
    """The rows that a test is named after: those that its name begins with."""
    for part in name.removeprefix("test_").split("_"):
        if re.fullmatch(r"(?:p|row)\d\d", part) is None:
            return
        yield part


def untested(rows: Sequence[str], tests: Iterable[str]) -> list[str]:
    """The rows that no test is named after."""
    tested = {row for name in tests for row in rows_of_test(name)}
    return [row for row in rows if row not in tested]


def unknown(rows: Sequence[str], tests: Iterable[str]) -> list[str]:
    """The tests that are named after a row which no table has."""
    return [name for name in tests if not set(rows_of_test(name)) <= set(rows)]


def unplanted(rows: Sequence[str], bugs: Iterable[Bug]) -> list[str]:
    """The rows whose mistake nobody plants."""
    planted = {row for bug in bugs for row in row_of_bug(bug)}
    return [row for row in rows if row not in planted]


def row_of_bug(bug: Bug) -> list[str]:
    """The row as it stands in names of tests; steps of the protocol's description give none."""
    found = re.fullmatch(r"(P|row )(\d+)", bug.row)
    return [f"{'p' if found[1] == 'P' else 'row'}{int(found[2]):02}"] if found else []


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_names() -> list[str]:
    return [
        function.name
        for source in sources("tests")
        for function in functions(source)
        if function.name.startswith("test_")
    ]


test_names.__test__ = False  # type: ignore[attr-defined]  # It lists tests and is none.


def all_rows() -> list[str]:
    return [*mistakes(read(MISTAKES)), *lessons(read(LESSONS))]


def safety_rows() -> list[str]:
    safety = read(LESSONS).partition(SAFETY)[2].partition(LIVENESS)[0]
    return [*mistakes(read(MISTAKES)), *lessons(safety)]


def test_the_tables_hold_all_rows() -> None:
    assert mistakes(read(MISTAKES)) == [f"p{number:02}" for number in range(1, 25)]
    assert lessons(read(LESSONS)) == [f"row{number:02}" for number in range(1, 33)]
    assert safety_rows()[-1] == "row12"


def test_every_row_has_a_directed_test_that_is_named_after_it() -> None:
    assert untested(all_rows(), test_names()) == []
    assert unknown(all_rows(), test_names()) == []


def test_every_safety_row_has_a_planted_bug() -> None:
    assert unplanted(safety_rows(), BUGS) == []


def test_a_planted_bug_is_caught_by_a_test_of_its_own_row() -> None:
    for bug in BUGS:
        name = bug.test.partition("::")[2]
        if name and row_of_bug(bug):
            assert row_of_bug(bug)[0] in rows_of_test(name), bug


def unsimulated(bugs: Iterable[Bug]) -> list[str]:
    """Planted bugs of rows which seeds of the simulator should catch, and do not have to."""
    return [
        bug.row for bug in bugs if bug.test and not set(row_of_bug(bug)) <= set(NO_INTERLEAVING)
    ]


def test_what_an_order_of_events_shows_is_caught_by_simulated_runs() -> None:
    assert unsimulated(BUGS) == []
    (bug,) = [each for each in BUGS if each.row == "P15"]
    assert unsimulated([replace(bug, row="P6")]) == ["P6"]


@pytest.mark.parametrize("row", ["p07", "row14"])
def test_a_row_whose_tests_are_gone_is_found(row: str) -> None:
    kept = [name for name in test_names() if row not in rows_of_test(name)]
    assert len(kept) < len(test_names())
    assert untested(all_rows(), kept) == [row]


@pytest.mark.parametrize("row", ["P4", "row 12"])
def test_a_safety_row_without_a_planted_bug_is_found(row: str) -> None:
    kept = [bug for bug in BUGS if bug.row != row]
    (gone,) = {each for bug in BUGS if bug.row == row for each in row_of_bug(bug)}
    assert unplanted(safety_rows(), kept) == [gone]


def test_a_test_of_a_row_that_no_table_has_is_found() -> None:
    assert unknown(all_rows(), ["test_row33_x", "test_p07_row13_y", "test_p25_z"]) == [
        "test_row33_x",
        "test_p25_z",
    ]
