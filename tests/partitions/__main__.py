"""Partitions between real processes: `python -m tests.partitions` plays 24 episodes, options more.

Two networks play at once, since most of an episode is waiting, and share the episodes out.
The last line of standard output is one JSON object: what was played and what the faults met. Exit
code 1 where something that must hold did not, with the line that plays it again; 3 where the
machine allows no namespaces, which is no pass.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.partitions import clocks, hosts
from tests.partitions.campaign import ViolationError, campaign
from tests.partitions.shapes import CLOCK_SHAPES, SHAPES
from tests.plugins.memory_disk import end_in_order, sweep

EXIT_NOT_RUN: Final = 3
NETWORKS: Final = 2


@dataclass(slots=True)
class Report:
    """What came of the episodes."""

    seed: int
    episodes: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    told: int = 0
    submitted_again: int = 0
    blocks: int = 0
    seconds: float = 0.0
    found: str = ""

    def add(self, other: Report) -> None:
        """What came of others."""
        self.episodes += other.episodes
        self.met += other.met
        self.told += other.told
        self.submitted_again += other.submitted_again
        self.blocks += other.blocks
        self.found = self.found or other.found


def run_all(names: list[str], seed: int) -> Report:
    """Play these shapes on the networks, each in a process of its own, and add up what came."""
    began, shares = time.monotonic(), [names[at::NETWORKS] for at in range(NETWORKS)]
    report = Report(seed)
    with ProcessPoolExecutor(NETWORKS, initializer=end_in_order) as processes:
        playing = [
            processes.submit(run_one, share, seed + at) for at, share in enumerate(shares) if share
        ]
        for one in playing:
            report.add(one.result())
    report.seconds = round(time.monotonic() - began, 1)
    return report


def run_one(names: list[str], seed: int) -> Report:
    """Play these shapes on one network."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder), names, seed))


async def run(folder: Path, names: list[str], seed: int) -> Report:
    """Play these shapes one after the other, until one finds something."""
    report = Report(seed)
    async with campaign(folder, seed) as played:
        for name in names:
            start = time.monotonic()
            try:
                report.met += await played.play(name)
            except (ViolationError, ExceptionGroup) as error:
                traceback.print_exception(error)
                report.found = f"{name}: {_first(error)}"
                break
            report.episodes[name] += 1
            print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        report.told = len(played.record.told)
        report.submitted_again = played.record.unsure
        report.blocks = len(played.record.headers)
    return report


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def chosen(shapes: Collection[str], episodes: int, seed: int) -> list[str]:
    """Every shape as often as there is room for, in an order of the seed's."""
    chance, names = random.Random(seed), list[str]()
    while len(names) < episodes:
        names += chance.sample(sorted(shapes), len(shapes))
    return names[:episodes]


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.partitions", description=__doc__)
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=20_261_128)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="this one only")
    asked = parser.parse_args()
    if (reason := hosts.why_not()) is not None:
        print(json.dumps({"not_run": reason}))
        return EXIT_NOT_RUN
    reason = clocks.why_not()
    not_run = {} if reason is None else {make.__name__: reason for make in CLOCK_SHAPES}
    if asked.shape in not_run:
        print(json.dumps({"not_run": reason}))
        return EXIT_NOT_RUN
    shapes = [asked.shape] if asked.shape else SHAPES.keys() - not_run.keys()
    names = chosen(shapes, asked.episodes, asked.seed)
    end_in_order()
    try:
        report = run_all(names, asked.seed)
    finally:
        sweep()  # Killed replicas leave what libfaketime shares with their children.
    if report.found:
        print(report.found, file=sys.stderr)
        again = f"python -m tests.partitions --seed {asked.seed} --episodes {asked.episodes}"
        print("again: " + again + (f" --shape {asked.shape}" if asked.shape else ""))
    line = {name: getattr(report, name) for name in Report.__slots__} | {"not_run": not_run}
    print(json.dumps(line), flush=True)
    return 1 if report.found else 0


if __name__ == "__main__":
    sys.exit(main())
