"""The canonical bytes of messages and records: one spelling each, or `MalformedError`.

They travel inside the peers' frames, go into the durable log, and are what composite signatures
cover. Sizes and integers are bounded here, before anything is looked at; digests are recomputed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guqiao_sdk.proof.batch import BATCH_BYTES_MAX, Batch
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.header import HASH_BYTES, SIGNATURE_BYTES, FinalityCertificate
from guqiao_sdk.proof.quorum import REPLICAS_MAX
from services.consensus.domain.messages import (
    NUMBER_MAX,
    WINDOW_MAX,
    Checkpoint,
    Commit,
    Digest,
    EpochStarted,
    Hello,
    LogRecord,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Record,
    ReplicaId,
    Reproposal,
    SequenceNumber,
    View,
    ViewChange,
)

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_NUMBER_BYTES: Final = 8
_CERTIFICATE_BYTES_MAX: Final = HASH_BYTES + 4 + REPLICAS_MAX * (4 + SIGNATURE_BYTES)
_VIEW_CHANGE_BYTES_MAX: Final = _CERTIFICATE_BYTES_MAX * (WINDOW_MAX + 2)
_LENGTH_BYTES: Final = 4
_VOTE_BYTES: Final = 4 + SIGNATURE_BYTES
_PLACE_BYTES: Final = 2 * _NUMBER_BYTES + HASH_BYTES


@dataclass(frozen=True, slots=True)
class ProposalEnds:
    """What stands before and after the batch of a pre-prepare, read without it."""

    view: View
    sequence: SequenceNumber
    signature: bytes


class Kind(IntEnum):
    """The first byte of an encoding. A number is never used twice."""

    HELLO = 1
    PRE_PREPARE = 2
    PREPARE = 3
    COMMIT = 4
    CHECKPOINT = 5
    VIEW_CHANGE = 6
    NEW_VIEW = 7
    PREPARED_CERTIFICATE = 8
    EPOCH_STARTED = 9


def encode_message(message: PeerMessage) -> bytes:
    """The bytes that a frame carries."""
    return _encode(message)


def decode_message(data: bytes) -> PeerMessage:
    """Read `encode_message`'s bytes; raises `MalformedError` and nothing else."""
    message = _decode(data)
    if isinstance(message, PreparedCertificate):
        raise MalformedError("a prepared certificate is no message")
    return message


def read_proposal_ends(data: bytes) -> ProposalEnds:
    """View, sequence number and signature of an encoded pre-prepare, whatever stands between them;
    raises `MalformedError`.
    """
    reader = Reader(data[: 1 + 2 * _NUMBER_BYTES])
    if reader.u8() != Kind.PRE_PREPARE:
        raise MalformedError("no pre-prepare")
    view, sequence = View(_number(reader)), SequenceNumber(_number(reader))
    if len(data) < 1 + 2 * _NUMBER_BYTES + SIGNATURE_BYTES:
        raise MalformedError("a pre-prepare without a signature")
    return ProposalEnds(view, sequence, data[-SIGNATURE_BYTES:])


def view_change_bytes_max(replicas: int, window: int) -> int:
    """The bytes of the longest view-change that `authenticate` lets pass in a set of `replicas`:
    everybody's votes for the certified height, and everybody's but the primary's for each above it.
    """
    return 1 + _view_change_bytes_max(replicas, window)


def new_view_bytes_max(replicas: int, window: int) -> int:
    """The bytes of the longest new-view that can be true in a set of `replicas`: a view-change of
    each, and a proposal for each sequence number of the window.
    """
    view_changes = replicas * (_LENGTH_BYTES + _view_change_bytes_max(replicas, window))
    reproposals = window * (_PLACE_BYTES - _NUMBER_BYTES + SIGNATURE_BYTES)
    ends = 1 + _NUMBER_BYTES + 2 * _LENGTH_BYTES + SIGNATURE_BYTES
    return min(ends + view_changes + reproposals, MESSAGE_BYTES_MAX)


def encode_record(record: Record) -> bytes:
    """The bytes that the durable log keeps."""
    return _encode(record)


def decode_record(data: bytes) -> Record:
    """Read `encode_record`'s bytes; raises `MalformedError` and nothing else."""
    record = _decode(data)
    if isinstance(record, Hello):
        raise MalformedError("a hello is no record")
    return record


