"""Every problem that the reader of datasets can state has a Chinese sentence."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

import pytest

from guqiao_sdk import market_reader, market_shapes, market_text
from guqiao_sdk.market_dataset import RowProblem
from guqiaoctl.row_problems import in_chinese, show

SAID_BY = {"_expect", "ShapeError", "NotJsonError", "_report", "_report_file"}


def _stated(module: ModuleType) -> Iterator[str]:
    """The problems in a module's source; what stands in braces there is 1 here."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SAID_BY:
                yield from _texts(node.args[-1])
            case ast.Call(func=ast.Name(id="matching"), args=[_, kind]):
                yield from (f"not {text}" for text in _texts(kind))
            case ast.Assign(targets=[ast.Name(id="problem")], value=problem):
                yield from _texts(problem)
            case ast.Yield(value=ast.Tuple(elts=[ast.Constant(), problem])):
                yield from _texts(problem)


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "1" for part in parts
            )
        case ast.BinOp(left=left):
            yield from (text + "1" for text in _texts(left))


SOURCES = (market_reader, market_shapes, market_text)
PROBLEMS = sorted({problem for source in SOURCES for problem in _stated(source)} - {"not 1"})


def test_the_source_states_the_problems_that_people_meet() -> None:
    """The search itself works: kinds, sentences and filled-in values are all found."""
    assert {"not an integer", "not a company code", "earlier than the line before"} <= {*PROBLEMS}
    assert "1 where 1 belongs" in PROBLEMS
    assert len(PROBLEMS) > 35


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_problem_has_a_chinese_sentence(problem: str) -> None:
    chinese = in_chinese(problem)
    assert chinese is not None
    assert any("一" <= character <= "鿿" for character in chinese)
    assert "{" not in chinese


def test_a_row_is_shown_in_the_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    row = RowProblem("events.jsonl", 7, "seq", "9 where 7 belongs")
    monkeypatch.setenv("GUQIAO_LANG", "zh")
    assert show(row) == "events.jsonl:7: seq: 9，此处应为 7"
    monkeypatch.setenv("GUQIAO_LANG", "en")
    assert show(row) == str(row)


def test_a_problem_without_a_sentence_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUQIAO_LANG", "zh")
    assert in_chinese("something new") is None
    assert show(RowProblem("a.csv", 1, "x", "something new")) == "a.csv:1: x: something new"


def test_a_members_name_cannot_write_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUQIAO_LANG", "en")
    name = "a\x1b[2J\n" + "x" * 1000
    shown = show(RowProblem("events.jsonl", 7, name, "unknown member"))
    assert shown.startswith("events.jsonl:7: a\\x1b[2J\\nxxx")
    assert len(shown) < 200
