"""Many seeds over both cores, each deterministic by itself; what fired is counted for them all.

`seeds`, `first` and `last` of the report are those of runs in full. `twins_scenarios` counts the
scenarios of the enumeration that were played to their end without a violation, each once however
often it was, and `byzzfuzz_runs` all such runs of ByzzFuzz. In `byzzfuzz_runs_met` of these every
kind of fault that the run is named after came upon a message.
"""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.machine import revision
from tests.plugins.memory_disk import end_in_order
from tests.simulation.byzantine.registry import STRATEGIES, VARIANTS
from tests.simulation.drawing import name_of
from tests.simulation.fault_plan import FAULTS
from tests.simulation.naming import CELLS, CELLS_OF_GRID, CELLS_OF_TWINS, Name, parse
from tests.simulation.run import Report, run

ROOT: Final = Path(__file__).parents[2]
COVERAGE_SEEDS_MIN: Final = 300
"""From this many seeds on, every fault and every strategy must have fired, and every cell must have
been played (H3).
"""
KINDS: Final = ("betrayal", "byzzfuzz", "ceremony", "storm", "twins", "withheld")


def ran(kind: str) -> str:
    """What fires where a run of that kind was played to its end."""
    return f"a run of {kind}"


def met(cell: str) -> str:
    """What fires where the faults of a cell of ByzzFuzz or Twins came upon a message."""
    return f"{cell}, met"


MUST_MEET: Final = (*map(met, CELLS_OF_GRID), *map(met, CELLS_OF_TWINS))
MUST_FIRE: Final = (
    *(*FAULTS, *STRATEGIES, *VARIANTS, *CELLS),
    *(*MUST_MEET, *map(ran, KINDS)),
)
TWICE_EVERY: Final = 20
"""One seed in so many is run twice; the fingerprints must be equal (H1). It is another residue each
time, so that runs of every kind are.
"""
SOMETIMES: Final = (
    *("view_changes", "batches_fetched", "passed_on", "evidence", "rejects", "forks"),
    *("Equivocation", "InvalidBatch", "InvalidNewView"),
)
PROGRESS_SECONDS: Final = 5.0


@dataclass(slots=True)
class Outcome:
    """What one scenario came to."""

    name: str
    steps: int = 0
    violation: str | None = None
    kind: str = ""
    fired: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


def judge(name: Name, *, twice: bool = False) -> Outcome:
    """Run one scenario; anything but a report is a violation, and no cell was played."""
    scenario, known = name.scenario(), str(name)
    try:
        report = run(scenario)
        if twice:
            _compare(report, run(scenario))
    except Exception as error:
        return Outcome(known, violation=f"{type(error).__name__}: {error}", kind=scenario.kind)
    report.fired.update([*name.cells(), ran(scenario.kind)])
    if name.kind in ("byzzfuzz", "twins") and name.meets(report.fired):
        report.fired.update(map(met, name.cells()))
    return Outcome(known, report.steps, None, scenario.kind, report.fired, report.counts)


def campaign(names: Iterable[Name], *, jobs: int, must_fire: Sequence[str] = MUST_FIRE) -> int:
    """Run them all; the last line on standard output is one JSON object. 1 on any violation, and
    where a long one never came to something of `must_fire`, or of `SOMETIMES`.
    """
    started = time.monotonic()
    chosen = list(names)
    seeds = [name.seed for name in chosen if not name.is_brief]
    total, kinds = Outcome(""), Counter[str]()
    violations, twins = 0, set[int]()
    shown = started
    for number, outcome in enumerate(_outcomes(chosen, jobs), 1):
        kinds[outcome.kind] += 1
        total.steps += outcome.steps
        total.fired.update(outcome.fired)
        total.counts.update(outcome.counts)
        if outcome.violation is not None:
            violations += 1
            print(f"{outcome.violation}\nreplay: {replay_of(outcome.name)}", file=sys.stderr)
        elif outcome.kind == "twins":
            twins.add(parse(outcome.name).number)
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            done = f"{number} of {len(chosen)} runs, {violations} violations"
            print(f"{done}, {shown - started:.0f} s", file=sys.stderr)
    unfired = missing(total, must_fire) if len(chosen) >= COVERAGE_SEEDS_MIN else []
    if unfired:
        print(f"never fired in this campaign: {', '.join(unfired)}", file=sys.stderr)
    summary = {
        "commit": revision(ROOT),
        "first": min(seeds, default=None),
        "last": max(seeds, default=None),
        "seeds": len(seeds),
        "steps": total.steps,
        "violations": violations,
        "faults_fired": {name: total.fired[name] for name in FAULTS},
        "strategies_fired": {name: total.fired[name] for name in STRATEGIES},
        "variants_fired": {name: total.fired[name] for name in VARIANTS},
        "cells": {name: total.fired[name] for name in CELLS},
        "twins_scenarios": len(twins),
        "byzzfuzz_runs": total.fired[ran("byzzfuzz")],
        "byzzfuzz_runs_met": sum(total.fired[met(cell)] for cell in CELLS_OF_GRID),
        "kinds": dict(sorted(kinds.items())),
        "production_store": sum(name.scenario().stored for name in chosen),
        "sometimes": {name: total.counts[name] for name in SOMETIMES},
        "missing": unfired,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary))
    return 1 if violations or unfired else 0


def replay_of(known: str) -> str:
    """The command that plays it once more: by its seed where that is what the seed draws, and by
    its name, which means the same when the drawing has changed.
    """
    by_name, seed = f"make simulate SCENARIO={known}", parse(known).seed
    if str(name_of(seed)) != known:
        return by_name
    return f"make simulate SEED={seed}, or, whatever seeds mean by then, {by_name}"


def _outcomes(names: list[Name], jobs: int) -> Iterator[Outcome]:
    work = [(name, len(names) == 1 or is_run_twice(name.seed)) for name in names]
    if jobs == 1 or len(names) == 1:
        yield from itertools.starmap(_judge, work)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, _begin) as pool:
        yield from pool.imap_unordered(_judge_pair, work, chunksize=2)
        pool.close()  # Else leaving the block would end the workers by SIGTERM.
        pool.join()


def _begin() -> None:
    collect_rarely()
    end_in_order()


def collect_rarely() -> None:
    """A run leaves few cycles: to look for them as often as is usual takes a seventh of it."""
    gc.set_threshold(100_000, 50, 50)


def is_run_twice(seed: int) -> bool:
    """One of any `TWICE_EVERY` seeds that follow a multiple of it."""
    turn, place = divmod(seed, TWICE_EVERY)
    return place == turn % TWICE_EVERY


def _judge(name: Name, twice: bool) -> Outcome:
    return judge(name, twice=twice)


def _judge_pair(work: tuple[Name, bool]) -> Outcome:
    return _judge(*work)


def _compare(first: Report, second: Report) -> None:
    if first.trace != second.trace:
        raise AssertionError("H1: the same seed gave two different runs")


def missing(total: Outcome, must_fire: Sequence[str] = MUST_FIRE) -> list[str]:
    """What a long campaign must have come to, and did not."""
    fired = [name for name in must_fire if not total.fired[name]]
    if must_fire is not MUST_FIRE:
        return fired  # Of one kind of runs, which do not come to all of the others.
    return fired + [name for name in SOMETIMES if not total.counts[name]]


def cores() -> int:
    """How many processes to use."""
    return max(1, len(os.sched_getaffinity(0)))
