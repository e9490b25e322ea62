"""The bus over Apache Kafka, for production and where users outgrow one machine.

No Kafka transactions and no committed offsets: a consumer's position lives beside its rows, and
this adapter seeks to it. The producer is idempotent with acks=all and sends one batch a partition
at a time, so that a failed batch is never overtaken by a later event of the same key.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import TopicPartition

from services.chassis.bus.kafka_failures import translated
from services.chassis.bus.kafka_source import KafkaSource, read_one
from services.chassis.bus.port import (
    EVENT_BYTES_MAX,
    FETCH_BYTES_MAX,
    PUBLISH_EVENTS_MAX,
    BusEvent,
    Partition,
    Position,
    Topic,
    TopicMismatchError,
    TopicMissingError,
    checked,
    partition_of,
)

if TYPE_CHECKING:
    from services.chassis.bus.settings import KafkaBusSettings

ENVELOPE_BYTES_MAX: Final = 256 * 1024  # Key, headers and Kafka's own framing.
BATCH_BYTES_MAX: Final = 512 * 1024  # A larger event travels alone.
REQUEST_TIMEOUT_MS: Final = 20_000
SESSION_TIMEOUT_MS: Final = 6_000
HEARTBEAT_MS: Final = 2_000
REBALANCE_MS: Final = 30_000
# A member that waits for its database must not lose its partitions: position rows fence it anyway.
POLL_INTERVAL_MS_MAX: Final = 24 * 3600 * 1000
METADATA_AGE_MS_MAX: Final = 10_000
FETCH_WAIT_MS: Final = 100  # Other requests wait behind a fetch on the same connection.
METADATA_SECONDS_MAX: Final = 20.0
PUBLISH_SECONDS_MAX: Final = 60.0
READ_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


class KafkaBus:
    """An adapter of `Bus`. Open it with `open_kafka_bus`."""

    def __init__(self, settings: KafkaBusSettings) -> None:
        self._settings = settings
        self._publishing = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None
        self._partition_counts: dict[str, int] = {}

    async def reach(self) -> None:
        async with self._admin():
            pass  # It has asked a broker for the cluster's metadata.

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        async with self._admin() as admin:
            for topic in topics:
                counts = await _describe(admin, topic.name)
                if counts is None:
                    await self._create_topic(admin, topic)
                    counts = await _wait_for_topic(admin, topic.name)
                if counts != topic.partitions:
                    raise TopicMismatchError(topic.name, found=counts, wanted=topic.partitions)

    async def delete_topic(self, name: str) -> None:
        self._partition_counts.pop(name, None)
        async with self._admin() as admin:
            response: Any = await admin.delete_topics([name])
            for _, code in response.topic_error_codes:
                _raise_unless(code, kafka_errors.UnknownTopicOrPartitionError)
            async with asyncio.timeout(METADATA_SECONDS_MAX):
                while await _describe(admin, name) is not None:  # noqa: ASYNC110 - remote state
                    await asyncio.sleep(POLL_SECONDS)

    async def publish(self, events: Sequence[BusEvent]) -> Mapping[Partition, Position]:
        assert len(events) <= PUBLISH_EVENTS_MAX, "publish in bounded batches"
        async with self._publishing:
            try:
                with translated():
                    async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                        return await self._publish(events)
            except BaseException:
                # Stopping flushes or expires what it still holds, before the events are sent again.
                await self._discard_producer()
                raise

    async def event_at(self, partition: Partition, position: Position) -> BusEvent | None:
        async with self._admin() as admin:
            if await _describe(admin, partition.topic) is None:
                return None
        consumer = AIOKafkaConsumer(**self._connection(), max_partition_fetch_bytes=FETCH_BYTES_MAX)
        try:
            with translated():
                async with asyncio.timeout(READ_SECONDS_MAX):
                    await consumer.start()
                    at = TopicPartition(partition.topic, partition.number)
                    return await read_one(consumer, at, position)
        finally:
            await _stop(consumer)

    @asynccontextmanager
    async def open_source(self, group: str, topics: Sequence[str]) -> AsyncIterator[KafkaSource]:
        consumer = AIOKafkaConsumer(
            *topics,
            **self._connection(),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=POLL_INTERVAL_MS_MAX,
            rebalance_timeout_ms=REBALANCE_MS,
            metadata_max_age_ms=METADATA_AGE_MS_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
        )
        try:
            with translated():
                async with asyncio.timeout(READ_SECONDS_MAX):
                    await consumer.start()
            yield KafkaSource(consumer)
        finally:
            await _stop(consumer)

    async def close(self) -> None:
        """Stop the producer; events whose `publish` has returned are stored already."""
        await self._discard_producer()

    async def _publish(self, events: Sequence[BusEvent]) -> Mapping[Partition, Position]:
        by_partition: dict[Partition, list[BusEvent]] = defaultdict(list)
        for event in events:
            count = await self._partition_count(event.topic)
            partition = Partition(event.topic, partition_of(event.key, count))
            by_partition[partition].append(checked(event))
        producer = await self._ensure_producer()
        results = await asyncio.gather(
            *(_send_in_order(producer, at, part) for at, part in by_partition.items()),
            return_exceptions=True,
        )
        places: dict[Partition, Position] = {}
        for at, result in zip(by_partition, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result >= 0:  # A batch that the broker had already has no offset.
                places[at] = Position(result)
        return places

    async def _partition_count(self, topic: str) -> int:
        if topic not in self._partition_counts:
            async with self._admin() as admin:
                count = await _describe(admin, topic)
            if count is None:
                raise TopicMissingError(topic)
            self._partition_counts[topic] = count
        return self._partition_counts[topic]

    async def _ensure_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._connection(),
                acks="all",
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES_MAX,
                max_request_size=EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX,
            )
            try:
                await producer.start()
            except BaseException:
                await _stop(producer)
                raise
            self._producer = producer
        return self._producer

    async def _discard_producer(self) -> None:
        producer, self._producer = self._producer, None
        self._partition_counts.clear()
        if producer is None:
            return
        try:
            await _stop(producer)
        except kafka_errors.KafkaError as error:
            log.warning("bus.producer_stop_failed", error=repr(error))

    async def _create_topic(self, admin: AIOKafkaAdminClient, topic: Topic) -> None:
        retention = -1 if topic.retention is None else int(topic.retention.total_seconds() * 1000)
        replicas = self._settings.replication_factor
        response: Any = await admin.create_topics(
            [
                NewTopic(
                    topic.name,
                    topic.partitions,
                    replicas,
                    topic_configs={
                        "cleanup.policy": "delete",
                        "retention.ms": str(retention),
                        "retention.bytes": "-1",
                        "max.message.bytes": str(EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX),
                        "min.insync.replicas": "2" if replicas >= 3 else "1",
                        "unclean.leader.election.enable": "false",
                    },
                )
            ]
        )
        for _, code, *_ in response.topic_errors:
            _raise_unless(code, kafka_errors.TopicAlreadyExistsError)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(**self._connection())
        with translated():
            try:
                await admin.start()
                yield admin
            finally:
                await admin.close()

    def _connection(self) -> dict[str, Any]:
        connection: dict[str, Any] = {
            "bootstrap_servers": self._settings.bootstrap,
            "client_id": "guqiao",
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
        }
        if self._settings.ca_file is not None:
            connection["security_protocol"] = "SSL"
            connection["ssl_context"] = create_ssl_context(
                cafile=self._settings.ca_file,
                certfile=self._settings.certificate_file,
                keyfile=self._settings.key_file,
            )
        return connection


@asynccontextmanager
async def open_kafka_bus(settings: KafkaBusSettings) -> AsyncIterator[KafkaBus]:
    """The bus over the brokers of the settings. Nothing connects before it must."""
    bus = KafkaBus(settings)
    try:
        yield bus
    finally:
        await bus.close()


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client, or leave one that does not end to itself."""
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await client.stop()
    except TimeoutError:
        log.warning("bus.client_left", client=type(client).__name__)


