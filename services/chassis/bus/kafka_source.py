"""Reads Kafka for one member of a group, from the positions that the consumer's database keeps.

A partition's `_Window` holds fetched records whose predecessor is known, so that what `fetch`
returns always follows the place it was asked about. When that is in doubt (a new assignment, a roll
back, a rebuilt topic), it seeks to the last handled event and compares its name first.

aiokafka's consumer can stop answering for ever after a broker came back (its task that keeps the
metadata ends, and everything waits for it). So every wait is bounded, a partition that gives
nothing of what it holds is noticed, and the source fails: `subscribe` opens another one.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import TopicPartition

from services.chassis.bus.kafka_failures import translated
from services.chassis.bus.port import (
    EVENT_ID_HEADER,
    FETCH_EVENTS_MAX,
    HEADER_CHARACTERS_MAX,
    BusEvent,
    EventsExpiredError,
    Partition,
    Position,
    Progress,
    Record,
    TransientError,
)

RECHECK_SECONDS: Final = 2.0
UNASSIGNED_SECONDS: Final = 0.05
SEEK_FETCH_MS: Final = 5_000
ANSWER_SECONDS_MAX: Final = 30.0
SILENT_SECONDS_MAX: Final = 15.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Window:
    """Fetched records in order, the progress that they follow, and the position that comes next.

    After a topic was rebuilt, `anchor` is still the place in the old one, and the records are the
    new one's first.
    """

    anchor: Progress | None
    next_position: int
    records: list[Record] = field(default_factory=list)
    silent_since: float | None = None
    """Since when the partition holds more than it gives."""


class KafkaSource:
    """A `Source` over one consumer of aiokafka."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._windows: dict[TopicPartition, _Window] = {}
        self._doubted: set[TopicPartition] = set()
        self._next_recheck = 0.0
        self._turn = 0
        self._failure = ""

    async def wait_for_news(self, seconds: float) -> Sequence[Partition]:
        if self._failure:
            raise TransientError(self._failure)
        async with asyncio.timeout(seconds + ANSWER_SECONDS_MAX):
            return await self._wait_for_news(seconds)

    async def _wait_for_news(self, seconds: float) -> Sequence[Partition]:
        assigned = self._forget_revoked()
        now = asyncio.get_running_loop().time()
        if now >= self._next_recheck:
            # Everything is looked at anew now and then: a reset group, a topic that was rebuilt.
            self._next_recheck = now + RECHECK_SECONDS
            with translated():
                await self._doubt_what_moved(sorted(assigned))
            return [_partition(at) for at in sorted(assigned)]
        waiting = {at for at in assigned if self._pending(at)}
        await self._poll(assigned - waiting, 0.0 if waiting else seconds)
        return [
            _partition(at) for at in sorted(assigned) if at in self._doubted or self._pending(at)
        ]

    async def fetch(self, partition: Partition, after: Progress | None) -> Sequence[Record]:
        at = TopicPartition(partition.topic, partition.number)
        window = self._windows.get(at)
        if window is None or at in self._doubted or not _move_to(window, after):
            try:
                with translated():
                    async with asyncio.timeout(ANSWER_SECONDS_MAX):
                        window = await self._seek(at, after)
            except TimeoutError:
                self._failure = f"{at} did not answer within {ANSWER_SECONDS_MAX:.0f} s"
                raise
            except TransientError as error:
                if isinstance(error.__cause__, IllegalStateError):
                    return []  # The partition was revoked while we looked.
                raise
        return list(window.records) if window is not None else []

    def _forget_revoked(self) -> set[TopicPartition]:
        assigned: set[TopicPartition] = set(self._consumer.assignment())
        for gone in self._windows.keys() - assigned:
            del self._windows[gone]
        self._doubted &= assigned
        return assigned

    def _pending(self, at: TopicPartition) -> bool:
        window = self._windows.get(at)
        return window is not None and bool(window.records)

    async def _poll(self, partitions: set[TopicPartition], seconds: float) -> None:
        """Fetch where no records are in hand; others keep theirs, so memory is bounded."""
        if not partitions:
            await asyncio.sleep(min(seconds, UNASSIGNED_SECONDS))
            return
        with translated():
            fetched = await self._consumer.getmany(
                *partitions, timeout_ms=int(seconds * 1000), max_records=FETCH_EVENTS_MAX
            )
        for at, messages in fetched.items():
            self._take(at, [_record(message) for message in messages])

    def _take(self, at: TopicPartition, records: list[Record]) -> None:
        window = self._windows.get(at)
        if window is not None and records[0].position == window.next_position:
            window.records.extend(records)
            window.silent_since = None
            window.next_position = records[-1].position + 1
        else:
            self._doubted.add(at)  # `fetch` will seek to where the database says we are.

    async def _doubt_what_moved(self, assigned: list[TopicPartition]) -> None:
        """Doubt partitions that ended before, or begin after, the place where we read.

        A topic that was rebuilt between two looks and is longer than before shows neither, so the
        event at the place of one more partition is compared each time, in turn.
        """
        bounds = await self._read_bounds(assigned)
        for at, (begin, end) in bounds.items():
            window = self._windows.get(at)
            if window is None:
                continue
            if not begin <= window.next_position <= end:
                self._doubted.add(at)
            elif window.next_position == end or window.records:
                window.silent_since = None
            else:
                _require_voice(at, window)
        if assigned:
            self._turn += 1
            at = assigned[self._turn % len(assigned)]
            if not self._pending(at):
                self._doubted.add(at)

    async def _read_bounds(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """The first offset of each partition and the one after its last."""
        if not partitions:
            return {}
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {at: (begins[at], ends[at]) for at in partitions}

    async def _seek(self, at: TopicPartition, after: Progress | None) -> _Window | None:
        """Go to what follows `after`, having compared the name of the event there."""
        self._windows.pop(at, None)
        begin, end = (await self._read_bounds([at]))[at]
        if after is None:
            return self._start_at(at, begin, after)
        if begin == after.position + 1:
            return self._start_at(at, begin, after)  # Retention took exactly what was handled.
        if begin > after.position:
            raise EventsExpiredError(_partition(at), handled=after.position, first=begin)
        if after.position < end:
            records = await self._read_at(at, after.position)
            if not records:
                self._failure = f"{at} gave nothing from {after.position}, it ends at {end}"
                return None
            if records[0].event.event_id == after.event_id:
                self._doubted.discard(at)
                self._windows[at] = _Window(after, records[-1].position + 1, records[1:])
                return self._windows[at]
        log.warning("bus.topic_rebuilt", topic=at.topic, partition=at.partition)
        return self._start_at(at, begin, after)

    def _start_at(self, at: TopicPartition, offset: int, after: Progress | None) -> _Window:
        self._consumer.seek(at, offset)
        self._doubted.discard(at)
        self._windows[at] = _Window(after, offset)
        return self._windows[at]

    async def _read_at(self, at: TopicPartition, offset: int) -> list[Record]:
        """The records from an offset that is known to exist."""
        self._consumer.seek(at, offset)
        fetched = await self._consumer.getmany(
            at, timeout_ms=SEEK_FETCH_MS, max_records=FETCH_EVENTS_MAX
        )
        records = [_record(message) for message in fetched.get(at, [])]
        if records and records[0].position != offset:
            raise TransientError(f"{at} moved while it was read")
        return records


async def read_one(consumer: AIOKafkaConsumer, at: TopicPartition, offset: int) -> BusEvent | None:
    """The event at an offset, read by a consumer of its own; None where none is."""
    consumer.assign([at])
    begin = (await consumer.beginning_offsets([at]))[at]
    end = (await consumer.end_offsets([at]))[at]
    if not begin <= offset < end:
        return None
    consumer.seek(at, offset)
    messages = (await consumer.getmany(at, timeout_ms=SEEK_FETCH_MS, max_records=1)).get(at, [])
    if not messages:
        raise TransientError(f"{at} gave nothing from {offset}, it ends at {end}")
    return _record(messages[0]).event if messages[0].offset == offset else None


def _require_voice(at: TopicPartition, window: _Window) -> None:
    """Raise `TransientError` where the partition has held back for too long what it holds."""
    now = asyncio.get_running_loop().time()
    if window.silent_since is None:
        window.silent_since = now
    elif now - window.silent_since > SILENT_SECONDS_MAX:
        raise TransientError(f"{at} gives nothing from {window.next_position} on")


def _move_to(window: _Window, after: Progress | None) -> bool:
    """Drop what is handled. False when `after` is not a place in the window."""
    if window.anchor == after:
        return True
    for index, record in enumerate(window.records):
        if after == Progress(record.position, record.event.event_id):
            window.anchor = after
            del window.records[: index + 1]
            return True
    return False


def _partition(at: TopicPartition) -> Partition:
    return Partition(at.topic, at.partition)


def _record(message: Any) -> Record:
    """A stranger's record without our headers is still an event, named by its place."""
    headers = {_text(name): _text(value) for name, value in message.headers}
    if not 0 < len(headers.get(EVENT_ID_HEADER, "")) <= HEADER_CHARACTERS_MAX:
        headers[EVENT_ID_HEADER] = f"{message.topic}/{message.partition}/{message.offset}"
    event = BusEvent(message.topic, _text(message.key), message.value or b"", headers)
    return Record(Partition(message.topic, message.partition), Position(message.offset), event)


def _text(data: bytes | str | None) -> str:
    """Text that PostgreSQL can store, whatever came."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data or ""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