def encode_log_record(record: LogRecord) -> bytes:
    """The same for what stands between the core's records."""
    if isinstance(record, EpochStarted):
        writer = Writer().u8(Kind.EPOCH_STARTED).u64(record.epoch)
        return bytes(writer.u64(record.view_floor))
    return encode_record(record)


def decode_log_record(data: bytes) -> LogRecord:
    """Read `encode_log_record`'s bytes; raises `MalformedError` and nothing else."""
    reader = Reader(data)
    if reader.u8() != Kind.EPOCH_STARTED:
        return decode_record(data)
    started = EpochStarted(_number(reader), View(_number(reader)))
    reader.end()
    return started


def view_change_content(message: ViewChange) -> bytes:
    """What a view-change's signature covers, through its digest."""
    writer = Writer().u64(message.view).u32(message.replica).u64(message.certified)
    certificate = message.certificate
    writer.blob(b"" if certificate is None else certificate.encode())
    writer.u32(len(message.prepared))
    for prepared in message.prepared:
        _write_prepared(writer, prepared)
    return bytes(writer)


def new_view_content(message: NewView) -> bytes:
    """What a new-view's signature covers, through its digest."""
    writer = Writer().u64(message.view).u32(len(message.view_changes))
    for view_change in message.view_changes:
        writer.blob(view_change_content(view_change)).raw(view_change.signature)
    writer.u32(len(message.reproposals))
    for proposal in message.reproposals:
        writer.u64(proposal.sequence).raw(proposal.digest).raw(proposal.signature)
    return bytes(writer)


def _encode(value: PeerMessage | Record) -> bytes:
    writer = Writer()
    match value:
        case Hello():
            writer.u8(Kind.HELLO).u64(value.view).u8(value.active).u8(value.suspects)
            writer.u64(value.certified).u64(value.epoch)
        case PrePrepare():
            writer.u8(Kind.PRE_PREPARE).u64(value.view).u64(value.sequence)
            writer.blob(value.batch.encode()).raw(value.signature)
        case Prepare() | Commit():
            kind = Kind.PREPARE if isinstance(value, Prepare) else Kind.COMMIT
            writer.u8(kind).u64(value.view).u64(value.sequence).raw(value.digest)
            writer.u32(value.replica).raw(value.signature)
        case Checkpoint():
            writer.u8(Kind.CHECKPOINT).u64(value.sequence).raw(value.header_hash)
            writer.u32(value.replica).raw(value.signature)
        case ViewChange():
            writer.u8(Kind.VIEW_CHANGE).raw(view_change_content(value)).raw(value.signature)
        case NewView():
            writer.u8(Kind.NEW_VIEW).raw(new_view_content(value)).raw(value.signature)
        case PreparedCertificate():
            _write_prepared(writer.u8(Kind.PREPARED_CERTIFICATE), value)
    return bytes(writer)


def _view_change_bytes_max(replicas: int, window: int) -> int:
    """Of its content and signature."""
    certificate = HASH_BYTES + _LENGTH_BYTES + replicas * _VOTE_BYTES
    prepared = _PLACE_BYTES + SIGNATURE_BYTES + _LENGTH_BYTES + (replicas - 1) * _VOTE_BYTES
    ends = 2 * _NUMBER_BYTES + 3 * _LENGTH_BYTES + SIGNATURE_BYTES
    return ends + certificate + window * prepared


def _write_prepared(writer: Writer, value: PreparedCertificate) -> None:
    writer.u64(value.view).u64(value.sequence).raw(value.digest)
    writer.raw(value.pre_prepare_signature).u32(len(value.prepares))
    for replica, signature in value.prepares:
        writer.u32(replica).raw(signature)


def _decode(data: bytes) -> PeerMessage | Record:
    if len(data) > MESSAGE_BYTES_MAX:
        raise MalformedError(f"a message of {len(data)} bytes, at most {MESSAGE_BYTES_MAX} allowed")
    reader = Reader(data)
    number = reader.u8()
    read = _READERS.get(number)
    if read is None:
        raise MalformedError(f"{number} is no kind of message")
    value = read(reader)
    reader.end()
    return value


def _number(reader: Reader) -> int:
    value = reader.u64()
    if value > NUMBER_MAX:
        raise MalformedError(f"the number {value}, at most {NUMBER_MAX} allowed")
    return value


