"""Which writes and events a template's tiers let be made, and with which code the others end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.market_identifiers import is_uscc, resident_birth_date
from guqiao_sdk.personal_data import Search
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.rules import messages
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.tiers import (
    DESCRIBED_LENGTH_MAX,
    NAME_SHOWN_MAX,
    TierField,
    TierGroup,
    TierMap,
    check_arguments,
)
from services.consensus.domain.contracts.template.vocabulary import STATE, TYPES, Tier
from tests.unit.templates.template_market import FOLDER, template
from tests.unit.templates.walk_steps import DIGEST, USCC

PUBLIC: Final = "TIER_PUBLIC_NOT_ONCHAIN"
RESTRICTED: Final = "TIER_RESTRICTED_NOT_ONCHAIN"
NONPUBLIC: Final = "TIER_NONPUBLIC_ONCHAIN"
UNCLASSIFIED: Final = "TIER_UNCLASSIFIED"

# Made up, with check digits that are right.
RESIDENT_ID: Final = "11010519491231002X"
MOBILE: Final = "13800138000"
CARD: Final = "6222021234567890128"
PERSONAL: Final = {"ID_NUMBER": RESIDENT_ID, "PHONE": MOBILE, "BANK_ACCOUNT": CARD}

SUBJECT: Final = TierMap.of(template("subject"))
TRANSFER: Final = TierMap.of(template("transfer"))
ALL: Final = {path.stem: TierMap.of(template(path.stem)) for path in FOLDER.glob("*.yaml")}
NOTES: Final = TierMap(
    (
        TierGroup(
            "note",
            Tier.RESTRICTED,
            "note/",
            (TierField("content", "text", False), TierField("remark", "text", True)),
            False,
        ),
        TierGroup("flag", Tier.PUBLIC, "flag/", (TierField("is_open", "flag", False),), False),
    ),
    "trace/",
)

COMPANY: Final[dict[str, Json]] = {
    "subject_id": "S1",
    "kind": "ENTERPRISE",
    "uscc": USCC,
    "registered_name": "齐鲁示例股份有限公司",
    "scale": "SMALL",
    "region": "370102",
    "state": "REGISTERED",
}
TERMS: Final[dict[str, Json]] = {"seller": "A", "buyer": "B", "shares": 3, "price": 13800138000}
DESCRIBED: Final[dict[str, Json]] = {
    "digest": DIGEST,
    "reference": "vault:1",
    "owner": "did:rem:shandong:91370199MA9900200L",
}
STEP: Final[dict[str, Json]] = {
    "number": 1,
    "step": "apply",
    "state": "APPLIED",
    "maker": "did:rem:shandong:maker",
    "checker": None,
    "height": 7,
    "time": 1_767_578_400_007,
}


def without(record: dict[str, Json], name: str) -> dict[str, Json]:
    return {member: value for member, value in record.items() if member != name}


def refused_write(tiers: TierMap, key: str, value: Json) -> tuple[str, dict[str, Json]]:
    with pytest.raises(ContractError) as refused:
        tiers.check_write(key, value)
    return refused.value.code, refused.value.fields


def refused_event(tiers: TierMap, body: Json) -> tuple[str, dict[str, Json]]:
    with pytest.raises(ContractError) as refused:
        tiers.check_event(body)
    return refused.value.code, refused.value.fields


# --- What is let be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tiers", "key", "value"),
    [
        (SUBJECT, "subject/S1", COMPANY),
        (SUBJECT, "subject/S2", COMPANY | {"uscc": "", "registered_name": ""}),
        (SUBJECT, "subject/S3", COMPANY | {"region": DIGEST}),
        (SUBJECT, "identity/S2", DESCRIBED),
        (TRANSFER, "terms/T1", TERMS),
        (TRANSFER, "position/P1/A", 13800138000),
        (TRANSFER, "position/P1/A", {"available": 3}),
        (TRANSFER, "trace/T1", 1),
        (TRANSFER, "trace/T1/000001", STEP),
        (TRANSFER, "trace/T1", [STEP, STEP | {"shares": 3}]),
        (NOTES, "note/1", {"content": "a", "remark": "b"}),
        (NOTES, "note/1", {"content": "a", "remark": None}),
        (NOTES, "note/1", {"content": "a"}),
        (NOTES, "flag/1", True),
    ],
)
def test_what_is_of_its_tier_may_be_written(tiers: TierMap, key: str, value: Json) -> None:
    tiers.check_write(key, value)


def test_an_event_may_hold_public_fields_and_the_state() -> None:
    SUBJECT.check_event(COMPANY)
    SUBJECT.check_event({"subject_id": "S1", "state": "REGISTERED"})


# --- PUBLIC and RESTRICTED: whole, in the clear ---------------------------------------------------

PUBLIC_SPOILED: Final = [
    (DIGEST, "not_object", None),
    ("vault:1", "not_object", None),
    ([COMPANY], "not_object", None),
    (7, "not_object", None),
    (DESCRIBED, "missing", "kind"),
    (COMPANY | {"digest": DIGEST}, "unknown", "digest"),
    (without(COMPANY, "scale"), "missing", "scale"),
    (without(COMPANY, "state"), "missing", "state"),
    (COMPANY | {"kind": None}, "missing", "kind"),
    (COMPANY | {"state": None}, "missing", "state"),
    (COMPANY | {"state": 1}, "type", "state"),
    (COMPANY | {"region": 370102}, "type", "region"),
    (COMPANY | {"region": {"digest": DIGEST}}, "type", "region"),
    (COMPANY | {"region": True}, "type", "region"),
    (COMPANY | {"registered_name": DIGEST}, "digest", "registered_name"),
    (COMPANY | {"registered_name": DIGEST.upper()}, "digest", "registered_name"),
]


@pytest.mark.req("G2-17-4")
@pytest.mark.parametrize(("value", "why", "field"), PUBLIC_SPOILED)
def test_public_data_that_is_not_whole_is_refused(value: Json, why: str, field: str | None) -> None:
    code, facts = refused_write(SUBJECT, "subject/S1", value)
    assert code == (UNCLASSIFIED if why == "unknown" else PUBLIC)
    told = {"why": why, "group": "subject", "key": "subject/S1"}
    assert facts == told | ({} if field is None else {"field": field})


@pytest.mark.req("G2-17-5")
@pytest.mark.parametrize(
    ("key", "value", "why", "field"),
    [
        ("terms/T1", DIGEST, "not_object", None),
        ("terms/T1", {"digest": DIGEST}, "missing", "buyer"),
        ("terms/T1", TERMS | {"digest": DIGEST}, "unknown", "digest"),
        ("terms/T1", without(TERMS, "price"), "missing", "price"),
        ("terms/T1", TERMS | {"price": "b64:qmFzZTY0"}, "type", "price"),
        ("terms/T1", TERMS | {"price": True}, "type", "price"),
        ("position/P1/A", DIGEST, "type", "available"),
        ("position/P1/A", {}, "missing", "available"),
    ],
)
def test_restricted_data_that_is_not_whole_is_refused(
    key: str, value: Json, why: str, field: str | None
) -> None:
    code, facts = refused_write(TRANSFER, key, value)
    assert code == (UNCLASSIFIED if why == "unknown" else RESTRICTED)
    assert (facts["why"], facts.get("field"), facts["key"]) == (why, field, key)


def test_only_what_may_be_left_out_is_left_out() -> None:
    assert refused_write(NOTES, "note/1", {"remark": "b"})[0] == RESTRICTED
    assert refused_write(NOTES, "note/1", {"content": None, "remark": "b"})[0] == RESTRICTED
    assert refused_write(NOTES, "note/1", {"content": "a", "remark": DIGEST})[0] == RESTRICTED
    assert refused_write(NOTES, "flag/1", 1)[0] == PUBLIC


# --- NONPUBLIC: described -------------------------------------------------------------------------


@pytest.mark.req("G2-17-7", "G2-17-8")
@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"person_name": "示例", "id_number": "x", "phone": "y"}, None),
        ("SM4:5a5a5a", None),
        (DIGEST, None),
        (without(DESCRIBED, "owner"), None),
        (DESCRIBED | {"body": "SM4:5a5a"}, None),
        (DESCRIBED | {"digest": DIGEST[1:]}, "digest"),
        (DESCRIBED | {"digest": DIGEST.upper()}, "digest"),
        (DESCRIBED | {"digest": 7}, "digest"),
        (DESCRIBED | {"reference": ""}, "reference"),
        (DESCRIBED | {"reference": "某人 某地"}, "reference"),
        (DESCRIBED | {"reference": "5a" * DESCRIBED_LENGTH_MAX}, "reference"),
        (DESCRIBED | {"owner": {"name": "x"}}, "owner"),
        (DESCRIBED | {"owner": "示例"}, "owner"),
    ],
)
def test_of_nonpublic_data_only_a_description_is_written(value: Json, field: str | None) -> None:
    code, facts = refused_write(SUBJECT, "identity/S1", value)
    told = {"why": "not_described", "group": "identity", "key": "identity/S1"}
    assert (code, facts) == (NONPUBLIC, told | ({} if field is None else {"field": field}))


# --- What belongs elsewhere, or nowhere -----------------------------------------------------------


@pytest.mark.req("G2-17-7", "G2-19-1")
@pytest.mark.parametrize(
    ("tiers", "key", "value", "expected"),
    [
        (SUBJECT, "subject/S1", COMPANY | {"phone": "x"}, (NONPUBLIC, "elsewhere", "phone")),
        (SUBJECT, "subject/S1", COMPANY | {"more": 1}, (UNCLASSIFIED, "unknown", "more")),
        (TRANSFER, "terms/T1", TERMS | {"product": "P"}, (PUBLIC, "elsewhere", "product")),
        (
            TRANSFER,
            "transfer/T1",
            {"transfer_id": "T1", "product": "P", "state": "APPLIED", "price": 1},
            (RESTRICTED, "elsewhere", "price"),
        ),
        (TRANSFER, "terms/T1", TERMS | {"state": "APPLIED"}, (UNCLASSIFIED, "unknown", "state")),
        (TRANSFER, "other/T1", TERMS, (UNCLASSIFIED, "unknown", None)),
        (SUBJECT, "subject/S1", {"phone": "x"}, (NONPUBLIC, "elsewhere", "phone")),
        (TRANSFER, "terms", TERMS, (UNCLASSIFIED, "unknown", None)),
        (SUBJECT, "trace/S1", STEP | {"phone": "x"}, (NONPUBLIC, "elsewhere", "phone")),
        (SUBJECT, "trace/S1", [STEP, STEP | {"a": 1}], (UNCLASSIFIED, "unknown", "a")),
        (SUBJECT, "trace/S1", STEP | {"maker": {"a": 1}}, (UNCLASSIFIED, "type", "maker")),
        (SUBJECT, "trace/S1", "5a5a", (UNCLASSIFIED, "not_object", None)),
        (SUBJECT, "trace/S1", [[STEP]], (UNCLASSIFIED, "not_object", None)),
        (SUBJECT, "trace/S1", True, (UNCLASSIFIED, "not_object", None)),
    ],
)
def test_what_belongs_elsewhere_or_nowhere_is_refused(
    tiers: TierMap, key: str, value: Json, expected: tuple[str, str, str | None]
) -> None:
    code, facts = refused_write(tiers, key, value)
    assert (code, facts["why"], facts.get("field")) == expected
    assert facts["key"] == key


@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7")
@pytest.mark.parametrize(
    ("tiers", "body", "expected"),
    [
        (TRANSFER, {"transfer_id": "T1", "price": 1}, (RESTRICTED, "elsewhere", "price")),
        (SUBJECT, {"subject_id": "S1", "id_number": "x"}, (NONPUBLIC, "elsewhere", "id_number")),
        (SUBJECT, {"subject_id": "S1", "note": "x"}, (UNCLASSIFIED, "unknown", "note")),
        (SUBJECT, {"subject_id": None}, (PUBLIC, "missing", "subject_id")),
        (SUBJECT, {"subject_id": ["S1"]}, (PUBLIC, "type", "subject_id")),
        (SUBJECT, {"registered_name": DIGEST}, (PUBLIC, "digest", "registered_name")),
        (SUBJECT, {"state": 1}, (PUBLIC, "type", "state")),
        (SUBJECT, "S1", (UNCLASSIFIED, "not_object", None)),
        (SUBJECT, [COMPANY], (UNCLASSIFIED, "not_object", None)),
    ],
)
def test_an_event_with_what_not_everybody_may_read_is_refused(
    tiers: TierMap, body: Json, expected: tuple[str, str, str | None]
) -> None:
    code, facts = refused_event(tiers, body)
    assert (code, facts["why"], facts.get("field")) == expected


# --- Numbers of persons ---------------------------------------------------------------------------


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(("kind", "number"), PERSONAL.items())
@pytest.mark.parametrize(
    ("tiers", "key", "value", "field"),
    [
        (SUBJECT, "subject/S1", COMPANY | {"registered_name": "电话 {}"}, "registered_name"),
        (SUBJECT, "subject/S1", COMPANY | {"uscc": "{}"}, "uscc"),
        (SUBJECT, "subject/S1", COMPANY | {"state": "{}"}, "state"),
        (SUBJECT, "subject/S1", COMPANY | {"{}": 1}, None),
        (SUBJECT, "subject/S1", {"region": ["({})"]}, "region"),
        (SUBJECT, "subject/S1", {"phone": "{}"}, "phone"),
        (SUBJECT, "subject/S1", "{}", None),
        (TRANSFER, "terms/T1", TERMS | {"seller": "{}"}, "seller"),
        (SUBJECT, "identity/S1", DESCRIBED | {"reference": "file:{}"}, "reference"),
        (SUBJECT, "identity/S1", DESCRIBED | {"owner": "{}"}, "owner"),
        (TRANSFER, "trace/T1", STEP | {"step": "{}"}, "step"),
        (TRANSFER, "trace/T1", STEP | {"{}": 1}, None),
    ],
)
def test_a_number_of_a_person_is_refused_and_never_told(
    kind: str, number: str, tiers: TierMap, key: str, value: Json, field: str | None
) -> None:
    filled = json.dumps(value).replace("{}", number)
    code, facts = refused_write(tiers, key, json.loads(filled))
    assert (code, facts["why"], facts["kind"]) == (NONPUBLIC, "personal", kind)
    assert facts.get("field") == field
    assert number not in str(facts)


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (f"subject/{MOBILE}", "subject/"),
        (f"identity/{MOBILE}", "identity/"),
        (f"trace/{MOBILE}", "trace/"),
        (f"other/{MOBILE}", ""),
    ],
)
def test_a_number_of_a_person_has_no_place_in_a_key_either(key: str, prefix: str) -> None:
    code, facts = refused_write(SUBJECT, key, 1)
    assert (code, facts["why"], facts["kind"]) == (NONPUBLIC, "personal", "PHONE")
    assert facts["key"] == prefix
    assert MOBILE not in str(facts)


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(("kind", "number"), PERSONAL.items())
def test_no_event_and_no_argument_holds_a_number_of_a_person(kind: str, number: str) -> None:
    bodies: list[Json] = [{"subject_id": f"S-{number}"}, {"state": number}, {number: 1}]
    for body in bodies:
        code, facts = refused_event(SUBJECT, body)
        assert (code, facts["why"], facts["kind"]) == (NONPUBLIC, "personal", kind)
        assert number not in str(facts)
    with pytest.raises(ContractError) as refused:
        check_arguments({"subject_id": "S1", "note": [{"a": f"({number})"}]})
    told = {"why": "personal", "kind": kind, "argument": "$.note[0].a"}
    assert (refused.value.code, refused.value.fields) == (NONPUBLIC, told)
    check_arguments({"subject_id": "S1", "shares": int(MOBILE)})


def test_a_credit_code_in_its_field_is_no_number_of_a_person() -> None:
    begun = (f"{region}19900307123" for region in range(110100, 110200))
    both = next(
        number + last
        for number in begun
        for last in "0123456789"
        if is_uscc(number + last) and resident_birth_date(number + last)
    )
    SUBJECT.check_write("subject/S1", COMPANY | {"uscc": both})
    code, _ = refused_write(SUBJECT, "subject/S1", COMPANY | {"registered_name": both})
    assert code == NONPUBLIC


# --- All templates --------------------------------------------------------------------------------

VALUES: Final[dict[str, st.SearchStrategy[Json]]] = {
    "str": st.text("abcxyz股权", max_size=9),
    "int": st.integers(0, 10**15),
    "bool": st.booleans(),
}


TEXTS: Final = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9
)
"""What a contract's texts can be."""


