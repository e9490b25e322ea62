"""What every adapter of the bus must keep: order, exactly one effect, nothing lost, poison parked.

The classes are imported by the tests of each adapter (`tests/integration/bus`, `tests/kafka`),
which provide the fixtures `lab` and `desk`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partial

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.chassis import outbox
from services.chassis.bus import (
    BusEvent,
    ConsumerLimits,
    EventRefusedError,
    PoisonError,
    Topic,
    TopicMismatchError,
    TopicMissingError,
    TransientError,
    discard_parked,
    list_parked,
    new_event,
    subscribe,
)
from services.chassis.bus.port import EVENT_BYTES_MAX, Partition, Position, partition_of
from services.chassis.bus.positions import claim
from services.chassis.postgres import Connection
from tests.integration.bus.lab import (
    Desk,
    Lab,
    numbered,
    running,
    unmasked,
    wait_until,
    write_effect,
)

QUICK = ConsumerLimits(poll_seconds=0.1, attempts_max=3, backoff_max_seconds=0.2)


def consumer(lab: Lab, desk: Desk, topic: str, group: str = "", handler=None):  # type: ignore[no-untyped-def]
    """One member of a group that writes effects under the group's name."""
    return subscribe(
        lab.bus,
        group=group or "group",
        topics=[topic],
        pool=desk.pool,
        handler=handler or partial(write_effect, group=group),
        limits=QUICK,
    )


def texts(numbers: range) -> list[str]:
    return [str(number) for number in numbers]


