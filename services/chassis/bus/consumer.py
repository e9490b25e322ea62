"""The consumer loop, one for every adapter: handles each event with exactly one effect.

For every partition with news it opens one transaction in the consumer's database, claims the
partition's position row, fetches what follows it, runs the handler for each event, and stores the
new position: all or nothing. A crash anywhere repeats the fetch, never an effect. An event that
cannot be handled is parked with its cause; an absent database or broker is waited for, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from opentelemetry import propagate, trace

from services.chassis.bus import positions
from services.chassis.bus.port import (
    Bus,
    EventsExpiredError,
    Handler,
    Partition,
    PoisonError,
    Record,
    Source,
)
from services.chassis.bus.transient import Backoff, is_transient
from services.chassis.postgres.pool import Connection, Pool

BATCH_EVENTS_MAX: Final = 100
BUSY_PAUSE_SECONDS: Final = 0.02

log = structlog.get_logger(__name__)
NO_SPANS: Final[trace.Tracer] = trace.NoOpTracer()
"""For consumers whose process records no traces; the events' trace context still goes on."""


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """How patient a consumer is."""

    poll_seconds: float = 0.5
    attempts_max: int = 5
    backoff_first_seconds: float = 0.05
    backoff_max_seconds: float = 5.0


async def subscribe(
    bus: Bus,
    *,
    group: str,
    topics: Sequence[str],
    pool: Pool,
    handler: Handler,
    limits: ConsumerLimits = ConsumerLimits(),
    tracer: trace.Tracer = NO_SPANS,
    remembers_ids: bool = True,
) -> None:
    """Handle the topics' events as one member of the group, until cancelled.

    `pool` leads to the database of the consumer's own rows, prepared by `migrate_consumer`. Without
    `remembers_ids` the handler itself knows a repetition, and an event's id, which is anybody's
    word, decides nothing. Raises `EventsExpiredError` alone: going on after lost events is for an
    operator to decide.
    """
    backoff = Backoff(limits.backoff_first_seconds, limits.backoff_max_seconds)
    while True:
        try:
            async with bus.open_source(group, topics) as source:
                consumer = _Consumer(source, group, pool, handler, limits, tracer, remembers_ids)
                while True:
                    await consumer.run_once()
                    backoff.reset()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("bus.source_lost", group=group, error=repr(error))
            await asyncio.sleep(backoff.next_seconds())


@dataclass(slots=True)
class _Trouble:
    """A partition whose last batch failed: events are handled singly until the batch is past."""

    backoff: Backoff
    not_before: float = 0.0
    single_until: int = -1
    culprit: int | None = None
    attempts: int = 0
    cause: str = ""
    hopeless: bool = False


@dataclass(slots=True)
class _Consumer:
    source: Source
    group: str
    pool: Pool
    handler: Handler
    limits: ConsumerLimits
    tracer: trace.Tracer
    remembers_ids: bool
    troubles: dict[Partition, _Trouble] = field(default_factory=dict)

    async def run_once(self) -> None:
        """Wait for news, then advance every partition that may have some by one batch."""
        partitions = await self.source.wait_for_news(self.limits.poll_seconds)
        advanced = False
        for partition in partitions:
            if self._may_try(partition):
                advanced = await self._advance(partition) or advanced
        if partitions and not advanced:
            await asyncio.sleep(BUSY_PAUSE_SECONDS)

    def _may_try(self, partition: Partition) -> bool:
        trouble = self.troubles.get(partition)
        return trouble is None or asyncio.get_running_loop().time() >= trouble.not_before

    async def _advance(self, partition: Partition) -> bool:
        """One transaction for one batch; whether anything was handled."""
        batch: list[Record] = []
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                claim = await positions.claim(connection, self.group, partition)
                if claim is not None:
                    records = await self.source.fetch(partition, claim.progress)
                    batch.extend(self._cut(partition, records))
                    for record in batch:
                        await self._handle(connection, record)
                    if batch:
                        await positions.advance(connection, self.group, batch[-1])
            if claim is None:
                await self._ensure_position(partition)
        except EventsExpiredError:
            raise
        except Exception as error:
            self._note_failure(partition, batch, error)
            return False
        self._note_success(partition, batch)
        return bool(batch)

    async def _ensure_position(self, partition: Partition) -> None:
        async with self.pool.acquire() as connection:
            await positions.ensure_position(connection, self.group, partition)

    def _cut(self, partition: Partition, records: Sequence[Record]) -> Sequence[Record]:
        trouble = self.troubles.get(partition)
        single = (
            trouble is not None and bool(records) and records[0].position <= trouble.single_until
        )
        return records[: 1 if single else BATCH_EVENTS_MAX]

    async def _handle(self, connection: Connection, record: Record) -> None:
        if self.remembers_ids and not await positions.mark_handled(
            connection, self.group, record.event
        ):
            return  # It came before: published twice, or the topic was rebuilt.
        trouble = self.troubles.get(record.partition)
        if trouble is not None and trouble.hopeless and trouble.culprit == record.position:
            await positions.park(
                connection, self.group, record, cause=trouble.cause, attempts=trouble.attempts
            )
            log.error("bus.event_parked", group=self.group, cause=trouble.cause, **_facts(record))
            return
        with self.tracer.start_as_current_span(
            f"{record.event.topic} process",
            context=propagate.extract(dict(record.event.headers)),
            kind=trace.SpanKind.CONSUMER,
        ):
            await self.handler(connection, record.event)

    def _note_failure(self, partition: Partition, batch: list[Record], error: Exception) -> None:
        """Remember who is to blame. Only a batch of one names the culprit with certainty."""
        trouble = self.troubles.get(partition)
        if trouble is None:
            trouble = _Trouble(
                Backoff(self.limits.backoff_first_seconds, self.limits.backoff_max_seconds)
            )
            self.troubles[partition] = trouble
        trouble.not_before = asyncio.get_running_loop().time() + trouble.backoff.next_seconds()
        log.warning("bus.batch_failed", group=self.group, topic=partition.topic, error=repr(error))
        if not batch:
            return
        # What comes before the event that cannot be handled now is handled meanwhile.
        trouble.single_until = max(trouble.single_until, batch[-1].position)
        if is_transient(error):
            return
        if len(batch) > 1:
            trouble.not_before = 0.0  # Find the culprit at once.
            return
        position = batch[0].position
        trouble.attempts = trouble.attempts + 1 if trouble.culprit == position else 1
        trouble.culprit = position
        trouble.cause = f"{type(error).__name__}: {error}"
        trouble.hopeless = (
            isinstance(error, PoisonError) or trouble.attempts >= self.limits.attempts_max
        )
        if trouble.hopeless:
            trouble.not_before = 0.0

    def _note_success(self, partition: Partition, batch: list[Record]) -> None:
        trouble = self.troubles.get(partition)
        if trouble is None:
            return
        trouble.backoff.reset()
        trouble.not_before = 0.0
        trouble.culprit, trouble.hopeless = None, False
        if not batch or batch[-1].position >= trouble.single_until:
            del self.troubles[partition]


def _facts(record: Record) -> dict[str, object]:
    return {
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "position": record.position,
        "event_id": record.event.event_id,
    }
