"""`make bench`: replica processes on loopback with GM-TLS, driven over gRPC from this process with
transactions signed in advance. The last line of standard output is one JSON object, whatever
failed; all figures go to bench/results/ and, as a table and plots, into bench/README.md.
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
from bench.chain import Chain, fill, prepare_market, start_chain
from bench.cross_chain import cross_chain
from bench.machine import CORES, machine_facts, open_pool, revision
from bench.signing import overwrite_rows
from bench.summary import spoilt_by, summary
from bench.watch import Watch
from guqiao_sdk.client.transactions import Call

ROOT: Final = Path(__file__).parents[1]
KEYS: Final = 100_000
REPLICAS: Final = 4
OVERLOAD_SECONDS: Final = 60.0
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
    figures: dict[str, phases.Figures] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    async def phase(
        self, name: str, chain: Chain, work: Awaitable[phases.Figures]
    ) -> phases.Figures:
        """Measure one thing; a failure leaves what was seen until then."""
        begun = time.monotonic()
        figures: phases.Figures = {}
        async with Watch(chain) as watch:
            try:
                figures = await work
            except Exception as error:
                self.fail(name, error)
        figures = {**figures, **watch.figures()}
        self._keep(name, figures, time.monotonic() - begun)
        return figures

    async def elsewhere(self, name: str, work: Awaitable[phases.Figures]) -> None:
        """The same for what runs on chains of its own, at which nobody looks meanwhile."""
        begun = time.monotonic()
        figures: phases.Figures = {}
        try:
            figures = await work
        except Exception as error:
            self.fail(name, error)
        self._keep(name, figures, time.monotonic() - begun)

    def _keep(self, name: str, figures: phases.Figures, taken: float) -> None:
        self.figures[name] = figures
        if name not in self.failures and (reason := spoilt_by(figures)):
            self.failures[name] = reason
            print(f"{name}: {reason}", file=sys.stderr)
        print(f"{name} ({taken:.0f} s): {json.dumps(figures)}", file=sys.stderr)

    def fail(self, name: str, error: BaseException) -> None:
        """Keep why something failed."""
        self.failures[name] = f"{type(error).__name__}: {error}"[:500]
        print(f"{name}: FAILED {self.failures[name]}", file=sys.stderr)


def w0_calls(keys: int, seed: int) -> phases.MakeCalls:
    """Overwrite rows of the state."""
    return lambda count: list(overwrite_rows(count, keys, seed))


async def measure(run: Run) -> None:
    """All phases, one after the other."""
    sizes = [(REPLICAS, run.plan.keys)]
    if run.plan.full:
        sizes += [(size, KEYS) for size in FULL_SIZES[1:]]
        sizes += [(REPLICAS, keys) for keys in FULL_KEYS if keys != KEYS]
    with open_pool() as pool, tempfile.TemporaryDirectory() as folder:
        for number, (size, keys) in enumerate(sizes):
            label = f" n={size} keys={keys}" if number else ""
            await _one_chain(run, pool, Path(folder) / str(number), size, keys, label)
        work = cross_chain(pool, Path(folder) / "network", seconds=run.plan.seconds)
        await run.elsewhere("cross_chain", work)


async def _one_chain(
    run: Run, pool: ProcessPoolExecutor, folder: Path, size: int, keys: int, label: str
) -> None:
    try:
        chain = await start_chain(folder, pool, size=size, keys=keys)
    except Exception as error:
        run.fail(f"start{label}", error)
        return
    try:
        await run.phase(f"fill{label}", chain, _fill(chain))
        if f"fill{label}" in run.failures:
            return
        if label:
            calls = w0_calls(keys, seed=1)
            work = phases.sustained(chain, calls, run.plan.seconds)
            await run.phase(f"W0{label}", chain, work)
        else:
            await _main_phases(run, chain)
    finally:
        await chain.network.close()


async def _fill(chain: Chain) -> phases.Figures:
    await fill(chain)
    return {"keys": chain.keys}


async def _main_phases(run: Run, chain: Chain) -> None:
    plan = run.plan
    lone = w0_calls(plan.keys, seed=2)(phases.IDLE_COUNT)
    await run.phase("idle", chain, phases.idle(chain, lone))
    w0_work = phases.sustained(chain, w0_calls(plan.keys, seed=1), plan.seconds)
    w0 = await run.phase("W0", chain, w0_work)
    batch_calls = w0_calls(plan.keys, seed=5)
    await run.phase("batch", chain, phases.batch(chain, batch_calls, plan.seconds))
    await run.phase("client", chain, phases.client_verification(chain))
    await _transfers(run, chain)
    rate = w0.get("tps")
    if isinstance(rate, float) and rate > 0:
        work = phases.overload(chain, rate, plan.overload_seconds)
        await run.phase("overload", chain, work)
    killed = await run.phase("kill", chain, phases.kill_primary(chain))
    number = killed.get("killed_replica")
    if isinstance(number, int):
        await run.phase("catch_up", chain, phases.catch_up(chain, number))


async def _transfers(run: Run, chain: Chain) -> None:
    transfers: list[Call] = []

    async def market() -> phases.Figures:
        transfers.extend(await prepare_market(chain))
        return {"transfers": len(transfers)}

    def w1_calls(count: int) -> Sequence[Call]:
        return [transfers[number % len(transfers)] for number in range(count)]

    await run.phase("market", chain, market())
    if transfers:
        await run.phase("W1", chain, phases.sustained(chain, w1_calls, run.plan.seconds / 2))


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of sustained load")
    parser.add_argument(
        "--overload-seconds", type=float, default=OVERLOAD_SECONDS, help="of overload"
    )
    parser.add_argument("--keys", type=int, default=KEYS, help="rows in the state")
    parser.add_argument("--full", action="store_true", help="also growth with n and state")
    parser.add_argument("--no-readme", action="store_true", help="leave bench/README.md as it is")
    arguments = parser.parse_args()
    plan = Plan(arguments.seconds, arguments.overload_seconds, arguments.keys, arguments.full)
    run, commit = Run(plan), revision(ROOT)
    try:
        _measure_and_keep(run, commit, readme=not arguments.no_readme)
    except (Exception, KeyboardInterrupt) as error:
        run.fail("run", error)
    print(json.dumps(summary(run.figures, run.failures, CORES, commit)))
    if run.failures:
        sys.exit(1)


def _measure_and_keep(run: Run, commit: str | None, *, readme: bool) -> None:
    facts, begun = machine_facts(), time.time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(run))
    facts["load_after"] = round(os.getloadavg()[0], 2)
    result = {
        "began": int(begun),
        "seconds": round(time.time() - begun),
        "machine": facts,
        "summary": summary(run.figures, run.failures, CORES, commit),
        "phases": run.figures,
    }
    report.keep(result, readme=readme)


if __name__ == "__main__":
    main()
