"""The register at a market's size: how fast a dataset comes in through the registry, how soon a
roster of long ago is out, and how fast the read model is built anew from the chain.

On the whole network of `guqiao dev up`, made in a fresh folder: 1,000 accounts hold 20 products
each, 20,000 positions; then so many transfers are imported as `guqiao import` imports them, each
signed by itself and after the one before. The bare chain's rate is that of such transfers, signed
in the same way (an envelope of one), given to the replicas without the registry, with as many in
flight, on the same network straight after. The old roster is that before the first transfer.

    python -m bench.register [--events 5000] [--seconds 15]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.cross_chain import load_of, print_figures, running_network, say, signed
from bench.load import Tally
from bench.machine import open_pool
from bench.phases import Figures, refused
from guqiao_sdk.client.operations import IN_FLIGHT_MAX, OperationStatus
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.commands.importing import import_dataset
from guqiaoctl.commands.register import fetch_roster
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from services.chassis.block_feed.rebuild import Comparison, rebuild
from services.chassis.runtime import chain_client, load_identity, open_database
from services.chassis.settings import load_settings
from services.registry.app import MIGRATIONS, SERVICE
from services.registry.consumers import READ_MODEL
from services.registry.settings import Settings
from tests.unit.contracts.market_generator import RandomDataset, write_dataset
from tests.unit.contracts.register_market import (
    company_row,
    dataset_days,
    evidence,
    market_body,
    product_row,
)

ACCOUNTS: Final = 1_000
PRODUCTS: Final = 20
HOLDER_CAP: Final = 2 * ACCOUNTS
SHARES_EACH: Final = 1_000
NATURE: Final = "51"
TIME: Final = "2025-09-01T10:00:00+08:00"
READS: Final = 7
PROJECTED_SECONDS_MAX: Final = 300.0
READY_EVENTS: Final = ACCOUNTS + 1 + PRODUCTS
"""Events before the first transfer."""


def code_of(product: int) -> str:
    """A product code; all products are of one company."""
    return f"SD900001G.ESVTFR{2500 + product}"


def account_of(number: int) -> str:
    """An investor code."""
    return f"S{number:09}"


def dataset(events: int) -> RandomDataset:
    """The market, and so many transfers of one share between holders, all of them accepted."""
    market = market_body(holder_cap=HOLDER_CAP, min_interval_trading_days=0)
    market |= {"format": "guqiao-market-dataset/1", "dataset_id": "register", "profile": "x"}
    investors = [
        {
            **{"investor_ref": f"I{n}", "investor_code": account_of(n), "kind": "S"},
            **{"name": f"演示产品{n}", "id_type": "product_record", "id_number": f"S{n:09}"},
            **{"suitability": "QUALIFIED", "suitability_valid_to": "", "counted_holders": 1},
        }
        for n in range(ACCOUNTS)
    ]
    registered = ACCOUNTS * SHARES_EACH
    products = [
        product_row(1, product_code=code_of(n), registered_shares=registered)
        for n in range(PRODUCTS)
    ]
    rows = [
        {
            **{"seq": seq, "time": TIME, "type": kind, "request_id": str(uuid.UUID(int=seq))},
            **members,
            "evidence": evidence("transfer.gift" if kind == "transfer" else kind),
        }
        for seq, (kind, members) in enumerate(_events(events), start=1)
    ]
    return RandomDataset(
        market | {"seed": 1}, [company_row(1)], investors, products, dataset_days(), rows
    )


def _events(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(ACCOUNTS):
        yield "open_account", {"investor_ref": f"I{number}"}
    yield "register_company", {"company_ref": "C1"}
    entry = {"nature": NATURE, "shares": SHARES_EACH, "confirmed": True, "restricted_until": None}
    roster = [{"account": account_of(n), **entry} for n in range(ACCOUNTS)]
    for number in range(PRODUCTS):
        body = {"product_code": code_of(number), "total_shares": ACCOUNTS * SHARES_EACH}
        yield "initial_registration", body | {"roster": roster}
    for body in _transfers(count, seed=1):
        yield "transfer", body


def _transfers(count: int, seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    for _ in range(count):
        seller, buyer = chance.sample(range(ACCOUNTS), 2)
        yield {
            **{"product_code": code_of(chance.randrange(PRODUCTS)), "nature": NATURE},
            **{"seller": account_of(seller), "buyer": account_of(buyer), "shares": 1},
            **{"price_fen": 0, "reason": "gift"},
        }


async def register(
    pool: ProcessPoolExecutor, folder: Path, *, events: int, seconds: float
) -> Figures:
    """All figures. Raises `RuntimeError` where an event is not accepted or a read model differs."""
    write_dataset(dataset(events), folder / "market")
    read = read_dataset(folder / "market")
    if not isinstance(read, MarketDataset):
        raise RuntimeError(f"the dataset is malformed: {read}")
    async with running_network(folder / "network") as network:
        say(f"importing {READY_EVENTS} events that prepare, then {events} transfers")
        await _import(network, read, slice(READY_EVENTS))
        old = await _height(network)
        rate = await _import(network, read, slice(READY_EVENTS, None))
        say("such transfers to the bare chain")
        bare = await _bare(network, pool, seconds)
        await _projected(network, await _height(network))
        rosters = await _rosters(network, old)
        say("building the read model anew")
        comparison = await _rebuilt(network)
    if not comparison.is_equal:
        raise RuntimeError(f"the read model differs: {comparison.tables}")
    bare_rate = len(bare.finals) / seconds
    rebuilt_rate = comparison.transactions / comparison.seconds
    return {
        "events": events,
        "import_per_s": round(rate, 1),
        "bare_chain_per_s": round(bare_rate, 1),
        "import_to_bare_chain": round(rate / bare_rate, 3),
        **rosters,
        "rebuilt_transactions": comparison.transactions,
        "rebuilt_per_s": round(rebuilt_rate, 1),
        "rebuilt_to_import": round(rebuilt_rate / rate, 2),
        **refused(bare),
    }


async def _import(network: Network, read: MarketDataset, part: slice) -> float:
    """Import these events; how many a second had a final answer, from the first one on."""
    answered: list[float] = []
    events = read.events[part]
    report = await import_dataset(
        network, replace(read, events=events), lambda done: answered.append(time.monotonic())
    )
    lost = [row for row in report.rows if row[1] != OperationStatus.ACCEPTED]
    if lost:
        raise RuntimeError(f"{len(lost)} events were not accepted: {lost[:3]}")
    return (len(events) - 1) / (answered[-1] - answered[0])


async def _bare(network: Network, pool: ProcessPoolExecutor, seconds: float) -> Tally:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    gift: Any = evidence("transfer.gift")
    calls = [
        Call("register", "transfer", body | {"evidence": gift}, TIME)
        for body in _transfers(int(1_000 * seconds), seed=2)
    ]
    items = await signed(network, provider, maker, pool, calls, len(calls))
    load = load_of(network, provider, maker, items)
    tally = await load.closed_loop(IN_FLIGHT_MAX, seconds)
    if not load.left or tally.not_applied:
        raise RuntimeError(f"{load.left} were left, not applied {tally.not_applied}")
    return tally


async def _rosters(network: Network, height: int) -> Figures:
    """Seconds for all 20,000 positions, at an old height and now: the median of several reads."""
    figures: Figures = {}
    for name, at in (("roster_old_s", height), ("roster_now_s", 0)):
        taken = []
        for _ in range(READS):
            began = time.monotonic()
            found = await fetch_roster(network, "", at)
            taken.append(time.monotonic() - began)
        if len(found.rows) != ACCOUNTS * PRODUCTS:
            raise RuntimeError(f"{name}: the roster has {len(found.rows)} rows")
        figures[name] = round(statistics.median(taken), 3)
    return figures


async def _rebuilt(network: Network) -> Comparison:
    folder = network.layout.process(f"{MARKET}-{SERVICE}")
    settings = load_settings(Settings, folder / "settings.toml")
    provider = open_provider()
    trust = load_chain_trust(settings.chain.trust_file)
    identity = load_identity(settings, provider)
    client = chain_client(settings, identity, trust, provider)
    async with open_database(settings.postgres) as pool, client:
        return await rebuild(
            pool,
            client,
            READ_MODEL,
            service=SERVICE,
            migrations=MIGRATIONS,
            replace=False,
            on_progress=lambda height, target: None,
        )


async def _height(network: Network) -> int:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        return (await client.latest()).height


async def _projected(network: Network, height: int) -> None:
    """Wait until the read model is there."""
    async with asyncio.timeout(PROJECTED_SECONDS_MAX):
        while (await fetch_roster(network, code_of(0), 0)).height < height:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def _measure(events: int, seconds: float) -> Figures:
    with open_pool() as pool, tempfile.TemporaryDirectory(prefix="guqiao-bench-") as folder:
        return await register(pool, Path(folder), events=events, seconds=seconds)


def main() -> None:
    """Measure this alone; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000, help="transfers to import")
    parser.add_argument("--seconds", type=float, default=15.0, help="of load on the bare chain")
    arguments = parser.parse_args()
    print_figures(_measure(arguments.events, arguments.seconds))


if __name__ == "__main__":
    main()
