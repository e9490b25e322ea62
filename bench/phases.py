"""What is measured, one function a phase. Each gives plain figures with the machine's own limit
measured beside it, in the same run.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.chain import Chain
from bench.load import FinalTransaction, Tally
from bench.machine import CORES, VerifyRate, cpu_seconds, verify_rate
from bench.signing import overwrite_rows
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.transaction import ENVELOPE_TRANSACTIONS_MAX

WINDOW: Final = 400
"""Transactions in flight: by Little's law 0.4 s at 1,000 a second."""

BATCH_WINDOW: Final = 400
"""Below what may wait in a replica: one that is refused holds up all that follow it."""
BATCH_OPS_MAX: Final = 12_000
"""So many a second are signed in advance: more than the design hopes for at best."""

WARM_SECONDS: Final = 3.0
IDLE_COUNT: Final = 40
IDLE_PAUSE_SECONDS: Final = 0.1
OVERLOAD_FACTOR: Final = 3
OVERLOAD_WAITING: Final = 10_000
"""Transactions that wait in the replicas, or for the time that a refusal named."""
KILL_AFTER_SECONDS: Final = 4.0
KILL_WATCH_SECONDS: Final = 12.0
KILL_WINDOW: Final = 200
CATCH_UP_POLL_SECONDS: Final = 0.05
CATCH_UP_SECONDS_MAX: Final = 180.0
HEADROOM: Final = 1.3
"""So many transactions are signed in advance as this times the machine's limit."""

Figures = dict[str, object]
MakeCalls = Callable[[int], Sequence[Call]]
"""How many -> what they ask for."""


@dataclass(frozen=True, slots=True)
class Interval:
    """CPU of the replicas and of the driver over a measured interval."""

    seconds: float
    replicas_cpu: float
    driver_cpu: float


class Meter:
    """Measures an interval that lies inside a run."""

    def __init__(self, chain: Chain, seconds: float) -> None:
        self._chain = chain
        self._seconds = seconds
        self.begun = self.ended = 0.0
        self.interval = Interval(0, 0, 0)

    async def run(self) -> None:
        """Let the run warm up, then measure."""
        await asyncio.sleep(WARM_SECONDS)
        loop = asyncio.get_running_loop()
        self.begun, replicas, driver = loop.time(), self._chain.cpu_seconds(), time.process_time()
        await asyncio.sleep(self._seconds)
        self.ended = loop.time()
        self.interval = Interval(
            self.ended - self.begun,
            self._chain.cpu_seconds() - replicas,
            time.process_time() - driver,
        )


async def sustained(
    chain: Chain, make_calls: MakeCalls, seconds: float, window: int = WINDOW
) -> Figures:
    """Throughput and latency with `window` transactions in flight, and its ratio to the limit."""
    before = await _verify_rate(chain)
    items = await chain.sign(make_calls(_enough(chain, before, WARM_SECONDS + seconds)))
    meter = Meter(chain, seconds)
    load = chain.load(items)
    tally = await load.closed_loop(window, WARM_SECONDS + seconds, meter.run)
    after = await _verify_rate(chain)
    finals = [each for each in tally.finals if meter.begun <= each.answered < meter.ended]
    return {
        **throughput(finals, meter, tally),
        **limits(finals, meter, (before, after), len(chain.network.replicas)),
        "ran_dry": load.left == 0,
    }


async def batch(chain: Chain, make_calls: MakeCalls, seconds: float) -> Figures:
    """The same for transactions of which a thousand share one signature, in order."""
    before = await _verify_rate(chain)
    count = int(BATCH_OPS_MAX * (WARM_SECONDS + seconds))
    items = await chain.sign(make_calls(count), in_envelopes=True)
    meter = Meter(chain, seconds)
    load = chain.load(items, in_a_row=ENVELOPE_TRANSACTIONS_MAX)
    tally = await load.closed_loop(BATCH_WINDOW, WARM_SECONDS + seconds, meter.run)
    after = await _verify_rate(chain)
    finals = [each for each in tally.finals if meter.begun <= each.answered < meter.ended]
    figures = throughput(finals, meter, tally)
    spent = limits(finals, meter, (before, after), len(chain.network.replicas))
    kept = ("sm2_verify_cpu_us", "cpu_us_per_tx", "driver_cores", "replica_cores")
    return {
        "batch_ops_per_s": figures["tps"],
        **figures,
        **{name: spent[name] for name in kept},
        "ran_dry": load.left == 0,
    }


def throughput(finals: Sequence[FinalTransaction], meter: Meter, tally: Tally) -> Figures:
    """Rates and latencies of the measured interval; refusals of the whole run beside them."""
    latencies = sorted(1_000 * (each.answered - each.sent) for each in finals)
    per_second = [
        sum(1 for each in finals if second <= each.answered - meter.begun < second + 1)
        for second in range(int(meter.interval.seconds))
    ]
    heights = {each.height for each in finals}
    return {
        "transactions": len(finals),
        "seconds": round(meter.interval.seconds, 2),
        "tps": round(len(finals) / meter.interval.seconds, 1),
        "tps_by_second_min_median_max": [
            min(per_second, default=None),
            round(statistics.median(per_second)) if per_second else None,
            max(per_second, default=None),
        ],
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
        "transactions_per_block": round(len(finals) / max(len(heights), 1), 1),
        **refused(tally),
    }


