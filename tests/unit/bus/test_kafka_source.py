"""A consumer of aiokafka that answers no more, or holds back, is noticed and given up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from services.chassis.bus import kafka_source
from services.chassis.bus.kafka_source import KafkaSource
from services.chassis.bus.port import Partition, Position, Progress, TransientError

AT = TopicPartition("topic", 0)
PARTITION = Partition("topic", 0)


@dataclass
class FakeConsumer:
    """One partition with `held` messages; it may hang, or give none of them."""

    held: int = 0
    is_hung: bool = False
    is_silent: bool = False
    place: int = 0
    asked: list[str] = field(default_factory=list)

    def assignment(self) -> set[TopicPartition]:
        return {AT}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[Any, int]:
        return await self._answer({at: 0 for at in partitions})

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[Any, int]:
        return await self._answer({at: self.held for at in partitions})

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int = 0
    ) -> dict[TopicPartition, list[Any]]:
        place, self.place = self.place, self.held
        if self.is_silent or place >= self.held:
            self.place = place
            return await self._answer({})
        return await self._answer({AT: [message(at) for at in range(place, self.held)]})

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.place = offset

    async def _answer(self, answer: dict[Any, Any]) -> dict[Any, Any]:
        if self.is_hung:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return answer


def message(offset: int) -> Any:
    headers = [("event-id", str(offset).encode())]
    return SimpleNamespace(
        topic="topic", partition=0, offset=offset, key=b"key", value=b"", headers=headers
    )


def source_of(consumer: FakeConsumer) -> KafkaSource:
    return KafkaSource(cast("AIOKafkaConsumer", consumer))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "ANSWER_SECONDS_MAX", 0.05)
    monkeypatch.setattr(kafka_source, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr(kafka_source, "SILENT_SECONDS_MAX", 0.0)


async def read_some(source: KafkaSource, after: Progress | None = None) -> Progress | None:
    """Take what there is; the place after it."""
    await source.wait_for_news(0.0)
    records = await source.fetch(PARTITION, after)
    if not records:
        await source._poll({AT}, 0.0)
        records = await source.fetch(PARTITION, after)
    if not records:
        return after
    return Progress(records[-1].position, records[-1].event.event_id)


async def test_a_consumer_at_the_end_of_its_partition_is_asked_for_ever() -> None:
    consumer = FakeConsumer(held=3)
    source = source_of(consumer)
    place = await read_some(source)
    assert place == Progress(Position(2), "2")
    for _ in range(5):
        assert await source.wait_for_news(0.0) == [PARTITION]
        assert await source.fetch(PARTITION, place) == []


async def test_a_consumer_that_answers_no_more_fails_the_source() -> None:
    consumer = FakeConsumer(held=3, is_hung=True)
    with pytest.raises(TimeoutError):
        await source_of(consumer).wait_for_news(0.0)


async def test_a_consumer_that_hangs_in_a_fetch_fails_the_source_at_the_next_look() -> None:
    consumer = FakeConsumer(held=3)
    source = source_of(consumer)
    await source.wait_for_news(0.0)
    consumer.is_hung = True
    with pytest.raises(TimeoutError):
        await source.fetch(PARTITION, None)
    with pytest.raises(TransientError, match="did not answer"):
        await source.wait_for_news(0.0)


async def test_a_partition_that_gives_nothing_of_what_it_holds_fails_the_source() -> None:
    consumer = FakeConsumer(held=3)
    source = source_of(consumer)
    place = await read_some(source)
    assert await source.fetch(PARTITION, place) == []
    consumer.held, consumer.is_silent = 5, True
    await source.wait_for_news(0.0)
    with pytest.raises(TransientError, match="gives nothing from 3 on"):
        await source.wait_for_news(0.0)


async def test_what_is_given_late_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "SILENT_SECONDS_MAX", 60.0)
    consumer = FakeConsumer(held=3)
    source = source_of(consumer)
    place = await read_some(source)
    assert await source.fetch(PARTITION, place) == []
    consumer.held, consumer.is_silent = 5, True
    await source.wait_for_news(0.0)
    consumer.is_silent = False
    assert await source.wait_for_news(0.0) == [PARTITION]
    records = await source.fetch(PARTITION, place)
    assert [record.position for record in records] == [3, 4]


async def test_a_new_place_that_cannot_be_read_fails_the_source() -> None:
    consumer = FakeConsumer(held=3, is_silent=True)
    source = source_of(consumer)
    assert await source.fetch(PARTITION, Progress(Position(1), "1")) == []
    with pytest.raises(TransientError, match="gave nothing from 1, it ends at 3"):
        await source.wait_for_news(0.0)
