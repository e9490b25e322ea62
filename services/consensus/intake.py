"""What comes in, before anybody believes it: peers' frames and clients' transactions.

Votes are authenticated and transactions judged in threads: the loop stays free. What is long,
view-changes and proposed batches, has an intake of its own.
Queues are bounded: a peer's excess is dropped, a client is told to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

import structlog

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.receipt import SIGNED_BY_ANOTHER
from services.consensus import wire
from services.consensus.domain.epochs import Core
from services.consensus.domain.learner import Learner
from services.consensus.domain.ledger.admission import (
    AdmittedTransaction,
    Refused,
)
from services.consensus.domain.ledger.authorisation import (
    Identities,
    check_stateful,
    is_under_another_key,
)
from services.consensus.domain.ledger.state import StateReader
from services.consensus.domain.messages import (
    BatchFetched,
    Checkpoint,
    Commit,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.driver import Driver
from services.consensus.exchange import PEER_BYTES_MAX, Exchange
from services.consensus.fair_queue import FairQueue
from services.consensus.gate import useless_on_arrival
from services.consensus.ledger import Ledger
from services.consensus.mempool import Addition
from services.consensus.metrics import ReplicaMetrics
from services.consensus.offered import Judgement, Offered, OfferedQueue
from services.consensus.peers import Links
from services.consensus.proposal_intake import ProposalIntake
from services.consensus.proposer import refused_for_good
from services.consensus.refusals import Reason
from services.consensus.repair import Repairs
from services.consensus.signing import Admission, Authenticator
from services.consensus.surplus import Sent, Surplus
from services.consensus.view_change_intake import ViewChangeIntake

PEER_VOTES_MAX: Final = 4_000
VOTES_JUDGED_AT_ONCE_MAX: Final = 200
FORGED_JUDGED_AT_ONCE_MAX: Final = 10
"""Of a peer whose last ones were not authentic: forging is cheap, to find it out delays others."""
TRANSACTIONS_MAX: Final = 20_000
JUDGED_AT_ONCE_MAX: Final = 64
"""A proposed batch waits behind one such piece at most."""
GATHER_SECONDS: Final = 0.005
"""Between two pieces of transactions under load: many small ones cost more than they verify."""
GATHER_BUSY_SECONDS: Final = 0.05
"""The same while a batch's worth waits already."""
GOSSIP_BYTES_MAX: Final = 2 * 1024 * 1024
GOSSIP_AGAIN_SECONDS: Final = 1.0
GOSSIP_AGAIN_MAX: Final = 500

ORDERED_ALL_THE_SAME: Final = frozenset({"PREDECESSOR_MISSING", "TRANSACTION_DUPLICATE"})
"""What the state may say otherwise by the time of execution."""

REFUSED_WITHOUT_FAULT: Final[Mapping[str, Reason]] = {
    "TRANSACTION_EXPIRED": Reason.LATE,
    "TRANSACTION_EXPIRY_TOO_FAR": Reason.CLOCK,
    SIGNED_BY_ANOTHER: Reason.LATE,
}
"""Why it may refuse what an honest replica, at another height or time, admitted and passed on."""

_log = structlog.get_logger(__name__)

Verdicts: TypeAlias = list[AdmittedTransaction | Refused]


