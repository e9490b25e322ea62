"""From one chain to the other: transfers are submitted to a market's chain at a fixed rate, and
each is timed until the regulatory chain has verified and recorded what it sends.

Both chains run on this machine with all services of both domains: the whole network of
`guqiao dev up`, made in a fresh folder. Sent is the moment when a transfer first goes to a replica
of the market's chain. Verified is the moment when the driver holds the block of the regulatory
chain, its finality certificate checked, in which the packet was received and its object recorded:
there the light client and the packet contract have judged the market's header and the proof.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.chain import DATASET, REGISTRATION, transfers_after
from bench.load import Load, Tally
from bench.machine import open_pool
from bench.phases import Figures, percentile, refused
from bench.signing import Signed, sign_all, signer_of
from bench.summary import spoilt_by
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Call, Identity
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiao_sdk.proof.packet_events import PACKET_RECEIVED, event_body
from guqiao_sdk.proof.receipt import Receipt
from guqiaoctl.commands.importing import import_dataset
from guqiaoctl.commands.registering import register_market
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network, create_network, lock_folder
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.supervisor.supervisor import Supervisor

RATE: Final = 50.0
"""Transfers a second, as the design asks."""

SECONDS: Final = 15.0
WARM_SECONDS: Final = 3.0
VERIFIED_SECONDS_MAX: Final = 60.0
"""After the last transfer; what is not recorded by then fails the phase."""


@dataclass(slots=True)
class Recorded:
    """What the regulatory chain has recorded of the market's chain: when the driver held the
    certified block, by the transaction that sent the object.
    """

    at: dict[bytes, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, client: ChainClient, from_height: int) -> None:
        """Take verified blocks until cancelled."""
        async for block in client.watch_blocks(from_height):
            self.take(block, asyncio.get_running_loop().time())

    def take(self, block: VerifiedBlock, now: float) -> None:
        """Note what a block received."""
        for receipt in block.receipts:
            for transaction_id, code in acknowledged(receipt):
                if code:
                    self.refused[code] = self.refused.get(code, 0) + 1
                else:
                    self.at.setdefault(transaction_id, now)
        self._changed.set()

    async def wait_for(self, transaction_ids: Iterable[bytes], seconds: float) -> None:
        """Until all of them are recorded, or the time is up: what is missing shows afterwards."""
        wanted = set(transaction_ids)
        try:
            async with asyncio.timeout(seconds):
                while not wanted <= self.at.keys():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return


def acknowledged(receipt: Receipt) -> Iterable[tuple[bytes, str]]:
    """The sending transactions of the packets that a transaction received, each with the code of
    the acknowledgement, which is empty where the object was recorded.
    """
    for event in receipt.events:
        if event.topic == PACKET_RECEIVED:
            body = event_body(f"event of {receipt.transaction_id.hex()}", event.body)
            acknowledgement = body["acknowledgement"]
            assert isinstance(acknowledgement, dict), "the contract wrote it"
            code, name = acknowledgement["code"], acknowledgement["transaction_id"]
            yield bytes.fromhex(str(name or "")), str(code)


async def cross_chain(
    pool: ProcessPoolExecutor, folder: Path, *, rate: float = RATE, seconds: float = SECONDS
) -> Figures:
    """Latency from submission to verification on the regulatory chain, in milliseconds, at `rate`
    transfers a second. Raises `RuntimeError` where one of them does not get there.
    """
    async with running_network(folder) as network:
        provider = open_provider()
        calls = await prepare(network)
        maker = open_identity(network, provider, MARKET, "maker")
        reader = open_identity(network, provider, CSRC, "gateway")
        recorded = Recorded()
        async with open_chain(network, provider, CSRC, reader) as regulatory:
            begun = (await regulatory.latest()).height + 1
            following = asyncio.ensure_future(recorded.follow(regulatory, begun))
            try:
                count = int(rate * (WARM_SECONDS + seconds)) + 1
                items = await signed(network, provider, maker, pool, calls, count)
                load = load_of(network, provider, maker, items)
                started = asyncio.get_running_loop().time()
                tally = await load.open_loop(rate, WARM_SECONDS + seconds)
                sent = [each.transaction_id for each in tally.finals]
                await recorded.wait_for(sent, VERIFIED_SECONDS_MAX)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        return figures(tally, recorded, started + WARM_SECONDS, seconds)


def figures(tally: Tally, recorded: Recorded, begun: float, seconds: float) -> Figures:
    """Latencies of what was sent after `begun`. Raises `RuntimeError` where something was lost."""
    missing = [each for each in tally.finals if each.transaction_id not in recorded.at]
    if missing or recorded.refused:
        raise RuntimeError(
            f"{len(missing)} of {len(tally.finals)} transfers were not verified on the regulatory "
            f"chain within {VERIFIED_SECONDS_MAX:.0f} s; refused there: {recorded.refused}"
        )
    measured = [each for each in tally.finals if each.sent >= begun]
    verified = sorted(1_000 * (recorded.at[each.transaction_id] - each.sent) for each in measured)
    local = sorted(1_000 * (each.answered - each.sent) for each in measured)
    return {
        "transactions": len(measured),
        "offered_tps": round(len(measured) / seconds, 1),
        "cross_chain_p50_ms": percentile(verified, 50),
        "cross_chain_p95_ms": percentile(verified, 95),
        "cross_chain_p99_ms": percentile(verified, 99),
        "local_final_p50_ms": percentile(local, 50),
        "local_final_p95_ms": percentile(local, 95),
        **refused(tally),
    }


async def prepare(network: Network) -> list[Call]:
    """A market with one registered company, through the registry as an operator's system brings
    it; returns transfers of one share that all must be accepted.
    """
    dataset = read_dataset(DATASET)
    assert isinstance(dataset, MarketDataset), "the repository's own dataset is well formed"
    kinds = [event.type for event in dataset.events]
    events = dataset.events[: kinds.index(REGISTRATION) + 1]
    report = await import_dataset(network, replace(dataset, events=events))
    lost = [row for row in report.rows if row[1] != "accepted"]
    if lost:
        raise RuntimeError(f"the market could not be prepared: {lost[:3]}")
    return transfers_after(events[-1])


async def signed(
    network: Network,
    provider: GmProvider,
    maker: Identity,
    pool: ProcessPoolExecutor,
    calls: Sequence[Call],
    count: int,
) -> list[Signed]:
    """So many of the calls in turn, signed for where the market's chain stands now."""
    async with open_chain(network, provider, MARKET, maker) as client:
        position = await client.latest()
    signer = signer_of(maker, MARKET, position.height, position.block_time_ms)
    wanted = [calls[number % len(calls)] for number in range(count)]
    return await asyncio.to_thread(sign_all, pool, signer, wanted)


