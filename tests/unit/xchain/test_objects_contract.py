"""Data objects on the regulatory chain: form, source and life cycle in version 1 (SM-11)."""

from __future__ import annotations

import copy

import pytest

from guqiao_sdk.proof.data_object import data_object_digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import Packet
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.host import Refusal
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.xchain.ledger_chain import data_object

TRANSACTION = "ab" * 32
OBJECT_ID = f"shandong:subject:{TRANSACTION}"


def record(host: MemoryHost, value: Json, *, source: str = "shandong") -> dict[str, Json]:
    packet = Packet(source, "csrc", "data_object", 1, canonical_json(value))
    return objects.record_object(host, packet, 9)


def refused(host: MemoryHost, value: Json, *, source: str = "shandong") -> Refusal:
    before = dict(getattr(host, "store"))  # noqa: B009 - the host's own dictionary
    with pytest.raises(Refusal) as caught:
        record(host, value, source=source)
    assert getattr(host, "store") == before  # noqa: B009
    return caught.value


def part(value: dict[str, Json], path: str) -> dict[str, Json]:
    """The object that holds the last name of `path`."""
    here: Json = value
    for name in path.split(".")[:-1]:
        assert isinstance(here, dict)
        here = here[name]
    assert isinstance(here, dict)
    return here


def spoiled(path: str, to: Json) -> dict[str, Json]:
    value = data_object(OBJECT_ID)
    part(value, path)[path.split(".")[-1]] = to
    return value


def lacking(path: str) -> dict[str, Json]:
    value = data_object(OBJECT_ID)
    del part(value, path)[path.split(".")[-1]]
    return value


@pytest.mark.req("G2-19-4")
def test_a_created_object_is_kept_whole_with_the_mark_of_its_source() -> None:
    host = MemoryHost()
    acknowledgement = record(host, data_object(OBJECT_ID))
    assert acknowledgement == {
        "code": "",
        "object_id": OBJECT_ID,
        "version": 0,
        "digest": data_object_digest(data_object(OBJECT_ID)).hex(),
        "transaction_id": TRANSACTION,
    }
    stored = host.get(f"{OBJECT_ID}/0")
    assert isinstance(stored, dict)
    assert stored["object"] == data_object(OBJECT_ID)
    assert (stored["source"], stored["source_height"], stored["sequence"]) == ("shandong", 9, 1)
    assert [topic for topic, _ in host.events] == ["object.recorded"]


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("header.model.protocol", "another protocol"),
        ("header.model.version", "v" * 33),
        ("header.content.type", "t" * 33),
        ("header.content.type", ""),
        ("header.content.object_id", "o" * 129),
        ("header.content.version", -1),
        ("header.content.version", True),
        ("header.content.operation", "upsert"),
        ("header.content.timestamp", "now"),
        ("header.remark", "r" * 2_049),
        ("header.seal", {}),
        ("header.seal", [{}] * 9),
        ("header.seal", [1]),
        ("header.metadata", []),
        ("header.unknown", 1),
        ("header", []),
        ("body", []),
        ("body", {}),
        ("extra", 1),
    ],
)
@pytest.mark.req("N0-42")
def test_an_object_whose_form_is_wrong_is_refused_naming_the_field(path: str, to: Json) -> None:
    refusal = refused(MemoryHost(), spoiled(path, to))
    assert refusal.code == "SCHEMA_FAILED"
    assert str(refusal.fields["field"]).startswith(path)


@pytest.mark.parametrize(
    "path",
    [
        "header",
        "body",
        "header.model",
        "header.model.protocol",
        "header.content",
        "header.content.object_id",
        "header.content.operation",
        "header.remark",
        "header.seal",
        "header.metadata",
    ],
)
def test_an_object_that_lacks_a_member_is_refused_naming_it(path: str) -> None:
    refusal = refused(MemoryHost(), lacking(path))
    assert (refusal.code, refusal.fields["field"]) == ("SCHEMA_FAILED", path)


def seal(**changes: Json) -> dict[str, Json]:
    good: dict[str, Json] = {
        "pub_key": {"type": "SM2", "value": "04"},
        "digest_algo": "SM3",
        "signature": "00",
    }
    return good | changes


def test_a_seal_of_national_algorithms_is_taken_and_any_other_refused() -> None:
    record(MemoryHost(), spoiled("header.seal", [seal()]))
    for bad in (
        seal(digest_algo="SHA-256"),
        seal(pub_key={"type": "RSA", "value": "04"}),
        seal(signature="s" * 1_025),
        seal(pub_key={"type": "SM2", "value": "v" * 513}),
        seal(extra=1),
    ):
        assert refused(MemoryHost(), spoiled("header.seal", [bad])).code == "SCHEMA_FAILED"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"a":1.5}', b"\xff", b"[" * 40])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    packet = Packet("shandong", "csrc", "data_object", 1, payload)
    with pytest.raises(Refusal) as caught:
        objects.record_object(MemoryHost(), packet, 9)
    assert caught.value.code == "SCHEMA_FAILED"


