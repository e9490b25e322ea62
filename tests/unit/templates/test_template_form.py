"""A template has one spelling; anything else is refused with its place and a sentence."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.template.faults import (
    TemplateError,
    sentences,
    shown_path,
)
from services.consensus.domain.contracts.template.form import MEMBERS, read_template
from tests.unit.templates.template_market import template

SUBJECT = template("subject").to_json()
TRANSFER = template("transfer").to_json()
GONE = object()


def spoiled(value: Any, path: str, part: Any) -> Any:
    """A copy with another part at a place such as `groups.0.tier`; GONE removes it."""
    whole = copy.deepcopy(value)
    *way, last = [int(each) if each.isdigit() else each for each in path.split(".")]
    inner = whole
    for each in way:
        inner = inner[each]
    if part is GONE:
        del inner[last]
    else:
        inner[last] = part
    return whole


def refused(value: Any) -> TemplateError:
    with pytest.raises(TemplateError) as error:
        read_template(value)
    assert all(sentences(error.value))
    return error.value


def test_a_template_read_back_from_its_bytes_is_the_same_and_has_the_same_digest() -> None:
    for value in (SUBJECT, TRANSFER):
        encoded = canonical_json(value)
        again = read_template(parse_json_strict(encoded, depth_max=16, size_max=len(encoded)))
        assert again.to_json() == value
        assert again.digest == read_template(value).digest
    assert template("subject").digest != template("transfer").digest


def test_the_digest_is_over_everything() -> None:
    for path in ("title.zh", "groups.0.fields.0.title.en", "contract.source"):
        other = read_template(spoiled(SUBJECT, path, "x = 1"))
        assert other.digest != template("subject").digest


REFUSED = [
    ("format", "guqiao-template/3", "format"),
    ("id", "Subject", "name"),
    ("version", 0, "number"),
    ("version", True, "number"),
    ("class", "OTHER", "vocabulary"),
    ("title", {"zh": "主体"}, "missing"),
    ("title.en", "", "text"),
    ("title.en", "a\u202eb", "text"),
    ("title.zh", "a\u200bb", "text"),
    ("title.zh", "a\nb", "text"),
    ("title.zh", "x" * 65, "text"),
    ("orientation", [], "list"),
    ("orientation.0", "growth", "vocabulary"),
    ("orientation.1", "resource_integration", "duplicate"),
    ("key", "person_name", "key"),
    ("key", "nothing", "key"),
    ("roles.1.name", "registrar", "duplicate"),
    ("groups.0.tier", "SECRET", "vocabulary"),
    ("groups.1.tier", "RESTRICTED", "personal"),
    ("groups.1.tier", "PUBLIC", "personal"),
    ("groups.1.state", "subject/", "prefix"),
    ("groups.1.state", "trace/", "prefix"),
    ("groups.1.state", "subject", "name"),
    ("groups.1.state", "subject/x/", "name"),
    ("groups.1.fields.0.name", "uscc", "duplicate"),
    ("groups.1.fields.0.name", "state", "duplicate"),
    ("groups.1.fields.0.name", "identity_digest", "duplicate"),
    ("groups.0.fields.0.type", "float", "vocabulary"),
    ("groups.0.fields.0.unit", "share", "unit"),
    ("groups.0.fields.0.type", "shares", "unit"),
    ("groups.0.fields.0.values", ["A_B"], "values"),
    ("groups.0.fields.1.values", GONE, "values"),
    ("groups.0.fields.1.values", [], "list"),
    ("groups.0.fields.1.values", ["A_B", "A_B"], "duplicate"),
    ("groups.0.fields.0.optional", False, "flag"),
    ("groups.0.fields", [], "list"),
    ("states.0.final", True, "final"),
    ("states.2.final", 1, "flag"),
    ("states.2.name", "GONE_FOR_GOOD", "reference"),
    ("transitions.3.to", "REGISTERED", "unreachable"),
    ("transitions.0.from", ["REGISTERED"], "no_beginning"),
    ("transitions.0.method", "amend", "duplicate"),
    ("transitions.0.role", "nobody", "reference"),
    ("transitions.5.checker", "nobody", "reference"),
    ("transitions.0.event", "subject.other", "reference"),
    ("transitions.0.event", "Subject", "name"),
    ("transitions.0.takes.0", "person_name", "reference"),
    ("transitions.0.takes.0", "subject_id", "reference"),
    ("transitions.0.takes.0", "uscc", "duplicate"),
    ("transitions.2.from", ["REGISTERED", "REGISTERED"], "duplicate"),
    ("events.0.members", ["subject_id", "kind"], "event_member"),
    ("events.0.members", ["kind", "state"], "event_member"),
    ("events.0.members.1", "person_name", "event_member"),
    ("events.0.topic", "subject.other", "reference"),
    ("views.0.method", "trace", "duplicate"),
    ("views.0.method", "amend", "duplicate"),
    ("views.0.takes.0", "phone", "reference"),
    ("supervision.view", "amend", "duplicate"),
    ("supervision.state", "trace", "name"),
    ("contract.engine", "star/2", "vocabulary"),
    ("contract.ir", "{}", "contract"),
    ("contract.ir", "{", "contract"),
    ("contract.ir", 7, "contract"),
    ("contract.source", "", "large"),
    ("contract.source", "x" * 65_537, "large"),
]  # fmt: skip


@pytest.mark.req("G2-02-1", "G2-17-7")
@pytest.mark.parametrize(("path", "part", "rule"), REFUSED)
def test_one_thing_that_is_wrong_is_refused_by_its_rule(path: str, part: Any, rule: str) -> None:
    value = spoiled(SUBJECT, path, part)
    if path == "transitions.0.from":
        value["transitions"][1]["from"] = ["REGISTERED"]
    if path == "transitions.3.to":
        value["transitions"][5]["from"] = ["REGISTERED"]
    assert refused(value).rule == rule


def test_an_event_that_no_step_makes_and_what_is_restricted_have_no_place() -> None:
    extra: dict[str, Json] = {"topic": "transfer.other", "members": ["transfer_id", "state"]}
    known = TRANSFER["events"]
    assert isinstance(known, list)
    events: list[Json] = [*known, {**extra, "title": {"zh": "甲", "en": "a"}}]
    assert refused({**TRANSFER, "events": events}).rule == "event_unused"
    error = refused(spoiled(TRANSFER, "events.1.members.1", "seller"))
    assert (error.rule, shown_path(error.path)) == ("event_member", "events[1].members[1]")


@pytest.mark.parametrize(
    ("member", "part", "rule"),
    [
        ("least", 10**13, "bounds"),
        ("greatest", 1, "bounds"),
        ("default", -1, "number"),
        ("unit", "fen", "unit"),
        ("unit", GONE, "missing"),
        ("type", "text", "vocabulary"),
        ("name", "shares_max", "name"),
    ],
)
def test_parameters_are_numbers_within_bounds(member: str, part: Any, rule: str) -> None:
    assert refused(spoiled(TRANSFER, f"parameters.0.{member}", part)).rule == rule


def test_the_form_of_the_contract_is_its_one_spelling() -> None:
    contract = SUBJECT["contract"]
    assert isinstance(contract, dict)
    form = contract["ir"]
    assert isinstance(form, str)
    assert refused(spoiled(SUBJECT, "contract.ir", form + " ")).rule == "contract"
    module = compile_source(b"def f(a):\n    return a\n")
    wrong = module.encoded.decode().replace('"name",2,"a"', '"name",2,"b"')
    error = refused(spoiled(SUBJECT, "contract.ir", wrong))
    assert error.fields == {"broken": "name", "line": 2}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_is_required_and_no_other_is_known(member: str) -> None:
    error = refused(spoiled(SUBJECT, member, GONE))
    assert (error.rule, error.path, error.fields) == ("missing", (), {"member": member})
    error = refused({**SUBJECT, f"{member}s": 1})
    assert (error.rule, error.path) == ("unknown", (f"{member}s",))


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        parts = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [way, *(place for name, part in parts for place in places(part, (*way, name)))]


PLACES = [each for each in places(SUBJECT) if each]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "state", "A_B", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("name"), inner),
    max_leaves=4,
)


@given(st.sampled_from(PLACES), JSON)
def test_any_value_at_any_place_gives_a_template_spelled_so_or_a_refusal(
    place: tuple[Any, ...], part: Any
) -> None:
    value = spoiled(SUBJECT, ".".join(map(str, place)), part)
    told: tuple[str, str] | bytes
    try:
        told = canonical_json(read_template(value).to_json())
    except TemplateError as error:
        told = sentences(error)
    assert all(told) if isinstance(told, tuple) else told == canonical_json(value)
