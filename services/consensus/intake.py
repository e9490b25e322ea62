"""What comes in from peers, before anybody believes it.

Votes are authenticated in a thread: the loop stays free. What is long, view-changes and proposed
batches, has an intake of its own, and so have transactions. Queues are bounded: a peer's excess is
dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus import wire
from services.consensus.domain.epochs import Core
from services.consensus.domain.learner import Learner
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
from services.consensus.gate import adds_nothing, useless_on_arrival
from services.consensus.ledger import Ledger
from services.consensus.metrics import ReplicaMetrics
from services.consensus.peers import Links
from services.consensus.proposal_intake import ProposalIntake
from services.consensus.refusals import Reason
from services.consensus.repair import Repairs
from services.consensus.signing import Admission, Authenticator
from services.consensus.surplus import Sent, Surplus
from services.consensus.transaction_intake import TransactionIntake
from services.consensus.view_change_intake import ViewChangeIntake

PEER_VOTES_MAX: Final = 4_000
VOTES_JUDGED_AT_ONCE_MAX: Final = 200
USELESS_JUDGED_AT_ONCE_MAX: Final = 10
"""Of a peer of whose last ones any was forged or of no use: to find it out delays others."""


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
        self._votes: FairQueue[PeerMessage] = FairQueue(
            count_max=PEER_VOTES_MAX, bytes_max=PEER_BYTES_MAX
        )
        # Votes, proposed batches and transactions have a thread each: a burst of transactions
        # delays neither of the others.
        self._vote_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="votes")
        self._batch_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
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
            batch_thread=self._batch_thread,
        )
        self.transactions = TransactionIntake(
            driver=driver,
            ledger=ledger,
            admission=admission,
            refusals=metrics.refusals,
            links=links,
            now_ms=now_ms,
            thread=self._admission_thread,
        )

    async def run(self) -> None:
        """Judge what comes in until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._vote_loop())
                tasks.create_task(self._view_changes.run())
                tasks.create_task(self._proposals.run())
                tasks.create_task(self.transactions.run())
                tasks.create_task(self._exchange.run())
        finally:
            self._vote_thread.shutdown(wait=False, cancel_futures=True)
            self._batch_thread.shutdown(wait=False, cancel_futures=True)
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
                self.transactions.put_passed(sender, frame.transactions)
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
        present = self._driver.replica.replica_set
        wire.check_view_change_length(frame, present.size, self._window)
        if self._driver.votes:
            self._view_changes.put(sender, frame.epoch, frame.message)
        else:
            self._refusals.count(sender, Reason.UNREADY, "a view-change")

    async def _judge_view_changes(self, epoch: int, messages: list[Sent]) -> set[int]:
        """Whose were not authentic."""
        core = self._driver.replica
        if core.epoch != epoch:  # It ended here while they waited: nobody is accused for that.
            for sender, _ in messages:
                self._refusals.count(sender, Reason.OTHER_EPOCH)
            return set()
        useful = self._still_useful(core, messages)
        if not useful or not isinstance(core, Replica):
            return set()
        forged, _ = await self._judge(core, useful)
        return forged

    async def _vote_loop(self) -> None:
        slow: set[int] = set()
        while True:
            messages = await self._votes.take(
                VOTES_JUDGED_AT_ONCE_MAX, slow=slow, slow_max=USELESS_JUDGED_AT_ONCE_MAX
            )
            core = self._driver.replica
            useful = self._still_useful(core, messages)
            if isinstance(core, Learner):  # Since they came; none is of use to it.
                continue
            wanted = self._surplus.sift(core, self._driver.waiting(), useful)
            idle = {sender for sender, vote in wanted if adds_nothing(core, sender, vote)}
            judged, forged = await self._judge_votes(core, wanted)
            slow = (slow - judged) | forged | idle

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