def test_an_object_too_large_to_keep_is_refused() -> None:
    value = spoiled("body.subject", {"text": "x" * objects.OBJECT_BYTES_MAX})
    assert refused(MemoryHost(), value).code == "SCHEMA_FAILED"


@pytest.mark.req("G2-19-4")
@pytest.mark.parametrize(
    "object_id",
    [
        f"beijing:subject:{TRANSACTION}",
        f"subject:{TRANSACTION}",
        "shandong:subject:1",
        f"shandong/x:subject:{TRANSACTION}",
        f"shandong:subject:{TRANSACTION}/0",
    ],
)
def test_g31_an_object_id_that_does_not_name_the_source_chain_is_refused(object_id: str) -> None:
    refusal = refused(MemoryHost(), spoiled("header.content.object_id", object_id))
    assert refusal.code == "SOURCE_MISSING"


@pytest.mark.req("G2-19-4")
def test_a_stated_source_is_complete_and_agrees_with_the_chain_that_proved_it() -> None:
    source: dict[str, Json] = {
        "chain_id": "shandong",
        "node": "replica-0",
        "org_did": "did:rem:shandong:91370000MA0000000X",
        "system": "registry",
    }
    record(MemoryHost(), spoiled("header.source", source))
    for name in source:
        short = {member: value for member, value in source.items() if member != name}
        refusal = refused(MemoryHost(), spoiled("header.source", short))
        assert refusal.code == "SOURCE_MISSING"
        assert refusal.fields["field"] == f"header.source.{name}"
    other = spoiled("header.source", source | {"chain_id": "beijing"})
    assert refused(MemoryHost(), other).code == "SOURCE_MISSING"


def step(operation: str, version: int, body: Json = None) -> dict[str, Json]:
    value = data_object(OBJECT_ID, version=version, operation=operation)
    if body is not None:
        value["body"] = body
    return value


def in_state(state: str) -> MemoryHost:
    host = MemoryHost()
    steps = {
        "ABSENT": [],
        "CREATED": [step("create", 0)],
        "UPDATED": [step("create", 0), step("update", 1)],
        "DELETED": [step("create", 0), step("delete", 1)],
    }[state]
    for value in steps:
        record(host, value)
    return host


ALLOWED = {
    ("ABSENT", "create", 0),
    ("CREATED", "update", 1),
    ("CREATED", "delete", 1),
    ("UPDATED", "update", 2),
    ("UPDATED", "delete", 2),
}


@pytest.mark.parametrize("state", ["ABSENT", "CREATED", "UPDATED", "DELETED"])
@pytest.mark.parametrize("operation", ["create", "update", "overwrite", "delete"])
@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_the_life_cycle_allows_these_steps_and_no_other(
    state: str, operation: str, version: int
) -> None:
    """Version 1 has no overwrite, which is refused like any step that is not listed."""
    host = in_state(state)
    if (state, operation, version) in ALLOWED:
        assert record(host, step(operation, version))["version"] == version
    else:
        assert refused(host, step(operation, version)).code == "ILLEGAL_TRANSITION"


def test_an_update_merges_its_body_null_deletes_and_history_stays() -> None:
    host = MemoryHost()
    record(host, step("create", 0, {"a": {"x": 1, "y": 2}, "b": [1], "c": "text"}))
    record(host, step("update", 1, {"a": {"y": None, "z": {"n": 3}}, "c": None}))
    record(host, step("update", 2, {"b": [2], "a": {"z": "flat"}}))
    assert host.get(f"{OBJECT_ID}/snapshot") == {"a": {"x": 1, "z": "flat"}, "b": [2]}
    first = host.get(f"{OBJECT_ID}/0")
    assert isinstance(first, dict)
    assert first["object"] == step("create", 0, {"a": {"x": 1, "y": 2}, "b": [1], "c": "text"})


def test_an_update_that_leaves_an_empty_object_is_refused() -> None:
    host = MemoryHost()
    record(host, step("create", 0, {"a": 1}))
    assert refused(host, step("update", 1, {"a": None})).code == "SCHEMA_FAILED"


def test_the_digest_follows_every_value_of_the_object() -> None:
    base = data_object(OBJECT_ID)
    other = copy.deepcopy(base)
    part(other, "header.remark")["remark"] = "x"
    assert data_object_digest(base) != data_object_digest(other)
    assert data_object_digest(base) == data_object_digest(dict(reversed(list(base.items()))))
