"""Format 2: lists of records as arguments, events of a tier, data objects, the chain's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.template.conformance import deviations
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.faults import TemplateError, sentences, shown_path
from services.consensus.domain.contracts.template.form import read_template
from services.consensus.domain.contracts.template.model import FORMAT
from services.consensus.domain.contracts.template.tiers import TierMap
from services.consensus.domain.contracts.template.values import ENVELOPE_COST, VALUE_COST
from tests.unit.templates.orders import (
    TITLE,
    call,
    field,
    line,
    orders,
    sealed,
    several,
    tiers,
)
from tests.unit.templates.template_market import GAS, template
from tests.unit.templates.test_register_template import template as register
from tests.unit.templates.test_template_form import JSON, places, refused, spoiled

MOBILE = "13800138000"
REGISTER = register().to_json()
OBJECT = REGISTER["objects"]


def test_a_template_of_format_2_is_read_from_its_one_spelling() -> None:
    for value in (orders(), REGISTER):
        encoded = canonical_json(value)
        again = read_template(parse_json_strict(encoded, depth_max=16, size_max=len(encoded)))
        assert canonical_json(again.to_json()) == encoded
    found = read_template(orders())
    assert deviations(found, found.contract.module) == []


def test_whoever_knows_format_1_alone_refuses_format_2_and_reads_format_1_as_before() -> None:
    with pytest.raises(TemplateError) as error:
        read_template(orders(), (FORMAT,))
    assert (error.value.rule, error.value.path) == ("unknown", ("arguments",))
    with pytest.raises(TemplateError) as error:
        read_template({**template("subject").to_json(), "format": "guqiao-template/2"}, (FORMAT,))
    assert (error.value.rule, error.value.path) == ("format", ("format",))
    subject = template("subject")
    assert read_template(subject.to_json(), (FORMAT,)) == subject
    known = {
        "subject": "4b79994bf3a7a9d632689a784e8639cc21659a96eea5620d2a6ea3e3d5217db5",
        "account": "af1011eecb71d4404612c75fe2afd18ef0bdd7027a546a97e44bcab37a0d0bab",
    }
    held = {name: template(name).digest.hex() for name in known}
    assert held == known, "what chains hold is still known by this"


@pytest.mark.parametrize("member", ["records", "arguments", "objects", "own"])
def test_format_1_has_no_word_for_the_parts_of_format_2(member: str) -> None:
    error = refused({**template("subject").to_json(), member: []})
    assert (error.rule, error.path) == ("unknown", (member,))


WRONG: list[tuple[str, Any, str, str]] = [
    ("groups.1.fields.0.many.most", 0, "number", "groups[1].fields[0].many.most"),
    ("groups.1.fields.0.many.most", 10_001, "number", "groups[1].fields[0].many.most"),
    ("groups.1.fields.0.many.least", 4, "number", "groups[1].fields[0].many.least"),
    ("groups.1.fields.0.many.form", "set", "vocabulary", "groups[1].fields[0].many.form"),
    ("groups.1.fields.0.record", "other", "reference", "groups[1].fields[0].record"),
    ("groups.1.fields.0.type", "code", "record", "groups[1].fields[0].record"),
    ("groups.0.tier", "RESTRICTED", "key", "key"),
    ("groups.2.tier", "PUBLIC", "sealed", "groups[2].fields[0].type"),
    ("groups.2.fields.0.many", several("list", 0, 2), "sealed", "groups[2].fields[0].type"),
    ("records.0.fields.0.tier", "RESTRICTED", "record_tier", "groups[1].fields[0].record"),
    ("records.0.fields.0.tier", "NONPUBLIC", "vocabulary", "records[0].fields[0].tier"),
    ("records.0.fields.0.type", "person_name", "personal", "records[0].fields[0].type"),
    ("records.0.fields.0.type", "sealed", "sealed", "records[0].fields[0].type"),
    ("records.0.fields.0", field("line", "record", record="line"), "nested",
     "records[0].fields[0].record"),
    ("records.0.fields.1.name", "product", "duplicate", "records[0].fields[1]"),
    ("records.0.fields.1.unit", "fen", "unit", "records[0].fields[1].unit"),
    ("records.0.fields.2.values", ["a b"], "name", "records[0].fields[2].values[0]"),
    ("records.1", {"name": "none", "title": TITLE, "fields": [field("a1", "code")]}, "unused",
     "records[1]"),
    ("arguments.2", field("other", "code"), "unused", "arguments[2]"),
    ("arguments.1.name", "lines", "duplicate", "arguments[1].name"),
    ("transitions.0.takes.2", "quantity", "reference", "transitions[0].takes[2]"),
    ("transitions.0.or_role", ["clerk"], "reference", "transitions[0].or_role"),
    ("transitions.0.or_role", ["maker"], "duplicate", "transitions[0].or_role[1]"),
    ("transitions.0.or_role", [], "list", "transitions[0].or_role"),
    ("transitions.0.or_to", ["GONE"], "reference", "transitions[0].or_to"),
    ("transitions.0.or_checker", ["maker"], "missing", "transitions[0]"),
    ("transitions.0.more_events", ["order.lost"], "reference", "transitions[0].more_events"),
    ("transitions.1.event", ..., "missing", "transitions[1]"),
    ("events.0.tier", ..., "missing", "events[0]"),
    ("events.0.tier", "RESTRICTED", "event_tier", "events[0].tier"),
    ("events.1.tier", "PUBLIC", "event_tier", "events[1].tier"),
    ("events.1.tier", "NONPUBLIC", "vocabulary", "events[1].tier"),
    ("events.0.members.0", "text", "event_member", "events[0].members"),
    ("groups.2.fields.0.type", "text", "event_sealed", "events[1].members[2]"),
    ("events.0", {"topic": "order.placed", "tier": "PUBLIC", "title": TITLE, "record": "line"},
     "own_alone", "events[0].record"),
    ("objects", OBJECT, "own_alone", "objects[0]"),
]  # fmt: skip


@pytest.mark.req("G2-08-4", "G2-17-5")
@pytest.mark.parametrize(("place", "part", "rule", "at"), WRONG)
def test_one_thing_that_does_not_fit_is_refused_at_its_place(
    place: str, part: Any, rule: str, at: str
) -> None:
    value: Any = orders()
    if place.rsplit(".", 1)[0] in ("records", "arguments"):
        value[place.partition(".")[0]].append(part)
    elif part is ...:
        way, last = place.rsplit(".", 1)
        inner = value
        for each in way.split("."):
            inner = inner[int(each) if each.isdigit() else each]
        del inner[last]
    else:
        if place == "records.0.fields.0":
            value["records"][0]["fields"][0] = part
        value = spoiled(value, place, part)
    error = refused(value)
    assert (error.rule, shown_path(error.path)) == (rule, at)


OWN_WRONG: list[tuple[str, Any, str, str]] = [
    ("own.version", 0, "number", "own.version"),
    ("own.form", "ab", "name", "own.form"),
    ("events.9.in_clear", False, "flag", "events[9].in_clear"),
    ("events.9.tier", "PUBLIC", "event_tier", "events[9].tier"),
    ("events.1.in_clear", True, "in_clear", "events[1]"),
    ("objects.0.methods.0", "buy", "reference", "objects[0].methods[0]"),
    ("objects.1.methods.0", "register_company", "duplicate", "objects[1].methods[0]"),
    ("objects.0.header.operation", "update", "vocabulary", "objects[0].header.operation"),
    ("objects.0.tier", "NONPUBLIC", "vocabulary", "objects[0].tier"),
]


@pytest.mark.parametrize(("place", "part", "rule", "at"), OWN_WRONG)
def test_what_does_not_fit_a_contract_of_the_chains_own_is_refused(
    place: str, part: Any, rule: str, at: str
) -> None:
    error = refused(spoiled(REGISTER, place, part))
    assert (error.rule, shown_path(error.path)) == (rule, at)
    for member in ("key", "supervision", "contract"):
        assert refused({**REGISTER, member: 1}).rule == "unknown", "it is not deployed"


@given(st.sampled_from([each for each in places(orders()) if each]), JSON)
def test_any_value_at_any_place_gives_a_template_spelled_so_or_a_refusal(
    place: tuple[Any, ...], part: Any
) -> None:
    value = spoiled(orders(), ".".join(map(str, place)), part)
    try:
        told: Any = canonical_json(read_template(value).to_json())
    except TemplateError as error:
        told = sentences(error)
    assert all(told) if isinstance(told, tuple) else told == canonical_json(value)


# --- The guard ------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-4", "G2-17-4", "G2-17-5")
def test_lists_and_sealed_terms_are_taken_kept_and_announced() -> None:
    ended = call("place", order_id="O1", lines=[line(), line(day=None)], terms_sealed=sealed())
    assert ended.code is None, ended
    assert [topic for topic, _ in ended.events] == ["order.placed", "order.terms"]
    assert ended.events[1][1]["terms_sealed"] == sealed()


ARGUMENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"lines": [line(), line(quantity="3")]}, "lines[1].quantity", "type"),
    ({"lines": [line(quantity=True)]}, "lines[0].quantity", "type"),
    ({"lines": [line(quantity=...)]}, "lines[0].quantity", "missing"),
    ({"lines": [line(quantity=None)]}, "lines[0].quantity", "missing"),
    ({"lines": [line(price=1)]}, "lines[0].price", "unknown"),
    ({"lines": [line(kind="gold")]}, "lines[0].kind", "value"),
    ({"lines": [line(day="2026-02-29")]}, "lines[0].day", "value"),
    ({"lines": [line(day="2026-2-28")]}, "lines[0].day", "value"),
    ({"lines": [line(tags=["a", 1])]}, "lines[0].tags[1]", "type"),
    ({"lines": [line(tags=["a"] * 3)]}, "lines[0].tags", "count"),
    ({"lines": []}, "lines", "count"),
    ({"lines": [line()] * 4}, "lines", "count"),
    ({"lines": {"a": line()}}, "lines", "type"),
    ({"lines": [None]}, "lines[0]", "missing"),
    ({"lines": ["P1"]}, "lines[0]", "type"),
    ({"lines": None}, "lines", "missing"),
    ({"note": "ab" * 32}, "note", "digest"),
    ({"terms_sealed": {"price": 3}}, "terms_sealed", "sealed"),
    ({"terms_sealed": {**sealed(), "body": MOBILE}}, "terms_sealed", "sealed"),
    ({"terms_sealed": "ab" * 32}, "terms_sealed", "type"),
]


@pytest.mark.req("G2-08-4")
@pytest.mark.parametrize(("changed", "place", "why"), ARGUMENTS)
def test_what_is_not_as_the_template_says_is_refused_at_the_call_with_its_place(
    changed: dict[str, Any], place: str, why: str
) -> None:
    given: dict[str, Any] = {"lines": [line()], "terms_sealed": sealed(), **changed}
    ended = call("place", order_id="O1", **given)
    assert (ended.code, ended.fields) == (
        "CONTRACT_ARGUMENT_WRONG",
        {"argument": place, "why": why},
    )


@pytest.mark.req("G2-17-7")
def test_numbers_of_persons_in_a_list_are_found_and_in_what_is_sealed_not_looked_for() -> None:
    ended = call("place", order_id="O1", lines=[line(tags=[MOBILE])], terms_sealed=sealed())
    assert (ended.code, ended.fields["argument"]) == (
        "TIER_NONPUBLIC_ONCHAIN",
        "$.lines[0].tags[0]",
    )
    hidden = call("place", order_id="O1", lines=[line()], terms_sealed=f"{MOBILE}")
    assert hidden.code == "CONTRACT_ARGUMENT_WRONG", "only what has the form is not looked into"


def refused_event(body: Json) -> tuple[str, Any, Any]:
    with pytest.raises(ContractError) as error:
        tiers().check_event(body)
    found = error.value
    return found.code, found.fields["why"], found.fields.get("field")


@pytest.mark.req("G2-17-5", "G2-17-7")
def test_an_event_carries_public_values_and_what_is_sealed_alone() -> None:
    key: dict[str, Json] = {"order_id": "O1", "state": "PLACED"}
    tiers().check_event({**key, "terms_sealed": sealed(), "lines": [line()]})
    parts: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
        ({"terms_sealed": {"price": 3}}, ("TIER_RESTRICTED_NOT_ONCHAIN", "sealed", "terms_sealed")),
        ({"terms_sealed": None}, ("TIER_RESTRICTED_NOT_ONCHAIN", "missing", "terms_sealed")),
        ({"lines": [line(kind=1)]}, ("TIER_PUBLIC_NOT_ONCHAIN", "type", "lines[0].kind")),
        ({"lines": [line(tags=[MOBILE])]}, ("TIER_NONPUBLIC_ONCHAIN", "personal", "lines")),
        ({"text": MOBILE}, ("TIER_NONPUBLIC_ONCHAIN", "personal", "text")),
        ({"price": 3}, ("TIER_UNCLASSIFIED", "unknown", "price")),
    ]
    for part, expected in parts:
        assert refused_event({**key, **part}) == expected


def test_a_restricted_value_that_is_not_sealed_has_no_place_in_an_event() -> None:
    value = orders()
    value["groups"][2]["fields"].append(field("price", "amount", None, unit="fen"))
    found = TierMap.of(read_template(value))
    with pytest.raises(ContractError, match="TIER_RESTRICTED") as error:
        found.check_event({"order_id": "O1", "price": 3})
    assert (error.value.fields["why"], error.value.fields["field"]) == ("elsewhere", "price")


@pytest.mark.parametrize(
    ("key", "value", "code", "at"),
    [
        ("lines/O1", [], "TIER_PUBLIC_NOT_ONCHAIN", "lines"),
        ("lines/O1", [line(quantity=...)], "TIER_PUBLIC_NOT_ONCHAIN", "lines[0].quantity"),
        ("lines/O1", [line(tags=[MOBILE])], "TIER_NONPUBLIC_ONCHAIN", None),
        ("terms/O1", sealed(), "TIER_RESTRICTED_NOT_ONCHAIN", "terms_sealed"),
        ("terms/O1", {"terms_sealed": {}}, "TIER_RESTRICTED_NOT_ONCHAIN", "terms_sealed"),
        ("trace/O1", [{"step": "place", "terms_sealed": sealed()}], "TIER_UNCLASSIFIED",
         "terms_sealed"),
        ("trace/O1", {"step": "place", "terms_sealed": MOBILE}, "TIER_NONPUBLIC_ONCHAIN",
         "terms_sealed"),
    ],
)  # fmt: skip
@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7")
def test_what_is_written_is_what_the_template_says(
    key: str, value: Any, code: str, at: str | None
) -> None:
    tiers().check_write("lines/O1", [line()])
    tiers().check_write("terms/O1", {"terms_sealed": sealed()})
    with pytest.raises(ContractError, match=code) as error:
        tiers().check_write(key, value)
    assert (error.value.code, error.value.fields.get("field")) == (code, at)


def test_the_check_is_paid_for_by_what_it_looks_at() -> None:
    def cost(**given: Any) -> int:
        meter = Meter(GAS, GasTable())
        TierGuard(tiers(), meter).arguments(given)
        return GAS - meter.gas

    one = cost(lines=[line(tags=None)])
    assert cost(lines=[line(tags=None)] * 3) > 2 * one > 2 * VALUE_COST
    assert cost(terms_sealed=sealed()) >= ENVELOPE_COST
    with pytest.raises(OutOfGas):
        TierGuard(tiers(), Meter(one - 1, GasTable())).arguments({"lines": [line(tags=None)]})
    few = call("place", gas=60, order_id="O1", lines=[line()], terms_sealed=sealed())
    assert few.code == "CONTRACT_OUT_OF_GAS"


def test_the_map_of_tiers_is_kept_and_read_again() -> None:
    kept = canonical_json(tiers().to_json())
    value: Any = parse_json_strict(kept, depth_max=12, size_max=len(kept))
    assert TierMap.from_json(value) == tiers()
    value["shapes"]["values"][0]["tier"] = "NONPUBLIC"
    with pytest.raises(ValueError, match="not the values"):
        TierMap.from_json(value)
