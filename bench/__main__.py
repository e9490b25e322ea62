"""`make bench`: replica processes on loopback with GM-TLS, driven over gRPC from this process with
transactions signed in advance. The last line of standard output is one JSON object; all figures go
to bench/results/ and, as a table and plots, into bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench import phases, report
from bench.chain import Chain, prepare_market, start_chain
from bench.machine import machine_facts, open_pool
from bench.signing import overwrite_rows
from guqiao_sdk.client.transactions import Call

KEYS: Final = 100_000
REPLICAS: Final = 4
FULL_SIZES: Final = (4, 7, 10)
FULL_KEYS: Final = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much."""

    seconds: float
    overload_seconds: float
    keys: int
    full: bool


@dataclass(slots=True)
class Run:
    """The figures so far. A phase that failed leaves its reason, and the run goes on."""

    plan: Plan
    pool: ProcessPoolExecutor
    figures: dict[str, phases.Figures] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    async def phase(self, name: str, work: Awaitable[phases.Figures]) -> phases.Figures:
        """Measure one thing."""
        begun = time.monotonic()
        try:
            self.figures[name] = await work
        except Exception as error:
            self.failures[name] = f"{type(error).__name__}: {error}"[:500]
            print(f"{name}: FAILED {self.failures[name]}", file=sys.stderr)
            return {}
        taken = time.monotonic() - begun
        print(f"{name} ({taken:.0f} s): {json.dumps(self.figures[name])}", file=sys.stderr)
        return self.figures[name]


def w0_calls(keys: int, seed: int) -> phases.MakeCalls:
    """Overwrite rows of the state."""
    return lambda count: list(overwrite_rows(count, keys, seed))


async def measure(plan: Plan) -> Run:
    """All phases, one after the other."""
    with open_pool() as pool, tempfile.TemporaryDirectory() as folder:
        run = Run(plan, pool)
        chain = await start_chain(Path(folder) / "main", pool, size=REPLICAS, keys=plan.keys)
        try:
            await _one_chain(run, chain)
        finally:
            await chain.network.close()
        if plan.full:
            await _growth(run, Path(folder))
        return run


async def _one_chain(run: Run, chain: Chain) -> None:
    plan = run.plan
    lone = w0_calls(plan.keys, seed=2)(phases.IDLE_COUNT)
    await run.phase("idle", phases.idle(chain, lone))
    w0 = await run.phase("W0", phases.sustained(chain, w0_calls(plan.keys, seed=1), plan.seconds))
    batch_calls = w0_calls(plan.keys, seed=5)
    await run.phase("batch", phases.batch(chain, batch_calls, plan.seconds))
    await run.phase("client", phases.client_verification(chain))
    transfers = await prepare_market(chain)

    def w1_calls(count: int) -> Sequence[Call]:
        return [transfers[number % len(transfers)] for number in range(count)]

    await run.phase("W1", phases.sustained(chain, w1_calls, plan.seconds / 2))
    rate = w0.get("tps")
    if isinstance(rate, float):
        await run.phase("overload", phases.overload(chain, rate, plan.overload_seconds))
    killed = await run.phase("kill", phases.kill_primary(chain))
    number = killed.get("killed_replica")
    if isinstance(number, int):
        await run.phase("catch_up", phases.catch_up(chain, number))


async def _growth(run: Run, folder: Path) -> None:
    for size, keys in [(size, KEYS) for size in FULL_SIZES[1:]] + [
        (REPLICAS, keys) for keys in FULL_KEYS if keys != KEYS
    ]:
        chain = await start_chain(folder / f"{size}-{keys}", run.pool, size=size, keys=keys)
        try:
            calls = w0_calls(keys, seed=1)
            await run.phase(
                f"W0 n={size} keys={keys}", phases.sustained(chain, calls, run.plan.seconds)
            )
        finally:
            await chain.network.close()


def summary(run: Run) -> dict[str, object]:
    """The one line: every figure is there, null with its reason where it was not measured."""
    places = {
        "tps": "W0",
        "p50_ms": "W0",
        "p99_ms": "W0",
        "sm2_verifies_per_s": "W0",
        "ratio_to_limit": "W0",
        "ratio_by_cpu": "W0",
        "cpu_us_per_tx": "W0",
        "replica_cores": "W0",
        "idle_final_p50_ms": "idle",
        "primary_kill_recovery_s": "kill",
        "catch_up_blocks_per_s": "catch_up",
        "goodput_at_3x": "overload",
        "batch_ops_per_s": "batch",
    }
    line: dict[str, object] = {
        name: run.figures.get(phase, {}).get(name) for name, phase in places.items()
    }
    line["replica_rss_mb_max"] = max(
        (
            value
            for figures in run.figures.values()
            if isinstance(value := figures.get("replica_memory_mb_max"), float)
        ),
        default=None,
    )
    reasons = {
        name: run.failures.get(phase, "an earlier phase failed")
        for name, phase in places.items()
        if line[name] is None
    }
    return {**line, "null_because": reasons}


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of sustained load")
    parser.add_argument("--keys", type=int, default=KEYS, help="rows in the state")
    parser.add_argument(
        "--full", action="store_true", help="60 s of overload; growth with n, state"
    )
    parser.add_argument("--no-readme", action="store_true", help="leave bench/README.md as it is")
    arguments = parser.parse_args()
    overload_seconds = 60.0 if arguments.full else arguments.seconds
    plan = Plan(arguments.seconds, overload_seconds, arguments.keys, arguments.full)
    facts, begun = machine_facts(), time.time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run = runner.run(measure(plan))
    facts["load_after"] = round(os.getloadavg()[0], 2)
    result = {
        "began": int(begun),
        "seconds": round(time.time() - begun),
        "machine": facts,
        "summary": summary(run),
        "phases": run.figures,
        "failures": run.failures,
    }
    report.keep(result, readme=not arguments.no_readme)
    print(json.dumps(summary(run)))
    if run.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
