"""When a primary proposes, and what goes into the batch.

At once when nothing is under way; else with what arrives meanwhile, so that batches grow under load
and their number does not. Nothing is proposed that a backup could refuse for its expiry, and
nothing while the content of a batch that the view carries on is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX, EXPIRY_MS_MAX
from services.consensus.batches import BatchTracker
from services.consensus.domain.effects import Broadcast, Effect
from services.consensus.domain.epochs import Core
from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.domain.ledger.genesis import ProtocolParameters
from services.consensus.domain.messages import PrePrepare, Propose, ReplicaId
from services.consensus.mempool import LENGTH_BYTES, Mempool
from services.consensus.pacing import InFlightLimit

BATCH_WAIT_SECONDS_MIN: Final = 0.01
BATCH_WAIT_SECONDS_MAX: Final = 0.4
BATCH_HEADER_BYTES: Final = 12
BATCH_OVERHEAD_BYTES: Final = BATCH_HEADER_BYTES + LENGTH_BYTES
"""What a batch with one transaction is larger than the transaction."""


def refused_for_good(
    transaction: AdmittedTransaction, parameters: ProtocolParameters, low_watermark: int
) -> Refused | None:
    """Why no honest primary can ever propose an admitted transaction: it is larger than a batch, or
    expires within the window.
    """
    size, size_max = len(transaction.encoded), parameters.batch_bytes_max - BATCH_OVERHEAD_BYTES
    if size > size_max:
        return Refused("TRANSACTION_TOO_LARGE", {"bytes": size, "maximum": size_max})
    payload, high = transaction.payload, low_watermark + parameters.window
    if payload.expires_height <= high:
        facts: dict[str, Json] = {"expires_height": payload.expires_height, "height": high}
        return Refused("TRANSACTION_EXPIRED", facts)
    return None


def is_owed(
    transaction: AdmittedTransaction,
    parameters: ProtocolParameters,
    low_watermark: int,
    now_ms: int,
) -> bool:
    """Whether a primary that leaves the transaction lying is to be suspected: only while no clock
    within the bound, and no window, makes an honest primary pass it over before the time-out,
    because it expires too soon or too far ahead.
    """
    payload, window = transaction.payload, parameters.window
    soonest_ms = now_ms + parameters.clock_bound_ms + 2 * parameters.view_timeout_ms
    latest_ms = now_ms - parameters.clock_bound_ms + EXPIRY_MS_MAX
    latest_height = low_watermark - window + EXPIRY_HEIGHTS_MAX
    return (
        low_watermark + 2 * window < payload.expires_height <= latest_height
        and soonest_ms < payload.expires_time_ms <= latest_ms
        and refused_for_good(transaction, parameters, low_watermark) is None
    )


class Proposer:
    """Steps the replica with batches from the mempool; part of the driver's one task."""

    def __init__(
        self,
        replica: Core,
        me: ReplicaId,
        mempool: Mempool,
        tracker: BatchTracker,
        parameters: ProtocolParameters,
        now_ms: Callable[[], int],
        wake: asyncio.Event,
    ) -> None:
        self._replica = replica
        self._me = me
        self._mempool = mempool
        self._tracker = tracker
        self._parameters = parameters
        self._now_ms = now_ms
        self._wake = wake
        self._propose_at: float | None = None
        self._proposed_at: dict[int, float] = {}
        self._batch_seconds = 0.0
        self._limit = InFlightLimit()

    def start_epoch(self, replica: Core) -> None:
        """Propose to the core of the next epoch from here on."""
        self._replica = replica
        self._propose_at = None
        self._proposed_at.clear()

    def propose(self) -> list[Effect]:
        """A batch, if the core welcomes one and there is a reason to propose now."""
        if not self._replica.may_propose or not self._tracker.is_complete:
            return []
        block_time_ms = max(self._now_ms(), self._replica.block_time_min_ms)
        ready = self._mempool.ready_count
        if ready == 0:
            self._propose_at = None
            return self._propose_batch((), block_time_ms) if self._replica.heartbeat_due else []
        in_flight = self._tracker.in_flight
        room = self._limit.value - in_flight
        if ready > min(room, self._limit.batch):
            self._limit.hold_back()
        if room <= 0:
            return []
        count_max = min(self._parameters.batch_transactions_max, self._limit.batch, room)
        if in_flight and (ready < count_max or room < self._limit.batch) and not self._waited():
            return []
        self._propose_at = None
        taken = self._mempool.take(
            count_max,
            self._parameters.batch_bytes_max - BATCH_HEADER_BYTES,
            lambda transaction: self._fits(transaction, block_time_ms),
        )
        return self._propose_batch(taken, block_time_ms)

    def note_executed(self, sequence: int) -> None:
        """How long own batches take from proposal to execution, smoothed."""
        proposed_at = self._proposed_at.pop(sequence, None)
        if proposed_at is not None:
            taken = asyncio.get_running_loop().time() - proposed_at
            self._batch_seconds += (taken - self._batch_seconds) / 4
            self._limit.note_batch(taken)
        if len(self._proposed_at) > self._parameters.window:
            self._proposed_at.clear()

    def _waited(self) -> bool:
        """Whether the ready transactions have waited for company long enough: the time that a batch
        takes now, so that one or two are under way and they grow under load. What a block costs by
        itself, on every replica and for all who follow the chain, is paid less often so.
        """
        loop = asyncio.get_running_loop()
        if self._propose_at is None:
            wait = max(BATCH_WAIT_SECONDS_MIN, self._batch_seconds)
            self._propose_at = loop.time() + min(wait, BATCH_WAIT_SECONDS_MAX)
            loop.call_at(self._propose_at, self._wake.set)
            return False
        return loop.time() >= self._propose_at

    def _propose_batch(
        self, transactions: Sequence[AdmittedTransaction], block_time_ms: int
    ) -> list[Effect]:
        if not transactions and not self._replica.heartbeat_due:
            return []
        batch = Batch(block_time_ms, tuple(transaction.encoded for transaction in transactions))
        effects = self._replica.step(self._me, Propose(batch))
        for effect in effects:
            if isinstance(effect, Broadcast) and isinstance(effect.message, PrePrepare):
                sent = effect.message
                self._tracker.add(sent.view, sent.sequence, sent.digest, transactions)
                self._proposed_at[sent.sequence] = asyncio.get_running_loop().time()
        return effects

    def _fits(self, transaction: AdmittedTransaction, block_time_ms: int) -> bool:
        """Whether it fits, and no backup can refuse it in a batch of this time, for its expiry."""
        payload, low = transaction.payload, self._replica.low_watermark
        times = range(block_time_ms, block_time_ms + EXPIRY_MS_MAX + 1)
        return (
            payload.expires_height <= low + EXPIRY_HEIGHTS_MAX
            and payload.expires_time_ms in times
            and refused_for_good(transaction, self._parameters, low) is None
        )
