"""A market's chain while the regulatory chain is away: the same closed load on the market's chain
with the regulatory chain there and with all its replicas killed, in turns. The market's throughput
is not to notice that the regulator is down (requirement T2-14).

Both chains share this machine, so a regulatory chain that is away leaves the market more of it: the
ratio to hold is 1 or more. What would show here is a market that waits for its regulator, or one
that what waits in its outbox slows down. All that waited must be verified afterwards, or the run
fails.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from bench.cross_chain import (
    Recorded,
    load_of,
    prepare,
    print_figures,
    running_network,
    say,
    signed,
)
from bench.load import Tally
from bench.machine import open_pool
from bench.phases import Figures, percentile
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.demo import link
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET

SECONDS: Final = 15.0
ROUNDS: Final = 3
WINDOW: Final = 32
RATE_MAX: Final = 400.0
"""Transfers signed for each second of a phase: more than a market does on two cores."""
VERIFIED_SECONDS_MAX: Final = 300.0


class Market:
    """The market's chain under load, phase by phase."""

    def __init__(self, network: Network, pool: ProcessPoolExecutor, calls: Sequence[Call]) -> None:
        self.network, self.provider = network, open_provider()
        self._pool, self._calls = pool, calls
        self._maker = open_identity(network, self.provider, MARKET, "maker")
        self.reader = open_identity(network, self.provider, CSRC, "gateway")

    async def regulatory_height(self) -> int:
        """Where the regulatory chain stands."""
        async with open_chain(self.network, self.provider, CSRC, self.reader) as regulatory:
            return (await regulatory.latest()).height

    async def phase(self, seconds: float) -> Tally:
        """Keep `WINDOW` transfers in flight."""
        count = int(RATE_MAX * seconds)
        items = await signed(
            self.network, self.provider, self._maker, self._pool, self._calls, count
        )
        load = load_of(self.network, self.provider, self._maker, items)
        tally = await load.closed_loop(WINDOW, seconds)
        if not load.left:
            raise RuntimeError(f"the market did more than {RATE_MAX:.0f} transfers a second")
        return tally


async def regulator_away(
    pool: ProcessPoolExecutor, folder: Path, *, rounds: int = ROUNDS, seconds: float = SECONDS
) -> Figures:
    """Rates and latencies of the market by turns, and how long what waited took. Raises
    `RuntimeError` where a transfer is not verified on the regulatory chain in the end.
    """
    async with running_network(folder) as network:
        market = Market(network, pool, await prepare(network))
        there: list[Tally] = []
        away: list[Tally] = []
        made_good: list[float] = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: the regulatory chain is there")
            height = await market.regulatory_height()
            there.append(await market.phase(seconds))
            await _all_verified(market, there[-1], height)
            say(f"round {number + 1} of {rounds}: the regulatory chain is away")
            await link.stop_regulatory_chain(network)
            away.append(await market.phase(seconds))
            await link.start_regulatory_chain(network)
            made_good.append(await _all_verified(market, away[-1], height))
    return figures(there, away, made_good, seconds)


async def _all_verified(market: Market, tally: Tally, height: int) -> float:
    """Wait until the regulatory chain has recorded all of them above `height`; how long it took,
    in seconds.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent = [each.transaction_id for each in tally.finals]
    recorded = Recorded()
    async with open_chain(market.network, market.provider, CSRC, market.reader) as regulatory:
        following = asyncio.ensure_future(recorded.follow(regulatory, height + 1))
        try:
            await recorded.wait_for(sent, VERIFIED_SECONDS_MAX)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    missing = len(set(sent) - recorded.at.keys())
    if missing or recorded.refused:
        raise RuntimeError(
            f"{missing} of {len(sent)} transfers were not verified on the regulatory chain within "
            f"{VERIFIED_SECONDS_MAX:.0f} s; refused there: {recorded.refused}"
        )
    return loop.time() - began


def figures(
    there: Sequence[Tally], away: Sequence[Tally], made_good: Sequence[float], seconds: float
) -> Figures:
    """What the turns come to; `ratio_away` is the median of the rounds' ratios of rates."""
    rates = {
        name: [len(tally.finals) / seconds for tally in tallies]
        for name, tallies in (("there", there), ("away", away))
    }
    ratios = [b / a for a, b in zip(rates["there"], rates["away"], strict=True)]
    refusals = sum((tally.refusals for tally in (*there, *away)), start=Counter[str]())
    return {
        "ratio_away": round(statistics.median(ratios), 3),
        "ratio_away_min": round(min(ratios), 3),
        "tps_there": [round(each, 1) for each in rates["there"]],
        "tps_away": [round(each, 1) for each in rates["away"]],
        "local_final_p95_there_ms": [_p95(tally) for tally in there],
        "local_final_p95_away_ms": [_p95(tally) for tally in away],
        "waited": [len(tally.finals) for tally in away],
        "made_good_s": [round(each, 1) for each in made_good],
        "refusals": dict(refusals),
    }


def _p95(tally: Tally) -> float | None:
    return percentile(sorted(1_000 * (each.answered - each.sent) for each in tally.finals), 95)


async def _measure(rounds: int, seconds: float) -> Figures:
    with open_pool() as pool, tempfile.TemporaryDirectory(prefix="guqiao-bench-") as folder:
        return await regulator_away(pool, Path(folder) / "network", rounds=rounds, seconds=seconds)


def main() -> None:
    """Measure; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each phase")
    arguments = parser.parse_args()
    print_figures(_measure(arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
