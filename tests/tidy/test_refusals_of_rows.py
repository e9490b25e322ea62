"""A row of the gateway's negative list is refused with a code that one of its tests names.

`test_directed_rows.py` sees to it that each row has a test. That a refused call changes no state
and is on record, the chain of `tests/unit/xchain/ledger_chain.py` asserts for every call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from guqiao_sdk import rules
from tests.tidy.source import Source, functions, parse, sources
from tests.tidy.test_directed_rows import (
    CONSENSUS,
    MISTAKES,
    UNBUILT,
    gateway_rows,
    read,
    rows_of_test,
)

WITHOUT_CODE: Final = {
    "g23": "the same receipt is given again",
    "g29": "the order of writes is what is tested",
    "g36": "its code stands in a constant of the module",
    "g37": "the second relayer is answered, without effect",
    "g41": "the answer of another link is taken",
}
"""Rows of which no test names a code. With one, a row leaves this table."""


def coded_rows(found: Iterable[Source]) -> set[str]:
    """The rows that have a test in whose text, with its parameters, a code of the catalogue is."""
    rows = set()
    for source in found:
        for function in functions(source):
            if names_a_code(function):
                rows |= {*rows_of_test(function.name)}
    return rows


def names_a_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    texts = (
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return any(
        word in rules.catalogue() for text in texts for word in re.findall(r"[A-Z_]{4,}", text)
    )


@cache
def coded() -> frozenset[str]:
    return frozenset(
        coded_rows(each for each in sources("tests") if not each.path.startswith(CONSENSUS))
    )


def test_every_row_is_refused_with_a_code_that_a_test_names() -> None:
    rows = gateway_rows(read(MISTAKES))
    without = [row for row in rows if row not in coded() and row not in UNBUILT]
    assert without == [*WITHOUT_CODE]


def test_a_test_that_names_no_code_is_told_from_one_that_does() -> None:
    text = (
        "def test_g1_x():\n    assert refused() == 'ROLE_MISSING'\n"
        "@pytest.mark.parametrize('code', ['HEIGHT_UNKNOWN'])\ndef test_g2_x(code): ...\n"
        "def test_g3_x():\n    assert refused() == 'NO_SUCH_CODE'\n"
    )
    assert coded_rows([parse("x.py", text)]) == {"g1", "g2"}
