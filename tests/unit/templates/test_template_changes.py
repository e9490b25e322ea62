"""Whether an upgrade breaks is seen in the two templates; nobody declares it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.changes import (
    SENTENCES,
    changes,
    is_compatible,
)
from services.consensus.domain.contracts.template.form import read_template
from tests.unit.templates.template_market import template

TITLE = {"zh": "甲", "en": "a"}
SUBJECT, REGISTRATION = template("subject"), template("registration")


def edited(value: Any, path: str, part: Any) -> dict[str, Any]:
    """A copy with another part at a place; a list that is given a part beyond its end gets it."""
    whole: dict[str, Any] = copy.deepcopy(value)
    *way, last = [int(each) if each.isdigit() else each for each in path.split(".")]
    inner: Any = whole
    for each in way:
        inner = inner[each]
    if isinstance(last, int) and last == len(inner):
        inner.append(part)
    elif part is None:
        del inner[last]
    else:
        inner[last] = part
    return whole


def found(name: str, *edits: tuple[str, Any]) -> list[tuple[str, str, bool]]:
    old = template(name)
    value: Any = old.to_json()
    for path, part in edits:
        value = edited(value, path, part)
    new = read_template(value)
    all_ = changes(old, new)
    assert {each.rule for each in all_} <= SENTENCES.keys()
    assert is_compatible(old, new) is not any(each.is_breaking for each in all_)
    back = {each.place for each in changes(new, old)}
    assert back == {each.place for each in all_}, "the other way is told of the same places"
    return [(each.place, each.rule, each.is_breaking) for each in all_]


def field(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "text", "title": TITLE, **more}


BREAKING = [
    ([("id", "other")], "id", "changed"),
    ([("class", "SELF")], "class", "changed"),
    ([("key", "uscc"), *((f"events.{n}.members.0", "uscc") for n in range(5)),
      ("transitions.0.takes.1", "subject_id")], "key", "changed"),
    ([("supervision.state", "steps/")], "supervision", "changed"),
    ([("groups.0.fields.5", None), *((f"transitions.{n}.takes.{m}", None)
      for n, m in ((0, 4), (1, 0), (2, 2)))], "groups.subject.fields.region", "removed"),
    ([("groups.0.fields.5.type", "text")], "groups.subject.fields.region.type", "changed"),
    ([("groups.0.fields.5.optional", True)], "groups.subject.fields.region.optional", "changed"),
    ([("groups.0.fields.6", field("rating"))], "groups.subject.fields.rating", "required_added"),
    ([("groups.0.state", "other/")], "groups.subject.state", "changed"),
    ([("groups.0.fields.1.values.4", "FUND")],
     "groups.subject.fields.kind.values.FUND", "new_value"),
    ([("groups.0.fields.1.values.0", None)],
     "groups.subject.fields.kind.values.ENTERPRISE", "removed"),
    ([("states.1.final", True), ("transitions.5.from.1", None), ("transitions.4", None),
      ("events.3", None)], "transitions.resume", "removed"),
    ([("states.1.final", True), ("transitions.5.from.1", None), ("transitions.4", None),
      ("events.3", None)], "states.SUSPENDED.final", "changed"),
    ([("transitions.4.to", "HALTED"), ("states.3", {"name": "HALTED", "title": TITLE})],
     "states.HALTED", "new_value"),
    ([("transitions.5.to", "REGISTERED"), ("states.2", None)], "states.DEREGISTERED", "removed"),
    ([("transitions.5.from.1", None)], "transitions.deregister.from.SUSPENDED", "narrowed"),
    ([("transitions.1.from", ["SUSPENDED"])], "transitions.register_person.from", "changed"),
    ([("transitions.5.to", "SUSPENDED"), ("states.2", None)],
     "transitions.deregister.to", "changed"),
    ([("transitions.3.role", "registration_checker")], "transitions.suspend.role", "changed"),
    ([("transitions.5.checker", None)], "transitions.deregister.checker", "changed"),
    ([("transitions.3.checker", "registration_checker")], "transitions.suspend.checker", "changed"),
    ([("transitions.3.event", "subject.amended"), ("events.2", None)],
     "transitions.suspend.event", "changed"),
    ([("transitions.3.event", "subject.amended"), ("events.2", None)],
     "events.subject.suspended", "removed"),
    ([("transitions.3.takes.0", "region")], "transitions.suspend.takes.region", "required_added"),
    ([("transitions.2.takes.2", None)], "transitions.amend.takes.region", "removed"),
    ([("events.0.members.1", None)], "events.subject.registered.members.kind", "removed"),
    ([("views.0", None)], "views.subject", "removed"),
    ([("views.0.takes.1", "kind")], "views.subject.takes.kind", "required_added"),
    ([("roles.1", None), ("transitions.5.checker", "registrar")],
     "roles.registration_checker", "removed"),
]  # fmt: skip


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(("edits", "place", "rule"), BREAKING)
def test_what_a_caller_or_a_reader_would_notice_breaks(
    edits: list[tuple[str, Any]], place: str, rule: str
) -> None:
    assert (place, rule, True) in found("subject", *edits)


@pytest.mark.req("G2-17-7", "G2-14-4")
def test_another_tier_breaks() -> None:
    value = edited(REGISTRATION.to_json(), "groups.1.tier", "PUBLIC")
    told = changes(REGISTRATION, read_template(value))
    assert [(each.place, each.is_breaking) for each in told] == [("groups.roster.tier", True)]


COMPATIBLE = [
    ([("title.en", "Subjects")], "title", "text_changed"),
    ([("description.zh", "登记")], "description", "text_changed"),
    ([("orientation.1", None)], "orientation", "changed"),
    ([("roles.2", {"name": "clerk", "title": TITLE})], "roles.clerk", "added"),
    ([("roles.0.title", TITLE)], "roles.registrar.title", "text_changed"),
    ([("groups.0.fields.6", field("remark", optional=True))],
     "groups.subject.fields.remark", "added"),
    ([("groups.0.fields.0.title", TITLE)],
     "groups.subject.fields.subject_id.title", "text_changed"),
    ([("groups.2", {"name": "notes", "tier": "PUBLIC", "state": "notes/", "title": TITLE,
      "fields": [field("note")]})], "groups.notes", "added"),
    ([("transitions.3.from.1", "SUSPENDED")], "transitions.suspend.from.SUSPENDED", "widened"),
    ([("groups.0.fields.6", field("remark", optional=True)), ("transitions.3.takes.0", "remark")],
     "transitions.suspend.takes.remark", "added"),
    ([("events.2.members.2", "region")], "events.subject.suspended.members.region", "added"),
    ([("views.1", {"method": "state_of", "takes": [], "title": TITLE})], "views.state_of", "added"),
    ([("transitions.6", {"method": "rename", "from": ["REGISTERED"], "to": "REGISTERED",
      "role": "registrar", "event": "subject.renamed", "takes": [], "title": TITLE}),
      ("events.5", {"topic": "subject.renamed", "members": ["subject_id", "state"],
       "title": TITLE})], "transitions.rename", "added"),
    ([("version", 2)], None, None),
    ([("contract.source", "another text of the same program")], None, None),
]  # fmt: skip


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(("edits", "place", "rule"), COMPATIBLE)
def test_what_nobody_has_to_notice_does_not(
    edits: list[tuple[str, Any]], place: str | None, rule: str | None
) -> None:
    told = found("subject", *edits)
    assert not any(breaks for _, _, breaks in told)
    if place is None:
        assert told == []
    else:
        assert (place, rule, False) in told


@pytest.mark.parametrize(
    ("edits", "place", "rule", "is_breaking"),
    [
        ([("parameters.0.greatest", 300)], "bounds", "widened", False),
        ([("parameters.0.greatest", 200), ("parameters.0.least", 2)], "bounds", "narrowed", True),
        ([("parameters.0.default", 100)], "default", "changed", False),
        ([("parameters.0.unit", "day")], "unit", "changed", True),
    ],
)
def test_parameters_may_get_more_room(
    edits: list[tuple[str, Any]], place: str, rule: str, is_breaking: bool
) -> None:
    assert found("registration", *edits) == [(f"parameters.HOLDERS_MAX.{place}", rule, is_breaking)]


def test_a_parameter_that_comes_or_goes_breaks() -> None:
    without = read_template(edited(REGISTRATION.to_json(), "parameters.0", None))
    for old, new, rule in (
        (REGISTRATION, without, "removed"),
        (without, REGISTRATION, "required_added"),
    ):
        told = changes(old, new)
        assert [each.to_json() for each in told] == [
            {"place": "parameters.HOLDERS_MAX", "rule": rule, "breaking": True}
        ]


def test_another_program_is_told_and_judged_by_what_the_template_says() -> None:
    value = SUBJECT.to_json()
    module = compile_source(b"def f():\n    return 1\n")
    value["contract"] = {"engine": "star/1", "ir": module.encoded.decode(), "source": "x"}
    told = changes(SUBJECT, read_template(value))
    assert [(each.place, each.is_breaking) for each in told] == [("contract", False)]
