"""The decoders of everything that is hashed or signed: one spelling a value, no other exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.batch import BATCH_BYTES_MAX, Batch
from guqiao_sdk.proof.bundle import Bundle
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest, tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.light_client import SetChange, decode_set_changes, encode_set_changes
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.packet import Packet
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Event, Outcome, Receipt
from guqiao_sdk.proof.state_proof import StateProof
from guqiao_sdk.proof.transaction import Payload, SignedTransaction, parse_payload
from guqiao_sdk.proof.trust import parse_trust
from tests.unit.proof.proof_keys import FakeKeys, Replicas

REPLICAS = Replicas(FakeKeys())
HEADER = REPLICAS.header(7)
CHANGE = SetChange(HEADER, REPLICAS.certify(HEADER), REPLICAS.next_epoch().set)
RECEIPT = Receipt(bytes(32), Outcome.APPLIED, "", b"{}", b"", (Event("a.b", b"{}"),))

SAMPLES: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "header": (HEADER, BlockHeader.decode),
    "certificate": (REPLICAS.certify(HEADER), FinalityCertificate.decode),
    "replica set": (REPLICAS.set, ReplicaSet.decode),
    "set change": (CHANGE, SetChange.decode),
    "batch": (Batch(5, (b"one", b"two")), Batch.decode),
    "transaction": (
        SignedTransaction(b"{}", ((b"k" * 65, b"s" * 64),)),
        SignedTransaction.decode,
    ),
    "transaction in an envelope": (
        SignedTransaction(b"{}", ((b"k" * 65, b"s" * 64),) * 2, MerklePath(4, 5, (bytes(32),))),
        SignedTransaction.decode,
    ),
    "receipt": (RECEIPT, Receipt.decode),
    "packet": (Packet("a", "b", "c", 1, b"{}"), Packet.decode),
    "state proof": (StateProof((bytes(32),), (bytes(32), bytes(32))), StateProof.decode),
    "absence proof": (StateProof((bytes(32),), None), StateProof.decode),
    "Merkle path": (MerklePath(1, 3, (bytes(32),) * 2), MerklePath.decode),
}

PAYLOAD = Payload(
    chain="shandong",
    maker=("did:rem:shandong:A", "key-1"),
    checker=("did:rem:shandong:B", "key-1"),
    organisation="did:rem:shandong:A",
    request_id="00000000-0000-0000-0000-000000000001",
    expires_height=10,
    expires_time_ms=10,
    after=bytes(range(32)),
    contract="register",
    method="transfer",
    business_time="2026-01-05T09:30:00+08:00",
    body={"a": [1, "二", None, True]},
)


@pytest.mark.parametrize("value", ["10", 10.5, True, -1, None, [], {}])
@pytest.mark.parametrize("name", ["height", "time_ms"])
def test_an_expiry_that_is_no_natural_number_is_malformed(name: str, value: object) -> None:
    members = json.loads(PAYLOAD.to_bytes())
    assert parse_payload(json.dumps(members).encode()) == PAYLOAD
    members["expires"][name] = value
    with pytest.raises(MalformedError):
        parse_payload(json.dumps(members).encode())


def test_a_batch_has_a_largest_size() -> None:
    whole = Batch(7, (bytes(BATCH_BYTES_MAX - 16),))
    assert len(whole.encode()) == BATCH_BYTES_MAX
    assert Batch.decode(whole.encode()) == whole
    with pytest.raises(MalformedError):
        Batch.decode(Batch(7, (bytes(BATCH_BYTES_MAX - 15),)).encode())


@pytest.mark.parametrize("name", SAMPLES)
def test_what_was_written_is_read_back(name: str) -> None:
    value, decode = SAMPLES[name]
    assert decode(value.encode()) == value


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_cut_off_or_appended_are_malformed(name: str) -> None:
    value, decode = SAMPLES[name]
    encoded = value.encode()
    for cut in range(len(encoded)):
        with pytest.raises(MalformedError):
            decode(encoded[:cut])
    with pytest.raises(MalformedError):
        decode(encoded + b"\x00")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_flipped_bit_gives_another_value_or_is_malformed(name: str) -> None:
    """Equal values and equal bytes are one thing: no flip may be read as the same value."""
    value, decode = SAMPLES[name]
    encoded = value.encode()
    for at in range(len(encoded)):
        for bit in range(8):
            changed = bytearray(encoded)
            changed[at] ^= 1 << bit
            try:
                other = decode(bytes(changed))
            except MalformedError:
                continue
            assert other != value
            assert other.encode() == bytes(changed)


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_value_or_malformed(name: str, data: bytes) -> None:
    decode = SAMPLES[name][1]
    try:
        read = decode(data)
    except MalformedError:
        return
    assert read.encode() == data


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_are_a_bundle_or_are_refused(data: bytes, starts: bool, ends: bool) -> None:
    data = (b"GUQIAOB1" if starts else b"") + data + (b"1BOAIQUG" if ends else b"")
    with pytest.raises((NotABundleError, ProofError)):
        Bundle.decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trust_file_or_are_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        parse_trust(data, FakeKeys().verify)


@given(st.binary(max_size=200))
def test_any_bytes_are_set_changes_or_malformed(data: bytes) -> None:
    try:
        changes = decode_set_changes(data)
    except MalformedError:
        return
    assert encode_set_changes(changes) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_payload(data)


def test_a_payload_is_read_back_and_its_id_leaves_the_signatures_out() -> None:
    data = PAYLOAD.to_bytes()
    assert parse_payload(data) == PAYLOAD
    one = SignedTransaction(data, ((b"k" * 65, b"s" * 64),))
    other = SignedTransaction(data, ((b"k" * 65, b"t" * 64),))
    assert one.id() == other.id()
    assert one.encode() != other.encode()


def payload_members() -> dict[str, Any]:
    return {
        "chain": "shandong",
        "maker": {"did": "did:rem:shandong:A", "key": "key-1"},
        "checker": None,
        "organisation": "did:rem:shandong:A",
        "request_id": "00000000-0000-0000-0000-000000000001",
        "expires": {"height": 10, "time_ms": 10},
        "after": None,
        "contract": "register",
        "method": "transfer",
        "business_time": None,
        "body": {},
    }


@pytest.mark.parametrize("name", payload_members())
def test_a_payload_with_one_member_spoiled_names_it(name: str) -> None:
    assert parse_payload(canonical_json(payload_members())).chain == "shandong"
    wrongs: tuple[Any, ...] = (7, True, "", [], {}, "UPPER CASE")
    for wrong in wrongs:
        if name == "body" and wrong == {}:
            continue
        with pytest.raises(MalformedError, match=name):
            parse_payload(canonical_json(payload_members() | {name: wrong}))
    members = payload_members()
    del members[name]
    with pytest.raises(MalformedError, match=name):
        parse_payload(canonical_json(members))


@pytest.mark.parametrize(
    "time", ["2026-01-05T09:30:0٠+08:00", "２026-01-05T09:30:00+08:00", "2026-1-05T09:30:00+08:00"]
)
def test_a_business_time_has_ascii_digits_so_that_times_compare_as_text(time: str) -> None:
    with pytest.raises(MalformedError, match="business_time"):
        parse_payload(canonical_json(payload_members() | {"business_time": time}))


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt(bytes(32), Outcome.APPLIED, "CODE", b"{}", b"", ()),
        Receipt(bytes(32), Outcome.REFUSED, "", b"{}", b"", ()),
        Receipt(bytes(32), Outcome.APPLIED, "", b"{}", bytes(32), ()),
        Receipt(bytes(32), Outcome.REPLAYED, "", b"{}", b"", ()),
        Receipt(bytes(32), Outcome.REPLAYED, "", b"{}", bytes(5), ()),
    ],
)
def test_a_receipt_whose_outcome_contradicts_its_code_is_malformed(receipt: Receipt) -> None:
    with pytest.raises(MalformedError):
        Receipt.decode(receipt.encode())


def test_a_length_or_count_above_its_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedError):
        Reader(bytes(Writer().blob(b"x" * 10))).blob(9)
    with pytest.raises(MalformedError):
        Reader(bytes(Writer().u32(11))).count(10)
    with pytest.raises(MalformedError):
        Reader(bytes(Writer().blob(b"\xff"))).text()


@given(st.text(max_size=8), st.lists(st.binary(max_size=8), max_size=4))
def test_tagged_bytes_tell_tags_and_parts_apart(tag: str, parts: list[bytes]) -> None:
    reader = Reader(tagged(tag, *parts))
    assert reader.text() == tag
    assert [reader.blob() for _ in parts] == parts
    reader.end()
    assert digest(tag, *parts) != digest(tag + "x", *parts)
    assert digest(tag, *parts) != digest(tag, *parts, b"")
    if len(parts) > 1:
        assert digest(tag, *parts) != digest(tag, b"".join(parts))
