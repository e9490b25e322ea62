"""The bus as services see it: publish through the outbox, subscribe as a group, replay.

Truth is on the chains; the bus is a feed that may be deleted and rebuilt. Adapters (`postgres`,
`kafka`) only store and fetch; what makes effects happen exactly once is in `consumer`. A topic is
split into partitions by key, and order is kept within a partition, so within a key.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NewType, Protocol, TypeAlias
from uuid import uuid4

from opentelemetry import propagate

from services.chassis.postgres.pool import Connection

EVENT_ID_HEADER: Final = "event-id"
EVENT_BYTES_MAX: Final = 15 * 1024 * 1024  # A chain's largest block is one event.
HEADERS_MAX: Final = 32
HEADER_CHARACTERS_MAX: Final = 1024
FETCH_EVENTS_MAX: Final = 200
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024  # A single larger event is still fetched, alone.
PUBLISH_EVENTS_MAX: Final = 1000
PARTITIONS_MAX: Final = 64

Position = NewType("Position", int)


@dataclass(frozen=True, slots=True)
class BusEvent:
    """A fact to announce. Make one with `new_event`, which gives it an id and the trace context."""

    topic: str
    key: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def event_id(self) -> str:
        """What consumers recognise a repetition by."""
        return self.headers[EVENT_ID_HEADER]


def new_event(
    topic: str,
    key: str,
    payload: bytes,
    *,
    event_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> BusEvent:
    """An event that carries the current trace. Give a feed that can be rebuilt an id of its own.

    A block's event is named by chain and height, for instance, so that publishing it again after
    the topic was deleted repeats the id, and no consumer handles it twice.
    """
    carrier: dict[str, str] = dict(headers or {})
    carrier[EVENT_ID_HEADER] = event_id or str(uuid4())
    if "traceparent" not in carrier:
        propagate.inject(carrier)
    return checked(BusEvent(topic, key, payload, carrier))


def checked(event: BusEvent) -> BusEvent:
    """The event, if an adapter can carry it; every adapter and the outbox ask."""
    if len(event.payload) > EVENT_BYTES_MAX:
        raise EventRefusedError(event.topic, f"{len(event.payload)} bytes > {EVENT_BYTES_MAX}")
    if not event.headers.get(EVENT_ID_HEADER):
        raise EventRefusedError(event.topic, f"no {EVENT_ID_HEADER} header: use new_event()")
    if len(event.headers) > HEADERS_MAX:
        raise EventRefusedError(event.topic, f"{len(event.headers)} headers > {HEADERS_MAX}")
    for name, value in [*event.headers.items(), ("key", event.key)]:
        if len(name) > HEADER_CHARACTERS_MAX or len(value) > HEADER_CHARACTERS_MAX:
            raise EventRefusedError(event.topic, f"{name[:40]!r} > {HEADER_CHARACTERS_MAX} chars")
        if "\x00" in name or "\x00" in value:
            raise EventRefusedError(event.topic, f"a NUL character in {name[:40]!r}")
    return event


@dataclass(frozen=True, slots=True)
class Topic:
    """A named feed. `retention=None` keeps everything, which a replay from the start needs."""

    name: str
    partitions: int = 1
    retention: timedelta | None = None

    def __post_init__(self) -> None:
        assert 1 <= self.partitions <= PARTITIONS_MAX


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered part of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """An event at its place."""

    partition: Partition
    position: Position
    event: BusEvent


@dataclass(frozen=True, slots=True)
class Progress:
    """The last event that a group has handled in a partition, by place and by name.

    The name tells a topic that was deleted and rebuilt from the one the place belongs to.
    """

    position: Position
    event_id: str


class Source(Protocol):
    """What an adapter gives the consumer loop: where news may be, and what follows a place."""

    async def wait_for_news(self, seconds: float) -> Sequence[Partition]:
        """Partitions that may hold unhandled events, at the latest after `seconds`.

        Only a hint: `fetch` decides. Now and then every partition of this member is named.
        """
        ...

    async def fetch(self, partition: Partition, after: Progress | None) -> Sequence[Record]:
        """The next events, bounded, in order; from the start when the topic was rebuilt."""
        ...


class Publisher(Protocol):
    """The half of a bus that the outbox needs."""

    async def publish(self, events: Sequence[BusEvent]) -> object:
        """Store the events durably, in order within a key. After a failure any part may be there;
        publish the same events again.
        """
        ...


class Bus(Publisher, Protocol):
    """One domain's bus."""

    async def publish(self, events: Sequence[BusEvent]) -> Mapping[Partition, Position]:
        """The same; returns where the last event of each partition lies, unless the bus does not
        say.
        """
        ...

    async def reach(self) -> None:
        """Return when the bus answers; raise what `is_transient` knows when it does not."""
        ...

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Create what is missing. A topic with another number of partitions is refused."""
        ...

    async def delete_topic(self, name: str) -> None:
        """Delete the topic and its events; what is not there is fine."""
        ...

    async def event_at(self, partition: Partition, position: Position) -> BusEvent | None:
        """The event at a place, or None where none is (any more)."""
        ...

    def open_source(self, group: str, topics: Sequence[str]) -> AbstractAsyncContextManager[Source]:
        """Join the group as one more member, for `consumer.subscribe`."""
        ...


Handler: TypeAlias = Callable[[Connection, BusEvent], Awaitable[None]]


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every adapter and for ever."""
    return zlib.crc32(key.encode()) % partitions


class BusError(Exception):
    """Base of what the bus itself refuses."""


class TransientError(BusError):
    """Raised by a handler whose surroundings are away: the event is tried again, for ever."""


class PoisonError(BusError):
    """Raised by a handler for an event that it can never handle: the event is parked at once."""


class EventRefusedError(BusError):
    """The event is too large or malformed, so no adapter takes it."""

    def __init__(self, topic: str, cause: str) -> None:
        super().__init__(
            f"event for {topic!r} refused: {cause} / 主题 {topic!r} 的事件被拒绝：{cause}"
        )
        self.topic = topic
        self.cause = cause


class TopicMissingError(BusError):
    """The topic does not exist (yet)."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"topic {topic!r} does not exist: create it with ensure_topics"
            f" / 主题 {topic!r} 不存在：请先创建"
        )
        self.topic = topic


class TopicMismatchError(BusError):
    """The topic exists with another number of partitions; changing it would break order per key."""

    def __init__(self, topic: str, *, found: int, wanted: int) -> None:
        super().__init__(
            f"topic {topic!r} has {found} partitions, not {wanted}: delete and rebuild it"
            f" / 主题 {topic!r} 有 {found} 个分区，要求 {wanted} 个：请删除后重建"
        )
        self.topic = topic
        self.found = found
        self.wanted = wanted


class EventsExpiredError(BusError):
    """Retention removed events that the group had not handled: it must not simply go on.

    Remedy: delete the topic, so that it is published again from the start; what was handled is
    passed over (the block feed: `python -m services.gateway rebuild-feed`).
    """

    def __init__(self, partition: Partition, *, handled: int | None, first: int) -> None:
        super().__init__(
            f"events after {handled} of {partition.topic!r}/{partition.number} are gone, the first "
            f"left is {first}: delete the topic, it is published again / {partition.topic!r}/"
            f"{partition.number} 中 {handled} 之后的事件已过期，现存最早为 {first}："
            "请删除该主题，系统会从头重新发布"
        )
        self.partition = partition
        self.handled = handled
        self.first = first


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that could not be handled, with its cause."""

    parked_id: int
    group: str
    record: Record
    cause: str
    attempts: int
