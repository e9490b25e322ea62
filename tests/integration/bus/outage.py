"""What holds of every bus whose server goes away."""

from __future__ import annotations

from functools import partial

from services.chassis import outbox
from services.chassis.bus.check import BusCheck
from tests.integration.bus.contract import consumer, has_parked, texts
from tests.integration.bus.lab import Desk, Lab, numbered, running, wait_until


class OutageContract:
    """The bus server dies under load and comes back: nothing is lost or doubled."""

    async def test_a_bus_that_is_away_is_said_to_be_so_until_it_is_back(
        self, breakable: Lab
    ) -> None:
        check = BusCheck(breakable.bus)

        async def is_away() -> bool:
            return "BUS_UNAVAILABLE" in (await check.away() or "")

        async def is_back() -> bool:
            return await check.away() is None

        assert await check.never_reached() is None
        await breakable.kill_server()
        await wait_until(is_away, "the outage to be told")
        await breakable.start_server()
        await wait_until(is_back, "the end of the outage to be told")

    async def test_a_bus_server_killed_under_load_loses_and_doubles_nothing(
        self, breakable: Lab, desk: Desk
    ) -> None:
        total = 600
        topic = await breakable.topic(partitions=2)

        async def write() -> None:
            for event in numbered(topic, range(total), keys=5):
                async with desk.pool.acquire() as connection, connection.transaction():
                    await outbox.append(connection, event)

        async def has_some(count: int) -> bool:
            return len(await desk.effects()) >= count

        async with running(
            write(),
            outbox.relay(desk.pool, breakable.bus, poll_seconds=0.02),
            consumer(breakable, desk, topic),
        ):
            for count in (50, 200):
                await wait_until(partial(has_some, count), f"{count} effects")
                await breakable.kill_server()
                await breakable.start_server()
            effects = await desk.wait_effects(total)
        assert sorted(effects, key=int) == texts(range(total))
        for key in range(5):
            assert await desk.effects_of_key(f"key-{key}") == texts(range(key, total, 5))
        assert not await has_parked(desk, 1)
