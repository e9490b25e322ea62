"""The PostgreSQL event log as the bus under test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from services.chassis.bus import open_bus
from services.chassis.bus.settings import PostgresBusSettings
from services.chassis.postgres import EmbeddedPostgres, PostgresSettings
from tests.integration.bus.lab import Desk, Lab, open_desk
from tests.plugins.postgres import NewDatabase


async def unbreakable() -> None:
    raise AssertionError("this server is shared: use the fixture `breakable`")


@pytest.fixture
async def desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await new_database()) as opened:
        yield opened


@pytest.fixture
async def lab(new_database: NewDatabase) -> AsyncIterator[Lab]:
    settings = PostgresBusSettings(database=await new_database())
    async with open_bus(settings) as bus:
        yield Lab(bus, settings, unbreakable, unbreakable)


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedPostgres:
    """A server for one test at a time to start, kill and stop; its port stays the same."""
    folder = tmp_path_factory.mktemp("own") / "data"
    with EmbeddedPostgres(folder) as probe:
        port = probe.port
    return EmbeddedPostgres(folder, port)


@pytest.fixture
async def breakable(own_server: EmbeddedPostgres) -> AsyncIterator[Lab]:
    """A bus on a server of its own, which the test kills (SIGKILL) and starts on the same port."""
    await asyncio.to_thread(own_server.start)

    async def kill() -> None:
        os.kill(own_server.server_pid, signal.SIGKILL)
        await asyncio.to_thread(own_server.stop)

    async def start() -> None:
        await asyncio.to_thread(own_server.start)

    try:
        url = await own_server.create_database(f"bus_{uuid4().hex}")
        settings = PostgresBusSettings(database=PostgresSettings(url=SecretStr(url)))
        async with open_bus(settings) as bus:
            yield Lab(bus, settings, kill, start)
    finally:
        await asyncio.to_thread(own_server.stop)
