"""The network between replicas: delays, losses, copies and cuts, all drawn from the one seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is. Ratios lie in 0..1, delays are in milliseconds."""

    drop: float
    duplicate: float
    slow: float
    delay_max_ms: int
    slow_max_ms: int


CALM = Weather(drop=0.0, duplicate=0.0, slow=0.0, delay_max_ms=10, slow_max_ms=10)


class Network:
    """Decides when, how often and whether a message arrives."""

    def __init__(self, random: Random, size: int, fired: Counter[str]) -> None:
        self.weather = CALM
        self._random = random
        self._size = size
        self._fired = fired
        self._cut: set[tuple[int, int]] = set()

    def arrivals(self, sender: int, receiver: int, now_ms: int) -> list[int]:
        """The times at which a message sent now arrives: none, one or two."""
        random, weather = self._random, self.weather
        if (sender, receiver) in self._cut:
            self._fired["partition"] += 1
            return []
        if random.random() < weather.drop:
            self._fired["drop"] += 1
            return []
        times = [now_ms + random.randint(1, weather.delay_max_ms)]
        if random.random() < weather.slow:
            self._fired["delay"] += 1
            times[0] += random.randint(1, weather.slow_max_ms)
        if random.random() < weather.duplicate:
            self._fired["duplicate"] += 1
            times.append(times[0] + random.randint(1, weather.slow_max_ms))
        return times

    def split(self) -> None:
        """Cut the replicas into two groups, or cut single one-way links."""
        everyone = range(self._size)
        if self._random.random() < 0.7:
            side = {each for each in everyone if self._random.random() < 0.5}
            self._cut = {(a, b) for a in everyone for b in everyone if (a in side) != (b in side)}
        else:
            links = [(a, b) for a in everyone for b in everyone if a != b]
            self._cut = set(self._random.sample(links, k=len(links) // 3))

    def isolate(self, replica: int) -> None:
        """Cut one replica off, both ways."""
        others = [each for each in range(self._size) if each != replica]
        self._cut = {(replica, each) for each in others} | {(each, replica) for each in others}

    def heal(self) -> None:
        """All links work."""
        self._cut = set()
