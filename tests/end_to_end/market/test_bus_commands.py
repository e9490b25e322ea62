"""What an operator does about a bus, events that were set aside, blocks that it lacks; and about
what follows it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from guqiao_sdk.client.events import BLOCK_TOPIC
from services.chassis.bus import Bus, new_event, open_bus
from services.chassis.bus.port import Progress, Record
from services.chassis.runtime import open_database
from services.chassis.settings import load_settings
from services.gateway.settings import Settings
from services.registry.settings import Settings as RegistrySettings
from tests.end_to_end.harness import ROOT, Answer, environment, wait_until
from tests.end_to_end.market.conftest import Market

pytestmark = pytest.mark.end_to_end


def service(market: Market, name: str, *arguments: str) -> Answer:
    """A command of a service, with the settings that the network gave it."""
    config = market.machine.network.layout.process(f"shandong-{name}") / "settings.toml"
    done = subprocess.run(
        [sys.executable, "-m", f"services.{name}", *arguments, "--config", str(config)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def on_bus(market: Market, action: Callable[[Bus], Any]) -> Any:
    """Do this on the market's bus."""
    config = market.machine.network.layout.process("shandong-gateway") / "settings.toml"

    async def run() -> Any:
        async with open_bus(load_settings(Settings, config).bus) as bus:
            return await action(bus)

    return asyncio.run(run())


async def read_all(bus: Bus) -> list[str]:
    """The ids of all blocks on the bus, in order."""
    records: list[Record] = []
    async with bus.open_source("test.reader", [BLOCK_TOPIC]) as source:
        for partition in await source.wait_for_news(5.0):
            progress = None
            while batch := await source.fetch(partition, progress):
                records += batch
                progress = Progress(batch[-1].position, batch[-1].event.event_id)
    return [record.event.event_id for record in records]


def why(market: Market, name: str) -> str:
    """The WHY column of a process."""
    rows = market.machine.status()["processes"]
    return str(next(row for row in rows if row["name"] == name)["why"])


def test_a_forged_block_is_told_listed_and_discarded(market: Market) -> None:
    assert service(market, "registry", "parked").err.startswith("no parked events")
    forged = new_event(BLOCK_TOPIC, "shandong", b"\xff\xff", event_id="shandong/1")
    on_bus(market, lambda bus: bus.publish([forged]))
    wait_until("told", lambda: "EVENTS_PARKED" in why(market, "shandong-registry"))
    listed = service(market, "registry", "parked")
    [line] = listed.out.splitlines()
    number, rest = line.split(maxsplit=1)
    assert rest.startswith("registry.read_model  consensus.block.v1/0/")
    assert "'shandong/1'" in rest
    assert "is no BlockCertified" in rest
    wrong = service(market, "registry", "parked", "--discard", str(int(number) + 1))
    assert (wrong.code, wrong.error) == (3, "PARKED_EVENT_UNKNOWN")
    for name in ("registry", "gateway", "reporting"):
        parked = service(market, name, "parked").out.splitlines()
        assert len(parked) == 1, (name, parked)
        assert service(market, name, "parked", "--discard", parked[0].split()[0]).code == 0
    wait_until("all is well", lambda: why(market, "shandong-registry") == "")


@pytest.mark.req("G2-16-4")
def test_packets_that_are_set_aside_are_listed_and_only_they_are_resumed(market: Market) -> None:
    assert service(market, "gateway", "parked-packets").err.startswith("no parked packets")
    none = service(market, "gateway", "parked-packets", "--resume", "csrc/data_object/1")
    assert (none.code, none.error) == (3, "PACKET_NOT_PARKED")
    for wrong in ("csrc", "csrc/data_object/x", "csrc/data_object/1/2"):
        refused = service(market, "gateway", "parked-packets", "--resume", wrong)
        assert (refused.code, refused.error) == (2, "SETTINGS_INVALID")


@pytest.mark.req("G2-13-2")
def test_a_feed_that_is_rebuilt_holds_every_block_and_changes_no_register(market: Market) -> None:
    roster = market.machine.must("register", "roster").out
    market.machine.must("dev", "node", "stop", "shandong/registry")
    try:
        rebuilt = service(market, "gateway", "rebuild-feed")
        assert rebuilt.code == 0, rebuilt.err

        def blocks() -> list[str]:
            found: list[str] = on_bus(market, read_all)
            return found

        wait_until("the first blocks again", lambda: "shandong/2" in blocks())
    finally:
        market.machine.must("dev", "node", "start", "shandong/registry")
    market.machine.wait_ready()
    published = blocks()
    assert published == [f"shandong/{height}" for height in range(1, len(published) + 1)]
    assert market.machine.must("register", "roster").out == roster
    assert why(market, "shandong-registry") == ""


@pytest.mark.req("N0-19", "G2-13-2")
def test_a_row_that_somebody_changed_is_found_and_replaced_by_what_the_chain_says(
    market: Market,
) -> None:
    roster = market.machine.must("register", "roster").out
    for name in ("registry", "reporting"):
        built = service(market, name, "rebuild-projection")
        assert built.code == 0, built.err
        assert all(line.endswith("  equal") for line in built.out.splitlines())
    counted = service(market, "registry", "recount")
    assert (counted.code, "add up" in counted.out) == (0, True)
    config = market.machine.network.layout.process("shandong-registry") / "settings.toml"
    settings = load_settings(RegistrySettings, config)

    async def falsify() -> None:
        async with open_database(settings.postgres) as pool:
            await pool.execute("UPDATE positions SET available = 0, total = total + 1")

    asyncio.run(falsify())
    assert market.machine.must("register", "roster").out != roster
    for command in ("stop", "start"):  # At its start it counts everything.
        market.machine.must("dev", "node", command, "shandong/registry")
    wait_until("told", lambda: "REGISTER_DIFFERS" in why(market, "shandong-registry"))
    counted = service(market, "registry", "recount")
    assert (counted.code, counted.error) == (5, "REGISTER_DIFFERS")
    assert "TOTAL_IS_REGISTERED" in counted.out
    found = service(market, "registry", "rebuild-projection")
    assert (found.code, found.error) == (5, "PROJECTION_DIFFERS")
    assert "positions" in found.err
    assert "--replace" in found.err
    assert service(market, "registry", "rebuild-projection", "--replace").code == 0
    assert market.machine.must("register", "roster").out == roster
    assert service(market, "registry", "recount").code == 0
    wait_until("all is well", lambda: why(market, "shandong-registry") == "")
