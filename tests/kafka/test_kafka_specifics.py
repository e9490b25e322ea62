"""What only Kafka can do to a consumer: strangers' records, expired offsets, an absent broker."""

# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.chassis.bus import (
    BusEvent,
    EventsExpiredError,
    PoisonError,
    Topic,
    TransientError,
    list_parked,
    new_event,
    open_bus,
    subscribe,
)
from services.chassis.bus.settings import KafkaBusSettings
from services.chassis.postgres import Connection
from tests.integration.bus.contract import QUICK, consumer, has_parked, texts
from tests.integration.bus.lab import Desk, Lab, numbered, running, write_effect

pytestmark = pytest.mark.kafka


async def test_a_strangers_record_is_parked_and_does_not_stall_the_topic(
    lab: Lab, desk: Desk, bootstrap: str
) -> None:
    """No headers, no key, a NUL, bytes that are no UTF-8, no value: each is stored and shown."""
    topic = await lab.topic()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    await producer.send_and_wait(
        topic, value=b"\xff\x00", key=b"a\x00\xff", headers=[("\x00", b"")]
    )
    await producer.send_and_wait(topic, value=None, key=b"k")
    await producer.send_and_wait(topic, value=b"\x00", headers=[("event-id", b"x" * 5000)])
    await producer.stop()
    await lab.bus.publish([new_event(topic, "k", b"ours")])

    async def handler(connection: Connection, event: BusEvent) -> None:
        if event.payload != b"ours":
            raise PoisonError("no event of ours")
        await write_effect(connection, event)

    async with running(consumer(lab, desk, topic, handler=handler)):
        assert await desk.wait_effects(1) == ["ours"]
    async with desk.pool.acquire() as connection:
        parked = await list_parked(connection)
    assert [item.record.event.payload for item in parked] == [b"\xff\x00", b"", b"\x00"]
    assert [item.record.event.event_id for item in parked] == [f"{topic}/0/{n}" for n in range(3)]


async def expire(bootstrap: str, topic: str, before: int) -> None:
    """What retention does, at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=before)})
    await admin.close()


async def test_a_group_that_had_handled_what_expired_goes_on(
    lab: Lab, desk: Desk, bootstrap: str
) -> None:
    topic = await lab.topic()
    await lab.bus.publish(numbered(topic, range(5)))
    async with running(consumer(lab, desk, topic)):
        await desk.wait_effects(5)
    await expire(bootstrap, topic, before=5)
    await lab.bus.publish(numbered(topic, range(5, 8)))
    async with running(consumer(lab, desk, topic)):
        assert await desk.wait_effects(8) == texts(range(8))


async def test_a_group_that_missed_what_expired_stops_instead_of_going_on(
    lab: Lab, desk: Desk, bootstrap: str
) -> None:
    topic = await lab.topic()
    await lab.bus.publish(numbered(topic, range(3)))
    async with running(consumer(lab, desk, topic)):
        await desk.wait_effects(3)
    await lab.bus.publish(numbered(topic, range(3, 8)))
    await expire(bootstrap, topic, before=6)
    with pytest.raises(EventsExpiredError) as stopped:
        async with asyncio.timeout(60):
            await subscribe(
                lab.bus,
                group="group",
                topics=[topic],
                pool=desk.pool,
                handler=write_effect,
                limits=QUICK,
            )
    assert (stopped.value.handled, stopped.value.first) == (2, 6)
    assert await desk.effects() == texts(range(3))


async def test_an_absent_broker_is_waited_for_by_publisher_and_consumer(
    breakable: Lab, desk: Desk
) -> None:
    topic = await breakable.topic()
    await breakable.kill_server()
    assert isinstance(breakable.settings, KafkaBusSettings)
    async with open_bus(breakable.settings) as bus:
        with pytest.raises(TransientError):
            await bus.publish(numbered(topic, [0]))
        async with running(consumer(breakable, desk, topic)) as [waiting]:
            await breakable.start_server()
            await bus.publish(numbered(topic, range(3)))
            assert await desk.wait_effects(3) == texts(range(3))
            assert not waiting.done()
    assert not await has_parked(desk, 1)


async def test_a_topic_that_appears_after_the_consumer_is_found(lab: Lab, desk: Desk) -> None:
    topic = "test.late"
    await lab.bus.delete_topic(topic)
    async with running(consumer(lab, desk, topic)) as [waiting]:
        await lab.bus.ensure_topics([Topic(topic)])
        await lab.bus.publish(numbered(topic, range(3)))
        assert await desk.wait_effects(3) == texts(range(3))
        assert not waiting.done()
    await lab.bus.delete_topic(topic)


async def test_deleting_a_topic_that_is_not_there_is_fine(lab: Lab) -> None:
    await lab.bus.delete_topic("test.nowhere")