async def _send_in_order(
    producer: AIOKafkaProducer, partition: Partition, events: Sequence[BusEvent]
) -> int:
    """One acknowledged batch after the other: a later event never overtakes a failed one. Returns
    the offset of the last event, -1 where the broker does not say.
    """
    rest, last = list(events), -1
    while rest:
        batch = producer.create_batch()
        taken = 0
        for event in rest:
            headers = [(name, value.encode()) for name, value in event.headers.items()]
            if (
                batch.append(
                    key=event.key.encode(), value=event.payload, timestamp=None, headers=headers
                )
                is None
            ):
                break
            taken += 1
        assert taken > 0, "an empty batch takes an event of any size"
        batch.close()
        delivery = await producer.send_batch(batch, partition.topic, partition=partition.number)
        stored = await delivery
        last = stored.offset + taken - 1 if stored.offset >= 0 else -1
        rest = rest[taken:]
    return last


async def _describe(admin: AIOKafkaAdminClient, topic: str) -> int | None:
    """The number of partitions, or None when there is no such topic."""
    for found in await admin.describe_topics([topic]):
        if found["topic"] == topic and found["error_code"] == 0:
            return len(found["partitions"])
        _raise_unless(found["error_code"], kafka_errors.UnknownTopicOrPartitionError)
    return None


async def _wait_for_topic(admin: AIOKafkaAdminClient, topic: str) -> int:
    """Until the brokers tell of the topic that was just created."""
    async with asyncio.timeout(METADATA_SECONDS_MAX):
        while (count := await _describe(admin, topic)) is None:  # noqa: ASYNC110 - remote state
            await asyncio.sleep(POLL_SECONDS)
    return count


def _raise_unless(code: int, expected: type[kafka_errors.KafkaError]) -> None:
    if code == 0:
        return
    error = kafka_errors.for_code(code)
    if error is not expected:
        raise error()