class Intake:
    """See the module. `run` lasts until it is cancelled."""

    def __init__(
        self,
        *,
        driver: Driver,
        ledger: Ledger,
        authenticator: Authenticator,
        admission: Admission,
        provider: GmProvider,
        metrics: ReplicaMetrics,
        links: Links,
        now_ms: Callable[[], int],
        repairs: Repairs,
    ) -> None:
        self._repairs = repairs
        self._refusals = metrics.refusals
        self._surplus = Surplus(metrics.surplus_votes)
        self._window = ledger.genesis.parameters.window
        self._exchange = Exchange(
            driver=driver,
            ledger=ledger,
            links=links,
            refusals=metrics.refusals,
            repairs=repairs,
            verify=provider.verify,
        )
        self._driver = driver
        self._ledger = ledger
        self._authenticator = authenticator
        self._admission = admission
        self._now_ms = now_ms
        self._links = links
        self._votes: FairQueue[PeerMessage] = FairQueue(
            count_max=PEER_VOTES_MAX, bytes_max=PEER_BYTES_MAX
        )
        self._offered = OfferedQueue()
        # Votes and transactions have a thread each: a burst of transactions delays no vote.
        self._vote_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="votes")
        self._admission_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="admission")
        self._view_changes = ViewChangeIntake(
            metrics.refusals, self._vote_thread, self._judge_view_changes
        )
        self._proposals = ProposalIntake(
            driver=driver,
            parameters=ledger.genesis.parameters,
            authenticator=authenticator,
            admission=admission,
            refusals=metrics.refusals,
            vote_thread=self._vote_thread,
            admission_thread=self._admission_thread,
        )

    async def run(self) -> None:
        """Judge what comes in until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._vote_loop())
                tasks.create_task(self._view_changes.run())
                tasks.create_task(self._proposals.run())
                tasks.create_task(self._transaction_loop())
                tasks.create_task(self._gossip_again_loop())
                tasks.create_task(self._exchange.run())
        finally:
            self._vote_thread.shutdown(wait=False, cancel_futures=True)
            # It reads the state, which is closed next.
            self._admission_thread.shutdown(wait=True, cancel_futures=True)

    # --- Frames ------------------------------------------------------------------------------

    def on_frame(self, sender: int, data: bytes) -> None:
        """A peer's frame. Called by the links; must not block."""
        try:
            frame = wire.open_frame(data, self._driver.replica.epoch)
            if wire.changes_view(frame):
                self._take_view_change(sender, frame)
            elif wire.proposes(frame):
                self._proposals.put(sender, frame.message)
            elif wire.answers_batch(frame):
                self._exchange.put_batch(sender, frame.batch_response, len(data))
            else:
                self._take_frame(sender, wire.read_content(frame), len(data))
        except MalformedError as error:
            self._refusals.count(sender, Reason.MALFORMED, str(error))
        except wire.OtherEpochError:
            self._refusals.count(sender, Reason.OTHER_EPOCH)

    def _take_frame(self, sender: int, frame: wire.Frame, size: int) -> None:
        match frame:
            case peer_pb2.TransactionGossip():
                self._take_gossip(sender, frame.transactions)
            case peer_pb2.StateRequest() | peer_pb2.StateResponse():
                self._repairs.state.on_frame(sender, frame, size)
            case Hello():
                self._driver.put_hello(ReplicaId(sender), frame)
            case Prepare() | Commit() | Checkpoint():
                self._take_vote(sender, frame, size)
            case PrePrepare() | ViewChange() | NewView() | BatchFetched():
                raise AssertionError("it was taken before it was read")
            case _:
                self._exchange.on_frame(sender, frame, size)

    def on_oversized(self, sender: int, why: str) -> None:
        """A peer announced a frame larger than one may be; its link was cut."""
        self._refusals.count(sender, Reason.MALFORMED, why)

    def on_link(self, other: int) -> None:
        """A link came up: tell the peer what waits here, it may have missed it."""
        encoded = [entry.encoded for entry in self._driver.mempool.pending()]
        self._gossip(encoded[:GOSSIP_AGAIN_MAX], to=other)

    def _take_vote(self, sender: int, message: Prepare | Commit | Checkpoint, size: int) -> None:
        core, said = self._driver.replica, self._driver.peer_heights.get(ReplicaId(sender), 0)
        useless = useless_on_arrival(core, sender, message, window=self._window, said=said)
        if useless is None and not self._driver.votes:
            useless = Reason.UNREADY
        if useless is not None:
            self._refusals.count(sender, useless, f"a {type(message).__name__}")
        else:
            dropped = self._votes.put(sender, message, size)
            self._refusals.count(sender, Reason.FLOOD, times=dropped)

    def _take_view_change(self, sender: int, frame: peer_pb2.PeerFrame) -> None:
        if self._driver.votes:
            self._view_changes.put(sender, frame.epoch, frame.message)
        else:
            self._refusals.count(sender, Reason.UNREADY, "a view-change")

    async def _judge_view_changes(self, epoch: int, messages: list[Sent]) -> None:
        core = self._driver.replica
        if core.epoch != epoch:  # It ended here while they waited: nobody is accused for that.
            for sender, _ in messages:
                self._refusals.count(sender, Reason.OTHER_EPOCH)
            return
        useful = self._still_useful(core, messages)
        if useful and isinstance(core, Replica):
            await self._judge(core, useful)

    async def _vote_loop(self) -> None:
        forgers: set[int] = set()
        while True:
            messages = await self._votes.take(
                VOTES_JUDGED_AT_ONCE_MAX, slow=forgers, slow_max=FORGED_JUDGED_AT_ONCE_MAX
            )
            core = self._driver.replica
            useful = self._still_useful(core, messages)
            if isinstance(core, Learner):  # Since they came; none is of use to it.
                continue
            wanted = self._surplus.sift(core, self._driver.waiting(), useful)
            judged, forged = await self._judge_votes(core, wanted)
            forgers = (forgers - judged) | forged

    def _still_useful(self, core: Core, messages: Sequence[Sent]) -> list[Sent]:
        """Without those that became useless since they came: nothing is verified for them. What
        their senders said meanwhile is not held against them.
        """
        useful: list[Sent] = []
        for sender, message in messages:
            useless = useless_on_arrival(core, sender, message, window=self._window, said=0)
            if useless is None:
                useful.append((sender, message))
            else:
                self._refusals.count(sender, useless)
        return useful

    async def _judge_votes(self, core: Replica, wanted: list[Sent]) -> tuple[set[int], set[int]]:
        """Verify these, and surplus ones for as long as a quorum lacks them. Gives whose messages
        were judged, and whose were not authentic.
        """
        judged, forged, all_put = set[int](), set[int](), True
        while wanted and all_put:  # Else what is held would get lost, too.
            liars, all_put = await self._judge(core, wanted)
            if core is not self._driver.replica:
                break
            judged |= {sender for sender, _ in wanted}
            forged |= liars
            wanted = self._surplus.missing(core, self._driver.waiting()) if all_put else []
        return judged, forged

    async def _judge(self, core: Replica, wanted: list[Sent]) -> tuple[set[int], bool]:
        """Verify these and give the driver what holds: who sent what does not, and whether the
        driver had room for all.
        """
        verdicts = await asyncio.get_running_loop().run_in_executor(
            self._vote_thread, self._authenticator.judge, core, wanted
        )
        if core is not self._driver.replica:  # Judged by a set that is no longer in force.
            for sender, _ in wanted:
                self._refusals.count(sender, Reason.OTHER_EPOCH)
            return set(), True
        forged, all_put = set[int](), True
        for (sender, message), verdict in zip(wanted, verdicts, strict=True):
            if verdict is None:
                all_put &= self._driver.put(ReplicaId(sender), message)
            else:
                forged.add(sender)
                self._refusals.count(sender, Reason.UNAUTHENTIC, verdict.reason)
        return forged, all_put

    async def _in_admission_thread(self, judge: Callable[[], Verdicts]) -> Verdicts:
        return await asyncio.get_running_loop().run_in_executor(self._admission_thread, judge)

    # --- Transactions ------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether so many transactions wait that clients are told to come again."""
        faulty_max = self._driver.replica.replica_set.faulty_max
        waiting = self._offered.backlog(faulty_max) + self._driver.mempool.ready_count
        return waiting >= min(self._driver.admission_limit.value, TRANSACTIONS_MAX)

    async def admit(self, encoded: bytes) -> AdmittedTransaction | Refused | Addition:
        """Judge a client's transaction and pass it on for ordering.

        The transaction when it is in the mempool (or was), what refused it, or `Addition.FULL`.
        """
        if self.is_full:
            return Addition.FULL
        answer: Judgement = asyncio.get_running_loop().create_future()
        self._offered.put_own(encoded, answer)
        return await answer

    def _take_gossip(self, sender: int, transactions: Sequence[bytes]) -> None:
        for encoded in transactions:
            known = self._driver.mempool.find_encoded(encoded) is not None
            if not known and not self._offered.put_passed(sender, encoded):
                self._refusals.count(sender, Reason.FLOOD)

    async def _transaction_loop(self) -> None:
        while True:
            offered = await self._offered.take(JUDGED_AT_ONCE_MAX)
            await self._judge_offered(offered)
            if 1 < len(offered) < JUDGED_AT_ONCE_MAX:
                busy = self._driver.mempool.ready_count >= JUDGED_AT_ONCE_MAX
                await asyncio.sleep(GATHER_BUSY_SECONDS if busy else GATHER_SECONDS)

    async def _judge_offered(self, offered: Sequence[Offered]) -> None:
        last = self._ledger.header(self._ledger.store.last_height)
        now_ms = max(self._now_ms(), last.block_time_ms)
        low_watermark = self._driver.replica.low_watermark

        def judge() -> Verdicts:
            encoded = [entry.encoded for entry in offered]
            verdicts = self._admission.judge(encoded, now_height=last.height, block_time_ms=now_ms)
            with self._ledger.store.state_reader() as state:
                identities = Identities(state)
                return [
                    verdict
                    if isinstance(verdict, Refused)
                    else self._judge_stateful(
                        state, identities, entry, verdict, low_watermark, last.block_time_ms
                    )
                    for entry, verdict in zip(offered, verdicts, strict=True)
                ]

        judged = await self._in_admission_thread(judge)
        with self._ledger.store.state_reader() as state:  # What was executed meanwhile stays out.
            fresh = [
                verdict
                for verdict in judged
                if isinstance(verdict, AdmittedTransaction) and not state.executed(verdict.id)
            ]
        offers = self._driver.offer(fresh)
        additions = {entry.id: offer for entry, offer in zip(fresh, offers, strict=True)}
        self._answer_offered(offered, judged, additions)

    def _judge_stateful(
        self,
        state: StateReader,
        identities: Identities,
        entry: Offered,
        admitted: AdmittedTransaction,
        low_watermark: int,
        block_time_ms: int,
    ) -> AdmittedTransaction | Refused:
        """What can never be proposed is refused to everybody. The rest is a courtesy to clients:
        of what a peer passes on only the key is asked, which would keep the maker's own out; this
        replica may be behind in all else, and execution decides.
        """
        never = refused_for_good(admitted, self._ledger.genesis.parameters, low_watermark)
        if never is not None:
            return never
        if entry.answer is None:
            copied = is_under_another_key(identities, admitted)
            return Refused(SIGNED_BY_ANOTHER, {}) if copied else admitted
        refused = check_stateful(
            state, admitted, block_time_ms=block_time_ms, identities=identities
        )
        if refused is None or refused.code in ORDERED_ALL_THE_SAME:
            return admitted
        return refused

    def _answer_offered(
        self,
        offered: Sequence[Offered],
        judged: Sequence[AdmittedTransaction | Refused],
        additions: Mapping[bytes, Addition],
    ) -> None:
        own: list[bytes] = []
        for entry, verdict in zip(offered, judged, strict=True):
            addition = None
            if isinstance(verdict, AdmittedTransaction):
                addition = additions.get(verdict.id)
            if entry.answer is None:
                self._count_passed_on(entry, verdict, addition)
                continue
            if addition in (Addition.READY, Addition.WAITING):
                own.append(entry.encoded)
            if not entry.answer.done():
                entry.answer.set_result(Addition.FULL if addition is Addition.FULL else verdict)
        self._gossip(own)

    def _count_passed_on(
        self, entry: Offered, verdict: AdmittedTransaction | Refused, addition: Addition | None
    ) -> None:
        assert entry.sender is not None, "what nobody waits for was passed on"
        if isinstance(verdict, Refused):
            reason = REFUSED_WITHOUT_FAULT.get(verdict.code, Reason.INADMISSIBLE)
            self._refusals.count(entry.sender, reason, f"a transaction: {verdict.code}")
        elif addition is Addition.FULL:
            self._refusals.count(entry.sender, Reason.UNREADY)

    def _gossip(self, encoded: Sequence[bytes], to: int | None = None) -> None:
        """Pass transactions to the others, so that each runs a timer for them."""
        start, size = 0, 0
        for index, transaction in enumerate(encoded):
            if size and size + len(transaction) > GOSSIP_BYTES_MAX:
                self._send_gossip(encoded[start:index], to)
                start, size = index, 0
            size += len(transaction)
        if start < len(encoded):
            self._send_gossip(encoded[start:], to)

    def _send_gossip(self, encoded: Sequence[bytes], to: int | None) -> None:
        frame = wire.gossip_frame(encoded)
        if to is None:
            self._links.broadcast(frame, droppable=True)
        else:
            self._links.send(to, frame, droppable=True)

    async def _gossip_again_loop(self) -> None:
        """What still waits after a while may never have reached the primary."""
        earlier: set[bytes] = set()
        while True:
            await asyncio.sleep(GOSSIP_AGAIN_SECONDS)
            ready = self._driver.mempool.ready()
            late = [entry.encoded for entry in ready if entry.id in earlier]
            primary = self._driver.replica.primary
            if primary != self._driver.me:
                self._gossip(late[:GOSSIP_AGAIN_MAX], to=primary)
            earlier = {entry.id for entry in ready}
