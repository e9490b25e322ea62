"""Transactions that wait to be judged: what each organisation's clients sent, and what each peer
passed on, taken in turn.

One source's flood neither delays what others offer nor makes the replica refuse their clients. What
was refused costs its source the time that it took; who has no credit left waits (see `Credits`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from services.consensus.credit import Credits
from services.consensus.domain.ledger.admission import AdmittedTransaction, Refused
from services.consensus.mempool import OUTSIDE, Addition

PEER_TRANSACTIONS_MAX: Final = 4_000
PEER_TRANSACTION_BYTES_MAX: Final = 16 * 1024 * 1024
CLIENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one organisation's clients, in bytes; how many may wait is up to who lets them in."""
CLIENTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all clients."""
CREDIT_SECONDS: Final = 3.0
"""What may be refused of a source's at once: some thousand transactions, or thirty of the worst."""

SourceId: TypeAlias = int | str
"""The number of a peer (or OUTSIDE), or the organisation whose clients sent it."""
Judgement: TypeAlias = asyncio.Future[AdmittedTransaction | Refused | Addition]


@dataclass(frozen=True, slots=True)
class Offered:
    """A transaction to be judged; `answer` is None when a peer, `sender`, passed it on. `source` is
    whose room it takes, None for clients; the `organisation` that a client's transaction names,
    where it was asked, and `client`, the organisation that sent it ("": this replica itself).
    """

    encoded: bytes
    answer: Judgement | None
    sender: int | None = None
    source: int | None = None
    organisation: str | None = None
    client: str = ""

    @property
    def source_id(self) -> SourceId:
        """In whose turn it is taken, and who pays for it."""
        return self.client if self.source is None else self.source


@dataclass(slots=True)
class _Source:
    id: SourceId
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
    """One task takes. How many clients offer is bounded by who lets them in, their bytes here."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._sources: dict[SourceId, _Source] = {}
        self._credits: Credits[SourceId] = Credits(CREDIT_SECONDS, now)
        self._own_count = 0
        self._own_bytes = 0
        self._turns: deque[_Source] = deque()
        self._organisations: Counter[str] = Counter()
        self._filled = asyncio.Event()

    def put_own(
        self,
        encoded: bytes,
        answer: Judgement,
        organisation: str | None = None,
        *,
        client: str = "",
    ) -> bool:
        """A transaction that `client`, an organisation, sent; it names `organisation`. False where
        too many bytes wait already, of this client's or of all.
        """
        waiting, size = self._source(client), len(encoded)
        if waiting.size + size > CLIENT_BYTES_MAX or self._own_bytes + size > CLIENTS_BYTES_MAX:
            return False
        if organisation is not None:
            self._organisations[organisation] += 1
        self._own_count += 1
        self._own_bytes += size
        self._put(waiting, Offered(encoded, answer, organisation=organisation, client=client))
        return True

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

    def charge(self, entry: Offered, seconds: float) -> None:
        """An entry that was taken is refused, which took so long."""
        self._credits.charge(entry.source_id, seconds)

    async def take(self, count_max: int, bytes_max: int) -> list[Offered]:
        """Wait for something of a source that has credit; then one after another of each source,
        until there are so many, or so many bytes: only the first may have more.
        """
        while True:
            self._filled.clear()
            taken = self._take_at_hand(count_max, bytes_max)
            if taken:
                return taken
            rests = (self._credits.rest(source.id) for source in self._turns)
            try:
                async with asyncio.timeout(min(rests, default=None)):
                    await self._filled.wait()
            except TimeoutError:
                continue

    def _take_at_hand(self, count_max: int, bytes_max: int) -> list[Offered]:
        taken: list[Offered] = []
        resting: list[_Source] = []
        room = bytes_max
        while self._turns and len(taken) < count_max:
            source = self._turns[0]
            if self._credits.rest(source.id) > 0:
                resting.append(self._turns.popleft())
                continue
            if taken and len(source.entries[0].encoded) > room:
                break  # It is the first next time.
            self._turns.popleft()
            entry = source.pop()
            taken.append(entry)
            room -= len(entry.encoded)
            if entry.source is None:
                self._own_count -= 1
                self._own_bytes -= len(entry.encoded)
            if entry.organisation is not None:
                self._forget(entry.organisation)
            if source.entries:
                self._turns.append(source)
        self._turns.extend(resting)
        return taken

    def backlog(self, faulty_max: int) -> int:
        """How many wait, without the `faulty_max` peers that passed on the most: liars, who can
        pass on what they like, add no more to it than honest replicas do.
        """
        passed = sorted(
            len(source.entries)
            for source_id, source in self._sources.items()
            if isinstance(source_id, int) and source_id != OUTSIDE
        )
        return self._own_count + sum(passed[: max(len(passed) - faulty_max, 0)])

    def _forget(self, organisation: str) -> None:
        self._organisations[organisation] -= 1
        if not self._organisations[organisation]:
            del self._organisations[organisation]

    def _source(self, source_id: SourceId) -> _Source:
        return self._sources.setdefault(source_id, _Source(source_id))

    def _put(self, source: _Source, entry: Offered) -> None:
        if not source.entries:
            self._turns.append(source)
        source.add(entry)
        self._filled.set()
