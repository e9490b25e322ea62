"""Crash campaigns: `python -m tests.crash` runs all of them, bounded; options ask for more.

The last line of standard output is one JSON object with what was done and which faults fired. Exit
code 1 where a campaign found something, or a fault of it never fired. What the machine does not
allow is listed under `not_run`, with the reason, and is no pass: then the code is 3.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash import blackout, damage, kills, power_cut, processes, replicas, sweep, traced
from tests.plugins import memory_disk
from tests.plugins.memory_disk import end_in_order, memory_folder

CAMPAIGNS_AT_ONCE: Final = 2
EXIT_FOUND: Final = 1
EXIT_NOT_RUN: Final = 3

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Campaign:
    """What one does, in a folder of its own; in memory where faults are injected and no disk is
    needed. `why_not` says why this machine does not allow it.
    """

    run: Callable[[Path, argparse.Namespace], Counts]
    in_memory: bool = False
    why_not: Callable[[], str | None] = lambda: None


# The longest first: two run at a time.
CAMPAIGNS: Final[dict[str, Campaign]] = {
    "damage": Campaign(
        lambda at, asked: damage.run(at, cases=asked.damages, seed=asked.seed), True
    ),
    "sweep": Campaign(
        lambda at, asked: sweep.run(at, every=asked.sweep_every, seed=asked.seed), True
    ),
    "replicas": Campaign(
        lambda at, asked: replicas.run(at, sizes=asked.replica_sizes, seed=asked.seed), True
    ),
    "processes": Campaign(
        lambda at, asked: processes.run(at, kills=asked.replica_kills, seed=asked.seed)
    ),
    "kills": Campaign(lambda at, asked: kills.run(at, kills=asked.kills, seed=asked.seed)),
    "power": Campaign(
        lambda at, asked: power_cut.run(at, cuts=asked.power_cuts, seed=asked.seed),
        why_not=power_cut.why_not,
    ),
    "blackout": Campaign(
        lambda at, asked: blackout.run(at, cuts=asked.blackouts, seed=asked.seed),
        why_not=power_cut.why_not,
    ),
    "strace": Campaign(lambda at, _: traced.run(at), why_not=traced.why_not),
}


@dataclass(slots=True)
class Report:
    """What the campaigns came to."""

    counts: dict[str, Counts] = field(default_factory=dict)
    unfired: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, counts: Counts | None) -> None:
        """A fault that never fired is as bad as a campaign that found something (None)."""
        if counts is None:
            self.found.append(name)
            return
        self.unfired += [f"{name}: {fault}" for fault, count in counts.items() if count == 0]
        self.counts[name] = counts

    @property
    def exit_code(self) -> int:
        """0 where everything ran and held, and every fault fired."""
        if self.found or self.unfired:
            return EXIT_FOUND
        return EXIT_NOT_RUN if self.not_run else 0


def run(name: str, asked: argparse.Namespace) -> Counts | None:
    """Run one, in a process of its own; None where it found something."""
    began, campaign = time.monotonic(), CAMPAIGNS[name]
    try:
        with folder(in_memory=campaign.in_memory) as place:
            counts = campaign.run(place, asked)
    except Exception:
        traceback.print_exc()
        return None
    print(f"{name}: {counts} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return counts


@contextmanager
def folder(*, in_memory: bool) -> Iterator[Path]:
    """A folder of the campaign's own."""
    if in_memory:
        with memory_folder("crash-") as place:
            yield place
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--sweep-every", type=int, default=7, help="1: all operations")
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--replica-kills", type=int, default=30, help="of processes under load")
    parser.add_argument("--replica-sizes", type=int, nargs="+", default=[4, 7], help="n, damaged f")
    parser.add_argument("--power-cuts", type=int, default=10)
    parser.add_argument("--blackouts", type=int, default=10, help="power cuts of whole replicas")
    parser.add_argument("--seed", type=int, default=20_261_127)
    parser.add_argument("--only", choices=sorted(CAMPAIGNS))
    asked = parser.parse_args(arguments)
    report, running = Report(), dict[str, Future[Counts | None]]()
    end_in_order()
    memory_disk.sweep()
    with ProcessPoolExecutor(CAMPAIGNS_AT_ONCE, initializer=end_in_order) as processes:
        for name in CAMPAIGNS if asked.only is None else [asked.only]:
            why_not = CAMPAIGNS[name].why_not()
            if why_not is None:
                running[name] = processes.submit(run, name, asked)
            else:
                report.not_run[name] = why_not
        for name, campaign in running.items():
            report.take(name, campaign.result())
    line = {
        "seed": asked.seed,
        "campaigns": report.counts,
        "not_run": report.not_run,
        "unfired": report.unfired,
        "found": report.found,
    }
    print(json.dumps(line), flush=True)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
