"""Apache Kafka as the bus under test: a shared broker, and one that a test may kill.

Where no broker can be had, the tests say so and are skipped; with `GUQIAO_KAFKA_REQUIRED=1` the
run fails instead. The end of the run says which broker it was, and which tests had none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from services.chassis.bus import open_bus
from services.chassis.bus.settings import KafkaBusSettings
from tests.integration.bus.lab import Desk, Lab, open_desk
from tests.kafka.broker import KafkaUnavailableError
from tests.kafka.sources import (
    BOOTSTRAP,
    Choice,
    NamedBrokerAwayError,
    OwnBroker,
    choice_of_this_machine,
)
from tests.plugins.postgres import NewDatabase, new_database, postgres_server, spare_databases

__all__ = ["new_database", "postgres_server", "spare_databases"]

CHOICE = pytest.StashKey[Choice]()


def pytest_configure(config: pytest.Config) -> None:
    """One choice for the whole run."""
    try:
        config.stash[CHOICE] = choice_of_this_machine()
    except KafkaUnavailableError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say over which broker the tests ran, and name those that could not."""
    choice = config.stash[CHOICE]
    if choice.said or choice.not_run:
        terminalreporter.section("Apache Kafka")
    for line in (*choice.said, *choice.not_run):
        terminalreporter.line(line)


def _cannot_run(request: pytest.FixtureRequest, error: KafkaUnavailableError) -> None:
    """Fail or say plainly that the test did not run."""
    what = f"no broker can be had here ({error})"
    if os.environ.get(BOOTSTRAP) and request.scope == "function":
        what = f"it kills its broker, and the one in {BOOTSTRAP} is not its own; otherwise {what}"
    choice = request.config.stash[CHOICE]
    place = request.node.nodeid or "every test over a shared broker"
    choice.not_run.append(f"DID NOT RUN: {place}: {what}")
    if os.environ.get("GUQIAO_KAFKA_REQUIRED") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """The shared broker's address."""
    try:
        broker = request.config.stash[CHOICE].shared()
    except KafkaUnavailableError as error:
        _cannot_run(request, error)
        return
    except NamedBrokerAwayError as error:
        pytest.fail(str(error))
    yield broker.bootstrap
    broker.close()


@pytest.fixture
async def desk(new_database: NewDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await new_database()) as opened:
        yield opened


async def unbreakable() -> None:
    raise AssertionError("this broker is shared: use the fixture `breakable`")


@pytest.fixture
async def lab(bootstrap: str) -> AsyncIterator[Lab]:
    """The shared broker, on which nothing stays behind."""
    settings = KafkaBusSettings(bootstrap=bootstrap, replication_factor=1)
    async with open_bus(settings) as bus:
        opened = Lab(bus, settings, unbreakable, unbreakable)
        yield opened
        for topic in opened.topics:
            await bus.delete_topic(topic)


@pytest.fixture
def new_broker(request: pytest.FixtureRequest) -> Iterator[Callable[[], OwnBroker]]:
    """Brokers of the test's own, as many as it asks for."""
    with ExitStack() as brokers:

        def start() -> OwnBroker:
            try:
                broker = request.config.stash[CHOICE].own()
            except KafkaUnavailableError as error:
                _cannot_run(request, error)
                raise
            brokers.callback(broker.close)
            return broker

        yield start


@pytest.fixture
async def breakable(new_broker: Callable[[], OwnBroker]) -> AsyncIterator[Lab]:
    """A bus on a broker that the test kills (SIGKILL) and starts on the same port."""
    broker = await asyncio.to_thread(new_broker)
    settings = KafkaBusSettings(bootstrap=broker.bootstrap, replication_factor=1)

    async def kill() -> None:
        await asyncio.to_thread(broker.kill)

    async def start() -> None:
        await asyncio.to_thread(broker.start)

    async with open_bus(settings) as bus:
        yield Lab(bus, settings, kill, start)
