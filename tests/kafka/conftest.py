"""Apache Kafka as the bus under test: a shared broker, and one that a test may kill.

Where no broker can be had, the tests say so and are skipped; with `GUQIAO_KAFKA_REQUIRED=1` the
run fails instead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from services.chassis.bus import open_bus
from services.chassis.bus.settings import KafkaBusSettings
from tests.integration.bus.lab import Desk, Lab, open_desk
from tests.kafka.broker import KafkaUnavailableError, LocalBroker, kafka_broker, local_broker
from tests.plugins.postgres import NewDatabase, new_database, postgres_server, spare_databases

__all__ = ["new_database", "postgres_server", "spare_databases"]


def _cannot_run(error: KafkaUnavailableError) -> None:
    """Fail or say plainly that the tests did not run."""
    text = f"the Kafka tests did not run: no broker can be had here ({error})"
    if os.environ.get("GUQIAO_KAFKA_REQUIRED") == "1":
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """The shared broker's address."""
    try:
        broker = kafka_broker()
        address = broker.__enter__()
    except KafkaUnavailableError as error:
        _cannot_run(error)
        return
    try:
        yield address
    finally:
        broker.__exit__(None, None, None)


@pytest.fixture
async def desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await new_database()) as opened:
        yield opened


async def unbreakable() -> None:
    raise AssertionError("this broker is shared: use the fixture `breakable`")


@pytest.fixture
async def lab(bootstrap: str) -> AsyncIterator[Lab]:
    settings = KafkaBusSettings(bootstrap=bootstrap, replication_factor=1)
    async with open_bus(settings) as bus:
        yield Lab(bus, settings, unbreakable, unbreakable)


@pytest.fixture
def own_broker() -> Iterator[LocalBroker]:
    """A broker of the test's own."""
    try:
        context = local_broker()
        broker = context.__enter__()
    except KafkaUnavailableError as error:
        _cannot_run(error)
        return
    try:
        yield broker
    finally:
        context.__exit__(None, None, None)


@pytest.fixture
async def breakable(own_broker: LocalBroker) -> AsyncIterator[Lab]:
    """A bus on a broker that the test kills (SIGKILL) and starts on the same port."""
    settings = KafkaBusSettings(bootstrap=own_broker.bootstrap, replication_factor=1)

    async def kill() -> None:
        await asyncio.to_thread(own_broker.kill)

    async def start() -> None:
        await asyncio.to_thread(own_broker.start)

    async with open_bus(settings) as bus:
        yield Lab(bus, settings, kill, start)
