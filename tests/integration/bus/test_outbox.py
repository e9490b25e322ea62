"""The outbox: an event goes out if, and only if, its transaction commits, and has one effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.chassis import outbox
from services.chassis.bus import BusEvent, EventRefusedError, TransientError, new_event
from tests.integration.bus.contract import consumer, texts
from tests.integration.bus.lab import (
    WAIT_SECONDS_MAX,
    Desk,
    Lab,
    numbered,
    running,
    wait_until,
)


@dataclass
class RecordingBus:
    """The publishing half of a bus, which fails when told to."""

    published: list[BusEvent] = field(default_factory=list)
    fails: bool = False
    failures: int = 0

    async def publish(self, events: Sequence[BusEvent]) -> None:
        if self.fails:
            self.failures += 1
            raise TransientError("the broker is away")
        self.published.extend(events)


async def append_all(desk: Desk, events: Sequence[BusEvent]) -> None:
    async with desk.pool.acquire() as connection, connection.transaction():
        for event in events:
            await outbox.append(connection, event)


async def left(desk: Desk) -> int:
    found: int = await desk.pool.fetchval("SELECT count(*) FROM outbox")
    return found


async def test_an_event_of_a_rolled_back_transaction_is_never_published(desk: Desk) -> None:
    bus = RecordingBus()
    async with desk.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await outbox.append(connection, numbered("t", [0])[0])
        await transaction.rollback()
    await append_all(desk, numbered("t", [1]))
    assert await outbox.relay_batch(desk.pool, bus) == 1
    assert [event.event_id for event in bus.published] == ["event-1"]


async def test_appending_outside_a_transaction_is_a_bug(desk: Desk) -> None:
    async with desk.pool.acquire() as connection:
        with pytest.raises(AssertionError):
            await outbox.append(connection, numbered("t", [0])[0])
    assert await left(desk) == 0


async def test_an_event_that_no_bus_takes_is_refused_when_it_is_appended(desk: Desk) -> None:
    async with desk.pool.acquire() as connection, connection.transaction():
        with pytest.raises(EventRefusedError, match="new_event"):
            await outbox.append(connection, BusEvent("t", "k", b"", {}))
    assert await left(desk) == 0


async def test_events_leave_whole_in_the_order_appended(desk: Desk) -> None:
    bus = RecordingBus()
    sent = [
        new_event("t", f"键-{number}", bytes([number]), headers={"x": "ü\n"})
        for number in range(200)
    ]
    await append_all(desk, sent)
    while await outbox.relay_batch(desk.pool, bus):
        pass
    assert bus.published == sent
    assert await left(desk) == 0


async def test_a_batch_is_bounded_in_number_and_in_bytes(desk: Desk) -> None:
    bus = RecordingBus()
    await append_all(desk, numbered("t", range(outbox.BATCH_EVENTS_MAX + 1)))
    sizes = [await outbox.relay_batch(desk.pool, bus) for _ in range(2)]
    assert sizes == [outbox.BATCH_EVENTS_MAX, 1]
    large = bytes(outbox.BATCH_BYTES_MAX * 2 // 3)
    await append_all(desk, [new_event("t", "k", large) for _ in range(2)])
    sizes = [await outbox.relay_batch(desk.pool, bus) for _ in range(2)]
    assert sizes == [1, 1]


async def test_after_a_failure_the_events_stay_and_are_published_again(desk: Desk) -> None:
    bus = RecordingBus(fails=True)
    await append_all(desk, numbered("t", range(3)))
    with pytest.raises(TransientError):
        await outbox.relay_batch(desk.pool, bus)
    assert await left(desk) == 3
    bus.fails = False
    assert await outbox.relay_batch(desk.pool, bus) == 3
    assert await left(desk) == 0


async def test_events_published_twice_by_a_crash_have_one_effect(lab: Lab, desk: Desk) -> None:
    """The relay dies between publishing and deleting; the next one publishes all again."""
    topic = await lab.topic()

    @dataclass
    class Crashing:
        async def publish(self, events: Sequence[BusEvent]) -> None:
            await lab.bus.publish(events)
            raise asyncio.CancelledError

    await append_all(desk, numbered(topic, range(10)))
    with pytest.raises(asyncio.CancelledError):
        await outbox.relay_batch(desk.pool, Crashing())
    assert await left(desk) == 10
    assert await outbox.relay_batch(desk.pool, lab.bus) == 10
    await lab.bus.publish(numbered(topic, [10]))
    async with running(consumer(lab, desk, topic)):
        assert await desk.wait_effects(11) == texts(range(11))


@dataclass
class HeldBus(RecordingBus):
    """Takes its time: what it is given is published, or fails, when the test says so."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, events: Sequence[BusEvent]) -> None:
        self.entered.set()
        await self.leave.wait()
        await super().publish(events)


@asynccontextmanager
async def relaying(desk: Desk, bus: HeldBus) -> AsyncIterator[asyncio.Task[int]]:
    """A relay in the middle of a batch; whatever the test finds, it ends with the block."""
    relay = asyncio.ensure_future(outbox.relay_batch(desk.pool, bus))
    try:
        await asyncio.wait_for(bus.entered.wait(), WAIT_SECONDS_MAX)
        yield relay
    finally:
        bus.leave.set()
        await asyncio.gather(relay, return_exceptions=True)


async def test_only_one_relay_works_at_a_time_and_another_takes_over(desk: Desk) -> None:
    bus = RecordingBus()
    await append_all(desk, numbered("t", range(2)))
    async with relaying(desk, HeldBus(fails=True)) as held:
        assert await outbox.relay_batch(desk.pool, bus) == 0
    with pytest.raises(TransientError):
        held.result()
    assert await outbox.relay_batch(desk.pool, bus) == 2


async def test_two_relays_at_once_publish_everything_once_and_in_order(desk: Desk) -> None:
    """What is appended behind a batch that is on its way does not overtake it."""
    bus = HeldBus()
    await append_all(desk, numbered("t", range(2)))
    async with relaying(desk, bus) as held:
        await append_all(desk, numbered("t", range(2, 4)))
        other = RecordingBus(published=bus.published)
        assert [await outbox.relay_batch(desk.pool, other) for _ in range(2)] == [0, 0]
        assert bus.published == []
    assert held.result() == 2
    assert await outbox.relay_batch(desk.pool, other) == 2
    assert [event.event_id for event in bus.published] == [f"event-{n}" for n in range(4)]
    assert await left(desk) == 0


async def test_the_relay_waits_for_a_bus_that_is_away_and_then_goes_on(desk: Desk) -> None:
    bus = RecordingBus(fails=True)
    await append_all(desk, numbered("t", range(3)))
    async with running(outbox.relay(desk.pool, bus, poll_seconds=0.01)) as [relay]:

        async def failed_twice() -> bool:
            return bus.failures >= 2

        await wait_until(failed_twice, "the relay to fail")
        bus.fails = False

        async def all_left() -> bool:
            return await left(desk) == 0

        await wait_until(all_left, "the outbox to be empty")
        await append_all(desk, numbered("t", [3]))
        await wait_until(all_left, "the outbox to be empty")
        assert not relay.done()
    assert [event.event_id for event in bus.published] == [f"event-{n}" for n in range(4)]
