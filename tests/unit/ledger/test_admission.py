"""The stateless part of admission: one property spoilt at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk import rules
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.transaction import (
    PAYLOAD_BYTES_MAX,
    SignedTransaction,
    transaction_sign_bytes,
)
from services.consensus.domain.ledger.admission import (
    PAYLOAD_VALUES_MAX,
    TRANSACTION_BYTES_MAX,
    AdmittedTransaction,
    Refused,
    check_stateless,
    check_stateless_many,
    is_sm2_point,
    read_transaction,
    refused_transaction,
    values_at_most,
    was_not_read,
)
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CHAIN,
    GENESIS_TIME_MS,
    id_of,
    payload_of,
    public_key,
    sign,
    signed,
    verify_many,
)

_CODE = re.compile(r'"([A-Z]+(?:_[A-Z0-9]+)+)"')


def judge(encoded: bytes, **changes: Any) -> AdmittedTransaction | Refused:
    arguments: dict[str, Any] = {
        "chain_id": CHAIN,
        "now_height": 10,
        "block_time_ms": GENESIS_TIME_MS,
        "verify_many": verify_many,
    }
    return check_stateless(encoded, **{**arguments, **changes})


def judge_together(
    transactions: Sequence[SignedTransaction],
) -> tuple[list[AdmittedTransaction | Refused], list[int]]:
    """The verdicts, and how many signatures each call of `verify_many` was asked about."""
    calls: list[int] = []

    def counting(items: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
        calls.append(len(items))
        return verify_many(items)

    verdicts = check_stateless_many(
        [transaction.encode() for transaction in transactions],
        chain_id=CHAIN,
        now_height=1,
        block_time_ms=GENESIS_TIME_MS,
        verify_many=counting,
    )
    return verdicts, calls


def code(verdict: AdmittedTransaction | Refused) -> str:
    return verdict.code if isinstance(verdict, Refused) else ""


def test_a_well_formed_signed_transaction_is_admitted() -> None:
    payload = payload_of(body={"put": {"a": 1}})
    verdict = judge(signed(payload).encode())
    assert isinstance(verdict, AdmittedTransaction)
    assert (verdict.id, verdict.payload) == (id_of(payload), payload)
    assert read_transaction(verdict.encoded) == verdict


def test_maker_and_checker_sign_the_same_bytes() -> None:
    transaction = signed(payload_of(checker=(ADMIN, "k1")))
    assert code(judge(transaction.encode())) == ""
    other = replace(transaction, signatures=transaction.signatures[::-1])
    assert code(judge(other.encode())) == "", "which key is whose, the state decides"
    key, _ = transaction.signatures[1]
    forged = (transaction.signatures[0], (key, sign(key, b"other")))
    assert code(judge(SignedTransaction(transaction.payload, forged).encode())) != ""


def test_the_checker_is_another_person() -> None:
    same = payload_of(checker=("did:rem:testing:clerk", "k2"))
    assert code(judge(signed(same).encode())) == "CHECKER_IS_MAKER"


@pytest.mark.parametrize("count", [1, 2])
def test_signatures_number_the_signers(count: int) -> None:
    payload = payload_of(checker=(ADMIN, "k1") if count == 1 else None)
    signature = signed(payload).signatures[:1] * count
    assert code(judge(SignedTransaction(payload.to_bytes(), signature).encode())) == (
        "TRANSACTION_MALFORMED"
    )


def test_another_chains_transaction_is_refused() -> None:
    assert code(judge(signed(payload_of(chain="elsewhere")).encode())) == "CHAIN_MISMATCH"


def test_too_many_bytes_are_refused_unread() -> None:
    assert code(judge(bytes(TRANSACTION_BYTES_MAX + 1))) == "TRANSACTION_TOO_LARGE"


def judge_bounded(payload: bytes, values_max: int | None) -> AdmittedTransaction | Refused:
    key = (public_key(*payload_of().maker), bytes(64))
    [verdict] = check_stateless_many(
        [SignedTransaction(payload, (key,)).encode()],
        chain_id=CHAIN,
        now_height=10,
        block_time_ms=GENESIS_TIME_MS,
        verify_many=lambda items: [True for _ in items],
        values_max=values_max,
    )
    return verdict


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_more_values_than_the_bound_are_refused_unread_and_as_many_are_read() -> None:
    payload = payload_of(body={"rows": [[{}, 1, "a"]] * 50}).to_bytes()
    values = values_at_most(SignedTransaction(payload, ((public_key("x"), bytes(64)),)).encode())
    assert values > 150
    for odd in (payload, b"not JSON" + payload):
        verdict = judge_bounded(odd, 150)
        assert isinstance(verdict, Refused)
        assert (verdict.code, verdict.fields["maximum"]) == ("TRANSACTION_TOO_LARGE", 150)
        assert was_not_read(verdict)
    assert isinstance(judge_bounded(payload, 1_000), AdmittedTransaction)
    assert isinstance(judge_bounded(payload, None), AdmittedTransaction)
    malformed = judge_bounded(b"not JSON" + payload, None)
    assert isinstance(malformed, Refused)
    assert malformed.code == "TRANSACTION_MALFORMED"
    assert not was_not_read(malformed)


@given(st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=3), lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=4)
), max_leaves=20))  # fmt: skip
def test_no_json_has_more_values_than_are_counted_beforehand(value: Any) -> None:
    def count(part: Any) -> int:
        parts = part.values() if isinstance(part, dict) else part
        return 1 + sum(map(count, parts)) if isinstance(part, list | dict) else 1

    assert count(value) <= values_at_most(json.dumps(value, separators=(",", ":")).encode())


def test_the_densest_rows_of_a_roster_that_fit_a_payload_are_far_below_the_bound() -> None:
    row = {"account": "Q000000000", "nature": "41", "restricted_until": None, "shares": 1}
    rows = PAYLOAD_BYTES_MAX // len(canonical_json({**row}))
    assert values_at_most(canonical_json({"entries": [{**row}] * rows})) < PAYLOAD_VALUES_MAX / 2


def test_of_a_batch_what_was_not_read_stands_behind_what_proves_something() -> None:
    unread = Refused("TRANSACTION_TOO_LARGE", {"values": 9, "maximum": 1})
    malformed = Refused("TRANSACTION_MALFORMED", {"detail": ""})
    assert refused_transaction([b"a", b"long"], [unread, malformed]) == (1, malformed)
    assert refused_transaction([b"a", b"long"], [malformed, malformed]) == (0, malformed)
    assert refused_transaction([b"a"], [unread]) == (0, unread)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"expires_height": 10}, "TRANSACTION_EXPIRED"),
        ({"expires_height": 11}, ""),
        ({"expires_height": 1_010}, ""),
        ({"expires_height": 1_011}, "TRANSACTION_EXPIRY_TOO_FAR"),
        ({"expires_time_ms": GENESIS_TIME_MS - 1}, "TRANSACTION_EXPIRED"),
        ({"expires_time_ms": GENESIS_TIME_MS}, ""),
        ({"expires_time_ms": GENESIS_TIME_MS + 600_000}, ""),
        ({"expires_time_ms": GENESIS_TIME_MS + 600_001}, "TRANSACTION_EXPIRY_TOO_FAR"),
    ],
)
def test_expiry_lies_ahead_within_its_range(changes: dict[str, Any], expected: str) -> None:
    assert code(judge(signed(payload_of(**changes)).encode())) == expected


@pytest.mark.parametrize("bad", range(5))
def test_one_bad_signature_refuses_its_transaction_alone(bad: int) -> None:
    """ledger.md, life of a block, step 1."""
    transactions = [signed(payload_of(checker=(ADMIN, "k1"))) for _ in range(5)]
    key, signature = transactions[bad].signatures[1]
    spoilt = (transactions[bad].signatures[0], (key, bytes([signature[0] ^ 1]) + signature[1:]))
    transactions[bad] = replace(transactions[bad], signatures=spoilt)
    verdicts, calls = judge_together(transactions)
    assert [code(verdict) != "" for verdict in verdicts] == [i == bad for i in range(5)]
    assert calls == [10], "all signatures of a batch are verified together"


def test_what_a_digest_binds_is_read_without_clock_expiry_or_signatures() -> None:
    """ledger.md, life of a block, step 2: a quorum decided it, and all must read it alike."""
    late = signed(payload_of(expires_height=10))
    key, _ = late.signatures[0]
    forged = replace(signed(payload_of()), signatures=((key, bytes(64)),))
    assert code(judge(late.encode())) == "TRANSACTION_EXPIRED"
    assert code(judge(forged.encode())) != ""
    for refused in (late, forged):
        read = read_transaction(refused.encode())
        assert (read.id, read.encoded) == (refused.id(), refused.encode())


@settings(max_examples=200)
@given(st.data())
def test_row07_any_changed_byte_is_refused(data: st.DataObject) -> None:
    encoded = bytearray(
        signed(payload_of(request_id="0" * 8 + "-0000-0000-0000-" + "0" * 12)).encode()
    )
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    assert code(judge(bytes(encoded))) != ""


@given(st.binary(max_size=300))
def test_any_bytes_give_a_refusal_and_no_exception(data: bytes) -> None:
    assert code(judge(data)) == "TRANSACTION_MALFORMED"
    with pytest.raises(MalformedError):
        read_transaction(data)


@pytest.mark.req("G2-09-2")
def test_sm2_signatures_are_admitted_and_p256_ones_are_named_as_not_national() -> None:
    provider = open_provider()
    payload = payload_of().to_bytes()
    message = transaction_sign_bytes(payload)
    private = provider.keygen()
    good = SignedTransaction(
        payload, ((private.public_key, provider.sign(private, message)),)
    ).encode()
    assert code(judge(good, verify_many=provider.verify_many)) == ""

    wrong = SignedTransaction(
        payload, ((private.public_key, provider.sign(private, message + b"!")),)
    ).encode()
    assert code(judge(wrong, verify_many=provider.verify_many)) == "TRANSACTION_SIGNATURE_INVALID"

    foreign = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = foreign.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    foreign_signed = SignedTransaction(payload, ((point, bytes(range(64))),)).encode()
    assert code(judge(foreign_signed, verify_many=provider.verify_many)) == "ALG_NOT_GM"


def test_only_points_of_the_sm2_curve_count_as_such() -> None:
    point = open_provider().keygen().public_key
    assert is_sm2_point(point)
    assert not is_sm2_point(point[:-1] + bytes([point[-1] ^ 1]))
    assert not is_sm2_point(b"\x02" + point[1:])
    assert not is_sm2_point(point[:-1])
    assert not is_sm2_point(public_key("any"))


def test_every_code_of_ledger_and_store_can_be_explained() -> None:
    """Users meet these codes in receipts and refusals; each has its rule and its texts."""
    root = Path(__file__).parents[3] / "services" / "consensus"
    files = [*(root / "domain" / "ledger").glob("*.py"), *(root / "store").glob("*.py")]
    codes = {code for file in files for code in _CODE.findall(file.read_text())}
    assert {"TRANSACTION_EXPIRY_TOO_FAR", "BLOCK_FULL", "DATA_FOLDER_IN_USE"} <= codes
    assert codes <= rules.catalogue().keys()
