"""All refusals of a source at once, each for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.linting import REFUSALS_MAX, lint_source
from services.consensus.domain.contracts.star.refusals import SENTENCES
from services.consensus.domain.contracts.star.syntax import compile_source, parse_source
from tests.unit.star.test_refused_sources import REFUSED

MANY = """
import os
RATE = 0.5
ACCESS = {"read": [""], "write": []}
LIMIT = 10

def plain(a, b=[], *rest):
    share = a / 2
    while share:
        share = share - 1
    if share is None:
        return share ** 2
    for each in {1, 2}:
        unknown(each)
    return share + LIMIT + RATE

def plain(a):
    return a

def calls(x):
    x.append(len())
    total = [each.name for each in x]
    return calls(total)
"""


def places(source: str) -> list[tuple[str, int]]:
    found = lint_source(source.encode())
    assert isinstance(found, list)
    return [(each.rule, each.line) for each in found]


@pytest.mark.req("G2-08-1")
def test_every_refusal_is_told_once_in_the_order_of_lines() -> None:
    assert places(MANY) == [
        ("import", 2),
        ("float", 3),
        ("access", 4),
        ("star_argument", 7),
        ("division", 8),
        ("while", 9),
        ("operator", 11),
        ("operator", 12),
        ("expression", 13),
        ("name", 14),
        ("duplicate", 17),
        ("argument", 21),
        ("attribute", 22),
        ("recursion", 23),
    ]


@pytest.mark.parametrize(("rule", "source", "line", "column"), REFUSED)
def test_the_first_that_a_chain_refuses_is_among_them(
    rule: str, source: str, line: int, column: int
) -> None:
    found = lint_source(source.encode())
    assert isinstance(found, list)
    assert (rule, line, column) in [(each.rule, each.line, each.column) for each in found]


def test_what_a_refused_statement_binds_stays_bound() -> None:
    source = "A = 1.5\n\ndef f(x):\n    a, b = 1, 2\n    c = 0.5\n    return [A, a, b, c]\n"
    assert places(source) == [("float", 1), ("tuple", 4), ("float", 5)]


def test_a_source_that_holds_is_its_module() -> None:
    source = b"A = 1\n\ndef f(x):\n    return x + A\n"
    found = lint_source(source)
    assert not isinstance(found, list)
    assert found.digest == compile_source(source).digest


def test_they_are_bounded() -> None:
    source = "def f(x):\n" + "    x = 1.5\n" * (REFUSALS_MAX + 10)
    assert len(places(source)) == REFUSALS_MAX


def _parses(source: str) -> bool:
    try:
        parse_source(source.encode())
    except SourceError:
        return False
    return True


IN_FUNCTIONS = [
    (rule, source)
    for rule, source, _, _ in REFUSED
    if source.startswith("def f") and source.count("def ") == 1 and _parses(source)
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(IN_FUNCTIONS), min_size=1, max_size=8))
def test_faults_in_different_functions_hide_none_of_each_other(
    chosen: list[tuple[str, str]],
) -> None:
    parts = [text.replace("def f", f"def f{at}", 1) for at, (_, text) in enumerate(chosen)]
    parts = [text.replace(" f(a)", f" f{at}(a)") for at, text in enumerate(parts)]
    rules = [rule for rule, _ in places("\n".join(parts))]
    for rule, _ in chosen:
        assert rule in rules
        rules.remove(rule)


@settings(max_examples=200, deadline=None)
@given(st.text("def f(ab):\n return=[1.5]{'x\"+/*~\u202e", max_size=120))
def test_any_text_ends_with_a_module_or_refusals(text: str) -> None:
    found = lint_source(text.encode())
    assert not isinstance(found, list) or all(each.rule in SENTENCES for each in found)
    assert found
