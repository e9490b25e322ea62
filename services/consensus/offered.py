"""Transactions that wait to be judged: clients' own, and what each peer passed on, taken in turn.

One peer's flood neither delays what others offer nor makes the replica refuse its clients.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.mempool import OUTSIDE, Addition

PEER_TRANSACTIONS_MAX: Final = 4_000
PEER_TRANSACTION_BYTES_MAX: Final = 16 * 1024 * 1024

Judgement: TypeAlias = asyncio.Future[AdmittedTransaction | Refused | Addition]


@dataclass(frozen=True, slots=True)
class Offered:
    """A transaction to be judged; `answer` is None when a peer, `sender`, passed it on. `source` is
    whose room it takes, None for clients; their `organisation`, where it was asked.
    """

    encoded: bytes
    answer: Judgement | None
    sender: int | None = None
    source: int | None = None
    organisation: str | None = None


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
        self._organisations: Counter[str] = Counter()
        self._filled = asyncio.Event()

    def put_own(self, encoded: bytes, answer: Judgement, organisation: str | None = None) -> None:
        """A client's transaction."""
        if organisation is not None:
            self._organisations[organisation] += 1
        self._put(self._source(None), Offered(encoded, answer, organisation=organisation))

    def put_passed(self, sender: int, encoded: bytes, source: int) -> bool:
        """What a peer passed on; False where too much of its `source` waits already."""
        waiting = self._source(source)
        if len(waiting.entries) >= PEER_TRANSACTIONS_MAX or (
            waiting.size + len(encoded) > PEER_TRANSACTION_BYTES_MAX
        ):
            return False
        self._put(waiting, Offered(encoded, None, sender, source))
        return True

    @property
    def organisations(self) -> frozenset[str]:
        """Whose clients' transactions wait, as far as it was asked."""
        return frozenset(self._organisations)

    def count_of(self, organisation: str) -> int:
        """How many of an organisation's wait, as far as it was asked whose they are."""
        return self._organisations[organisation]

    async def take(self, count_max: int) -> list[Offered]:
        """Wait for something; then one after another of each source, until there are so many."""
        await self._filled.wait()
        taken: list[Offered] = []
        while self._turns and len(taken) < count_max:
            source = self._turns.popleft()
            entry = source.pop()
            taken.append(entry)
            if entry.organisation is not None:
                self._forget(entry.organisation)
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
            len(source.entries)
            for sender, source in self._sources.items()
            if sender is not None and sender != OUTSIDE
        )
        return len(self._source(None).entries) + sum(passed[: max(len(passed) - faulty_max, 0)])

    def _forget(self, organisation: str) -> None:
        self._organisations[organisation] -= 1
        if not self._organisations[organisation]:
            del self._organisations[organisation]

    def _source(self, sender: int | None) -> _Source:
        return self._sources.setdefault(sender, _Source())

    def _put(self, source: _Source, entry: Offered) -> None:
        if not source.entries:
            self._turns.append(source)
        source.add(entry)
        self._filled.set()
