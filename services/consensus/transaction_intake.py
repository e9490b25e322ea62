"""Transactions that come in, from clients and from peers that pass them on, until they wait to be
ordered.

A client is refused for what the state says now, and for its organisation's share of the queue. Of
what a peer passes on the form, the signatures and that the state knows the signers bind: there is
no room for strangers, and a peer has its share of the room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from services.consensus.domain.ledger.admission import (
    PAYLOAD_VALUES_MAX,
    AdmittedTransaction,
    Refused,
    values_at_most,
)
from services.consensus.domain.ledger.authorisation import (
    NOT_AUTHORISED,
    Identities,
    check_signers,
    check_stateful,
)
from services.consensus.domain.ledger.state import StateReader
from services.consensus.driver import Driver
from services.consensus.gossip import gossip
from services.consensus.ledger import Ledger
from services.consensus.mempool import OUTSIDE, Addition
from services.consensus.offered import Judgement, Offered, OfferedQueue
from services.consensus.peers import Links
from services.consensus.proposer import refused_for_good
from services.consensus.refusals import Reason, Refusals
from services.consensus.signing import Admission

TRANSACTIONS_MAX: Final = 20_000
JUDGED_AT_ONCE_MAX: Final = 64
JUDGED_AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""Of such a piece, unless a single transaction is larger: what one source sent delays the others by
a tenth of a second at most.
"""
COST_BYTES: Final = 1_024
"""What any transaction costs to judge beside its length, in bytes that take as long."""
GATHER_SECONDS: Final = 0.005
"""Between two pieces of transactions under load: many small ones cost more than they verify."""
GATHER_BUSY_SECONDS: Final = 0.05
"""The same while a batch's worth waits already."""
GOSSIP_AGAIN_SECONDS: Final = 1.0
GOSSIP_AGAIN_MAX: Final = 500

ORDERED_ALL_THE_SAME: Final = frozenset({"PREDECESSOR_MISSING", "TRANSACTION_DUPLICATE"})
"""What the state may say otherwise by the time of execution."""

REFUSED_WITHOUT_FAULT: Final[Mapping[str, Reason]] = {
    "TRANSACTION_EXPIRED": Reason.LATE,
    "TRANSACTION_EXPIRY_TOO_FAR": Reason.CLOCK,
    **dict.fromkeys(NOT_AUTHORISED, Reason.LATE),
}
"""Why it may refuse what an honest replica, at another height or time, admitted and passed on."""

Verdicts: TypeAlias = list[AdmittedTransaction | Refused]


