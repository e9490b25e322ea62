"""Crash campaigns: `python -m tests.crash` runs all of them, bounded; options ask for more.

The last line of standard output is one JSON object with what was done and which faults fired. Exit
code 1 where a campaign found something, or a fault of it never fired. What the machine does not
allow is listed under `not_run`, with the reason, and is no pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash import damage, kills, power_cut, sweep, traced

MEMORY_DISK: Final = Path("/dev/shm")

Counts = dict[str, int]


@dataclass(slots=True)
class Report:
    """What the campaigns came to."""

    counts: dict[str, Counts] = field(default_factory=dict)
    unfired: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, campaign: Callable[[Path], Counts], *, in_memory: bool) -> None:
        """Run one; a fault that never fired is as bad as one that found something."""
        began = time.monotonic()
        try:
            with folder(in_memory=in_memory) as place:
                counts = campaign(place)
        except Exception:
            traceback.print_exc()
            self.found.append(name)
            return
        self.unfired += [f"{name}: {fault}" for fault, count in counts.items() if count == 0]
        self.counts[name] = counts
        print(f"{name}: {counts} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    @property
    def is_good(self) -> bool:
        """Whether everything that ran held, and every fault fired."""
        return not self.found and not self.unfired


@contextmanager
def folder(*, in_memory: bool) -> Iterator[Path]:
    """A folder of the campaign's own; in memory where faults are injected and no disk is needed."""
    place = MEMORY_DISK if in_memory and MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--sweep-every", type=int, default=7, help="1 sweeps over all operations")
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--power-cuts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=20_261_127)
    parser.add_argument("--only", choices=("kills", "sweep", "damage", "power", "strace"))
    asked = parser.parse_args(arguments)
    report = Report()
    campaigns: dict[str, tuple[Callable[[Path], Counts], bool, str | None]] = {
        "kills": (lambda at: kills.run(at, kills=asked.kills, seed=asked.seed), False, None),
        "sweep": (lambda at: sweep.run(at, every=asked.sweep_every), True, None),
        "damage": (lambda at: damage.run(at, cases=asked.damages, seed=asked.seed), True, None),
        "power": (
            lambda at: power_cut.run(at, cuts=asked.power_cuts, seed=asked.seed),
            False,
            power_cut.why_not(),
        ),
        "strace": (traced.run, False, traced.why_not()),
    }
    for name, (campaign, in_memory, why_not) in campaigns.items():
        if asked.only not in (None, name):
            continue
        if why_not is None:
            report.run(name, campaign, in_memory=in_memory)
        else:
            report.not_run[name] = why_not
    line = {
        "seed": asked.seed,
        "campaigns": report.counts,
        "not_run": report.not_run,
        "unfired": report.unfired,
        "found": report.found,
    }
    print(json.dumps(line), flush=True)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