def _flag(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise MalformedError(f"{value} is neither true nor false")
    return value == 1


def _replica(reader: Reader) -> ReplicaId:
    value = reader.u32()
    if value >= REPLICAS_MAX:
        raise MalformedError(f"replica {value}, at most {REPLICAS_MAX} replicas exist")
    return ReplicaId(value)


def _read_hello(reader: Reader) -> Hello:
    return Hello(
        View(_number(reader)),
        _flag(reader),
        _flag(reader),
        SequenceNumber(_number(reader)),
        _number(reader),
    )


def _read_pre_prepare(reader: Reader) -> PrePrepare:
    view, sequence = View(_number(reader)), SequenceNumber(_number(reader))
    batch = Batch.decode(reader.blob(BATCH_BYTES_MAX))
    if batch.block_time_ms > NUMBER_MAX:
        raise MalformedError(f"a block time of {batch.block_time_ms}, at most {NUMBER_MAX} allowed")
    return PrePrepare(view, sequence, batch, Digest(batch.digest()), reader.raw(SIGNATURE_BYTES))


def _read_vote(reader: Reader) -> tuple[View, SequenceNumber, Digest, ReplicaId, bytes]:
    return (
        View(_number(reader)),
        SequenceNumber(_number(reader)),
        Digest(reader.raw(HASH_BYTES)),
        _replica(reader),
        reader.raw(SIGNATURE_BYTES),
    )


def _read_checkpoint(reader: Reader) -> Checkpoint:
    return Checkpoint(
        SequenceNumber(_number(reader)),
        Digest(reader.raw(HASH_BYTES)),
        _replica(reader),
        reader.raw(SIGNATURE_BYTES),
    )


def _read_prepared(reader: Reader) -> PreparedCertificate:
    return PreparedCertificate(
        View(_number(reader)),
        SequenceNumber(_number(reader)),
        Digest(reader.raw(HASH_BYTES)),
        reader.raw(SIGNATURE_BYTES),
        tuple(
            (_replica(reader), reader.raw(SIGNATURE_BYTES))
            for _ in range(reader.count(REPLICAS_MAX))
        ),
    )


def _read_view_change(reader: Reader) -> ViewChange:
    view, replica = View(_number(reader)), _replica(reader)
    certified = SequenceNumber(_number(reader))
    encoded = reader.blob(_CERTIFICATE_BYTES_MAX)
    certificate = FinalityCertificate.decode(encoded) if encoded else None
    prepared = tuple(_read_prepared(reader) for _ in range(reader.count(WINDOW_MAX)))
    signature = reader.raw(SIGNATURE_BYTES)
    return ViewChange(view, replica, certified, certificate, prepared, signature)


def _read_nested_view_change(reader: Reader) -> ViewChange:
    content = reader.blob(_VIEW_CHANGE_BYTES_MAX)
    nested = Reader(content + reader.raw(SIGNATURE_BYTES))
    view_change = _read_view_change(nested)
    nested.end()
    return view_change


def _read_new_view(reader: Reader) -> NewView:
    view = View(_number(reader))
    view_changes = tuple(
        _read_nested_view_change(reader) for _ in range(reader.count(REPLICAS_MAX))
    )
    reproposals = tuple(
        Reproposal(
            SequenceNumber(_number(reader)),
            Digest(reader.raw(HASH_BYTES)),
            reader.raw(SIGNATURE_BYTES),
        )
        for _ in range(reader.count(WINDOW_MAX))
    )
    return NewView(view, view_changes, reproposals, reader.raw(SIGNATURE_BYTES))


_READERS: Final[dict[int, Callable[[Reader], PeerMessage | Record]]] = {
    Kind.HELLO: _read_hello,
    Kind.PRE_PREPARE: _read_pre_prepare,
    Kind.PREPARE: lambda reader: Prepare(*_read_vote(reader)),
    Kind.COMMIT: lambda reader: Commit(*_read_vote(reader)),
    Kind.CHECKPOINT: _read_checkpoint,
    Kind.VIEW_CHANGE: _read_view_change,
    Kind.NEW_VIEW: _read_new_view,
    Kind.PREPARED_CERTIFICATE: _read_prepared,
}
