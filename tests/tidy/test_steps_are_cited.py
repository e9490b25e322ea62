"""Every test of the consensus says which step it is about: one of `docs/protocol/pbft.md`, or a row
of the known mistakes, in its name, docstring or body.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable
from typing import Final

import pytest

from tests.tidy.source import ROOT, Source, functions, parse, sources
from tests.tidy.test_directed_rows import LESSONS, MISTAKES, lessons, mistakes, read, rows_of_test

PROTOCOL: Final = "docs/protocol/pbft.md"
FOLDER: Final = "tests/unit/consensus/"


def steps_of(text: str) -> frozenset[str]:
    """The numbers under which the protocol's steps stand."""
    return frozenset(re.findall(r"^- \*\*([A-Z]\d+)\*\*", text, re.MULTILINE))


def silent(found: Iterable[Source], steps: Container[str], rows: Container[str]) -> list[str]:
    """The tests that cite nothing."""
    return [
        f"{source.path}: {function.name}"
        for source in found
        for function in functions(source)
        if function.name.startswith("test_")
        and not any(row in rows for row in rows_of_test(function.name))
        and not any(word in steps for word in _words(source, function))
    ]


def _words(source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """What looks like a step; in a name they stand in small letters."""
    body = ast.get_source_segment(source.text, function) or ""
    in_name = [part.upper() for part in function.name.split("_")]
    return [*re.findall(r"\b[A-Z]\d+\b", body), *in_name]


def test_every_test_of_the_consensus_cites_its_step() -> None:
    tests = [each for each in sources("tests") if each.path.startswith(FOLDER)]
    rows = {*mistakes(read(MISTAKES)), *lessons(read(LESSONS))}
    steps = steps_of((ROOT / PROTOCOL).read_text(encoding="utf-8"))
    assert len(steps) >= 70
    assert silent(tests, steps, rows) == []


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ('def test_n3_one():\n    """Twice."""\n', []),
        ('def test_one():\n    """Twice (N3)."""\n', []),
        ("def test_one():\n    assert core, 'N3'\n", []),
        ("def test_p07_row13_one():\n    pass\n", []),
        ("def test_one():\n    pass\n", ["file.py: test_one"]),
        ('def test_one():\n    """Of no step there is (N99, X1)."""\n', ["file.py: test_one"]),
        ("def helper():\n    pass\n", []),
    ],
)
def test_a_test_that_cites_nothing_is_named(test: str, says: list[str]) -> None:
    steps = steps_of("- **N1** One.\n- **N3** Two.\n**N99** is in the text.\n")
    assert silent([parse("file.py", test)], steps, {"p07"}) == says