class TransactionIntake:
    """See the module. `run` lasts until it is cancelled."""

    def __init__(
        self,
        *,
        driver: Driver,
        ledger: Ledger,
        admission: Admission,
        refusals: Refusals,
        links: Links,
        now_ms: Callable[[], int],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._driver = driver
        self._ledger = ledger
        self._admission = admission
        self._refusals = refusals
        self._links = links
        self._now_ms = now_ms
        self._thread = thread
        self._offered = OfferedQueue()

    async def run(self) -> None:
        """Judge what is offered until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._transaction_loop())
            tasks.create_task(self._gossip_again_loop())

    # --- What clients and peers offer --------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether so many transactions wait that an organisation may have its share only."""
        return self._waiting() >= self._limit

    def is_full_for(self, payload: bytes) -> bool:
        """Whether the client of this payload is told to come again: the queue is full, and its
        organisation has its share of it. Whose it is, is not asked before.
        """
        if not self.is_full:
            return False
        organisation = _organisation(payload)
        if organisation is None or self._waiting() >= TRANSACTIONS_MAX:
            return True
        mempool, offered = self._driver.mempool, self._offered
        others = mempool.organisations | offered.organisations
        held = mempool.count_of(organisation) + offered.count_of(organisation)
        return held >= self._limit // len(others | {organisation})

    @property
    def _limit(self) -> int:
        return min(self._driver.admission_limit.value, TRANSACTIONS_MAX)

    def _waiting(self) -> int:
        faulty_max = self._driver.replica.replica_set.faulty_max
        return self._offered.backlog(faulty_max) + self._driver.mempool.queued(faulty_max)

    async def admit(
        self, transaction: SignedTransaction, *, client: str = ""
    ) -> AdmittedTransaction | Refused | Addition:
        """Judge a transaction that `client`, an organisation, sent, and pass it on for ordering.

        The transaction when it is in the mempool (or was), what refused it, or `Addition.FULL`.
        """
        if self.is_full_for(transaction.payload):
            return Addition.FULL
        organisation = _organisation(transaction.payload) if self.is_full else None
        answer: Judgement = asyncio.get_running_loop().create_future()
        encoded = transaction.encode()
        if not self._offered.put_own(encoded, answer, organisation, client=client):
            return Addition.FULL
        return await answer

    def put_passed(self, sender: int, transactions: Sequence[bytes]) -> None:
        """What a peer passes on. Those that have no vote here, learners among them, share one
        part of the room.
        """
        present = self._driver.replica.replica_set
        is_member = sender < present.size and sender not in present.jailed
        source = sender if is_member else OUTSIDE
        for encoded in transactions:
            known = self._driver.mempool.find_encoded(encoded) is not None
            if not known and not self._offered.put_passed(sender, encoded, source):
                self._refusals.count(sender, Reason.FLOOD)

    def on_link(self, other: int) -> None:
        """A link came up: tell the peer what this replica's clients wait for, it may have missed
        it.
        """
        encoded = [each.encoded for each in self._driver.mempool.own()]
        gossip(self._links, encoded[:GOSSIP_AGAIN_MAX], to=other)

    # --- Judging -----------------------------------------------------------------------------

    async def _transaction_loop(self) -> None:
        while True:
            offered = await self._offered.take(JUDGED_AT_ONCE_MAX, JUDGED_AT_ONCE_BYTES_MAX)
            await self._judge_offered(offered)
            if 1 < len(offered) < JUDGED_AT_ONCE_MAX:
                busy = self._driver.mempool.ready_count >= JUDGED_AT_ONCE_MAX
                await asyncio.sleep(GATHER_BUSY_SECONDS if busy else GATHER_SECONDS)

    async def _judge_offered(self, offered: Sequence[Offered]) -> None:
        last = self._ledger.header(self._ledger.store.last_height)
        now_ms = max(self._now_ms(), last.block_time_ms)
        low_watermark = self._driver.replica.low_watermark

        def judge() -> tuple[Verdicts, float]:
            began = time.thread_time()
            verdicts = judge_all()
            return verdicts, time.thread_time() - began

        def judge_all() -> Verdicts:
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

        judged, seconds = await asyncio.get_running_loop().run_in_executor(self._thread, judge)
        self._charge_refused(offered, judged, seconds)
        with self._ledger.store.state_reader() as state:  # What was executed meanwhile stays out.
            fresh = [
                (verdict, entry.source)
                for entry, verdict in zip(offered, judged, strict=True)
                if isinstance(verdict, AdmittedTransaction) and not state.executed(verdict.id)
            ]
        offers = self._driver.offer(fresh)
        additions = {entry.id: offer for (entry, _), offer in zip(fresh, offers, strict=True)}
        self._answer_offered(offered, judged, additions)

    def _charge_refused(self, offered: Sequence[Offered], judged: Verdicts, seconds: float) -> None:
        """Who sent what is refused pays its part of the time that the piece took."""
        costs = [COST_BYTES + len(entry.encoded) for entry in offered]
        total = sum(costs)
        for entry, verdict, cost in zip(offered, judged, costs, strict=True):
            if isinstance(verdict, Refused):
                self._offered.charge(entry, seconds * cost / total)

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
        of what a peer passes on only the signers are asked, since strangers may sign what they
        like; this replica may be behind in all else, and execution decides.
        """
        never = refused_for_good(admitted, self._ledger.genesis.parameters, low_watermark)
        if never is not None:
            return never
        if entry.answer is None:
            return check_signers(identities, admitted, block_time_ms) or admitted
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
        gossip(self._links, own)

    def _count_passed_on(
        self, entry: Offered, verdict: AdmittedTransaction | Refused, addition: Addition | None
    ) -> None:
        assert entry.sender is not None, "what nobody waits for was passed on"
        if isinstance(verdict, Refused):
            reason = REFUSED_WITHOUT_FAULT.get(verdict.code, Reason.INADMISSIBLE)
            self._refusals.count(entry.sender, reason, f"a transaction: {verdict.code}")
        elif addition is Addition.EXCESS:
            self._refusals.count(entry.sender, Reason.FLOOD)
        elif addition is Addition.FULL:
            self._refusals.count(entry.sender, Reason.UNREADY)

    async def _gossip_again_loop(self) -> None:
        """What its clients still wait for after a while may never have reached the primary."""
        earlier: set[bytes] = set()
        while True:
            await asyncio.sleep(GOSSIP_AGAIN_SECONDS)
            ready = self._driver.mempool.own()
            late = [entry.encoded for entry in ready if entry.id in earlier]
            primary = self._driver.replica.primary
            if primary != self._driver.me:
                gossip(self._links, late[:GOSSIP_AGAIN_MAX], to=primary)
            earlier = {entry.id for entry in ready}


def _organisation(payload: bytes) -> str | None:
    """Whose transaction it is; None where the payload cannot be read, or would not be."""
    if values_at_most(payload) > PAYLOAD_VALUES_MAX:
        return None
    try:
        return parse_payload(payload).organisation
    except MalformedError:
        return None
