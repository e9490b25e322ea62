"""What is looked at in every phase, whatever it measures: the replicas' memory and their view."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, Self

from bench.chain import Chain
from bench.machine import memory_mb

SAMPLE_SECONDS: Final = 0.25


class Watch:
    """The largest memory of a replica and the view changes while the context is open."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._samples: list[tuple[float, float]] = []
        self._views: list[int | None] = []
        self._sampling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._views.append(await self._chain.view())
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._sampling is not None
        self._sampling.cancel()
        self._look()
        self._views.append(await self._chain.view())

    def figures(self) -> dict[str, object]:
        """In MB, and how far the view went; null where no replica answered or ran."""
        before, after = self._views
        return {
            "view_changes": None if before is None or after is None else after - before,
            "replica_memory_mb_max": _largest(each[0] for each in self._samples),
            "replica_file_mapped_mb_max": _largest(each[1] for each in self._samples),
        }

    async def _sample(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(SAMPLE_SECONDS)

    def _look(self) -> None:
        self._samples += [memory_mb(pid) for pid in self._chain.pids]


def _largest(values: Iterable[float]) -> float | None:
    largest = max(values, default=0.0)
    return round(largest, 1) or None