@st.composite
def records(draw: st.DrawFn) -> tuple[TierMap, TierGroup, dict[str, Json]]:
    """A group of a template of the common set, and a record of it."""
    tiers = ALL[draw(st.sampled_from(sorted(ALL)))]
    group = draw(st.sampled_from([each for each in tiers.groups if each.tier != Tier.NONPUBLIC]))
    record = {each.name: draw(VALUES[TYPES[each.type].kind]) for each in group.fields}
    return tiers, group, record | ({STATE: "OPEN"} if group.has_state else {})


@pytest.mark.req("G2-17-4", "G2-17-5")
@given(records(), st.data())
def test_any_record_that_is_spoiled_in_one_place_is_refused(
    found: tuple[TierMap, TierGroup, dict[str, Json]], data: st.DataObject
) -> None:
    tiers, group, record = found
    key = f"{group.prefix}B1"
    tiers.check_write(key, record)
    name = data.draw(st.sampled_from(sorted(record)))
    own = PUBLIC if group.tier is Tier.PUBLIC else RESTRICTED
    number = data.draw(st.sampled_from(sorted(PERSONAL.values())))
    assert refused_write(tiers, key, without(record, name))[0] == own
    assert refused_write(tiers, key, record | {name: [record[name]]})[0] == own
    assert refused_write(tiers, key, record | {"more_of_it": 1})[0] == UNCLASSIFIED
    if isinstance(record[name], str):
        assert refused_write(tiers, key, record | {name: number})[0] == NONPUBLIC
    if len(group.fields) > 1:
        assert refused_write(tiers, key, DIGEST)[0] == own


