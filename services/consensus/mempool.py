"""Transactions that wait to be ordered: bounded by count and bytes, also for each peer that passed
them on, in order of arrival.

A transaction that names a predecessor (`after`) never stands before it: it goes behind a
predecessor that is here, and waits a bounded time for one that is not known. What a batch in
progress holds is kept aside as proposed, so that it is offered once, and comes back at its old
place when a view change drops the batch. The driver's task owns it; nothing here reads a clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from services.consensus.domain.ledger.admission import AdmittedTransaction

COUNT_MAX: Final = 20_000
BYTES_MAX: Final = 64 * 1024 * 1024
PREDECESSOR_WAIT_MS: Final = 3_000
LENGTH_BYTES: Final = 4
"""What a batch adds to each transaction."""
OUTSIDE: Final = -1
"""The source of what was passed on by those who have no vote: they share one part of the room."""
_NEVER: Final = 1 << 63


class Addition(StrEnum):
    """What became of a transaction offered to the mempool."""

    READY = "ready"
    WAITING = "waiting"
    KNOWN = "known"
    FULL = "full"
    EXCESS = "excess"
    """Its source has its share here already."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the room one peer's transactions may take."""

    count_max: int = COUNT_MAX
    bytes_max: int = BYTES_MAX


@dataclass(frozen=True, slots=True)
class _Entry:
    transaction: AdmittedTransaction
    place: int
    arrived_ms: int
    source: int | None


def _size_of(entry: _Entry) -> int:
    return len(entry.transaction.encoded)


def _place_of(entry: _Entry) -> int:
    return entry.place


