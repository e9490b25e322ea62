"""What of format 2 breaks who relies on it: who gives a value, and who reads one."""

from __future__ import annotations

from typing import Any

import pytest

from services.consensus.domain.contracts.template.changes import SENTENCES, changes, is_compatible
from services.consensus.domain.contracts.template.form import read_template
from tests.unit.templates.orders import TITLE, field, orders, several
from tests.unit.templates.template_market import template
from tests.unit.templates.test_register_template import template as register
from tests.unit.templates.test_template_changes import edited

Edits = list[tuple[str, Any]]


def found(old: Any, edits: Edits) -> list[tuple[str, str, bool]]:
    value = old
    for path, part in edits:
        value = edited(value, path, part)
    before, after = read_template(old), read_template(value)
    told = changes(before, after)
    assert {each.rule for each in told} <= SENTENCES.keys()
    assert is_compatible(before, after) is not any(each.is_breaking for each in told)
    assert {each.place for each in changes(after, before)} == {each.place for each in told}
    return [(each.place, each.rule, each.is_breaking) for each in told]


def with_note_list() -> Any:
    """An argument that is given and never read: a list of records."""
    value = edited(
        orders(), "records.1", {"name": "note", "title": TITLE, "fields": [field("word", "code")]}
    )
    argument = field("notes", "record", record="note", many=several("list", 1, 5))
    return edited(edited(value, "arguments.2", argument), "transitions.1.takes.1", "notes")


BREAKING: list[tuple[Edits, str, str]] = [
    ([("records.0.fields.1", None)], "records.line.fields.quantity", "removed"),
    ([("records.0.fields.5", field("price", "amount", unit="fen"))],
     "records.line.fields.price", "required_added"),
    ([("records.0.fields.0.type", "text")], "records.line.fields.product.type", "changed"),
    ([("records.0.fields.3.optional", None)], "records.line.fields.day.optional", "changed"),
    ([("records.0.fields.0.optional", True)], "records.line.fields.product.optional", "changed"),
    ([("records.0.fields.2.values.2", "gold")], "records.line.fields.kind.values.gold",
     "new_value"),
    ([("records.0.fields.4.many.most", 3)], "records.line.fields.tags.many", "widened"),
    ([("groups.1.fields.0.many.most", 4)], "groups.lines.fields.lines.many", "widened"),
    ([("groups.1.fields.0.many.least", 2)], "groups.lines.fields.lines.many", "narrowed"),
    ([("groups.1.fields.0.many", None)], "groups.lines.fields.lines.many", "changed"),
    ([("transitions.0.or_role", None)], "transitions.place.or_role.registrar", "narrowed"),
    ([("states.1", {"name": "DONE", "title": TITLE}), ("transitions.1.or_to", ["DONE"])],
     "transitions.announce.or_to.DONE", "new_value"),
    ([("arguments.0.optional", None)], "arguments.note.optional", "changed"),
    ([("arguments.1.tier", "RESTRICTED"), ("transitions.1.event", "order.placed"),
      ("events.2", None)], "arguments.text.tier", "changed"),
    ([("transitions.0.more_events", None), ("events.1", None)], "events.order.terms", "removed"),
]  # fmt: skip

KEPT: list[tuple[Edits, str, str]] = [
    ([("records.0.fields.5", field("price", "amount", unit="fen", optional=True))],
     "records.line.fields.price", "added"),
    ([("transitions.1.or_role", ["registrar"])], "transitions.announce.or_role.registrar",
     "widened"),
    ([("transitions.1.more_events", ["order.placed"])],
     "transitions.announce.more_events.order.placed", "added"),
    ([("records.0.title", {"zh": "行", "en": "line"})], "records.line.title", "text_changed"),
]  # fmt: skip


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(("edits", "place", "rule"), BREAKING)
def test_what_a_caller_or_a_reader_would_notice_breaks(edits: Edits, place: str, rule: str) -> None:
    assert (place, rule, True) in found(orders(), edits)


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(("edits", "place", "rule"), KEPT)
def test_what_is_more_than_before_breaks_nobody(edits: Edits, place: str, rule: str) -> None:
    assert found(orders(), edits) == [(place, rule, False)]


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([("arguments.2.many.most", 6)], ("arguments.notes.many", "widened", False)),
        ([("arguments.2.many.most", 4)], ("arguments.notes.many", "narrowed", True)),
        ([("arguments.2.many.least", 2)], ("arguments.notes.many", "narrowed", True)),
        ([("records.1.fields.0.optional", True)],
         ("records.note.fields.word.optional", "changed", False)),
        ([("records.1.fields.1", field("more", "code"))],
         ("records.note.fields.more", "required_added", True)),
    ],
)  # fmt: skip
def test_of_what_is_given_and_never_read_more_may_be_given(
    edits: Edits, expected: tuple[str, str, bool]
) -> None:
    assert found(with_note_list(), edits) == [expected]


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([("own.form", "ab" * 32)], ("own.form", "changed", False)),
        ([("own.name", "other")], ("own", "changed", True)),
        ([("objects.0.header.model_version", "guqiao-2")],
         ("objects.subject.header.model_version", "changed", True)),
        ([("objects.0.tier", "RESTRICTED")], ("objects.subject.tier", "changed", True)),
        ([("objects.1.methods.1", None)],
         ("objects.account.methods.close_account", "removed", True)),
        ([("objects.2.body.5", "more")], ("objects.registration.body.more", "added", False)),
        ([("objects.3", None)], ("objects.settlement", "removed", True)),
        ([("transitions.6.checker_by_parameter", None)],
         ("transitions.register_company.checker_by_parameter", "narrowed", True)),
    ],
)  # fmt: skip
def test_a_contract_of_the_chains_own_is_compared_by_what_it_takes_and_sends(
    edits: Edits, expected: tuple[str, str, bool]
) -> None:
    assert found(register().to_json(), edits) == [expected]


@pytest.mark.req("G2-14-4")
def test_the_same_told_in_format_2_breaks_nobody() -> None:
    old = template("transfer")
    value = {**old.to_json(), "format": "guqiao-template/2"}
    value |= {"records": [], "arguments": [], "objects": []}
    events: Any = value["events"]
    value["events"] = [{**each, "tier": "PUBLIC"} for each in events]
    told = [(each.place, each.is_breaking) for each in changes(old, read_template(value))]
    assert told == [("format", False)]
    assert changes(read_template(value), read_template(value)) == []