@given(
    st.sampled_from(sorted(ALL)),
    st.text("abcdefghijklmnopqrstuvwxyz/0123456789_", min_size=1, max_size=30),
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda parts: st.lists(parts) | st.dictionaries(TEXTS, parts),
        max_leaves=9,
    ),
)
def test_any_value_ends_in_a_verdict(name: str, key: str, value: Any) -> None:
    tiers = ALL[name]
    for where in (key, tiers.groups[0].prefix + key, tiers.steps + key):
        assert_verdict(partial(tiers.check_write, where, value))
    assert_verdict(partial(tiers.check_event, value))


def assert_verdict(check: Callable[[], None]) -> None:
    try:
        check()
    except ContractError as error:
        code, facts = error.code, error.fields
    else:
        return
    canonical_json(dict(facts))
    assert messages(code).zh
    assert len(str(facts)) < 600


def test_the_longest_prefix_decides() -> None:
    inner = TierGroup("inner", Tier.NONPUBLIC, "note/in/", NOTES.groups[0].fields, False)
    tiers = TierMap((NOTES.groups[0], inner), "trace/")
    tiers.check_write("note/1", {"content": "a"})
    assert refused_write(tiers, "note/in/1", {"content": "a"})[0] == NONPUBLIC
    tiers.check_write("note/in/1", DESCRIBED)


