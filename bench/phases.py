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
from bench.machine import CORES, VerifyRate, cpu_seconds, memory_mb, verify_rate
from bench.signing import overwrite_rows
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.transaction import ENVELOPE_TRANSACTIONS_MAX

WINDOW: Final = 400
"""Transactions in flight: by Little's law 0.4 s at 1,000 a second."""

BATCH_WINDOW: Final = 400
"""Below what may wait in a replica: one that is refused holds up all that follow it."""
BATCH_OPS_MAX: Final = 6_000
"""So many a second are signed in advance."""

WARM_SECONDS: Final = 3.0
SAMPLE_SECONDS: Final = 0.25
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
    """Measures an interval that lies inside a run, and the replicas' memory meanwhile."""

    def __init__(self, chain: Chain, seconds: float) -> None:
        self._chain = chain
        self._seconds = seconds
        self.begun = self.ended = 0.0
        self.interval = Interval(0, 0, 0)
        self.anonymous_mb = self.file_mb = 0.0

    async def run(self) -> None:
        """Let the run warm up, then measure."""
        await asyncio.sleep(WARM_SECONDS)
        loop = asyncio.get_running_loop()
        self.begun, replicas, driver = loop.time(), self._chain.cpu_seconds(), time.process_time()
        while loop.time() < self.begun + self._seconds:
            await asyncio.sleep(SAMPLE_SECONDS)
            self.sample_memory()
        self.ended = loop.time()
        self.interval = Interval(
            self.ended - self.begun,
            self._chain.cpu_seconds() - replicas,
            time.process_time() - driver,
        )

    def sample_memory(self) -> None:
        """Keep the largest figures."""
        for pid in self._chain.pids:
            anonymous, files = memory_mb(pid)
            self.anonymous_mb = max(self.anonymous_mb, anonymous)
            self.file_mb = max(self.file_mb, files)


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
        "replica_memory_mb_max": round(meter.anonymous_mb, 1),
        "replica_file_mapped_mb_max": round(meter.file_mb, 1),
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
        "replica_memory_mb_max": round(meter.anonymous_mb, 1),
        "ran_dry": load.left == 0,
    }


def throughput(finals: Sequence[FinalTransaction], meter: Meter, tally: Tally) -> Figures:
    """Rates and latencies of the measured interval."""
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
            min(per_second),
            round(statistics.median(per_second)),
            max(per_second),
        ],
        "p50_ms": _percentile(latencies, 50),
        "p99_ms": _percentile(latencies, 99),
        "transactions_per_block": round(len(finals) / max(len(heights), 1), 1),
        "not_applied": tally.not_applied,
        "refusals": tally.refusals,
    }


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
    cpu_us = interval.replicas_cpu / max(len(finals), 1) * 1e6
    return {
        "sm2_verifies_per_s": round(per_second),
        "sm2_verifies_per_s_before_after": [round(rate.per_second) for rate in rates],
        "sm2_verify_cpu_us": round(verify_us, 1),
        "limit_tps": round(limit, 1),
        "ratio_to_limit": round(len(finals) / interval.seconds / limit, 3),
        "cpu_us_per_tx": round(cpu_us, 1),
        "ratio_by_cpu": round(replicas * verify_us / cpu_us, 3),
        "driver_cpu_us_per_tx": round(interval.driver_cpu / max(len(finals), 1) * 1e6, 1),
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
        "idle_final_p50_ms": _percentile(latencies, 50),
        "idle_final_p90_ms": _percentile(latencies, 90),
    }


async def overload(chain: Chain, tps: float, seconds: float) -> Figures:
    """Three times the sustained rate: what becomes final, what is refused, how memory grows."""
    count = int(tps * (seconds + WARM_SECONDS) * HEADROOM) + OVERLOAD_WAITING
    items = await chain.sign(list(overwrite_rows(count, chain.keys, seed=3)))
    meter = Meter(chain, seconds)
    load = chain.load(items)
    measuring = asyncio.ensure_future(meter.run())
    tally = await load.open_loop(OVERLOAD_FACTOR * tps, WARM_SECONDS + seconds)
    await measuring
    finals = [each for each in tally.finals if meter.begun <= each.answered < meter.ended]
    latencies = sorted(1_000 * (each.answered - each.sent) for each in finals)
    goodput = len(finals) / meter.interval.seconds
    return {
        "goodput_tps": round(goodput, 1),
        "goodput_at_3x": round(goodput / tps, 3),
        "offered_tps": round(tally.sent / (WARM_SECONDS + seconds), 1),
        "seconds": round(meter.interval.seconds, 1),
        "refusals": tally.refusals,
        "p50_ms": _percentile(latencies, 50),
        "p99_ms": _percentile(latencies, 99),
        "replica_memory_mb_max": round(meter.anonymous_mb, 1),
        "replica_cores": round(meter.interval.replicas_cpu / meter.interval.seconds, 3),
        "driver_cores": round(meter.interval.driver_cpu / meter.interval.seconds, 3),
        "ran_dry": load.left == 0,
    }


async def kill_primary(chain: Chain) -> Figures:
    """`kill -9` of the primary under load: how long no block came. Load goes to the others."""
    status = await chain.client.get_status(0)
    primary = status.primary
    others = [r.number for r in chain.network.replicas if r.number != primary]
    rate = await _verify_rate(chain)
    count = _enough(chain, rate, KILL_AFTER_SECONDS + KILL_WATCH_SECONDS)
    items = await chain.sign(list(overwrite_rows(count, chain.keys, seed=4)))
    killed_at = 0.0

    async def kill() -> None:
        nonlocal killed_at
        await asyncio.sleep(KILL_AFTER_SECONDS)
        killed_at = asyncio.get_running_loop().time()
        chain.network.kill(primary)

    load = chain.load(items, others)
    tally = await load.closed_loop(KILL_WINDOW, KILL_AFTER_SECONDS + KILL_WATCH_SECONDS, kill)
    seen: dict[int, float] = {}
    for each in tally.finals:
        seen[each.height] = min(each.answered, seen.get(each.height, each.answered))
    times = sorted(at for at in seen.values() if at > killed_at - 1)
    gaps = [(later - earlier, later) for earlier, later in itertools.pairwise(times)]
    longest, ended = max(gap for gap in gaps if gap[1] > killed_at)
    return {
        "killed_replica": primary,
        "primary_kill_recovery_s": round(ended - killed_at, 3),
        "longest_gap_s": round(longest, 3),
        "final_afterwards": sum(1 for each in tally.finals if each.answered > ended),
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
        if height is not None:
            points.append((loop.time(), height))
    begun = next(point for point in points if point[1] > 0)
    seconds = points[-1][0] - begun[0]
    process = replica.process
    assert process is not None
    return {
        "blocks": points[-1][1],
        "seconds": round(seconds, 2),
        "catch_up_blocks_per_s": round((points[-1][1] - begun[1]) / max(seconds, 1e-3), 1),
        "cpu_seconds": round(cpu_seconds(process.pid), 2),
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


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Null where there is nothing: never a number that nobody measured."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 1)
