"""A consumer process that kills itself (SIGKILL) in the middle of handling, for the contract tests.

Arguments: the bus settings and the consumer's database settings as JSON, the topic, and the value
to die at: its effect is written, nothing is committed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from pydantic import TypeAdapter

from services.chassis.bus import BusEvent, BusSettings, open_bus, subscribe
from services.chassis.postgres import Connection, PostgresSettings, open_pool
from tests.integration.bus.lab import write_effect


async def main(bus_json: str, database_json: str, topic: str, deadly: str) -> None:
    settings = TypeAdapter(BusSettings).validate_json(bus_json)
    database = PostgresSettings.model_validate_json(database_json)

    async def handler(connection: Connection, event: BusEvent) -> None:
        await write_effect(connection, event)
        if event.payload.decode() == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_bus(settings) as bus, open_pool(database) as pool:
        await subscribe(bus, group="killed", topics=[topic], pool=pool, handler=handler)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