def refused(tally: Tally) -> Figures:
    """What was refused, by code: at admission, and in a block. None of it counts as throughput."""
    return {"not_applied": dict(tally.not_applied), "refusals": dict(tally.refusals)}


def limits(
    finals: Sequence[FinalTransaction],
    meter: Meter,
    rates: tuple[VerifyRate, VerifyRate],
    replicas: int,
) -> Figures:
    """The machine's own limit: every replica verifies every transaction on the cores that the
    driver leaves. `ratio_by_cpu` needs no quiet machine: verification's share of all CPU time used.
    """
    interval = meter.interval
    per_second = statistics.mean(rate.per_second for rate in rates)
    verify_us = statistics.mean(rate.cpu_us for rate in rates)
    driver_cores = interval.driver_cpu / interval.seconds
    limit = per_second * (1 - driver_cores / CORES) / replicas
    cpu_us = interval.replicas_cpu / len(finals) * 1e6 if finals else None
    return {
        "sm2_verifies_per_s": round(per_second),
        "sm2_verifies_per_s_before_after": [round(rate.per_second) for rate in rates],
        "sm2_verify_cpu_us": round(verify_us, 1),
        "limit_tps": round(limit, 1),
        "ratio_to_limit": round(len(finals) / interval.seconds / limit, 3),
        "cpu_us_per_tx": round(cpu_us, 1) if cpu_us else None,
        "ratio_by_cpu": round(replicas * verify_us / cpu_us, 3) if cpu_us else None,
        "driver_cores": round(driver_cores, 3),
        "replica_cores": round(interval.replicas_cpu / interval.seconds, 3),
    }


async def idle(chain: Chain, calls: Sequence[Call]) -> Figures:
    """One transaction at a time on an idle chain: submit to final, without the client's checks."""
    items = await chain.sign(calls[:IDLE_COUNT])
    load = chain.load(items)
    tally = await load.one_by_one(IDLE_PAUSE_SECONDS)
    latencies = sorted(1_000 * (each.answered - each.sent) for each in tally.finals)
    return {
        "transactions": len(latencies),
        "idle_final_p50_ms": percentile(latencies, 50),
        "idle_final_p90_ms": percentile(latencies, 90),
        **refused(tally),
    }


async def overload(chain: Chain, tps: float, seconds: float) -> Figures:
    """Three times the sustained rate: what becomes final and how long after it was admitted, what
    is refused, how memory grows.
    """
    count = int(tps * (seconds + WARM_SECONDS) * HEADROOM) + OVERLOAD_WAITING
    items = await chain.sign(list(overwrite_rows(count, chain.keys, seed=3)))
    meter = Meter(chain, seconds)
    load = chain.load(items)
    measuring = asyncio.ensure_future(meter.run())
    tally = await load.open_loop(OVERLOAD_FACTOR * tps, WARM_SECONDS + seconds)
    await measuring
    finals = [each for each in tally.finals if meter.begun <= each.answered < meter.ended]
    latencies = sorted(1_000 * (each.answered - each.sent) for each in finals)
    admitted = sorted(1_000 * (each.answered - each.admitted) for each in finals)
    goodput = len(finals) / meter.interval.seconds
    return {
        "goodput_tps": round(goodput, 1),
        "goodput_at_3x": round(goodput / tps, 3),
        "offered_tps": round(tally.sent / (WARM_SECONDS + seconds), 1),
        "seconds": round(meter.interval.seconds, 1),
        **refused(tally),
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
        "admitted_p99_ms": percentile(admitted, 99),
        "replica_cores": round(meter.interval.replicas_cpu / meter.interval.seconds, 3),
        "driver_cores": round(meter.interval.driver_cpu / meter.interval.seconds, 3),
        "ran_dry": load.left == 0,
    }


