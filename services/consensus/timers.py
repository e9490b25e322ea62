"""Whose timers run: the driver's side of suspecting a primary.

Only the front of the queue is timed, a bounded number of the oldest transactions: what stands
behind a backlog is not late for the primary's fault. Those that nobody is owed, because they expire
too soon or too late or follow what nobody is owed, take no place at the front, however many came.
The primary is told of each that is timed (pbft.md D5), since whoever passed it on may have left it
out; so no more than the front is passed on for others. What the core makes of it, V11 says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Message, RequestGone, RequestPending

FRONT_MAX: Final = 32
LOOKED_AT_MAX: Final = 4 * FRONT_MAX
"""At each change of the queue; a review looks at all."""


class Queue(Protocol):
    """What waits to be ordered, as far as timers need it: the mempool, or the simulator's pool."""

    def oldest(self) -> Iterable[AdmittedTransaction]:
        """What waits for execution, but for no predecessor, in order of arrival."""

    def find(self, transaction_id: bytes) -> AdmittedTransaction | None:
        """One of these by its id."""

    def source(self, transaction_id: bytes) -> int | None:
        """Which peer passed it on; None: a client brought it."""

    def is_ready(self, transaction_id: bytes) -> bool:
        """Whether it waits in no batch that is known here."""

    def is_executed(self, transaction_id: bytes) -> bool:
        """Whether a block holds it."""


PassOn = Callable[[Sequence[AdmittedTransaction]], None]


class RequestTimers:
    """Tells the core which requests to time, and the primary which it may not have. Part of the
    driver's one task; `clock_ms` only grows.
    """

    def __init__(
        self,
        mempool: Queue,
        tell: Callable[[Message], None],
        is_owed: Callable[[AdmittedTransaction], bool],
        *,
        pass_on: PassOn,
        clock_ms: Callable[[], int],
        resend_ms: int,
    ) -> None:
        self._mempool = mempool
        self._tell = tell
        self._is_owed = is_owed
        self._pass_on = pass_on
        self._clock_ms = clock_ms
        self._resend_ms = resend_ms
        self._timed: dict[bytes, int] = {}
        """Each with the time at which the primary was last told of it."""

    def start(self) -> None:
        """Time the oldest requests that are not timed yet, as far as there is room at the front."""
        self._start(LOOKED_AT_MAX)

    def _start(self, looked_at_max: int | None) -> None:
        room = FRONT_MAX - len(self._timed)
        if room <= 0:
            return
        now_ms, fresh = self._clock_ms(), list[AdmittedTransaction]()
        for transaction in itertools.islice(self._mempool.oldest(), looked_at_max):
            if transaction.id not in self._timed and self._may_be_timed(transaction):
                self._timed[transaction.id] = now_ms
                self._tell(RequestPending(transaction.id))
                fresh.append(transaction)
                if len(fresh) == room:
                    break
        # What clients brought here was told to everybody when it came.
        self._tell_primary(each for each in fresh if self._mempool.source(each.id) is not None)

    def restart(self) -> None:
        """Another core is at work, which was told nothing yet."""
        self._timed.clear()
        self.start()

    def enter_view(self) -> None:
        """Another primary may have none of what is timed."""
        self._tell_again(list(self._timed))

    def resend(self) -> None:
        """What still lies here a resend interval after the primary was told may have got lost."""
        due_ms = self._clock_ms() - self._resend_ms
        self._tell_again([key for key, told_ms in self._timed.items() if told_ms <= due_ms])

    def stop(self, transaction_ids: Iterable[bytes], *, executed: bool) -> None:
        """These were executed, or can never be any more."""
        for transaction_id in transaction_ids:
            if transaction_id in self._timed:
                del self._timed[transaction_id]
                self._tell(RequestGone(transaction_id, executed))

    def review(self) -> None:
        """Nobody is suspected for what is about to expire, nor for what waits no more."""
        timed = [(key, self._mempool.find(key)) for key in sorted(self._timed)]
        gone = [key for key, entry in timed if entry is None or not self._may_be_timed(entry)]
        self.stop(gone, executed=False)
        self._start(None)

    def _may_be_timed(self, transaction: AdmittedTransaction) -> bool:
        """Whether a primary that was told of all that is timed must order it: what follows another
        may wait there for as long as that one is not timed.
        """
        after = transaction.payload.after
        return (after is None or self._is_told_of(after)) and self._is_owed(transaction)

    def _is_told_of(self, transaction_id: bytes) -> bool:
        if transaction_id in self._timed or self._mempool.find(transaction_id) is not None:
            return transaction_id in self._timed
        return self._mempool.is_executed(transaction_id)

    def _tell_again(self, keys: Sequence[bytes]) -> None:
        now_ms = self._clock_ms()
        self._timed.update(dict.fromkeys(keys, now_ms))
        found = (self._mempool.find(key) for key in keys)
        self._tell_primary(each for each in found if each is not None)

    def _tell_primary(self, transactions: Iterable[AdmittedTransaction]) -> None:
        """Of these, what no batch holds that is known here."""
        unproposed = [each for each in transactions if self._mempool.is_ready(each.id)]
        if unproposed:
            self._pass_on(unproposed)
