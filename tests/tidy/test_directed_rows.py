"""Every known mistake has its directed test, named after its row; every safety row a planted bug.

The rows are those of the two tables in `docs/`; `test_p07_row13_…` belongs to both of its rows. So
do the rows of the gateway's negative list, `test_g1_g2_…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import pytest

from tests.planted.bug import Bug
from tests.planted.bugs import BUGS
from tests.tidy.source import ROOT, Source, functions, sources

MISTAKES: Final = "docs/reliability.md"
LESSONS: Final = "docs/field-lessons.md"
GATEWAY: Final = "### 3.2 "
CONSENSUS: Final = "tests/unit/consensus/"
"""There G numbers are steps of `docs/protocol/pbft.md`."""

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

UNBUILT: Final = {
    "g32": "the regulatory chain allots no investor codes and resolves no identities",
}
"""Rows of the gateway about what does not exist. With a test, a row leaves this table."""


def mistakes(text: str) -> list[str]:
    """The rows P1, P2, ... of the reliability plan, as they stand in names of tests."""
    return [f"p{int(number):02}" for number in re.findall(r"^\| P(\d+) \|", text, re.MULTILINE)]


def lessons(text: str) -> list[str]:
    """The numbered rows of the field lessons, in the same way."""
    return [f"row{int(number):02}" for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]


def gateway_rows(text: str) -> list[str]:
    """The rows G1, G2, ... of the gateway's negative list, in the same way."""
    listed = text.partition(GATEWAY)[2].partition("\n## ")[0]
    return [f"g{number}" for number in re.findall(r"\bG(\d+)\b", listed)]


def rows_of_test(name: str) -> Iterator[str]:
    """The rows that a test is named after: those that its name begins with."""
    for part in name.removeprefix("test_").split("_"):
        if re.fullmatch(r"(?:p|row)\d\d|g\d+", part) is None:
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


def names_of(found: Iterable[Source]) -> Sequence[str]:
    return tuple(
        function.name
        for source in found
        for function in functions(source)
        if function.name.startswith("test_")
    )


@cache
def test_names() -> Sequence[str]:
    return names_of(sources("tests"))


@cache
def names_beside_the_core() -> Sequence[str]:
    return names_of(each for each in sources("tests") if not each.path.startswith(CONSENSUS))


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
    rows = [*all_rows(), *gateway_rows(read(MISTAKES))]
    assert unknown(rows, test_names()) == []


def test_every_row_of_the_gateway_has_a_directed_test_or_nothing_to_test() -> None:
    rows = gateway_rows(read(MISTAKES))
    assert rows == [f"g{number}" for number in range(1, 42)]
    assert untested(rows, names_beside_the_core()) == [*UNBUILT]


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


@pytest.mark.parametrize("row", ["g2", "g41"])
def test_a_row_of_the_gateway_whose_tests_are_gone_is_found(row: str) -> None:
    names = names_beside_the_core()
    kept = [name for name in names if row not in rows_of_test(name)]
    assert len(kept) < len(names)
    assert set(untested(gateway_rows(read(MISTAKES)), kept)) == {row, *UNBUILT}


@pytest.mark.parametrize("row", ["P4", "row 12"])
def test_a_safety_row_without_a_planted_bug_is_found(row: str) -> None:
    kept = [bug for bug in BUGS if bug.row != row]
    (gone,) = {each for bug in BUGS if bug.row == row for each in row_of_bug(bug)}
    assert unplanted(safety_rows(), kept) == [gone]


def test_a_test_of_a_row_that_no_table_has_is_found() -> None:
    names = ["test_row33_x", "test_p07_row13_y", "test_p25_z", "test_g1_g42_x", "test_g1_g2_y"]
    rows = [*all_rows(), *gateway_rows(read(MISTAKES))]
    assert unknown(rows, names) == ["test_row33_x", "test_p25_z", "test_g1_g42_x"]
