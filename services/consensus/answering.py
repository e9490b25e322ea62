"""What peers ask for and is not answered yet; how much of this machine a peer's questions may take.

A question is small and its answer is not, so each costs its peer what it cost this replica: time at
work, and bytes. A peer has a credit that lets an honest one catch up at full speed; what it spends
comes back at a tenth of the time, so whoever asks without end gets a tenth of one core, and its
next question waits in proportion to what the last ones cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from services.consensus.credit import Credits

CREDIT_SECONDS: Final = 10.0
"""What a peer that has not asked for long may spend at once."""
SENT_BYTES_A_SECOND: Final = 64 * 1024 * 1024
"""Bytes of answers that cost about a second at work, to encrypt and to send."""
WAITING_MAX: Final = 16
"""Questions of one peer; its oldest give way."""
REPEATS_MAX: Final = 8
"""As often an honest peer may ask again for what waits long here; beyond it counts as in vain."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Waiting(Generic[T]):
    question: T
    repeats: int = 0


@dataclass(slots=True)
class _Peer(Generic[T]):
    waiting: dict[Hashable, _Waiting[T]] = field(default_factory=dict)


class Answering(Generic[T]):
    """The questions of one kind; `key_of` says which of them have the same answer. `put` never
    blocks; one task calls `take` and answers, so a peer has one answer in work at a time.

    Times are in seconds: `now` is a clock, `at_work` how long the calling thread has been at work.
    """

    def __init__(
        self,
        key_of: Callable[[T], Hashable],
        *,
        now: Callable[[], float] = time.monotonic,
        at_work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._key_of = key_of
        self._credits: Credits[int] = Credits(CREDIT_SECONDS, now)
        self._at_work = at_work
        self._peers: dict[int, _Peer[T]] = {}  # Who was answered last is last.
        self._filled = asyncio.Event()

    def put(self, sender: int, question: T) -> int:
        """Let a question wait. One that waits already is not asked twice. Returns how many were
        asked in vain: 1 for this one or for the sender's oldest, else 0.
        """
        waiting = self._peer(sender).waiting
        key = self._key_of(question)
        known = waiting.get(key)
        if known is not None:
            known.repeats += 1
            return int(known.repeats > REPEATS_MAX)
        waiting[key] = _Waiting(question)
        self._filled.set()
        if len(waiting) <= WAITING_MAX:
            return 0
        del waiting[next(iter(waiting))]
        return 1

    async def take(self) -> tuple[int, T]:
        """Wait for a question of a peer that has credit; peers take turns."""
        while True:
            self._filled.clear()
            rests: list[float] = []
            for sender, peer in self._peers.items():
                if not peer.waiting:
                    continue
                rest = self._credits.rest(sender)
                if rest <= 0:
                    self._peers[sender] = self._peers.pop(sender)
                    return sender, peer.waiting.pop(next(iter(peer.waiting))).question
                rests.append(rest)
            try:
                async with asyncio.timeout(min(rests, default=None)):
                    await self._filled.wait()
            except TimeoutError:
                continue

    def metered(self, sender: int, work: Callable[[], R]) -> Callable[[], R]:
        """`work`, whose time is charged to `sender`, also where it fails."""

        def metered() -> R:
            began = self._at_work()
            try:
                return work()
            finally:
                self._credits.charge(sender, self._at_work() - began)

        return metered

    def note_sent(self, sender: int, size: int) -> None:
        """An answer of `size` bytes is on its way to `sender`."""
        self._credits.charge(sender, size / SENT_BYTES_A_SECOND)

    def _peer(self, sender: int) -> _Peer[T]:
        peer = self._peers.get(sender)
        if peer is None:
            peer = self._peers[sender] = _Peer()
        return peer
