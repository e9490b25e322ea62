"""Every requirement a test claims to show exists in docs/requirements.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.tidy.source import ROOT, Source, parse, sources


def known_ids() -> set[str]:
    text = (ROOT / "docs/requirements.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| ((?:G2|N0|T2|J3|S4)-[0-9a-z-]+) \|", text, re.MULTILINE))


def marked_ids(source: Source) -> Iterator[tuple[int, str]]:
    """The ids of every `pytest.mark.req(...)` with their lines; an argument that is no literal is
    an error.
    """
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "req"
        ):
            for argument in node.args:
                assert isinstance(argument, ast.Constant), (
                    f"{source.path}:{node.lineno}: literal ids"
                )
                yield node.lineno, str(argument.value)


def test_the_requirements_document_is_read() -> None:
    assert len(known_ids()) == 115 + 52 + 19 + 44 + 34


def test_a_mark_is_found() -> None:
    planted = parse("x.py", '@pytest.mark.req("G2-99-9", "N0-01")\ndef test_x(): ...\n')
    assert [id_ for _, id_ in marked_ids(planted)] == ["G2-99-9", "N0-01"]


def test_marks_name_requirements_that_exist() -> None:
    known = known_ids()
    unknown = [
        f"{source.path}:{line}: {id_}"
        for source in sources("tests")
        for line, id_ in marked_ids(source)
        if id_ not in known
    ]
    assert unknown == []


@pytest.mark.req("G2-16-1", "G2-17-3", "G2-01-1")
def test_the_requirements_of_the_request_guard_are_shown_by_tests() -> None:
    shown = {id_ for source in sources("tests") for _, id_ in marked_ids(source)}
    assert {"G2-16-1", "G2-17-3", "G2-01-1"} <= shown
