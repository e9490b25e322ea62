"""Envelopes: one signature for many transactions, each of which stands for itself (ledger.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.client.transactions import (
    Call,
    ChainPosition,
    Identity,
    build_envelope,
    sign_envelope,
    transaction_from_message,
    transaction_to_message,
)
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.merkle import MerklePath, merkle_paths, merkle_root
from guqiao_sdk.proof.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    SignedTransaction,
    envelope_sign_bytes,
    parse_payload,
    transaction_id,
    transaction_sign_bytes,
)
from services.consensus.domain.ledger.admission import AdmittedTransaction
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CHAIN,
    CLERK,
    GENESIS_TIME_MS,
    MARKET,
    payload_of,
    public_key,
    sign,
)
from tests.unit.ledger.test_admission import code, judge, judge_together


def envelope(count: int, checker: tuple[str, str] | None = None) -> list[SignedTransaction]:
    """`count` transactions of the clerk under one signature of each signer."""
    payloads = [payload_of(checker=checker).to_bytes() for _ in range(count)]
    ids = [transaction_id(payload) for payload in payloads]
    message = envelope_sign_bytes(merkle_root(ids))
    keys = [public_key(*signer) for signer in ((CLERK, "k1"), checker) if signer]
    signatures = tuple((key, sign(key, message)) for key in keys)
    paths = merkle_paths(ids)
    return [
        SignedTransaction(payload, signatures, path)
        for payload, path in zip(payloads, paths, strict=True)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, ENVELOPE_TRANSACTIONS_MAX])
def test_each_transaction_of_an_envelope_is_admitted_by_itself(count: int) -> None:
    """ledger.md, envelopes, step 4."""
    transactions = envelope(count)
    for transaction in transactions[:5] + transactions[-5:]:
        verdict = judge(transaction.encode())
        assert isinstance(verdict, AdmittedTransaction)
        assert verdict.id == transaction.id()
        assert SignedTransaction.decode(transaction.encode()) == transaction


def test_one_signature_is_verified_once_for_all_that_share_it() -> None:
    """ledger.md, envelopes, step 4."""
    transactions = envelope(100, checker=(ADMIN, "k1")) + envelope(3)
    verdicts, calls = judge_together(transactions)
    assert all(isinstance(verdict, AdmittedTransaction) for verdict in verdicts)
    assert calls == [3], "maker and checker of the one, the maker of the other"


def test_a_spoilt_transaction_is_refused_and_its_companions_are_not() -> None:
    transactions = envelope(9)
    other = payload_of().to_bytes()
    transactions[4] = replace(transactions[4], payload=other)
    verdicts, _ = judge_together(transactions)
    assert [code(verdict) != "" for verdict in verdicts] == [at == 4 for at in range(9)]


def test_signatures_of_two_kinds_stand_for_each_other_in_neither_direction() -> None:
    """ledger.md, envelopes, step 2. A root is 32 bytes and so is an id: only the tag tells what was
    signed.
    """
    transaction = envelope(1)[0]
    assert code(judge(transaction.encode())) == ""
    assert code(judge(replace(transaction, envelope=None).encode())) != ""
    key, payload = public_key(CLERK, "k1"), transaction.payload
    alone = sign(key, transaction_sign_bytes(payload))
    assert code(judge(replace(transaction, signatures=((key, alone),)).encode())) != ""


@settings(max_examples=300)
@given(st.data())
def test_any_changed_byte_of_a_transaction_in_an_envelope_is_refused(data: st.DataObject) -> None:
    transactions = envelope(data.draw(st.sampled_from([1, 2, 5, 6])))
    encoded = bytearray(data.draw(st.sampled_from(transactions)).encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    assert code(judge(bytes(encoded))) != ""


def test_a_path_has_the_length_and_place_that_the_count_gives() -> None:
    """ledger.md, envelopes, step 3."""
    transaction = envelope(5)[3]
    path = transaction.envelope
    assert path is not None
    for wrong in (
        MerklePath(5, 5, path.siblings),
        MerklePath(3, ENVELOPE_TRANSACTIONS_MAX + 1, path.siblings),
        MerklePath(3, 0, path.siblings),
        MerklePath(3, 5, path.siblings[:-1]),
        MerklePath(3, 5, (*path.siblings, bytes(32))),
        MerklePath(3, 5, (path.siblings[0][:-1], *path.siblings[1:])),
        MerklePath(2, 5, path.siblings),
        MerklePath(3, 6, path.siblings),
    ):
        spoilt = replace(transaction, envelope=wrong)
        assert code(judge(spoilt.encode())) != "", wrong
    with pytest.raises(MalformedError, match="at most 1000"):
        SignedTransaction.decode(
            replace(transaction, envelope=MerklePath(3, 1_001, path.siblings)).encode()
        )


def test_what_travels_over_grpc_is_what_was_signed() -> None:
    for transaction in (*envelope(3), envelope(1, checker=(ADMIN, "k1"))[0]):
        assert transaction_from_message(transaction_to_message(transaction)) == transaction
    message = transaction_to_message(envelope(5)[3])
    message.envelope.siblings[1] += b"!"
    with pytest.raises(MalformedError):
        transaction_from_message(message)
    message = transaction_to_message(envelope(5)[3])
    del message.envelope.siblings[-1]
    with pytest.raises(MalformedError):
        transaction_from_message(message)


def test_an_envelope_is_made_in_order_and_each_names_the_one_before_it() -> None:
    """ledger.md, envelopes, step 1."""
    provider = open_provider()
    maker = Identity(CLERK, "k1", MARKET, provider.keygen())
    checker = Identity(ADMIN, "k1", MARKET, provider.keygen())
    position = ChainPosition(CHAIN, 10, bytes(32), GENESIS_TIME_MS)
    calls = [Call("scribble", "write", {"put": {"a": number}}) for number in range(5)]
    made = build_envelope(provider, maker, position, calls, checker=checker, after=bytes(32))
    payloads = [parse_payload(transaction.payload) for transaction in made]
    assert [payload.body for payload in payloads] == [call.body for call in calls]
    assert [payload.after for payload in payloads] == [
        bytes(32),
        *(transaction.id() for transaction in made[:-1]),
    ]
    assert len({payload.request_id for payload in payloads}) == 5
    assert len({transaction.signatures for transaction in made}) == 1
    for transaction in made:
        assert code(judge(transaction.encode(), verify_many=provider.verify_many)) == ""


@pytest.mark.parametrize("count", [0, ENVELOPE_TRANSACTIONS_MAX + 1])
def test_an_envelope_of_none_or_too_many_is_not_signed(count: int) -> None:
    provider = open_provider()
    maker = Identity(CLERK, "k1", MARKET, provider.keygen())
    with pytest.raises(ValueError, match=f"an envelope of {count}"):
        sign_envelope(provider, [b"{}"] * count, [maker])
