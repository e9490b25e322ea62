"""The network between machines: delays, losses, copies, cuts and damage, drawn from the one seed.

Cuts are sets of directed links. Shapes (halves, ring, bridge, ...) only say which links are cut;
clogged links hold what is sent until they are opened again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

Link = tuple[int, int]
HELD_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is. Ratios lie in 0..1, delays are in milliseconds."""

    drop: float
    duplicate: float
    slow: float
    delay_max_ms: int
    slow_max_ms: int


CALM: Final = Weather(drop=0.0, duplicate=0.0, slow=0.0, delay_max_ms=10, slow_max_ms=10)


class Network:
    """Decides when, how often and whether a message arrives."""

    def __init__(self, random: Random, size: int, fired: Counter[str]) -> None:
        self.weather = CALM
        self.cut: dict[Link, str] = {}
        self.slow: dict[Link, int] = {}
        self.resets: Counter[Link] = Counter()
        """How often a link's connection broke; what was sent before that does not arrive."""
        self.corrupt_ratio = 0.0
        self.clogged: set[int] = set()
        self._latest_ms: dict[Link, int] = {}
        self._held: list[tuple[Link, bytes]] = []
        self._random = random
        self._size = size
        self._fired = fired

    def arrivals(self, link: Link, now_ms: int) -> list[int]:
        """The times at which a message sent now arrives: none, one or two."""
        random, weather = self._random, self.weather
        shape = self.cut.get(link)
        if shape is not None:
            self._fired[shape] += 1
            return []
        if weather.drop and random.random() < weather.drop:
            self._fired["drop"] += 1
            return []
        times = [now_ms + 1 + below(random, weather.delay_max_ms) + self._slowed(link)]
        if weather.slow and random.random() < weather.slow:
            self._fired["delay"] += 1
            times[0] += random.randint(1, weather.slow_max_ms)
        if weather.duplicate and random.random() < weather.duplicate:
            self._fired["duplicate"] += 1
            times.append(times[0] + random.randint(1, weather.slow_max_ms))
        latest_ms = self._latest_ms.get(link, 0)
        if times[0] < latest_ms:
            self._fired["reorder"] += 1
        else:
            self._latest_ms[link] = times[0]
        return times

    def holds(self, link: Link, data: bytes) -> bool:
        """Whether a clogged machine's traffic is held back; it comes when the clog is gone."""
        if not self.clogged or self.clogged.isdisjoint(link):
            return False
        self._fired["swizzle"] += 1
        if len(self._held) < HELD_MAX:
            self._held.append((link, data))
        return True

    def released(self) -> list[tuple[Link, bytes]]:
        """What flows again, in the order of sending."""
        free = [each for each in self._held if self.clogged.isdisjoint(each[0])]
        self._held = [each for each in self._held if not self.clogged.isdisjoint(each[0])]
        return free

    def damaged(self, data: bytes) -> bytes:
        """What arrives of a frame: now and then with one bit turned over the signature."""
        if data and self.corrupt_ratio and self._random.random() < self.corrupt_ratio:
            self._fired["corrupt_over"] += 1
            position = self._random.randrange(len(data))
            turned = data[position] ^ (1 << self._random.randrange(8))
            return data[:position] + bytes([turned]) + data[position + 1 :]
        return data

    def is_broken(self, link: Link, resets: int) -> bool:
        """Whether the connection broke since it had broken `resets` times."""
        if self.resets_of(link) == resets:
            return False
        self._fired["tcp_reset"] += 1
        return True

    def resets_of(self, link: Link) -> int:
        """How often the link's connection broke until now."""
        return self.resets.get(link, 0)

    def split(self, groups: Iterable[Iterable[int]], name: str) -> None:
        """Only machines that share a group hear one another."""
        together = [set(group) for group in groups]
        self.cut = {
            (a, b): name
            for a in range(self._size)
            for b in range(self._size)
            if a != b and not any(a in group and b in group for group in together)
        }

    def isolate(self, machine: int) -> None:
        """Cut one machine off, both ways."""
        self.split([[machine], [each for each in range(self._size) if each != machine]], "halves")

    def heal(self) -> None:
        """All links work, the weather is fair."""
        self.cut = {}
        self.slow = {}
        self.corrupt_ratio = 0.0
        self.weather = CALM

    def _slowed(self, link: Link) -> int:
        if not self.slow:
            return 0
        delay_ms = self.slow.get(link, 0)
        if delay_ms:
            self._fired["slow_link"] += 1
        return delay_ms


def below(random: Random, count: int) -> int:
    """One of 0 .. count - 1, as `Random.randrange` draws it, without its care for arguments."""
    bits = count.bit_length()
    drawn = random.getrandbits(bits)
    while drawn >= count:
        drawn = random.getrandbits(bits)
    return drawn
