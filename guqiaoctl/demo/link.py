"""What the demonstration does to the link between the chains, and how both ends are reconciled.

The market's gateway is killed and a second one of the same market carries on, both run side by
side, and the regulatory chain stands still for a while. Nothing of it may lose a packet, or give
one two effects (reliability plan, G23; requirement T2-14).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.packet import acknowledgement_key, commitment_key, receipt_key
from guqiaoctl.demo.anchors import PORT
from guqiaoctl.demo.checks import wait_until
from guqiaoctl.demo.failure import DemoError
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET, REPLICAS
from guqiaoctl.network.ports import free_ports
from guqiaoctl.network.settings_files import write_settings
from guqiaoctl.output import say
from guqiaoctl.supervisor.control import ask
from guqiaoctl.supervisor.process import ProcessState, readiness

GATEWAY: Final = f"{MARKET}-gateway"
SECOND: Final = f"{GATEWAY}-second"
STOP_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The packets that one end proves: how many, and a digest over their commitments in order."""

    packets: int
    digest: str


async def command(network: Network, verb: str, process: str) -> None:
    """Let the supervisor kill or start a process; raises `DemoError` where it does not."""
    answer = await ask(network.layout.folder / "run", {"command": verb, "process": process})
    if "error" in answer:
        raise DemoError(f"{verb} {process}: {answer['error']}")


async def stop_regulatory_chain(network: Network) -> None:
    """Kill all its replicas at once: no quorum, no blocks, nobody who answers."""
    replicas = range(REPLICAS)
    await asyncio.gather(*(command(network, "kill", f"{CSRC}-{each}") for each in replicas))
    say("all replicas of the regulatory chain killed; the market works on")


async def start_regulatory_chain(network: Network) -> None:
    """Start them again. They have what they voted for, so they go on where they stopped."""
    replicas = range(REPLICAS)
    await asyncio.gather(*(command(network, "start", f"{CSRC}-{each}") for each in replicas))
    say("the regulatory chain is back")


@asynccontextmanager
async def second_gateway(network: Network) -> AsyncIterator[None]:
    """Another gateway of the market, with the same database, bus and keys, on other ports."""
    settings = tomllib.loads((network.layout.process(GATEWAY) / "settings.toml").read_text())
    grpc, admin, tunnel, route = free_ports(4)
    settings["grpc"]["port"], settings["admin"]["port"] = grpc, admin
    settings["tunnel"]["port"], settings["remotes"][0]["route_port"] = tunnel, route
    settings["telemetry"]["trace_file"] += ".second"
    config = write_settings(network.layout, SECOND, settings)
    with network.layout.log(SECOND).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.gateway", "serve", "--supervised"),
            *("--config", str(config)),
            stdout=log,
            stderr=log,
        )
        try:
            await wait_until("the second gateway ready", lambda: _is_ready(process, admin))
            yield
        finally:
            await _end(process)


async def _is_ready(process: asyncio.subprocess.Process, admin_port: int) -> bool:
    if process.returncode is not None:
        raise DemoError(f"the second gateway ended with {process.returncode}")
    state, _ = await readiness(admin_port)
    return state is ProcessState.READY


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def count_waiting(network: Network, provider: GmProvider) -> int:
    """Packets that the local chain sent and that have no acknowledgement there yet."""
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as local:
        acknowledged = await _proven(local, acknowledgement_key, CSRC)
        sent = await _proven(local, commitment_key, CSRC)
    return sent.packets - acknowledged.packets


async def reconcile(network: Network, provider: GmProvider) -> Reconciled:
    """Compare what the local chain proves to have sent, what the regulatory one proves to have
    received, and what the local one proves is acknowledged; raises `DemoError` where they differ.
    """
    maker = open_identity(network, provider, MARKET, "maker")
    supervisor = open_identity(network, provider, CSRC, "supervisor")
    async with (
        open_chain(network, provider, MARKET, maker) as local,
        open_chain(network, provider, CSRC, supervisor) as regulatory,
    ):
        found = await compare(local, regulatory)
    say(
        f"both ends prove the same {found.packets} packets: sent, received and acknowledged, digest"
        f" {found.digest[:16]}…"
    )
    return found


async def compare(local: ChainClient, regulatory: ChainClient) -> Reconciled:
    """What both ends prove alike; raises `DemoError`."""
    sent = await _proven(local, commitment_key, CSRC)
    received = await _proven(regulatory, receipt_key, MARKET)
    acknowledged = await _proven(local, acknowledgement_key, CSRC)
    if not sent == received == acknowledged:
        raise DemoError(f"sent {sent}, received {received}, acknowledged {acknowledged}")
    return sent


async def _proven(
    client: ChainClient, key: Callable[[str, str, int], str], other: str
) -> Reconciled:
    """From the first packet on, until one is proven to be absent."""
    height = (await client.latest()).height
    commitments: list[str] = []
    for sequence in itertools.count(1):
        value = (await client.get_state_proof(key(other, PORT, sequence), height)).value
        if value is None:
            break
        held = json.loads(value)
        commitments.append(held if isinstance(held, str) else held["commitment"])
    whole = digest("guqiao/demo/packets/1", bytes.fromhex("".join(commitments)))
    return Reconciled(len(commitments), whole.hex())