def test_what_is_told_of_names_and_keys_is_bounded() -> None:
    key, name = "x" * 999, "y" * 999
    assert refused_write(SUBJECT, key, 1)[1]["key"] == key[:NAME_SHOWN_MAX]
    _, facts = refused_write(SUBJECT, "subject/S1", COMPANY | {name: 1})
    assert facts["field"] == name[:NAME_SHOWN_MAX]
    _, facts = refused_write(SUBJECT, "subject/S1", {name: MOBILE})
    assert facts["field"] == name[:NAME_SHOWN_MAX]


# --- What it costs --------------------------------------------------------------------------------


def cost(tiers: TierMap, key: str, value: Json) -> int:
    meter = Meter(1_000_000, GasTable())
    TierGuard(tiers, meter).write(key, value)
    return meter.used


@pytest.mark.parametrize(
    ("search", "read_by", "shapes"), [(Search.GROUPS, 32, 8), (Search.ANY_WRITING, 8, 24)]
)
def test_a_check_is_paid_for_by_what_it_looks_at(search: Search, read_by: int, shapes: int) -> None:
    notes = replace(NOTES, search=search)
    short, long = (
        cost(notes, "note/1", {"content": "a"}),
        cost(notes, "note/1", {"content": "股" * 3200}),
    )
    assert (short, long) == (4, 4 + 3200 // read_by)
    digits = "1 股 " * 640
    paid = 4 + len(digits) // read_by + len(digits)
    assert cost(notes, "note/1", {"content": digits}) == paid
    dense = "12345 67890 1"
    assert cost(notes, "note/1", {"content": dense}) == 4 + (1 + shapes) * len(dense)
    assert cost(replace(TRANSFER, search=search), "terms/T1", TERMS) == 11
    meter = Meter(1_000, GasTable(element=7))
    TierGuard(NOTES, meter).write("note/1", {"content": "a"})
    assert meter.used == 7 * short


def test_a_check_ends_where_the_gas_does() -> None:
    guard = TierGuard(SUBJECT, Meter(2, GasTable()))
    with pytest.raises(OutOfGas):
        guard.write("subject/S1", COMPANY)
    with pytest.raises(OutOfGas):
        TierGuard(SUBJECT, Meter(2, GasTable())).event(COMPANY)
    with pytest.raises(OutOfGas):
        TierGuard(SUBJECT, Meter(2, GasTable())).arguments({"a": MOBILE})