def load_of(
    network: Network, provider: GmProvider, maker: Identity, items: Sequence[Signed]
) -> Load:
    """A driver of all replicas of the market's chain."""
    targets = list(enumerate(network.node_endpoints(MARKET)))
    return Load(MARKET, targets, maker, provider, items)


@asynccontextmanager
async def running_network(folder: Path) -> AsyncIterator[Network]:
    """Both domains, with all their services, until the context is left; nothing is left behind."""
    lock = lock_folder(folder)
    try:
        network = create_network(folder)
        plan = await asyncio.to_thread(plan_network, network, say)
        supervisor, ready = Supervisor(plan, say), asyncio.Event()

        async def on_ready() -> None:
            ready.set()

        running = asyncio.ensure_future(supervisor.run(on_ready))
        waiting = asyncio.ensure_future(ready.wait())
        try:
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
                raise RuntimeError("the network ended before it was ready")
            await register_market(network, say)
            yield network
        finally:
            waiting.cancel()
            supervisor.end()
            await running
    finally:
        lock.close()


def say(text: str) -> None:
    """Progress; standard output is for the figures."""
    print(text, file=sys.stderr)


def print_figures(measured: Coroutine[Any, Any, Figures]) -> None:
    """Measure; the last line is one JSON object, and a spoilt measurement ends with status 1."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measured)
    print(json.dumps(found))
    if reason := spoilt_by(found):
        sys.exit(reason)


async def _measure(rate: float, seconds: float) -> Figures:
    with open_pool() as pool, tempfile.TemporaryDirectory(prefix="guqiao-bench-") as folder:
        return await cross_chain(pool, Path(folder) / "network", rate=rate, seconds=seconds)


def main() -> None:
    """Measure this alone; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=RATE, help="transfers a second")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of measured load")
    arguments = parser.parse_args()
    print_figures(_measure(arguments.rate, arguments.seconds))


if __name__ == "__main__":
    main()