async def kill_primary(chain: Chain) -> Figures:
    """`kill -9` of the primary under load: how long no block came. Load goes to the others, as far
    as can be known before: the view may change under load.
    """
    primary = await chain.primary()
    others = [r.number for r in chain.network.replicas if r.number != primary]
    rate = await _verify_rate(chain)
    count = _enough(chain, rate, KILL_AFTER_SECONDS + KILL_WATCH_SECONDS)
    items = await chain.sign(list(overwrite_rows(count, chain.keys, seed=4)))
    killed_at, killed_ms = 0.0, 0

    async def kill() -> None:
        nonlocal primary, killed_at, killed_ms
        await asyncio.sleep(KILL_AFTER_SECONDS)
        primary = await chain.primary()
        killed_at = asyncio.get_running_loop().time()
        chain.network.kill(primary)
        # Its process has ended: whatever it proposed has an earlier block time.
        killed_ms = time.time_ns() // 1_000_000
        await asyncio.sleep(KILL_WATCH_SECONDS)

    load = chain.load(items, others)
    tally = await load.closed_loop(KILL_WINDOW, KILL_AFTER_SECONDS, kill)
    seen: dict[int, float] = {}
    for each in tally.finals:
        seen[each.height] = min(each.answered, seen.get(each.height, each.answered))
    blocks = [
        SeenBlock(at, (await chain.client.get_header(height))[0].block_time_ms)
        for height, at in seen.items()
    ]
    return {
        "killed_replica": primary,
        **recovery(blocks, killed_at, killed_ms),
        "final_afterwards": sum(1 for each in tally.finals if each.answered > killed_at),
        **refused(tally),
        "ran_dry": load.left == 0,
    }


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """When a block's first answer came (seconds of the driver's clock), and its block time."""

    answered: float
    time_ms: int


def recovery(blocks: Sequence[SeenBlock], killed_at: float, killed_ms: int) -> Figures:
    """The gap that contains the kill: from the last block at or before it to the first one after
    it. Blocks that the killed primary had proposed come for a moment longer and end no gap. Raises
    `RuntimeError` where the gap has no beginning or no end.
    """
    before = [block.answered for block in blocks if block.answered <= killed_at]
    after = [block for block in blocks if block.answered > killed_at]
    proposed_after = [block.answered for block in after if block.time_ms > killed_ms]
    if not before:
        raise RuntimeError("no block came before the kill")
    if not proposed_after:
        raise RuntimeError("no block was proposed after the kill")
    ended = min(proposed_after)
    times = sorted(block.answered for block in blocks)
    return {
        "primary_kill_recovery_s": round(ended - killed_at, 3),
        "gap_with_kill_s": round(ended - max(before), 3),
        "blocks_proposed_before_that_came_after": sum(block.answered < ended for block in after),
        "longest_gap_s": round(max(b - a for a, b in itertools.pairwise(times)), 3),
    }


async def catch_up(chain: Chain, number: int) -> Figures:
    """A replica that lost everything fetches, verifies and executes the whole chain."""
    chain.wipe(number)
    target = (await chain.client.latest()).height
    chain.network.start(number)
    loop = asyncio.get_running_loop()
    replica, deadline = chain.network.replicas[number], loop.time() + CATCH_UP_SECONDS_MAX
    points: list[tuple[float, int]] = []
    while not points or points[-1][1] < target:
        await asyncio.sleep(CATCH_UP_POLL_SECONDS)
        if loop.time() > deadline:
            raise RuntimeError(f"replica {number} is at {points[-1:]} of {target}")
        height = await _height(chain, number)
        if height:
            points.append((loop.time(), height))
    process = replica.process
    assert process is not None
    spent = cpu_seconds(process.pid)
    heights = range(points[0][1] + 1, points[-1][1] + 1)
    transactions = [len((await chain.client.get_block(each)).transactions) for each in heights]
    return {**pace(points, sum(transactions)), "cpu_seconds": round(spent, 2)}


def pace(points: Sequence[tuple[float, int]], transactions: int) -> Figures:
    """Rates from the first (seconds, height) to the last, between which so many transactions are;
    null where one look saw all: blocks differ in size, so that both rates are told.
    """
    (begun, low), (ended, high) = points[0], points[-1]
    seconds = ended - begun
    return {
        "blocks": high - low,
        "transactions": transactions,
        "seconds": round(seconds, 2),
        "catch_up_blocks_per_s": round((high - low) / seconds, 1) if seconds else None,
        "catch_up_transactions_per_s": round(transactions / seconds, 1) if seconds else None,
    }


async def client_verification(chain: Chain, blocks: int = 20) -> Figures:
    """What a client spends to verify whole blocks, apart from the replicas' figures."""
    top = (await chain.client.latest()).height
    count, cpu = 0, time.process_time()
    for height in range(max(top - blocks, 1), top + 1):
        count += len((await chain.client.get_block(height)).transactions)
    spent = time.process_time() - cpu
    return {"transactions": count, "client_cpu_us_per_tx": round(spent / max(count, 1) * 1e6, 1)}


async def _height(chain: Chain, number: int) -> int | None:
    try:
        return (await chain.client.get_status(number)).height
    except GuqiaoError:
        return None  # It does not answer yet.


def _enough(chain: Chain, rate: VerifyRate, seconds: float) -> int:
    limit = rate.per_second / len(chain.network.replicas)
    return int(HEADROOM * limit * seconds) + WINDOW


async def _verify_rate(chain: Chain) -> VerifyRate:
    return await asyncio.to_thread(verify_rate, chain.pool)


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Null where there is nothing: never a number that nobody measured."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 1)
