"""Bodies of data objects are judged by the interface in force for their format (N0-37, N0-42)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.notice.interface import TYPES, read_interface
from services.consensus.domain.contracts.object_life.body_form import Reference, judge_body
from tests.unit.xchain.object_regulator import OBJECT_ID, Regulator, reported

OTHER_ID = "shandong:account:" + "cd" * 32


def rule(kind: str, *, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"type": kind, "required": required, **more}


FIELDS: dict[str, Any] = {
    "name": rule("text", required=True),
    "detail.count": rule("integer", required=True),
    "detail.layer": rule("text", values=["F", "G"]),
    "detail.open": rule("boolean", values=["true"]),
    "day": rule("date"),
    "at": rule("time"),
    "hash": rule("digest"),
    "owner": rule("reference"),
    "tags": rule("list"),
    "free": rule("object"),
    "rows[].number": rule("integer", required=True),
    "rows[].note.text": rule("text"),
    "rows[].parts[].owner": rule("reference", required=True),
    "documents": rule("list"),
    "documents[].file": rule("text"),
}
GOOD: dict[str, Any] = {
    "name": "企业甲",
    "detail": {"count": 1, "layer": "F", "open": True},
    "day": "2024-02-29",
    "at": "2025-09-01T10:00:00+08:00",
    "hash": "ab" * 32,
    "owner": f"{OTHER_ID}/0",
    "tags": ["a", 1, None],
    "free": {"any": [{"thing": 1}]},
    "rows": [{"number": 1, "parts": [{"owner": f"{OBJECT_ID}:2/17"}]}, {"number": 2}],
    "documents": [],
}


def spoiled(path: str, to: Any) -> dict[str, Any]:
    """GOOD with another value at a path such as `rows.0.number`."""

    def put(value: Any, names: list[str]) -> Any:
        if not names:
            return to
        if isinstance(value, list):
            index = int(names[0])
            return [put(e, names[1:]) if i == index else e for i, e in enumerate(value)]
        return {**value, names[0]: put(value.get(names[0], {}), names[1:])}

    found: dict[str, Any] = put(GOOD, path.split("."))
    return found


def fault_of(body: dict[str, Any]) -> str:
    with pytest.raises(Refusal) as caught:
        judge_body(FIELDS, body)
    assert caught.value.code == "SCHEMA_FAILED"
    return str(caught.value.fields["field"])


def test_the_table_of_these_tests_is_an_interface_with_every_type() -> None:
    described = {"object.subject": {"fields": FIELDS}}
    value: Any = {"format": "guqiao-interface/1", "model_version": "v", "parts": described}
    read_interface(value)
    assert {each["type"] for each in FIELDS.values()} == set(TYPES)


@pytest.mark.req("N0-37", "N0-42")
def test_a_good_body_is_taken_with_what_it_refers_to() -> None:
    assert judge_body(FIELDS, GOOD) == [
        Reference(OTHER_ID, 0, "body.owner"),
        Reference(f"{OBJECT_ID}:2", 17, "body.rows[0].parts[0].owner"),
    ]


@pytest.mark.req("N0-37", "N0-42")
@pytest.mark.parametrize(
    ("path", "to", "field"),
    [
        ("name", None, "body.name"),
        ("name", 1, "body.name"),
        ("name", "字" * 1_366, "body.name"),
        ("name", {"a": 1}, "body.name"),
        ("name", ["a"], "body.name"),
        ("other", 1, "body.other"),
        ("other", None, "body.other"),
        ("detail", None, "body.detail.count"),
        ("detail", [], "body.detail"),
        ("detail", "x", "body.detail"),
        ("detail.count", None, "body.detail.count"),
        ("detail.count", True, "body.detail.count"),
        ("detail.count", "1", "body.detail.count"),
        ("detail.count", 1 << 53, "body.detail.count"),
        ("detail.count", -(1 << 53), "body.detail.count"),
        ("detail.layer", "H", "body.detail.layer"),
        ("detail.open", False, "body.detail.open"),
        ("detail.open", 1, "body.detail.open"),
        ("day", "2025-02-29", "body.day"),
        ("day", "20250228", "body.day"),
        ("day", "２０２５-02-28", "body.day"),
        ("at", "2025-09-01T10:00:00", "body.at"),
        ("at", "2025-09-01T25:00:00Z", "body.at"),
        ("at", "2025-09-01", "body.at"),
        ("hash", "AB" * 32, "body.hash"),
        ("hash", "ab" * 31, "body.hash"),
        ("owner", OTHER_ID, "body.owner"),
        ("owner", f"{OTHER_ID}/00", "body.owner"),
        ("owner", f"{OTHER_ID}/-1", "body.owner"),
        ("owner", f"{OTHER_ID}/0\n", "body.owner"),
        ("tags", "a", "body.tags"),
        ("tags", [["a"]], "body.tags[0]"),
        ("tags", [{"a": 1}], "body.tags[0]"),
        ("tags", ["a"] * 4_097, "body.tags"),
        ("free", "x", "body.free"),
        ("free", [{}], "body.free"),
        ("rows", {"number": 1}, "body.rows"),
        ("rows.0.number", None, "body.rows[0].number"),
        ("rows.1.number", "2", "body.rows[1].number"),
        ("rows.1", 5, "body.rows[1]"),
        ("rows.0.more", 5, "body.rows[0].more"),
        ("rows.0.parts.0.owner", None, "body.rows[0].parts[0].owner"),
        ("documents", [{"file": 1}], "body.documents[0].file"),
        ("documents", [{"hash": 1}], "body.documents[0].hash"),
    ],
)
def test_a_body_that_differs_from_the_table_is_refused_by_its_field(
    path: str, to: Any, field: str
) -> None:
    assert fault_of(spoiled(path, to)) == field


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("detail.layer", None),
        ("detail.count", (1 << 53) - 1),
        ("rows", []),
        ("rows", None),
        ("rows.0.parts", None),
        ("documents", [{"file": "a"}]),
        ("documents", ["a"]),
        ("name", "字" * 1_365),
        ("at", "2025-09-01T10:00:00Z"),
        ("tags", ["a"] * 4_096),
    ],
)
def test_what_is_optional_may_be_absent_and_bounds_are_reached(path: str, to: Any) -> None:
    judge_body(FIELDS, spoiled(path, to))


def names() -> st.SearchStrategy[str]:
    known = sorted({name.removesuffix("[]") for path in FIELDS for name in path.split(".")})
    return st.sampled_from(known) | st.text(max_size=3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(names(), json_values, max_size=6))
def test_any_body_is_taken_or_refused_by_a_field(body: dict[str, Json]) -> None:
    found = refusal_of(body)
    assert found is None or found.code == "SCHEMA_FAILED"
    assert found is None or str(found.fields["field"]).startswith("body")


def refusal_of(body: dict[str, Json]) -> Refusal | None:
    try:
        judge_body(FIELDS, body)
    except Refusal as refusal:
        return refusal
    return None


# --- In force -------------------------------------------------------------------------------------


def described(host: Regulator, fields: dict[str, Any], kind: str = "subject") -> Regulator:
    """With an interface in force for the format of the objects here."""
    part: Json = {f"object.{kind}": {"fields": fields}}
    record: Json = {"interface": "d1", "from_ms": 1, "until": None}
    host.others |= {
        ("notices", "formats/shandong"): "guqiao-1",
        ("notices", "format/shandong/guqiao-1"): record,
        ("notices", "head/shandong"): {"model_version": "guqiao-1", "interface": "d1"},
        ("notices", "interface/shandong/d1"): {"parts": part},
    }
    return host


SMALL: dict[str, Any] = {
    "a": rule("integer", required=True),
    "b": rule("text"),
    "owner_ref": rule("reference"),
}


@pytest.mark.req("N0-37", "N0-42")
def test_an_object_is_judged_as_the_whole_that_comes_of_it() -> None:
    host = described(Regulator(), SMALL)
    assert host.code(reported(body={"b": "x"})) == "SCHEMA_FAILED"
    assert host.code(reported(body={"a": 1})) == ""
    assert host.code(reported("update", 1, {"b": "y"})) == ""
    refused = host.take(reported("update", 2, {"a": None}))
    assert (refused["code"], refused["detail"]["field"]) == ("SCHEMA_FAILED", "body.a")
    assert host.exception(4)["state"] == "SCHEMA_FAILED"
    assert host.code(reported("overwrite", 0, {"b": "z"})) == "SCHEMA_FAILED"
    assert host.latest() == {"version": 1, "status": "CURRENT"}
    assert host.code(reported("delete", 2, {})) == ""


def test_a_type_that_the_interface_does_not_describe_is_refused() -> None:
    host = described(Regulator(), SMALL, kind="account")
    refused = host.take(reported(body={"a": 1}))
    assert refused["code"] == "SCHEMA_FAILED"
    assert refused["detail"]["field"] == "header.content.type"


def test_a_market_without_an_interface_reports_what_it_likes() -> None:
    assert Regulator().code(reported(body={"anything": [1]})) == ""


@pytest.mark.req("N0-37")
def test_a_reference_is_to_a_version_that_is_recorded() -> None:
    host = described(Regulator(), SMALL)
    known = OTHER_ID.replace("account", "subject")
    refused = host.take(reported(body={"a": 1, "owner_ref": f"{known}/0"}))
    assert (refused["code"], refused["detail"]) == (
        "REF_MISSING",
        {"field": "body.owner_ref", "object_id": known, "version": 0},
    )
    assert host.exception(1)["state"] == "REF_MISSING"
    assert host.code(reported(body={"a": 2}, object_id=known)) == ""
    again = reported(body={"a": 1, "owner_ref": f"{known}/0"}, metadata={"resubmits": 1})
    assert host.code(again) == ""
    assert host.exception(1)["state"] == "ACCEPTED"
    assert host.code(reported("update", 1, {"owner_ref": f"{known}/1"})) == "REF_MISSING"
    assert host.code(reported("update", 1, {"owner_ref": f"{OBJECT_ID}/1"})) == ""
    assert host.code(reported("update", 2, {"owner_ref": f"{OBJECT_ID}/3"})) == "REF_MISSING"