class Mempool:
    """Ready transactions in order, those proposed, and those that wait for a predecessor."""

    def __init__(
        self,
        is_executed: Callable[[bytes], bool],
        *,
        count_max: int = COUNT_MAX,
        bytes_max: int = BYTES_MAX,
        predecessor_wait_ms: int = PREDECESSOR_WAIT_MS,
    ) -> None:
        self._is_executed = is_executed
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._predecessor_wait_ms = predecessor_wait_ms
        self._ready: dict[bytes, _Entry] = {}
        self._proposed: dict[bytes, _Entry] = {}
        self._waiting: dict[bytes, _Entry] = {}
        self._successors: dict[bytes, list[bytes]] = {}
        self._counts: Counter[int | None] = Counter()
        self._sizes: Counter[int | None] = Counter()
        self._in_batches: Counter[int | None] = Counter()
        self._organisations: Counter[str] = Counter()
        self._by_encoding: dict[bytes, AdmittedTransaction] = {}
        self._expires_height_min = _NEVER
        self._expires_time_ms_min = _NEVER
        self._bytes = 0
        self._place = 0

    def __len__(self) -> int:
        return len(self._ready) + len(self._proposed) + len(self._waiting)

    def __contains__(self, transaction_id: object) -> bool:
        return (
            transaction_id in self._ready
            or transaction_id in self._proposed
            or transaction_id in self._waiting
        )

    def find(self, transaction_id: bytes) -> AdmittedTransaction | None:
        """A transaction that could be proposed now, or was, by its id."""
        entry = self._ready.get(transaction_id) or self._proposed.get(transaction_id)
        return None if entry is None else entry.transaction

    def find_encoded(self, encoded: bytes) -> AdmittedTransaction | None:
        """A transaction that is here in exactly these bytes: its signatures were verified."""
        return self._by_encoding.get(encoded)

    def oldest(self) -> Iterator[AdmittedTransaction]:
        """Those that wait for execution, but for no predecessor: what came first comes first, in a
        batch or not. A primary may leave one lying beside thousands that it proposes.
        """
        proposed = sorted(self._proposed.values(), key=_place_of)
        entries = heapq.merge(proposed, self._ready.values(), key=_place_of)
        return (entry.transaction for entry in entries)

    @property
    def ready_count(self) -> int:
        """How many transactions could be proposed now."""
        return len(self._ready)

    def queued(self, faulty_max: int) -> int:
        """How many wait in no batch, without what came from outside and from the `faulty_max` peers
        that passed on the most: liars add no more to it than honest replicas do.
        """
        waiting = {each: self._counts[each] - self._in_batches[each] for each in self._counts}
        own = waiting.pop(None, 0)
        waiting.pop(OUTSIDE, None)
        passed = sorted(waiting.values())
        return own + sum(passed[: max(len(passed) - faulty_max, 0)])

    @property
    def organisations(self) -> frozenset[str]:
        """Whose transactions are here."""
        return frozenset(self._organisations)

    def count_of(self, organisation: str) -> int:
        """How many of an organisation's transactions are here, whoever passed them on."""
        return self._organisations[organisation]

    def source(self, transaction_id: bytes) -> int | None:
        """Which peer passed on a transaction that could be proposed now, or was; None: a client."""
        entry = self._ready.get(transaction_id) or self._proposed.get(transaction_id)
        return None if entry is None else entry.source

    def is_ready(self, transaction_id: bytes) -> bool:
        """Whether it could be proposed now: no batch holds it that is known here."""
        return transaction_id in self._ready

    def is_executed(self, transaction_id: bytes) -> bool:
        """Whether a block holds it."""
        return self._is_executed(transaction_id)

    def room(self, size: int) -> bool:
        """Whether one more transaction of `size` bytes fits."""
        return len(self) < self._count_max and self._bytes + size <= self._bytes_max

    def add(
        self,
        transaction: AdmittedTransaction,
        now_ms: int,
        source: int | None = None,
        share: Share | None = None,
    ) -> Addition:
        """Take an admitted transaction in, unless it is here already or there is no room, in all or
        in the `share` of the peer that passed it on. One that a client brings is his from then on.
        """
        size = len(transaction.encoded)
        if transaction.id in self:
            return self._adopt(transaction.id) if source is None else Addition.KNOWN
        if not self.room(size):
            return Addition.FULL
        if share is not None and (
            self._counts[source] >= share.count_max or self._sizes[source] + size > share.bytes_max
        ):
            return Addition.EXCESS
        entry = self._entry(transaction, now_ms, source)
        self._keep(entry)
        after = transaction.payload.after
        if after is None or after in self._ready or after in self._proposed:
            self._make_ready(entry)
            return Addition.READY
        if self._is_executed(after):
            self._make_ready(entry)
            return Addition.READY
        self._waiting[transaction.id] = entry
        self._successors.setdefault(after, []).append(transaction.id)
        return Addition.WAITING

    def take(
        self, count_max: int, bytes_max: int, fits: Callable[[AdmittedTransaction], bool]
    ) -> tuple[AdmittedTransaction, ...]:
        """The next batch's transactions; they count as proposed from now on. What does not fit into
        this batch stays.
        """
        taken: list[_Entry] = []
        size = 0
        for entry in self._ready.values():
            if not fits(entry.transaction):
                continue
            size += len(entry.transaction.encoded) + LENGTH_BYTES
            if len(taken) == count_max or size > bytes_max:
                break
            taken.append(entry)
        for entry in taken:
            del self._ready[entry.transaction.id]
            self._hold_in_batch(entry)
        return tuple(entry.transaction for entry in taken)

    def mark_proposed(self, transaction_ids: Iterable[bytes]) -> None:
        """Somebody's batch in progress holds these: do not offer them again."""
        for transaction_id in transaction_ids:
            entry = self._ready.pop(transaction_id, None) or self._leave_waiting(transaction_id)
            if entry is not None:
                self._hold_in_batch(entry)
                self._release_successors(transaction_id)

    def return_proposed(self, keep: Iterable[bytes] = ()) -> None:
        """A view change: batches were dropped. What `keep` names is still in a batch; the rest
        comes back at its old place.
        """
        kept = set(keep)
        back = [entry for key, entry in self._proposed.items() if key not in kept]
        if not back:
            return
        for entry in back:
            self._leave_batch(entry.transaction.id)
        entries = sorted([*back, *self._ready.values()], key=_place_of)
        self._ready = {entry.transaction.id: entry for entry in entries}

    def give_back(self, transaction_ids: Iterable[bytes]) -> None:
        """These were in a batch and not executed: they may be offered again, as they came."""
        wanted = set(transaction_ids)
        self.return_proposed(keep=[key for key in self._proposed if key not in wanted])

    def remove(self, transaction_ids: Iterable[bytes]) -> list[bytes]:
        """These were executed: forget them and let their successors go. Returns which were here."""
        removed = []
        for transaction_id in transaction_ids:
            if self._forget(transaction_id):
                removed.append(transaction_id)
            self._release_successors(transaction_id)
        return removed

    def drop_executed(self) -> list[bytes]:
        """Forget what blocks hold that were never read here, as after a state was taken; returns
        the ids.
        """
        known = [entry.transaction.id for entry in self._entries()]
        return self.remove([each for each in known if self._is_executed(each)])

    def drop_expired(self, height: int, block_time_ms: int) -> list[bytes]:
        """Forget what can no longer execute after this block; returns the ids."""
        if height < self._expires_height_min and block_time_ms <= self._expires_time_ms_min:
            return []  # Asked once a block; most blocks let nothing expire.
        expired = [
            key
            for entries in (self._ready, self._waiting)
            for key, entry in entries.items()
            if entry.transaction.payload.expires_height <= height
            or entry.transaction.payload.expires_time_ms < block_time_ms
        ]
        for key in expired:
            self._forget(key)
        for key in expired:
            self._release_successors(key)
        payloads = [entry.transaction.payload for entry in self._entries()]
        self._expires_height_min = min((each.expires_height for each in payloads), default=_NEVER)
        self._expires_time_ms_min = min((each.expires_time_ms for each in payloads), default=_NEVER)
        return expired

    def stop_waiting(self, now_ms: int) -> list[bytes]:
        """Offer what waited long enough: its receipt will say PREDECESSOR_MISSING, or not."""
        late = [
            entry
            for entry in self._waiting.values()
            if now_ms - entry.arrived_ms >= self._predecessor_wait_ms
        ]
        for entry in late:
            # An earlier one of the same chain may have taken this one along.
            if self._leave_waiting(entry.transaction.id) is not None:
                self._make_ready(self._moved(entry))
        return [entry.transaction.id for entry in late]

    def own(self) -> tuple[AdmittedTransaction, ...]:
        """What this replica's clients brought and no batch holds that is known here."""
        entries = itertools.chain(self._ready.values(), self._waiting.values())
        return tuple(entry.transaction for entry in entries if entry.source is None)

    def _entries(self) -> Iterator[_Entry]:
        return itertools.chain(
            self._ready.values(), self._proposed.values(), self._waiting.values()
        )

    def _keep(self, entry: _Entry) -> None:
        transaction = entry.transaction
        self._bytes += _size_of(entry)
        self._sizes[entry.source] += _size_of(entry)
        self._counts[entry.source] += 1
        self._organisations[transaction.payload.organisation] += 1
        self._by_encoding[transaction.encoded] = transaction
        payload = transaction.payload
        self._expires_height_min = min(self._expires_height_min, payload.expires_height)
        self._expires_time_ms_min = min(self._expires_time_ms_min, payload.expires_time_ms)

    def _entry(self, transaction: AdmittedTransaction, now_ms: int, source: int | None) -> _Entry:
        self._place += 1
        return _Entry(transaction, self._place, now_ms, source)

    def _adopt(self, transaction_id: bytes) -> Addition:
        """A client brings what is here already: it counts as his, as if it had come now."""
        for entries in (self._ready, self._waiting):
            entry = entries.get(transaction_id)
            if entry is not None and entry.source is not None:
                entries[transaction_id] = replace(entry, source=None)
                for counter, amount in ((self._counts, 1), (self._sizes, _size_of(entry))):
                    counter[entry.source] -= amount
                    counter[None] += amount
                return Addition.READY if entries is self._ready else Addition.WAITING
        return Addition.KNOWN

    def _moved(self, entry: _Entry) -> _Entry:
        """The same behind all others."""
        return self._entry(entry.transaction, entry.arrived_ms, entry.source)

    def _hold_in_batch(self, entry: _Entry) -> None:
        self._proposed[entry.transaction.id] = entry
        self._in_batches[entry.source] += 1

    def _leave_batch(self, transaction_id: bytes) -> _Entry | None:
        entry = self._proposed.pop(transaction_id, None)
        if entry is not None:
            self._in_batches[entry.source] -= 1
        return entry

    def _make_ready(self, entry: _Entry) -> None:
        self._ready[entry.transaction.id] = entry
        self._release_successors(entry.transaction.id)

    def _release_successors(self, transaction_id: bytes) -> None:
        """Whoever waited for this one goes behind it, and whoever waited for them."""
        queue = [transaction_id]
        while queue:
            for successor in self._successors.pop(queue.pop(0), []):
                entry = self._waiting.pop(successor, None)
                if entry is not None:
                    self._ready[successor] = self._moved(entry)
                    queue.append(successor)

    def _forget(self, transaction_id: bytes) -> bool:
        entry = (
            self._ready.pop(transaction_id, None)
            or self._leave_batch(transaction_id)
            or self._leave_waiting(transaction_id)
        )
        if entry is None:
            return False
        self._bytes -= _size_of(entry)
        self._sizes[entry.source] -= _size_of(entry)
        self._counts[entry.source] -= 1
        organisation = entry.transaction.payload.organisation
        self._organisations[organisation] -= 1
        if not self._organisations[organisation]:
            del self._organisations[organisation]
        del self._by_encoding[entry.transaction.encoded]
        return True

    def _leave_waiting(self, transaction_id: bytes) -> _Entry | None:
        entry = self._waiting.pop(transaction_id, None)
        if entry is None:
            return None
        after = entry.transaction.payload.after
        assert after is not None, "only a successor waits"
        siblings = self._successors.get(after, [])
        if transaction_id in siblings:
            siblings.remove(transaction_id)
            if not siblings:
                del self._successors[after]
        return entry
