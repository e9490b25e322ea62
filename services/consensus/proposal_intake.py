"""Pre-prepares of peers, which carry whole batches: turned away by their first bytes where they are
of no use, else read and judged off the loop, one of each peer at a time (P23).

Only the primary of the present view makes this replica read a batch, and one whose signature does
not hold is given a rest before the next of its is read.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import Executor
from typing import Final, TypeAlias

import structlog

from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.domain.codec import ProposalEnds, decode_message, read_proposal_ends
from services.consensus.domain.effects import Reject
from services.consensus.domain.epochs import Core
from services.consensus.domain.ledger.admission import (
    AdmittedTransaction,
    refused_transaction,
    was_not_read,
)
from services.consensus.domain.ledger.genesis import ProtocolParameters
from services.consensus.domain.messages import BatchRefused, PrePrepare, ReplicaId
from services.consensus.domain.statements import primary_of
from services.consensus.driver import Driver
from services.consensus.exchange import PEER_BYTES_MAX
from services.consensus.fair_queue import FairQueue
from services.consensus.gate import useless_now, useless_on_arrival
from services.consensus.mempool import LENGTH_BYTES
from services.consensus.proposer import BATCH_HEADER_BYTES
from services.consensus.refusals import Reason, Refusals
from services.consensus.signing import Admission, Authenticator

PEER_PROPOSALS_MAX: Final = 64
REST_SECONDS: Final = 0.05
"""After a proposal that was read in vain: reading one takes a fifth of it."""

_log = structlog.get_logger(__name__)

Judged: TypeAlias = "list[AdmittedTransaction] | BatchRefused"


class ProposalIntake:
    """Signatures are verified in `vote_thread`, batches judged in `batch_thread`."""

    def __init__(
        self,
        *,
        driver: Driver,
        parameters: ProtocolParameters,
        authenticator: Authenticator,
        admission: Admission,
        refusals: Refusals,
        vote_thread: Executor,
        batch_thread: Executor,
    ) -> None:
        self._driver = driver
        self._parameters = parameters
        self._authenticator = authenticator
        self._admission = admission
        self._refusals = refusals
        self._vote_thread = vote_thread
        self._batch_thread = batch_thread
        self._waiting: FairQueue[tuple[ProposalEnds, bytes]] = FairQueue(
            count_max=PEER_PROPOSALS_MAX, bytes_max=PEER_BYTES_MAX
        )

    def put(self, sender: int, encoded: bytes) -> None:
        """A pre-prepare as it travels; raises `MalformedError`. Must not block."""
        ends = read_proposal_ends(encoded)
        said = self._driver.peer_heights.get(ReplicaId(sender), 0)
        useless = self._useless(sender, ends, said)
        if useless is None and not self._driver.votes:
            useless = Reason.UNREADY
        if useless is not None:
            self._refusals.count(sender, useless, "a pre-prepare")
            return
        dropped = self._waiting.put(sender, (ends, encoded), len(encoded))
        self._refusals.count(sender, Reason.FLOOD, times=dropped)

    async def run(self) -> None:
        """Read and judge until cancelled."""
        while True:
            for sender, (ends, encoded) in await self._waiting.take(1):
                core, window = self._driver.replica, self._parameters.window
                useless = self._useless(sender, ends, 0) or useless_now(core, ends, window=window)
                if useless is not None:
                    self._refusals.count(sender, useless)
                elif not await self._judge(core, sender, encoded):
                    await asyncio.sleep(REST_SECONDS)

    def _useless(self, sender: int, ends: ProposalEnds, said: int) -> Reason | None:
        """Why it can never be of use, whatever batch it carries; None where it can."""
        core, window = self._driver.replica, self._parameters.window
        useless = useless_on_arrival(core, sender, ends, window=window, said=said)
        if useless is not None:
            return useless
        if sender != primary_of(core.replica_set, ends.view):
            return Reason.UNAUTHENTIC
        return Reason.REPEATED if core.holds(ends.view, ends.sequence, ends.signature) else None

    async def _judge(self, core: Core, sender: int, encoded: bytes) -> bool:
        """Read one and give the driver what comes of it; False where it was read in vain."""
        loop = asyncio.get_running_loop()
        read = functools.partial(self._read, core, sender, encoded)
        message = await loop.run_in_executor(self._vote_thread, read)
        if isinstance(message, MalformedError):
            self._refusals.count(sender, Reason.MALFORMED, str(message))
            return False
        if isinstance(message, Reject):
            self._refusals.count(sender, Reason.UNAUTHENTIC, message.reason)
            return False
        judged = await self._judge_batch(message)
        if core is not self._driver.replica:
            self._refusals.count(sender, Reason.OTHER_EPOCH)
        elif isinstance(judged, BatchRefused):
            why = judged.reason
            _log.error("batch.refused", sender=sender, sequence=message.sequence, why=why)
            self._driver.put_own(judged)
        else:
            self._driver.put_pre_prepare(ReplicaId(sender), message, judged)
        return True

    def _read(
        self, core: Core, sender: int, encoded: bytes
    ) -> PrePrepare | Reject | MalformedError:
        try:
            message = decode_message(encoded)
        except MalformedError as error:
            return error
        assert isinstance(message, PrePrepare), "its first byte said so"
        [reject] = self._authenticator.judge(core, [(sender, message)])
        return message if reject is None else reject

    async def _judge_batch(self, message: PrePrepare) -> Judged:
        """The admitted transactions of a proposed batch, or why it is refused."""
        batch, parameters = message.batch, self._parameters
        size = BATCH_HEADER_BYTES + sum(LENGTH_BYTES + len(each) for each in batch.transactions)
        if len(batch.transactions) > parameters.batch_transactions_max or (
            size > parameters.batch_bytes_max
        ):
            count = len(batch.transactions)
            reason = f"{count} transactions, {size} bytes, more than a batch has"
            return BatchRefused(message, reason)
        judge = functools.partial(
            self._admission.judge_batch,
            batch.transactions,
            [self._driver.mempool.find_encoded(encoded) for encoded in batch.transactions],
            now_height=message.sequence - 1,
            block_time_ms=batch.block_time_ms,
        )
        loop = asyncio.get_running_loop()
        judged = await loop.run_in_executor(self._batch_thread, judge)
        refused = refused_transaction(batch.transactions, judged)
        if refused is not None:
            index, verdict = refused
            reason = f"{verdict.code} {verdict.fields}"
            return BatchRefused(message, reason, None if was_not_read(verdict) else index)
        return [verdict for verdict in judged if isinstance(verdict, AdmittedTransaction)]
