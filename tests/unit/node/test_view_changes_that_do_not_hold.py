"""View-changes and new-views that are too long, or not authentic: refused before they are read, and
whoever sends them rests (pbft.md, D1; reliability P23).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus import wire
from services.consensus.domain.codec import (
    MESSAGE_BYTES_MAX,
    decode_message,
    encode_message,
    new_view_bytes_max,
    view_change_bytes_max,
)
from services.consensus.domain.messages import (
    Digest,
    NewView,
    PeerMessage,
    PreparedCertificate,
    ReplicaId,
    Reproposal,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.refusals import Reason
from services.consensus.surplus import Sent
from services.consensus.view_change_intake import ViewChangeIntake

LIAR, HONEST = 3, 1
SIGNATURE = bytes(64)
DIGEST = Digest(b"d" * 32)
REST_SECONDS = 30


def view_change(replica: int, replicas: int, window: int) -> ViewChange:
    """As long as one can be that passes: all votes that there are, for every height."""
    votes = tuple((ReplicaId(each), SIGNATURE) for each in range(replicas))
    prepared = tuple(
        PreparedCertificate(View(0), SequenceNumber(2 + each), DIGEST, SIGNATURE, votes[1:])
        for each in range(window)
    )
    certificate = FinalityCertificate(DIGEST, votes)
    return ViewChange(
        View(1), ReplicaId(replica), SequenceNumber(1), certificate, prepared, SIGNATURE
    )


def new_view(replicas: int, window: int) -> NewView:
    view_changes = tuple(view_change(each, replicas, window) for each in range(replicas))
    reproposals = tuple(
        Reproposal(SequenceNumber(2 + each), DIGEST, SIGNATURE) for each in range(window)
    )
    return NewView(View(1), view_changes, reproposals, SIGNATURE)


def frame_of(message: PeerMessage) -> peer_pb2.PeerFrame:
    return wire.open_frame(wire.message_frame(message))


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(("replicas", "window"), [(4, 1), (4, 8), (7, 32), (31, 4)])
def test_the_longest_that_can_hold_is_let_pass_and_one_vote_more_is_not(
    replicas: int, window: int
) -> None:
    longest, opening = view_change(0, replicas, window), new_view(replicas, window)
    assert len(encode_message(longest)) == view_change_bytes_max(replicas, window)
    assert len(encode_message(opening)) == new_view_bytes_max(replicas, window)
    for message in (longest, opening):
        wire.check_view_change_length(frame_of(message), replicas, window)
        decode_message(encode_message(message))
        for smaller in ((replicas - 1, window), (replicas, window - 1)):
            with pytest.raises(MalformedError, match="bytes, at most"):
                wire.check_view_change_length(frame_of(message), *smaller)


def test_none_is_longer_than_a_message_may_be() -> None:
    assert new_view_bytes_max(100, 32) == MESSAGE_BYTES_MAX
    assert new_view_bytes_max(4, 32) < MESSAGE_BYTES_MAX // 200


class Intake:
    """A real `ViewChangeIntake` that finds `forgers`, and a clock by hand."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self.now = 1_000.0
        self.refused: list[tuple[int, Reason]] = []
        self.judged: list[int] = []
        self.forgers: set[int] = set()
        self.intake = ViewChangeIntake(cast(Any, self), thread, self._judge, lambda: self.now)

    def count(self, sender: int, reason: Reason, why: str = "", *, times: int = 1) -> None:
        self.refused += [(sender, reason)] * times

    async def _judge(self, epoch: int, messages: list[Sent]) -> set[int]:
        senders = [sender for sender, _ in messages]
        self.judged += senders
        return self.forgers.intersection(senders)

    async def hears(self, sender: int, *encoded: bytes) -> int:
        """Of these messages, how many are judged."""
        before, waiting = len(self.judged), self.intake._waiting
        for each in encoded:
            self.intake.put(sender, 0, each)
        while any(queue.entries for queue in waiting._peers.values()):
            await self.intake.look()
        return len(self.judged) - before


@pytest.fixture
def intake() -> Iterator[Intake]:
    with ThreadPoolExecutor(1) as thread:
        yield Intake(thread)


GOOD = encode_message(view_change(LIAR, 4, 1))


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_who_sent_one_that_is_not_authentic_rests_and_others_do_not(intake: Intake) -> None:
    intake.forgers = {LIAR}
    assert await intake.hears(LIAR, GOOD, GOOD, GOOD) == 1
    assert intake.refused == [(LIAR, Reason.FLOOD)] * 2
    assert await intake.hears(HONEST, GOOD, GOOD, GOOD) == 3
    intake.now += REST_SECONDS - 1
    assert await intake.hears(LIAR, GOOD) == 0
    intake.now += 2
    assert await intake.hears(LIAR, GOOD) == 1
    assert await intake.hears(LIAR, GOOD) == 0


@pytest.mark.req("G2-07-1")
async def test_who_sent_one_that_cannot_be_read_rests(intake: Intake) -> None:
    assert await intake.hears(LIAR, GOOD[:-1], GOOD) == 0
    assert intake.refused == [(LIAR, Reason.MALFORMED), (LIAR, Reason.FLOOD)]
    intake.now += REST_SECONDS + 1
    assert await intake.hears(LIAR, GOOD) == 1


@pytest.mark.req("G2-07-1")
async def test_who_sends_many_that_hold_does_not_rest(intake: Intake) -> None:
    for _ in range(5):
        assert await intake.hears(LIAR, GOOD, GOOD, GOOD) == 3
    assert intake.refused == []
