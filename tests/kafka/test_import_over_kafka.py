"""The whole network over Apache Kafka: a market imported, anchored, and every table as expected,
also when the brokers go away under load.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from guqiao_sdk.client.events import BLOCK_TOPIC
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.commands.importing import DEMO_DATA, ImportReport, import_dataset
from guqiaoctl.demo import anchors, checks
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.supervisor.control import ask
from services.chassis.bus import open_bus
from services.chassis.bus.settings import KafkaBusSettings
from services.registry.events import OPERATION_TOPIC
from tests.kafka.sources import OwnBroker
from tests.plugins.one_machine import one_machine

if TYPE_CHECKING:
    pass

ANCHOR_SECONDS_MAX = 240.0
TOPICS = {BLOCK_TOPIC, OPERATION_TOPIC}

pytestmark = [pytest.mark.kafka, pytest.mark.end_to_end]


@pytest.fixture
async def market_bus(bootstrap: str) -> AsyncIterator[str]:
    """The shared broker as the bus of a new market: without this product's topics before and after.

    A broker that has them belongs to some network; its events are not to be read or deleted here.
    """
    settings = KafkaBusSettings(bootstrap=bootstrap, replication_factor=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    taken = TOPICS.intersection(await admin.list_topics())
    await admin.close()
    if taken:
        pytest.fail(f"{bootstrap} has {sorted(taken)} already: name a broker that no network uses")
    yield bootstrap
    async with open_bus(settings) as bus:
        for topic in TOPICS:
            await bus.delete_topic(topic)


@pytest.mark.req("N0-07", "G2-20-1")
async def test_a_market_is_imported_and_anchored_over_the_broker_that_is_there(
    tmp_path: Path, market_bus: str
) -> None:
    """A domain's bus is its own: the market's is on the broker, the regulator's is built in."""
    dataset = read_dataset(DEMO_DATA)
    assert isinstance(dataset, MarketDataset)
    async with one_machine(tmp_path / "network", {MARKET: market_bus}) as network:
        report = await import_dataset(network, dataset)
        await expect_everything(network, dataset, report)


@pytest.mark.req("N0-07", "G2-20-1")
async def test_a_market_is_imported_and_anchored_over_kafka_though_its_broker_dies(
    tmp_path: Path, new_broker: Callable[[], OwnBroker]
) -> None:
    """Half-way the market's broker is killed; it comes back when the import is over. The chain took
    every operation meanwhile, and afterwards nothing is lost or doubled."""
    brokers = {domain: await asyncio.to_thread(new_broker) for domain in (MARKET, CSRC)}
    kafka = {domain: broker.bootstrap for domain, broker in brokers.items()}
    dataset = read_dataset(DEMO_DATA)
    assert isinstance(dataset, MarketDataset)
    async with one_machine(tmp_path / "network", kafka) as network:
        report = await import_with_dead_broker(network, dataset, brokers[MARKET])
        await expect_everything(network, dataset, report)


async def expect_everything(network: Network, dataset: MarketDataset, report: ImportReport) -> None:
    """Results and roster as published, every accepted operation anchored and acknowledged."""
    assert report.csv() == (DEMO_DATA / "expected/results.csv").read_text(encoding="utf-8")
    accepted = {seq for seq, status, _ in report.rows if status == "accepted"}
    objects = len({event.request_id for event in dataset.events if event.seq in accepted})
    provider = open_provider()
    # Consumers rejoin a broker that was dead only after their sessions have ended.
    await checks.wait_anchored(network, provider, objects, ANCHOR_SECONDS_MAX)
    assert await anchors.count_anchored(network, provider) == objects
    expected = (DEMO_DATA / "expected/roster.csv").read_text(encoding="utf-8")

    async def equal() -> bool:
        return await checks.roster_csv(network) == expected

    await checks.wait_until("roster.csv equal to the expected one", equal)


async def says_bus_is_away(network: Network) -> bool:
    """What `guqiao dev status` shows of the market's registry, which serves on."""
    answer = await ask(network.layout.folder / "run", {"command": "status"})
    [registry] = [each for each in answer["processes"] if each["name"] == f"{MARKET}-registry"]
    return registry["state"] == "ready" and "BUS_UNAVAILABLE" in registry["why"]


async def import_with_dead_broker(
    network: Network, dataset: MarketDataset, broker: OwnBroker
) -> ImportReport:
    """Import everything; from the middle on the market's domain has no bus."""
    half_way = asyncio.Event()

    def on_event(done: int) -> None:
        if done >= len(dataset.events) // 2:
            half_way.set()

    async with asyncio.TaskGroup() as tasks:
        importing = tasks.create_task(import_dataset(network, dataset, on_event))
        await half_way.wait()
        await asyncio.to_thread(broker.kill)
    await checks.wait_until("the outage to be told", partial(says_bus_is_away, network))
    await asyncio.to_thread(broker.start)
    return importing.result()
