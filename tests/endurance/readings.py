"""What a process held while it ran, second by second, and whether that grows (T-20).

Memory goes up and down: of every ten seconds the least is taken, and of these readings the median
slope of all pairs (Theil and Sen), with the range that holds the true one in nine cases of ten
(Kendall's test). It grows where the median is above 1 % an hour. A run of minutes cannot tell that
from an allocator's moods: it may move by `MOVED_BYTES` from its beginning to its end, and must be
of so many transactions that `LEAK_BYTES` lost by each would be twice as much.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GROWTH_PERCENT_AN_HOUR_MAX: Final = 1.0
BLOCK_SECONDS: Final = 10.0
MINUTE_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3_600.0
NORMAL_95: Final = 1.645
MOVED_BYTES: Final = 1024 * 1024
LEAK_BYTES: Final = 200
"""What each transaction leaves behind in the smallest leak that a run must find."""
FLAT_SHARE: Final = 0.1
FLAT_COUNT: Final = 3
"""So many more, or such a share, files or tasks may be open in the last quarter than in the first:
links come and go.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """At one time: seconds since the start, bytes of its own memory (RssAnon: what no file backs)
    and of all that is resident, open files, threads and tasks of the event loop.
    """

    at_seconds: float
    own_bytes: int
    resident_bytes: int
    files: int
    threads: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Percent an hour, of the first reading: the median, the range that is likely, and the most
    that it may be.
    """

    low: float
    median: float
    high: float
    most: float

    @property
    def verdict(self) -> str:
        """Whether memory `grows`; else whether the whole range says that it is `flat`, or the run
        is too short to tell: `open`.
        """
        if self.median > self.most:
            return "grows"
        return "flat" if self.high < GROWTH_PERCENT_AN_HOUR_MAX else "open"


def read(pid: int, tasks: Path, at_seconds: float) -> Reading:
    """Of a process that runs."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return Reading(
        at_seconds,
        own_bytes=1_024 * int(fields["RssAnon"].split()[0]),
        resident_bytes=1_024 * int(fields["VmRSS"].split()[0]),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(fields["Threads"]),
        tasks=int(tasks.read_text()),
    )


def slope(readings: Sequence[Reading]) -> Slope:
    """How the process's own memory grows; raises `ValueError` for fewer than three blocks."""
    points = list(_least(readings))
    if len(points) < 3:
        raise ValueError(f"{len(points)} blocks of {BLOCK_SECONDS:g} s tell no slope")
    base = points[0][1]
    slopes = sorted(
        100.0 * HOUR_SECONDS * (later[1] - earlier[1]) / base / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
    )
    count, pairs = len(points), len(slopes)
    spread = NORMAL_95 * (count * (count - 1) * (2 * count + 5) / 18) ** 0.5
    low = max(0, int((pairs - spread) / 2))
    moved = 100.0 * HOUR_SECONDS * MOVED_BYTES / base / (points[-1][0] - points[0][0])
    most = max(GROWTH_PERCENT_AN_HOUR_MAX, moved)
    return Slope(slopes[low], statistics.median(slopes), slopes[pairs - 1 - low], most)


def too_few(transactions: int) -> str | None:
    """Why so many tell nothing of a leak of `LEAK_BYTES` each, if they do not."""
    least = 2 * MOVED_BYTES // LEAK_BYTES
    if transactions >= least:
        return None
    return f"{transactions} transactions tell no leak of {LEAK_BYTES} bytes each: {least} would"


def minutes(readings: Sequence[Reading]) -> list[int]:
    """The least of the process's own memory in each minute, in bytes."""
    by_minute = itertools.groupby(readings, lambda each: each.at_seconds // MINUTE_SECONDS)
    return [min(each.own_bytes for each in block) for _, block in by_minute]


def not_flat(readings: Sequence[Reading]) -> list[str]:
    """Which of files, threads and tasks are more in the last quarter than in the first: of every
    ten seconds the least, since what is under way comes and goes.
    """
    blocks = [list(block) for _, block in itertools.groupby(readings, _block)]
    quarter = max(1, len(blocks) // 4)
    found = []
    for what in ("files", "threads", "tasks"):
        least = [min(getattr(each, what) for each in block) for block in blocks]
        first, last = (statistics.median(some) for some in (least[:quarter], least[-quarter:]))
        if last > first + max(FLAT_COUNT, FLAT_SHARE * first):
            found.append(f"{what}: {first:g} in the first quarter, {last:g} in the last")
    return found


def _least(readings: Iterable[Reading]) -> Iterable[tuple[float, int]]:
    for _, block in itertools.groupby(readings, _block):
        least = min(block, key=lambda each: each.own_bytes)
        yield least.at_seconds, least.own_bytes


def _block(reading: Reading) -> float:
    return reading.at_seconds // BLOCK_SECONDS
