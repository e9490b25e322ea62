"""What the intake does with peers' messages around their verification: whom it hurries, what it
throws away because the replica has changed meanwhile, and how large a batch may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao_sdk.proof.batch import Batch
from services.chassis.telemetry import Metrics
from services.consensus import wire
from services.consensus.domain.codec import encode_message
from services.consensus.domain.effects import Effect, Evidence, InvalidBatch, Reject
from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.domain.messages import (
    BatchRefused,
    Digest,
    Message,
    PeerMessage,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.intake import USELESS_JUDGED_AT_ONCE_MAX, Intake
from services.consensus.metrics import ReplicaMetrics
from services.consensus.refusals import Reason
from tests.simulation.keys import public_key, replica_set, sign_with
from tests.unit.consensus.protocol import (
    GENESIS,
    PARAMETERS,
    PAY,
    START_MS,
    Bench,
    kinds,
    signer,
    ticking,
    view_change,
)

TRANSACTIONS = (b"a" * 50, b"b" * 30)
BATCH_BYTES = 12 + (4 + 50) + (4 + 30)
"""Block time and count, then each transaction behind its length."""
FORGER, HONEST = 3, 2


def commit(sender: int, number: int) -> tuple[int, PeerMessage]:
    """A vote of view 0; each number has its own digest, so none is more than a quorum needs."""
    digest = Digest(number.to_bytes(32, "big"))
    return sender, signer(sender).commit(View(0), SequenceNumber(1), digest)


@dataclass
class Driver:
    """What the intake sees of a replica at work."""

    bench: Bench
    note: Callable[[], None]
    votes: bool = True
    peer_heights: dict[ReplicaId, int] = field(default_factory=dict)
    mempool: Any = field(default_factory=lambda: SimpleNamespace(find_encoded=lambda encoded: None))
    taken: list[tuple[int, Message]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.replica = self.bench.core

    def waiting(self) -> Iterator[tuple[ReplicaId, Message]]:
        return iter(())

    def put(self, sender: ReplicaId, message: PeerMessage) -> bool:
        self.taken.append((sender, message))
        self.note()
        return True

    def put_own(self, message: Message) -> None:
        self.taken.append((self.bench.me, message))
        self.effects += self.bench.step(message)

    def put_pre_prepare(self, sender: int, message: PrePrepare, transactions: object) -> None:
        self.taken.append((sender, message))
        self.effects += self.bench.step(message, sender)
        self.note()

    def another_core(self) -> None:
        """An epoch ends, or the replica goes on from what it restored."""
        self.bench.recover()
        self.replica = self.bench.core


class Desk:
    """A real intake of replica 1. `verdict` stands for the verification of signatures."""

    def __init__(self, *, batch_bytes_max: int = BATCH_BYTES) -> None:
        self._left, self._done = 0, asyncio.Event()
        self.driver = Driver(ticking(1), self._note)
        self.refused: list[tuple[int, Reason]] = []
        self.rounds: list[list[int]] = []
        self.verdict: Callable[[int], Reject | None] = lambda sender: None
        self.while_judging: Callable[[], None] = lambda: None
        self.admission_says: Refused | None = None
        metrics = ReplicaMetrics(Metrics())
        metrics.refusals = cast(Any, SimpleNamespace(count=self._refuse))
        parameters = SimpleNamespace(
            window=PARAMETERS.window, batch_transactions_max=9, batch_bytes_max=batch_bytes_max
        )
        self.intake = Intake(
            driver=cast(Any, self.driver),
            ledger=cast(Any, SimpleNamespace(genesis=SimpleNamespace(parameters=parameters))),
            authenticator=cast(Any, SimpleNamespace(judge=self._judge)),
            admission=cast(Any, SimpleNamespace(judge_batch=self._admit)),
            provider=cast(Any, SimpleNamespace(verify=None)),
            metrics=metrics,
            links=cast(Any, None),
            now_ms=lambda: START_MS,
            repairs=cast(Any, None),
        )

    def _refuse(self, sender: int, reason: Reason, why: str = "", *, times: int = 1) -> None:
        self.refused += [(sender, reason)] * times
        if times:
            self._note()

    def _judge(self, core: object, messages: Sequence[tuple[int, object]]) -> list[Reject | None]:
        self.rounds.append([sender for sender, _ in messages])
        self.while_judging()
        return [self.verdict(sender) for sender, _ in messages]

    def _admit(self, encoded: Sequence[bytes], *_: object, **__: object) -> list[object]:
        self.while_judging()
        if self.admission_says is not None:
            return [self.admission_says for _ in encoded]
        return [
            AdmittedTransaction(each, cast(Any, None), cast(Any, None), each) for each in encoded
        ]

    def receive(self, sender: int, message: PeerMessage) -> None:
        self.intake.on_frame(sender, wire.message_frame(message, 0))

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """The vote loop is at work inside."""
        loop = asyncio.ensure_future(self.intake._vote_loop())
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    async def judge(self, *messages: tuple[int, PeerMessage]) -> None:
        """These arrive at once; until each of them was given to the core or refused."""
        await self.judge_frames(
            *((sender, wire.message_frame(each, 0)) for sender, each in messages)
        )

    async def judge_frames(self, *frames: tuple[int, bytes]) -> None:
        """The same for frames."""
        self._left = len(frames)
        self._done.clear()
        for sender, frame in frames:
            self.intake.on_frame(sender, frame)
        await self._done.wait()

    async def judge_proposal(self, sender: int, proposal: PrePrepare) -> None:
        encoded = encode_message(proposal)
        await self.intake._proposals._judge(self.driver.replica, sender, encoded)

    async def settled(self, count: int) -> None:
        """Until so many of what came before were given to the core or refused."""
        self._left = count
        self._done.clear()
        await self._done.wait()

    def _note(self) -> None:
        self._left -= 1
        if not self._left:
            self._done.set()


# --- Votes ---------------------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
async def test_of_a_peer_that_forged_few_votes_are_verified_at_a_time() -> None:
    desk, many = Desk(), USELESS_JUDGED_AT_ONCE_MAX + 5
    forged = Reject(ReplicaId(FORGER), "a forged signature")
    desk.verdict = lambda sender: forged if sender == FORGER else None

    async with desk.judging():
        await desk.judge(commit(FORGER, 0))
        votes = [commit(sender, n) for n in range(1, many) for sender in (FORGER, HONEST)]
        await desk.judge(*votes)
    of_the_forger = [each.count(FORGER) for each in desk.rounds]
    assert of_the_forger == [1, USELESS_JUDGED_AT_ONCE_MAX, 4]
    assert [each.count(HONEST) for each in desk.rounds] == [0, many - 1, 0]
    assert desk.refused == [(FORGER, Reason.UNAUTHENTIC)] * many


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("view", [0, 1])
async def test_of_a_peer_whose_authentic_votes_were_of_no_use_few_are_verified_at_a_time(
    view: int,
) -> None:
    """pbft.md D1: each of another batch in one place of this view, or all for a view to come."""
    desk, many = Desk(), USELESS_JUDGED_AT_ONCE_MAX + 5

    def useless(number: int) -> tuple[int, PeerMessage]:
        digest = Digest(number.to_bytes(32, "big"))
        return FORGER, signer(FORGER).commit(View(view), SequenceNumber(1), digest)

    async with desk.judging():
        desk.driver.bench.step(useless(0)[1], FORGER)
        await desk.judge(useless(1))
        honest = [(HONEST, commit(HONEST, 1)[1])]
        await desk.judge(*(useless(number) for number in range(2, many + 1)), *honest)
        assert [each.count(FORGER) for each in desk.rounds] == [1, USELESS_JUDGED_AT_ONCE_MAX, 4]
        assert [each.count(HONEST) for each in desk.rounds] == [0, 1, 0]


async def test_who_repeats_its_votes_and_then_votes_on_is_not_slowed() -> None:
    """pbft.md C1: votes are sent again until a height is certified."""
    desk, many = Desk(), USELESS_JUDGED_AT_ONCE_MAX + 5
    again = commit(HONEST, 1)
    async with desk.judging():
        desk.driver.bench.step(again[1], HONEST)
        await desk.judge(again)
        await desk.judge(*[again] * many)
    assert [len(each) for each in desk.rounds] == [1, many]


async def test_votes_that_an_older_core_judged_are_not_given_to_the_next() -> None:
    desk = Desk()
    desk.while_judging = desk.driver.another_core
    async with desk.judging():
        await desk.judge(commit(HONEST, 1), commit(FORGER, 1))
    assert desk.driver.taken == []
    assert desk.refused == [(HONEST, Reason.OTHER_EPOCH), (FORGER, Reason.OTHER_EPOCH)]


async def test_a_proposal_that_an_older_core_judged_is_not_given_to_the_next() -> None:
    desk = Desk()
    proposal = desk.driver.bench.pre_prepare(1, PAY)
    desk.while_judging = desk.driver.another_core
    await desk.judge_proposal(0, proposal)
    assert desk.driver.taken == []
    assert desk.refused == [(0, Reason.OTHER_EPOCH)]


@pytest.mark.req("G2-07-2")
@pytest.mark.parametrize("epoch", [0, 1])
async def test_a_view_change_that_waited_while_its_epoch_ended_accuses_nobody(epoch: int) -> None:
    """pbft.md G6: it is signed for the set before, so it would not hold by the one in force."""
    desk, member = Desk(), replace(replica_set(4), epoch=1)
    another = Reject(ReplicaId(HONEST), "the signature does not hold")
    desk.verdict = lambda sender: another if desk.driver.replica.epoch == 1 else None
    desk.receive(HONEST, view_change(HONEST, 1))
    if epoch == 1:
        desk.driver.replica = Replica(
            me=ReplicaId(1),
            replica_set=member,
            parameters=PARAMETERS,
            sign=sign_with(public_key(1)),
            head=GENESIS,
            now_ms=START_MS,
        )
    loop = asyncio.ensure_future(desk.intake._view_changes.run())
    async with asyncio.timeout(10):
        await desk.settled(1)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert desk.refused == ([(HONEST, Reason.OTHER_EPOCH)] if epoch == 1 else [])
    assert [each for _, each in desk.driver.taken] == ([] if epoch else [view_change(HONEST, 1)])


@pytest.mark.req("G2-07-2")
async def test_votes_of_an_epoch_that_others_began_before_this_replica_accuse_nobody() -> None:
    desk = Desk()
    said = [commit(HONEST, 1)[1], view_change(HONEST, 1), desk.driver.bench.pre_prepare(1, PAY)]
    for message in said:
        desk.intake.on_frame(HONEST, wire.message_frame(message, 1))
    assert desk.refused == [(HONEST, Reason.OTHER_EPOCH)] * len(said)


async def test_a_paused_replica_takes_neither_votes_nor_proposals() -> None:
    desk = Desk()
    desk.driver.votes = False
    desk.receive(*commit(HONEST, 1))
    desk.receive(0, desk.driver.bench.pre_prepare(1, PAY))
    assert desk.refused == [(HONEST, Reason.UNREADY), (0, Reason.UNREADY)]
    desk.driver.votes = True
    async with desk.judging():
        await desk.judge(commit(FORGER, 2))
    assert desk.rounds == [[FORGER]], "what came before is not kept either"


# --- Batches -------------------------------------------------------------------------------------


@pytest.mark.req("G2-16-4")
async def test_a_batch_of_one_byte_too_many_is_refused_and_accuses_its_primary() -> None:
    desk = Desk(batch_bytes_max=BATCH_BYTES - 1)
    proposal = desk.driver.bench.pre_prepare(1, Batch(START_MS, TRANSACTIONS))
    await desk.judge_proposal(0, proposal)
    [(_, refused)] = desk.driver.taken
    assert isinstance(refused, BatchRefused)
    assert refused.reason == f"2 transactions, {BATCH_BYTES} bytes, more than a batch has"
    [evidence] = [each for each in desk.driver.effects if isinstance(each, Evidence)]
    assert (evidence.replica, type(evidence.offence)) == (0, InvalidBatch)


@pytest.mark.req("G2-16-4", "G2-07-1")
@pytest.mark.parametrize(
    ("refused", "index"),
    [
        (Refused("TRANSACTION_MALFORMED", {"detail": ""}), 0),
        (Refused("TRANSACTION_TOO_LARGE", {"values": 9, "maximum": 1}), None),
    ],
)
async def test_a_batch_is_refused_for_a_transaction_that_is_the_proof_where_it_proves_something(
    refused: Refused, index: int | None
) -> None:
    """Execution, which judges the proof, asks for no number of values."""
    desk = Desk()
    desk.admission_says = refused
    await desk.judge_proposal(0, desk.driver.bench.pre_prepare(1, PAY))
    [(_, given)] = desk.driver.taken
    assert isinstance(given, BatchRefused)
    assert given.index == index
    assert given.reason.startswith(refused.code)


async def test_a_batch_of_exactly_the_bound_is_voted_for() -> None:
    desk = Desk()
    batch = Batch(START_MS, TRANSACTIONS)
    assert len(batch.encode()) == BATCH_BYTES
    proposal = desk.driver.bench.pre_prepare(1, batch)
    await desk.judge_proposal(0, proposal)
    assert desk.driver.taken == [(0, proposal)]
    assert kinds(desk.driver.effects) == ["Persist", "Persist", "Broadcast"]
