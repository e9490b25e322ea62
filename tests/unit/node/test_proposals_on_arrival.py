"""Pre-prepares carry whole batches: what is of no use is turned away by its first bytes, whatever
follows them, and the rest is read off the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.canonical import MalformedError, Writer
from services.consensus import proposal_intake, wire
from services.consensus.domain.codec import (
    Kind,
    decode_message,
    encode_message,
    read_proposal_ends,
)
from services.consensus.domain.effects import Reject
from services.consensus.domain.messages import PeerMessage, PrePrepare, ReplicaId
from services.consensus.refusals import Reason
from tests.unit.consensus.protocol import PARAMETERS, PAY
from tests.unit.node.test_intake import Desk

WINDOW = PARAMETERS.window
NO_BATCH = b"this is no batch"


def unreadable(view: int, sequence: int) -> bytes:
    """A frame with a pre-prepare whose batch cannot be decoded."""
    message = Writer().u8(Kind.PRE_PREPARE).u64(view).u64(sequence).raw(NO_BATCH).raw(bytes(64))
    return peer_pb2.PeerFrame(message=bytes(message)).SerializeToString()


@asynccontextmanager
async def reading(desk: Desk) -> AsyncIterator[None]:
    """The proposals' loop is at work inside."""
    loop = asyncio.ensure_future(desk.intake._proposals.run())
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    ("sender", "view", "sequence", "reason"),
    [
        (3, 0, 1, Reason.UNAUTHENTIC),
        (0, 3, 1, Reason.UNAUTHENTIC),
        (0, 0, 0, Reason.STALE),
        (0, 0, 2 * WINDOW + 1, Reason.FUTURE),
        (3, 3, 1, Reason.OTHER_VIEW),
        (0, 4, 1, Reason.OTHER_VIEW),
        (0, 0, WINDOW + 1, Reason.FUTURE),
        (7, 0, 1, Reason.NOT_MEMBER),
        (0, 0, 1, Reason.MALFORMED),
    ],
)
async def test_only_what_the_primary_of_this_view_proposes_in_the_window_is_read(
    sender: int, view: int, sequence: int, reason: Reason
) -> None:
    desk = Desk()
    async with reading(desk):
        await desk.judge_frames((sender, unreadable(view, sequence)))
    assert desk.refused == [(sender, reason)]
    assert desk.rounds == []


async def test_a_batch_is_read_off_the_loop_and_given_to_the_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers = list[threading.Thread]()

    def read(data: bytes) -> PeerMessage:
        readers.append(threading.current_thread())
        return decode_message(data)

    monkeypatch.setattr(proposal_intake, "decode_message", read)
    monkeypatch.setattr(wire, "decode_message", read)
    desk = Desk()
    proposal = desk.driver.bench.pre_prepare(1, PAY)
    async with reading(desk):
        await desk.judge((0, proposal))
    assert desk.driver.taken == [(0, proposal)]
    [reader] = readers
    assert reader is not threading.current_thread()


async def test_a_proposal_that_is_held_is_not_read_again_but_another_for_its_place_is() -> None:
    desk = Desk()
    held = desk.driver.bench.pre_prepare(1, PAY)
    desk.driver.bench.step(held, 0)
    other = replace(held, signature=b"s" * 64)
    async with reading(desk):
        await desk.judge((0, held), (0, other))
    assert desk.refused == [(0, Reason.REPEATED)]
    assert desk.driver.taken == [(0, other)]


@pytest.mark.req("G2-07-1")
async def test_after_a_forged_proposal_the_next_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal_intake, "REST_SECONDS", 3_600.0)
    desk, forged = Desk(), Reject(ReplicaId(0), "a forged signature")
    desk.verdict = lambda sender: forged
    async with reading(desk):
        await desk.judge((0, desk.driver.bench.pre_prepare(1, PAY)))
        assert desk.refused == [(0, Reason.UNAUTHENTIC)]
        for _ in range(9):
            desk.receive(0, desk.driver.bench.pre_prepare(1, PAY))
            await asyncio.get_running_loop().run_in_executor(desk.intake._vote_thread, int)
    assert desk.rounds == [[0]]


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.binary(min_size=64, max_size=64))
def test_the_ends_of_a_pre_prepare_are_those_that_it_reads_back_with(
    view: int, sequence: int, signature: bytes
) -> None:
    written = Writer().u8(Kind.PRE_PREPARE).u64(view).u64(sequence).blob(PAY.encode())
    data = bytes(written.raw(signature))
    message = decode_message(data)
    assert isinstance(message, PrePrepare)
    ends = read_proposal_ends(data)
    assert (ends.view, ends.sequence) == (message.view, message.sequence)
    assert ends.signature == message.signature
    assert encode_message(message) == data


@given(st.binary(max_size=90))
def test_bytes_without_both_ends_of_a_pre_prepare_are_malformed(data: bytes) -> None:
    encoded = bytes([Kind.PRE_PREPARE]) + data
    try:
        ends = read_proposal_ends(encoded)
    except MalformedError:
        return
    assert len(encoded) >= 17 + 64
    assert encoded[-64:] == ends.signature
