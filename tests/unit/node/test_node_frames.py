"""Frames between replicas: what is written reads back, anything else is refused as malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus import wire
from services.consensus.domain.messages import BatchFetched, Hello, SequenceNumber, View
from services.consensus.peers import QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, WRITE_BYTES_MAX, SendQueue


def test_a_consensus_message_reads_back() -> None:
    hello = Hello(View(3), active=True, suspects=False, certified=SequenceNumber(9))
    assert wire.read_frame(wire.message_frame(hello)) == hello


def test_a_batch_reads_back() -> None:
    batch = Batch(1_000, (b"one", b"two"))
    frame = wire.batch_response_frame(7, batch)
    assert wire.read_frame(frame) == BatchFetched(SequenceNumber(7), batch)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_or_are_malformed(data: bytes) -> None:
    try:
        frame = wire.read_frame(data)
    except MalformedError:
        return
    assert frame is not None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        peer_pb2.PeerFrame(message=b"not a message"),
        peer_pb2.PeerFrame(batch_request=peer_pb2.BatchRequest(sequence=1, digest=b"short")),
        peer_pb2.PeerFrame(batch_response=peer_pb2.BatchResponse(sequence=1, batch=b"x")),
        peer_pb2.PeerFrame(
            transactions=peer_pb2.TransactionGossip(
                transactions=[b""] * (wire.GOSSIP_TRANSACTIONS_MAX + 1)
            )
        ),
    ],
)
def test_a_frame_that_breaks_its_form_is_malformed(frame: bytes | peer_pb2.PeerFrame) -> None:
    data = frame if isinstance(frame, bytes) else frame.SerializeToString()
    with pytest.raises(MalformedError):
        wire.read_frame(data)


def test_essential_frames_go_before_those_that_may_be_dropped() -> None:
    queue = SendQueue()
    queue.put(b"gossip", droppable=True)
    queue.put(b"vote", droppable=False)
    assert queue.take() == [b"vote", b"gossip"]
    assert not queue.filled.is_set()


def test_a_full_queue_drops_passed_on_transactions_first() -> None:
    queue = SendQueue()
    queue.put(b"gossip", droppable=True)
    for number in range(QUEUE_FRAMES_MAX):
        queue.put(b"vote %d" % number, droppable=False)
    assert len(queue) == QUEUE_FRAMES_MAX
    assert queue.dropped == 1
    assert queue.take()[0] == b"vote 0"


def test_a_queue_never_holds_more_bytes_than_its_bound() -> None:
    queue = SendQueue()
    size = QUEUE_BYTES_MAX // 4
    for number in range(6):
        queue.put(bytes([number]) * size, droppable=False)
    assert queue.size <= QUEUE_BYTES_MAX
    assert queue.take()[0][0] == 2, "the oldest gave way"


def test_frames_are_written_together_up_to_about_a_mebibyte() -> None:
    queue = SendQueue()
    for _ in range(3):
        queue.put(bytes(WRITE_BYTES_MAX // 2), droppable=False)
    assert [len(queue.take()), len(queue.take())] == [2, 1]
    queue.put(bytes(WRITE_BYTES_MAX * 2), droppable=False)
    assert len(queue.take()) == 1, "a frame larger than that goes alone"
