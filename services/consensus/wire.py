"""Frames between replicas: domain values to protobuf and back, in one place.

A frame that cannot be read gives `MalformedError`; the sizes and counts of what it carries are
checked before anything is built from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.light_client import SET_CHANGES_MAX
from services.chassis.strict_protobuf import NotStrictError, parse_strict
from services.consensus.domain.codec import (
    Kind,
    decode_message,
    encode_message,
    new_view_bytes_max,
    view_change_bytes_max,
)
from services.consensus.domain.ledger.admission import TRANSACTION_BYTES_MAX
from services.consensus.domain.ledger.state_parts import read_prefix
from services.consensus.domain.messages import BatchFetched, PeerMessage, SequenceNumber

GOSSIP_TRANSACTIONS_MAX: Final = 4_000
BLOCKS_MAX: Final = 100
DIGEST_BYTES: Final = 32
_HELLO: Final = bytes([Kind.HELLO])
_PRE_PREPARE: Final = bytes([Kind.PRE_PREPARE])
_NEW_VIEW: Final = bytes([Kind.NEW_VIEW])
_VIEW_CHANGES: Final = (bytes([Kind.VIEW_CHANGE]), _NEW_VIEW)

Frame: TypeAlias = (
    PeerMessage
    | peer_pb2.TransactionGossip
    | peer_pb2.BlockRequest
    | peer_pb2.BlockResponse
    | peer_pb2.BatchRequest
    | BatchFetched
    | peer_pb2.StateRequest
    | peer_pb2.StateResponse
)


class OtherEpochError(Exception):
    """A vote or proposal of another epoch: of no use here, and no offence."""


def message_frame(message: PeerMessage, epoch: int = 0) -> bytes:
    """A consensus message of `epoch`."""
    frame = peer_pb2.PeerFrame(message=encode_message(message), epoch=epoch)
    return frame.SerializeToString()


def gossip_frame(transactions: Sequence[bytes]) -> bytes:
    """Transactions passed on."""
    assert len(transactions) <= GOSSIP_TRANSACTIONS_MAX
    gossip = peer_pb2.TransactionGossip(transactions=transactions)
    return peer_pb2.PeerFrame(transactions=gossip).SerializeToString()


def block_request_frame(first: int, last: int) -> bytes:
    """A request for certified blocks."""
    request = peer_pb2.BlockRequest(from_height=first, to_height=last)
    return peer_pb2.PeerFrame(block_request=request).SerializeToString()


def block_response_frame(blocks: Sequence[ledger_pb2.Block], last_certified: int) -> bytes:
    """Certified blocks."""
    response = peer_pb2.BlockResponse(blocks=blocks, last_certified_height=last_certified)
    return peer_pb2.PeerFrame(block_response=response).SerializeToString()


def batch_request_frame(sequence: int, digest: bytes) -> bytes:
    """A request for a batch by its digest."""
    request = peer_pb2.BatchRequest(sequence=sequence, digest=digest)
    return peer_pb2.PeerFrame(batch_request=request).SerializeToString()


def batch_response_frame(sequence: int, batch: Batch) -> bytes:
    """The batch asked for."""
    response = peer_pb2.BatchResponse(sequence=sequence, batch=batch.encode())
    return peer_pb2.PeerFrame(batch_response=response).SerializeToString()


def state_request_frame(height: int, *, from_epoch: int = 0, prefix: bytes = b"") -> bytes:
    """A request for the head of a state (height 0) or for a part of one."""
    request = peer_pb2.StateRequest(height=height, from_epoch=from_epoch, prefix=prefix)
    return peer_pb2.PeerFrame(state_request=request).SerializeToString()


def state_response_frame(response: peer_pb2.StateResponse) -> bytes:
    """The head of a state, or a part of it."""
    return peer_pb2.PeerFrame(state_response=response).SerializeToString()


def read_frame(data: bytes, epoch: int = 0) -> Frame:
    """What a peer sent, or `MalformedError`; `OtherEpochError` for a vote not of `epoch`."""
    return read_content(open_frame(data, epoch))


def open_frame(data: bytes, epoch: int = 0) -> peer_pb2.PeerFrame:
    """The frame whose content is still to be read; raises as `read_frame` does."""
    try:
        frame = parse_strict(peer_pb2.PeerFrame, data)
    except NotStrictError as error:
        raise MalformedError(str(error)) from error
    kind = frame.WhichOneof("content")
    if kind is None:
        raise MalformedError("an empty frame")
    if kind == "message" and frame.epoch != epoch and frame.message[:1] != _HELLO:
        raise OtherEpochError
    return frame


def changes_view(frame: peer_pb2.PeerFrame) -> bool:
    """Whether it carries a view-change or a new-view: long, and seldom."""
    return frame.message[:1] in _VIEW_CHANGES


def check_view_change_length(frame: peer_pb2.PeerFrame, replicas: int, window: int) -> None:
    """Raise `MalformedError` where a view-change or a new-view is longer than a true one can be in
    a set of `replicas`: it is read only afterwards.
    """
    opens_view = frame.message[:1] == _NEW_VIEW
    bytes_max = (new_view_bytes_max if opens_view else view_change_bytes_max)(replicas, window)
    if len(frame.message) > bytes_max:
        what = "new-view" if opens_view else "view-change"
        raise MalformedError(
            f"a {what} of {len(frame.message)} bytes, at most {bytes_max} in a set of {replicas}"
        )


def proposes(frame: peer_pb2.PeerFrame) -> bool:
    """Whether it carries a pre-prepare: its batch takes long to read."""
    return frame.message[:1] == _PRE_PREPARE


def answers_batch(frame: peer_pb2.PeerFrame) -> bool:
    """Whether it carries a batch that was asked for, which takes long to read."""
    return frame.WhichOneof("content") == "batch_response"


def read_content(frame: peer_pb2.PeerFrame) -> Frame:
    """What an opened frame carries, or `MalformedError`."""
    kind = frame.WhichOneof("content")
    assert kind is not None, "open_frame refused an empty one"
    return _READERS[kind](frame)


def read_batch(response: peer_pb2.BatchResponse) -> BatchFetched:
    """The batch that a peer answers with, or `MalformedError`."""
    return BatchFetched(SequenceNumber(response.sequence), Batch.decode(response.batch))


def _gossip(frame: peer_pb2.PeerFrame) -> peer_pb2.TransactionGossip:
    if len(frame.transactions.transactions) > GOSSIP_TRANSACTIONS_MAX:
        raise MalformedError(f"more than {GOSSIP_TRANSACTIONS_MAX} transactions in one frame")
    if any(len(each) > TRANSACTION_BYTES_MAX for each in frame.transactions.transactions):
        raise MalformedError(f"a transaction of more than {TRANSACTION_BYTES_MAX} bytes")
    return frame.transactions


def _block_request(frame: peer_pb2.PeerFrame) -> peer_pb2.BlockRequest:
    if not 1 <= frame.block_request.from_height <= frame.block_request.to_height:
        raise MalformedError("a request for no blocks")
    return frame.block_request


def _block_response(frame: peer_pb2.PeerFrame) -> peer_pb2.BlockResponse:
    if len(frame.block_response.blocks) > BLOCKS_MAX:
        raise MalformedError(f"more than {BLOCKS_MAX} blocks in one frame")
    return frame.block_response


def _batch_request(frame: peer_pb2.PeerFrame) -> peer_pb2.BatchRequest:
    if len(frame.batch_request.digest) != DIGEST_BYTES:
        raise MalformedError("a batch digest of another length")
    return frame.batch_request


def _state_request(frame: peer_pb2.PeerFrame) -> peer_pb2.StateRequest:
    read_prefix(frame.state_request.prefix)
    return frame.state_request


def _state_response(frame: peer_pb2.PeerFrame) -> peer_pb2.StateResponse:
    read_prefix(frame.state_response.prefix)
    if len(frame.state_response.set_changes) > SET_CHANGES_MAX:
        raise MalformedError(f"more than {SET_CHANGES_MAX} set changes in one frame")
    return frame.state_response


_READERS: Final[Mapping[str, Callable[[peer_pb2.PeerFrame], Frame]]] = {
    "message": lambda frame: decode_message(frame.message),
    "transactions": _gossip,
    "block_request": _block_request,
    "block_response": _block_response,
    "batch_request": _batch_request,
    "batch_response": lambda frame: read_batch(frame.batch_response),
    "state_request": _state_request,
    "state_response": _state_response,
}
