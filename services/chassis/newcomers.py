"""Who has come and not yet shown who it is: so few that they cost nothing, and never closed to the
next one.

Whoever is refused because others wait idly is kept out by anybody without a key. So nobody is
refused: beyond a bound one gives way that has waited, and it is one of the source that has most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Newcomers(Generic[T]):
    """At most `count_max` newcomers, and of one source at most `source_max`.

    `is_silent` says of a newcomer that nothing has come from it at all: it gives way before others
    of its source. A newcomer never gives way to itself.
    """

    __slots__ = ("_count_max", "_counts", "_is_silent", "_source_max", "_sources")

    def __init__(
        self,
        *,
        count_max: int,
        source_max: int,
        is_silent: Callable[[T], bool] = lambda _: True,
    ) -> None:
        assert 1 <= source_max <= count_max, "a source has a part of the whole"
        self._count_max = count_max
        self._source_max = source_max
        self._is_silent = is_silent
        self._sources: dict[T, str] = {}  # In the order of coming.
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    def enter(self, item: T, source: str) -> T | None:
        """Take `item` in; returns the one that gave way to it, where one had to."""
        gone = None
        if self._counts[source] >= self._source_max:
            gone = self._one_of(source)
        elif len(self._sources) >= self._count_max:
            gone = self._one_of(self._largest())
        if gone is not None:
            self.leave(gone)
        self._sources[item] = source
        self._counts[source] += 1
        return gone

    def leave(self, item: T) -> None:
        """It has shown who it is, or is gone. Nothing happens where it has left before."""
        source = self._sources.pop(item, None)
        if source is None:
            return
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]

    def _largest(self) -> str:
        """The source with most; of several the one that has waited longest."""
        most = max(self._counts.values())
        return next(each for each in self._sources.values() if self._counts[each] == most)

    def _one_of(self, source: str) -> T:
        """The oldest silent one of the source, or its oldest."""
        own = [item for item, of in self._sources.items() if of == source]
        return next(filter(self._is_silent, own), own[0])
