"""The requirements that tests claim to show exist; those that the product touches are shown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from guqiao_sdk import rules
from tests.tidy.source import PACKAGES, ROOT, Source, parse, sources, tracked_files

ID = re.compile(r"\b(?:G2|N0|T2|J3|S4)-[0-9]+(?:-[0-9]+[a-z]?)?\b")
CATALOGUE = "guqiao_sdk/rules/catalogue.json"
TOUCHING = {*PACKAGES, "protos", "deploy"}


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


def shown_ids() -> set[str]:
    return {id_ for source in sources("tests") for _, id_ in marked_ids(source)}


def touched_ids() -> dict[str, str]:
    """The requirements that the product's files name, and where. The rule behind an error's code is
    not among them: a refusal for its sake shows the refusal, and need not show what it asks for.
    """
    found: dict[str, str] = {}
    for path in tracked_files():
        if path.partition("/")[0] in TOUCHING and path != CATALOGUE:
            text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
            found |= dict.fromkeys(ID.findall(text), path)
    return found


def test_the_rules_behind_codes_exist() -> None:
    known = known_ids()
    unknown = {code: entry.rule_id for code, entry in rules.catalogue().items()}
    assert {code: ids for code, ids in unknown.items() if not {*ids} <= known} == {}


@pytest.mark.req("G2-01-1")
def test_every_requirement_that_the_product_touches_is_shown_by_a_test() -> None:
    touched, shown = touched_ids(), shown_ids()
    assert {"G2-16-3", "G2-07-3"} <= touched.keys(), "those that the files name are found"
    untold = {id_: where for id_, where in touched.items() if id_ not in shown}
    assert untold == {}