class OrderContract:
    """Order within a key, and work shared within a group."""

    async def test_events_of_one_key_are_handled_in_the_order_published(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic(partitions=4)
        async with running(consumer(lab, desk, topic)):
            for start in range(0, 300, 50):
                await lab.bus.publish(numbered(topic, range(start, start + 50), keys=7))
            assert sorted(await desk.wait_effects(300), key=int) == texts(range(300))
        for key in range(7):
            assert await desk.effects_of_key(f"key-{key}") == texts(range(key, 300, 7))

    async def test_two_members_of_a_group_share_the_events_and_the_last_one_takes_all(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic(partitions=4)
        by_member: dict[str, int] = {"a": 0, "b": 0}

        def member(name: str):  # type: ignore[no-untyped-def]
            async def handler(connection: Connection, event: BusEvent) -> None:
                by_member[name] += 1
                await write_effect(connection, event)

            return consumer(lab, desk, topic, handler=handler)

        async with running(member("b")) as [b]:
            async with running(member("a")):

                async def both_work() -> bool:
                    number = sum(by_member.values())
                    await lab.bus.publish(numbered(topic, range(number, number + 20), keys=20))
                    await desk.wait_effects(number + 20)
                    return all(by_member.values())

                await wait_until(both_work, "both members to handle events")
            shared = sum(by_member.values())
            await lab.bus.publish(numbered(topic, range(shared, shared + 40), keys=20))
            effects = await desk.wait_effects(shared + 40)
            assert not b.done()
        assert sorted(effects, key=int) == texts(range(shared + 40))

    async def test_each_group_receives_every_event(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()
        await lab.bus.publish(numbered(topic, range(20)))
        async with running(consumer(lab, desk, topic, "one"), consumer(lab, desk, topic, "two")):
            assert await desk.wait_effects(20, "one") == texts(range(20))
            assert await desk.wait_effects(20, "two") == texts(range(20))

    async def test_a_restarted_consumer_goes_on_where_it_was(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()
        for start in (0, 10, 20):
            await lab.bus.publish(numbered(topic, range(start, start + 10)))
            async with running(consumer(lab, desk, topic)):
                assert await desk.wait_effects(start + 10) == texts(range(start + 10))


class TopicContract:
    """Creating, refusing, deleting and rebuilding topics; what an event may be."""

    async def test_a_topic_is_created_once_and_keeps_its_partitions(self, lab: Lab) -> None:
        topic = await lab.topic(partitions=3)
        await lab.bus.ensure_topics([Topic(topic, 3)])
        with pytest.raises(TopicMismatchError) as refused:
            await lab.bus.ensure_topics([Topic(topic, 2)])
        assert (refused.value.found, refused.value.wanted) == (3, 2)

    async def test_publishing_to_a_missing_topic_is_refused(self, lab: Lab) -> None:
        with pytest.raises(TopicMissingError):
            await lab.bus.publish(numbered("test.nowhere", range(1)))

    async def test_an_event_is_found_where_it_was_put_until_the_topic_is_gone(
        self, lab: Lab
    ) -> None:
        topic = await lab.topic(partitions=2)
        found: list[Partition] = []
        for start in (0, 20):
            sent = numbered(topic, range(start, start + 20), keys=3)
            places = await lab.bus.publish(sent)
            for at, position in places.items():
                last = [event for event in sent if partition_of(event.key, 2) == at.number][-1]
                assert await lab.bus.event_at(at, position) == last
                assert await lab.bus.event_at(at, Position(position + 1)) is None
                found.append(at)
        assert {at.topic for at in found} == {topic}
        await lab.bus.delete_topic(topic)
        assert await lab.bus.event_at(found[0], Position(0)) is None

    async def test_an_event_of_one_mebibyte_arrives_whole(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()
        payload = os.urandom(1024 * 1024)
        received: list[BusEvent] = []

        async def handler(connection: Connection, event: BusEvent) -> None:
            received.append(event)
            await write_effect(connection, new_event(topic, event.key, b"large"))

        sent = [new_event(topic, "k", payload, headers={"名称": "股桥"}) for _ in range(12)]
        async with running(consumer(lab, desk, topic, handler=handler)):
            await lab.bus.publish(sent)
            await desk.wait_effects(12)
        assert received == sent

    async def test_an_event_of_the_largest_size_arrives_and_a_larger_one_is_refused(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic()
        with pytest.raises(EventRefusedError, match="bytes"):
            new_event(topic, "k", bytes(EVENT_BYTES_MAX + 1))
        await lab.bus.publish([new_event(topic, "k", b"0" * EVENT_BYTES_MAX)])
        await lab.bus.publish([new_event(topic, "k", b"after")])
        async with running(consumer(lab, desk, topic)):
            assert await desk.wait_effects(2) == ["0" * 100, "after"]

    async def test_a_topic_rebuilt_while_the_consumer_is_away_doubles_and_loses_nothing(
        self, lab: Lab, desk: Desk
    ) -> None:
        """The rebuilt topic is longer than the old one, so that its positions look familiar."""
        topic = await lab.topic()
        await lab.bus.publish(numbered(topic, range(20)))
        async with running(consumer(lab, desk, topic)):
            await desk.wait_effects(20)
        await lab.bus.delete_topic(topic)
        await lab.bus.ensure_topics([Topic(topic)])
        # Five events at the front that the consumer has not seen shift all the others.
        await lab.bus.publish(numbered(topic, range(100, 105)))
        await lab.bus.publish(numbered(topic, range(30)))
        async with running(consumer(lab, desk, topic)):
            effects = await desk.wait_effects(35)
        assert effects == texts(range(20)) + texts(range(100, 105)) + texts(range(20, 30))

    async def test_a_topic_rebuilt_under_a_running_consumer_doubles_and_loses_nothing(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic()
        async with running(consumer(lab, desk, topic)):
            await lab.bus.publish(numbered(topic, range(20)))
            await desk.wait_effects(20)
            await lab.bus.delete_topic(topic)
            await lab.bus.ensure_topics([Topic(topic)])
            await lab.bus.publish(numbered(topic, range(12)))
            await lab.bus.publish(numbered(topic, range(20, 25)))
            assert await desk.wait_effects(25) == texts(range(25))
            await lab.bus.publish(numbered(topic, range(25, 40)))
            assert await desk.wait_effects(40) == texts(range(40))


class EffectContract:
    """Exactly one effect, whatever fails."""

    @pytest.mark.parametrize("deadly", ["0", "7", "19"])
    async def test_a_consumer_killed_between_handler_and_commit_leaves_one_effect_each(
        self, lab: Lab, desk: Desk, deadly: str
    ) -> None:
        topic = await lab.topic()
        await lab.bus.publish(numbered(topic, range(20)))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.bus.killed_consumer",
            json.dumps(unmasked(lab.settings)),
            json.dumps(unmasked(desk.settings)),
            topic,
            deadly,
        )
        async with asyncio.timeout(60):
            assert await process.wait() == -signal.SIGKILL
        assert deadly not in await desk.effects()
        async with running(consumer(lab, desk, topic, "killed", handler=write_effect)):
            assert await desk.wait_effects(20) == texts(range(20))

    async def test_a_partition_claimed_by_another_member_is_passed_over_and_not_waited_for(
        self, lab: Lab, desk: Desk
    ) -> None:
        """The other member is a transaction that holds the position row, as a slow handler does."""
        topic = await lab.topic(partitions=4)
        claimed = Partition(topic, partition_of("key-0", 4))
        async with running(consumer(lab, desk, topic)), desk.pool.acquire() as other:
            await lab.bus.publish(numbered(topic, range(2), keys=2))
            await desk.wait_effects(2)
            async with other.transaction():
                await wait_until(partial(is_claimed, other, claimed), "the partition to be free")
                await lab.bus.publish(numbered(topic, range(2, 10), keys=2))
                await wait_until(partial(has_all_of_key_1, desk), "the events of key-1")
                assert await desk.effects_of_key("key-0") == ["0"]
            assert sorted(await desk.wait_effects(10), key=int) == texts(range(10))
        assert await desk.effects_of_key("key-0") == ["0", "2", "4", "6", "8"]

    async def test_an_event_published_twice_has_one_effect(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()
        await lab.bus.publish(numbered(topic, [0, 1, 1, 2]))
        await lab.bus.publish(numbered(topic, [0, 1, 2, 3]))
        async with running(consumer(lab, desk, topic)):
            assert await desk.wait_effects(4) == texts(range(4))
            await lab.bus.publish(numbered(topic, [3, 4]))
            assert await desk.wait_effects(5) == texts(range(5))

    async def test_what_a_failing_handler_wrote_is_rolled_back_before_it_is_tried_again(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic()
        failures = 2

        async def handler(connection: Connection, event: BusEvent) -> None:
            nonlocal failures
            await write_effect(connection, event)
            if event.payload == b"5" and failures:
                failures -= 1
                raise ValueError("not this time")

        await lab.bus.publish(numbered(topic, range(10)))
        async with running(consumer(lab, desk, topic, handler=handler)):
            assert await desk.wait_effects(10) == texts(range(10))
        async with desk.pool.acquire() as connection:
            assert await list_parked(connection) == []

    async def test_an_outbox_writer_that_commits_late_is_not_passed_over(
        self, lab: Lab, desk: Desk
    ) -> None:
        """The second writer commits and is relayed first; the first one's event must follow."""
        topic = await lab.topic()
        first, second = numbered(topic, range(2))
        async with desk.pool.acquire() as early, desk.pool.acquire() as late:
            early_transaction = early.transaction()
            await early_transaction.start()
            await outbox.append(early, first)
            async with late.transaction():
                await outbox.append(late, second)
            assert await outbox.relay_batch(desk.pool, lab.bus) == 1
            async with running(consumer(lab, desk, topic)):
                assert await desk.wait_effects(1) == ["1"]
                await early_transaction.commit()
                assert await outbox.relay_batch(desk.pool, lab.bus) == 1
                assert await desk.wait_effects(2) == ["1", "0"]

    async def test_the_trace_goes_on_across_outbox_and_bus(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()
        traces: list[int] = []

        async def handler(connection: Connection, event: BusEvent) -> None:
            traces.append(trace.get_current_span().get_span_context().trace_id)
            await write_effect(connection, event)

        tracer = TracerProvider().get_tracer("test")
        with tracer.start_as_current_span("command") as span:
            async with desk.pool.acquire() as connection, connection.transaction():
                await outbox.append(connection, new_event(topic, "k", b"0"))
        await outbox.relay_batch(desk.pool, lab.bus)
        async with running(consumer(lab, desk, topic, handler=handler)):
            await desk.wait_effects(1)
        assert traces == [span.get_span_context().trace_id]


class PoisonContract:
    """An event that cannot be handled is set aside with its cause, and blocks nobody."""

    async def test_poison_is_parked_with_its_cause_and_the_next_events_go_on(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic()
        attempts: list[bytes] = []

        async def handler(connection: Connection, event: BusEvent) -> None:
            attempts.append(event.payload)
            await write_effect(connection, event)
            if event.payload in (b"3", b"4"):
                raise PoisonError("unknown schema 9")

        await lab.bus.publish(numbered(topic, range(10)))
        async with running(consumer(lab, desk, topic, handler=handler)):
            effects = await desk.wait_effects(8)
        assert effects == [text for text in texts(range(10)) if text not in ("3", "4")]
        async with desk.pool.acquire() as connection:
            parked = await list_parked(connection)
        assert [event.record.event.payload for event in parked] == [b"3", b"4"]
        assert parked[0].cause == "PoisonError: unknown schema 9"
        assert parked[0].record.event.headers["event-id"] == "event-3"

    async def test_an_event_that_keeps_failing_is_parked_after_the_last_attempt(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic(partitions=2)
        alone = 0

        async def handler(connection: Connection, event: BusEvent) -> None:
            nonlocal alone
            await write_effect(connection, event)
            if event.payload == b"3":
                alone += 1
                await connection.execute("SELECT 1 / 0")

        async with running(consumer(lab, desk, topic, handler=handler)):
            await lab.bus.publish(numbered(topic, [3], keys=2))
            await wait_until(partial(has_parked, desk, 1), "the event to be parked")
            await lab.bus.publish(numbered(topic, [5, 7], keys=2))
            assert await desk.wait_effects(2) == ["5", "7"]
        async with desk.pool.acquire() as connection:
            [parked] = await list_parked(connection)
        assert (parked.attempts, alone) == (QUICK.attempts_max, QUICK.attempts_max)
        assert parked.cause.startswith("DivisionByZeroError")

    async def test_a_failure_that_shows_only_at_commit_is_parked_too(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic()
        await desk.pool.execute(
            "CREATE TABLE once (value text UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        )
        await desk.pool.execute("INSERT INTO once VALUES ('4')")

        async def handler(connection: Connection, event: BusEvent) -> None:
            await write_effect(connection, event)
            await connection.execute("INSERT INTO once VALUES ($1)", event.payload.decode())

        await lab.bus.publish(numbered(topic, range(8)))
        async with running(consumer(lab, desk, topic, handler=handler)):
            effects = await desk.wait_effects(7)
        assert effects == ["0", "1", "2", "3", "5", "6", "7"]
        async with desk.pool.acquire() as connection:
            [parked] = await list_parked(connection)
        assert parked.cause.startswith("UniqueViolationError")

    async def test_a_parked_event_is_discarded_once(self, lab: Lab, desk: Desk) -> None:
        topic = await lab.topic()

        async def refuse(connection: Connection, event: BusEvent) -> None:
            raise PoisonError(f"never {event.payload!r}")

        await lab.bus.publish(numbered(topic, range(2)))
        async with running(consumer(lab, desk, topic, handler=refuse)):
            await wait_until(partial(has_parked, desk, 2), "the events to be parked")
        async with desk.pool.acquire() as connection:
            first, second = await list_parked(connection)
            assert await list_parked(connection, after_id=first.parked_id) == [second]
            assert await discard_parked(connection, first.parked_id)
            assert not await discard_parked(connection, first.parked_id)
            assert await list_parked(connection) == [second]

    async def test_what_comes_before_a_transient_failure_is_handled_meanwhile(
        self, lab: Lab, desk: Desk
    ) -> None:
        """All six come in one batch; the fourth cannot be handled, and its elders do not wait."""
        topic = await lab.topic()
        back = asyncio.Event()

        async def handler(connection: Connection, event: BusEvent) -> None:
            if event.payload == b"3" and not back.is_set():
                raise TransientError("what it needs is away")
            await write_effect(connection, event)

        await lab.bus.publish(numbered(topic, range(6)))
        async with running(consumer(lab, desk, topic, handler=handler)):
            assert await desk.wait_effects(3) == ["0", "1", "2"]
            back.set()
            assert await desk.wait_effects(6) == texts(range(6))

    async def test_poison_takes_nothing_from_another_event_of_its_name(
        self, lab: Lab, desk: Desk
    ) -> None:
        """For groups whose handler knows repetitions itself: a name is anybody's word."""
        topic = await lab.topic()

        async def handler(connection: Connection, event: BusEvent) -> None:
            if event.payload == b"forged":
                raise PoisonError("no certificate")
            await write_effect(connection, event)

        names = [("a", b"0"), ("b", b"forged"), ("b", b"true"), ("c", b"1")]
        await lab.bus.publish(
            [new_event(topic, "key", payload, event_id=name) for name, payload in names]
        )
        job = subscribe(
            lab.bus,
            group="group",
            topics=[topic],
            pool=desk.pool,
            handler=handler,
            limits=QUICK,
            remembers_ids=False,
        )
        async with running(job):
            assert await desk.wait_effects(3) == ["0", "true", "1"]
        async with desk.pool.acquire() as connection:
            [parked] = await list_parked(connection)
        assert parked.record.event.payload == b"forged"

    async def test_a_transient_failure_is_retried_beyond_the_last_attempt_and_blocks_only_its_part(
        self, lab: Lab, desk: Desk
    ) -> None:
        topic = await lab.topic(partitions=4)
        away = asyncio.Event()
        attempts = 0

        async def handler(connection: Connection, event: BusEvent) -> None:
            nonlocal attempts
            if event.key == "key-0" and not away.is_set():
                attempts += 1
                raise TransientError("the service behind is away")
            await write_effect(connection, event)

        # key-0 and key-1 lie in different partitions of four.
        await lab.bus.publish(numbered(topic, range(20), keys=2))
        async with running(consumer(lab, desk, topic, handler=handler)):
            assert await desk.wait_effects(10) == texts(range(1, 20, 2))

            async def tried_often() -> bool:
                return attempts > QUICK.attempts_max * 2

            await wait_until(tried_often, "more attempts than poison gets")
            away.set()
            await desk.wait_effects(20)
        assert await desk.effects_of_key("key-0") == texts(range(0, 20, 2))
        assert not await has_parked(desk, 1)


async def has_all_of_key_1(desk: Desk) -> bool:
    return await desk.effects_of_key("key-1") == ["1", "3", "5", "7", "9"]


async def is_claimed(connection: Connection, partition: Partition) -> bool:
    """The running consumer claims its partitions in passing, so one try may come while it does."""
    return await claim(connection, "group", partition) is not None


async def has_parked(desk: Desk, count: int) -> bool:
    found: int = await desk.pool.fetchval("SELECT count(*) FROM bus_parked")
    return found >= count
