"""Any bytes give one message or `MalformedError`, and equal messages are equal bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.codec import (
    MESSAGE_BYTES_MAX,
    decode_log_record,
    decode_message,
    decode_record,
    encode_log_record,
    encode_message,
    encode_record,
)
from services.consensus.domain.messages import (
    NUMBER_MAX,
    Checkpoint,
    Commit,
    Digest,
    EpochStarted,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    Reproposal,
    SequenceNumber,
    View,
    ViewChange,
)

NUMBERS = st.integers(0, NUMBER_MAX)
VIEWS = NUMBERS.map(View)
SEQUENCES = NUMBERS.map(SequenceNumber)
REPLICAS = st.integers(0, 99).map(ReplicaId)
DIGESTS = st.binary(min_size=32, max_size=32).map(Digest)
SIGNATURES = st.binary(min_size=64, max_size=64)
BATCHES = st.builds(Batch, NUMBERS, st.lists(st.binary(max_size=20), max_size=4).map(tuple))
SIGNERS = st.lists(st.tuples(REPLICAS, SIGNATURES), max_size=4).map(tuple)
PREPARED = st.builds(PreparedCertificate, VIEWS, SEQUENCES, DIGESTS, SIGNATURES, SIGNERS)
VIEW_CHANGES = st.builds(
    ViewChange,
    VIEWS,
    REPLICAS,
    SEQUENCES,
    st.none() | st.builds(FinalityCertificate, DIGESTS, SIGNERS),
    st.lists(PREPARED, max_size=3).map(tuple),
    SIGNATURES,
)
NEW_VIEWS = st.builds(
    NewView,
    VIEWS,
    st.lists(VIEW_CHANGES, max_size=3).map(tuple),
    st.lists(st.builds(Reproposal, SEQUENCES, DIGESTS, SIGNATURES), max_size=3).map(tuple),
    SIGNATURES,
)
PRE_PREPARES = st.builds(
    lambda view, sequence, batch, signature: PrePrepare(
        view, sequence, batch, Digest(batch.digest()), signature
    ),
    VIEWS,
    SEQUENCES,
    BATCHES,
    SIGNATURES,
)
MESSAGES = st.one_of(
    st.builds(Hello, VIEWS, st.booleans(), st.booleans(), SEQUENCES, NUMBERS),
    PRE_PREPARES,
    st.builds(Prepare, VIEWS, SEQUENCES, DIGESTS, REPLICAS, SIGNATURES),
    st.builds(Commit, VIEWS, SEQUENCES, DIGESTS, REPLICAS, SIGNATURES),
    st.builds(Checkpoint, SEQUENCES, DIGESTS, REPLICAS, SIGNATURES),
    VIEW_CHANGES,
    NEW_VIEWS,
)


@given(MESSAGES)
def test_a_message_survives_its_encoding(message: PeerMessage) -> None:
    """D1: what is decoded is what was written."""
    assert decode_message(encode_message(message)) == message


@given(PREPARED)
def test_a_prepared_certificate_is_a_record_but_no_message(record: PreparedCertificate) -> None:
    """N6: it is kept with the commit; others see it in view-changes."""
    data = encode_record(record)
    assert decode_record(data) == record
    with pytest.raises(MalformedError, match="no message"):
        decode_message(data)


def test_a_hello_is_a_message_but_no_record() -> None:
    """V1: it is not signed, and so binds nobody."""
    data = encode_message(Hello(View(0), True, False, SequenceNumber(0)))
    with pytest.raises(MalformedError, match="no record"):
        decode_record(data)


@given(st.integers(0, 9), st.binary(max_size=400))
@example(2, b"")
def test_row30_any_bytes_are_refused_or_have_one_spelling(kind: int, rest: bytes) -> None:
    data = bytes([kind]) + rest
    try:
        message = decode_message(data)
    except MalformedError:
        return
    assert encode_message(message) == data


@given(MESSAGES, st.data())
def test_a_changed_byte_is_refused_or_gives_another_message(
    message: PeerMessage, data: st.DataObject
) -> None:
    """D1: of what is altered nothing stands for the original."""
    encoded = bytearray(encode_message(message))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_message(bytes(encoded))
    except MalformedError:
        return
    assert other != message
    assert encode_message(other) == bytes(encoded)


@given(MESSAGES, st.data())
def test_a_truncated_or_longer_message_is_refused(
    message: PeerMessage, data: st.DataObject
) -> None:
    """D1: what the writer would not have written."""
    encoded = encode_message(message)
    with pytest.raises(MalformedError):
        decode_message(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(MalformedError):
        decode_message(encoded + b"\x00")


def test_row08_a_pre_prepare_carries_no_digest_so_none_can_be_forged() -> None:
    batch = Batch(5, (b"pay",))
    honest = PrePrepare(View(0), SequenceNumber(1), batch, Digest(batch.digest()), bytes(64))
    forged = PrePrepare(View(0), SequenceNumber(1), batch, Digest(b"x" * 32), bytes(64))
    assert decode_message(encode_message(forged)) == honest


@pytest.mark.parametrize("number", [NUMBER_MAX + 1, 2**64 - 1])
def test_an_absurd_number_is_refused(number: int) -> None:
    """D1, also where a later view or height could hold it (P2)."""
    data = bytearray(encode_message(Hello(View(0), True, False, SequenceNumber(0))))
    data[1:9] = number.to_bytes(8, "big")
    with pytest.raises(MalformedError, match="at most"):
        decode_message(bytes(data))


def test_a_message_above_the_largest_size_is_refused_unread() -> None:
    """D1: its length is enough."""
    with pytest.raises(MalformedError, match="at most"):
        decode_message(bytes(MESSAGE_BYTES_MAX + 1))


def test_an_epochs_mark_reads_back_and_stands_in_no_message() -> None:
    """R5."""
    data = encode_log_record(EpochStarted(7, View(3)))
    assert decode_log_record(data) == EpochStarted(7, View(3))
    with pytest.raises(MalformedError):
        decode_message(data)
    with pytest.raises(MalformedError):
        decode_log_record(data + b"x")
