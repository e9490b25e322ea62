"""Tests and the protocols' numbered steps name each other: every test of the consensus says which
step it is about (or which row of the known mistakes), every step is cited by a test, and what is
cited exists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Sequence
from functools import cache
from typing import Final

import pytest

from tests.tidy.protocol_steps import (
    CONSENSUS,
    Citation,
    citations,
    steps_of_ledger,
    steps_of_pbft,
)
from tests.tidy.source import Source, functions, parse, sources
from tests.tidy.test_directed_rows import LESSONS, MISTAKES, lessons, mistakes, read, rows_of_test

PBFT: Final = "docs/protocol/pbft.md"
LEDGER: Final = "docs/protocol/ledger.md"


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


def uncited(steps: Iterable[str], cited: Iterable[Citation]) -> list[str]:
    """The steps that no test cites; what only a file says of all its tests is no citation."""
    shown = {each.step for each in cited if each.test}
    return sorted(set(steps) - shown)


def strays(steps: Container[str], cited: Iterable[Citation]) -> list[str]:
    """Citations of what is no step."""
    return [f"{each.path}: {each.test} {each.step}" for each in cited if each.step not in steps]


@cache
def steps_of_pbft_here() -> frozenset[str]:
    return steps_of_pbft(read(PBFT))


@cache
def all_steps() -> frozenset[str]:
    return steps_of_pbft_here() | steps_of_ledger(read(LEDGER))


@cache
def all_citations() -> Sequence[Citation]:
    letters = {step[0] for step in steps_of_pbft_here()}
    return [each for source in sources("tests") for each in citations(source, letters)]


def test_every_test_of_the_consensus_cites_its_step() -> None:
    tests = [each for each in sources("tests") if each.path.startswith(CONSENSUS)]
    rows = {*mistakes(read(MISTAKES)), *lessons(read(LESSONS))}
    steps = steps_of_pbft_here()
    assert len(steps) >= 70
    assert silent(tests, steps, rows) == []


def test_every_step_is_cited_by_a_test() -> None:
    assert len(all_steps() - steps_of_pbft_here()) == 6 + 4 + 8 + 6
    assert uncited(all_steps(), all_citations()) == []


def test_every_step_that_is_cited_exists() -> None:
    assert len(all_citations()) > 300
    assert strays(all_steps(), all_citations()) == []


@pytest.mark.parametrize("step", ["Q2", "N1", "order of the checks 6"])
def test_a_step_whose_citations_are_gone_is_found(step: str) -> None:
    left = [each for each in all_citations() if each.step != step]
    assert uncited(all_steps(), left) == [step]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("tests/a.py", 'def test_g1_one():\n    """G2, and pbft.md, N1."""\n', ["N1"]),
        (
            "tests/a.py",
            'def test_one():\n    """pbft.md N1, N3 and Q2 to Q4."""\n',
            "N1 N3 Q2 Q4 Q3",
        ),
        ("tests/a.py", '"""Of pbft.md."""\ndef test_n3_n1_x_n2():\n    """Q2."""\n', "Q2 N3 N1"),
        ("tests/unit/consensus/a.py", "def test_p07_n3_one():\n    pass\n", ["N3"]),
        ("tests/unit/consensus/a.py", 'def test_one():\n    assert x, "N3"\n', []),
        ("tests/a.py", 'def helper():\n    """pbft.md N1."""\n', []),
        (
            "tests/a.py",
            'def test_one():\n    """ledger.md, the rule of\n    silence, steps 2 to 4."""\n',
            ["rule of silence 2", "rule of silence 4", "rule of silence 3"],
        ),
    ],
)
def test_what_a_test_cites_is_read_from_its_name_and_docstring(
    path: str, text: str, found: list[str] | str
) -> None:
    wanted = found.split() if isinstance(found, str) else found
    cited = list(citations(parse(path, text), "NQG"))
    assert sorted(each.step for each in cited) == sorted(wanted)


def test_a_citation_of_a_step_that_does_not_exist_is_found() -> None:
    source = parse("tests/a.py", '"""See pbft.md N9."""\ndef test_one():\n    """pbft.md N99."""\n')
    assert strays({"N9"}, citations(source, "N")) == ["tests/a.py: test_one N99"]
    assert uncited({"N9"}, citations(source, "N")) == ["N9"], "the file alone says so"


def test_the_steps_of_the_ledger_stand_in_lists_and_in_a_table() -> None:
    text = (
        "## Envelopes\n\n1. One.\n   More.\n2. Two.\n\n## Bounds\n\n1. None.\n"
        "## Executing: the order of the checks\n\n| step | x |\n|---|---|\n| 1 the id | y |\n"
        "**Lost votes: the rule of silence.** So:\n\n1. First.\n\n**Old files.** Text.\n\n2. No.\n"
    )
    found = ["envelopes 1", "envelopes 2", "order of the checks 1", "rule of silence 1"]
    assert sorted(steps_of_ledger(text)) == found


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
    steps = steps_of_pbft("- **N1** One.\n- **N3** Two.\n**N99** is in the text.\n")
    assert silent([parse("file.py", test)], steps, {"p07"}) == says
