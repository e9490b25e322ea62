"""Transactions that wait to be judged: clients' own, and what each peer passed on, taken in turn.

One peer's flood neither delays what others offer nor makes the replica refuse its clients.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.mempool import Addition

PEER_TRANSACTIONS_MAX: Final = 4_000
PEER_TRANSACTION_BYTES_MAX: Final = 16 * 1024 * 1024

Judgement: TypeAlias = asyncio.Future[AdmittedTransaction | Refused | Addition]


@dataclass(frozen=True, slots=True)
class Offered:
    """A transaction to be judged; `answer` is None when a peer, `sender`, passed it on."""

    encoded: bytes
    answer: Judgement | None
    sender: int | None = None


@dataclass(slots=True)
class _Source:
    entries: deque[Offered] = field(default_factory=deque)
    size: int = 0

    def add(self, entry: Offered) -> None:
        self.entries.append(entry)
        self.size += len(entry.encoded)

    def pop(self) -> Offered:
        entry = self.entries.popleft()
        self.size -= len(entry.encoded)
        return entry


class OfferedQueue:
    """One task takes; what clients offer is bounded by who lets them in."""

    def __init__(self) -> None:
        self._sources: dict[int | None, _Source] = {}
        self._turns: deque[_Source] = deque()
        self._filled = asyncio.Event()

    def put_own(self, encoded: bytes, answer: Judgement) -> None:
        """A client's transaction."""
        self._put(self._source(None), Offered(encoded, answer))

    def put_passed(self, sender: int, encoded: bytes) -> bool:
        """What a peer passed on; False where too much of it waits already."""
        source = self._source(sender)
        if len(source.entries) >= PEER_TRANSACTIONS_MAX or (
            source.size + len(encoded) > PEER_TRANSACTION_BYTES_MAX
        ):
            return False
        self._put(source, Offered(encoded, None, sender))
        return True

    async def take(self, count_max: int) -> list[Offered]:
        """Wait for something; then one after another of each source, until there are so many."""
        await self._filled.wait()
        taken: list[Offered] = []
        while self._turns and len(taken) < count_max:
            source = self._turns.popleft()
            taken.append(source.pop())
            if source.entries:
                self._turns.append(source)
        if not self._turns:
            self._filled.clear()
        return taken

    def backlog(self, faulty_max: int) -> int:
        """How many wait, without the `faulty_max` peers that passed on the most: liars, who can
        pass on what they like, add no more to it than honest replicas do.
        """
        passed = sorted(
            len(source.entries) for sender, source in self._sources.items() if sender is not None
        )
        return len(self._source(None).entries) + sum(passed[: max(len(passed) - faulty_max, 0)])

    def _source(self, sender: int | None) -> _Source:
        return self._sources.setdefault(sender, _Source())

    def _put(self, source: _Source, entry: Offered) -> None:
        if not source.entries:
            self._turns.append(source)
        source.add(entry)
        self._filled.set()
