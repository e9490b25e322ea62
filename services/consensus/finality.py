"""Who waits for what: clients for the result of a transaction, watchers for the next block.

A result is given only from a block that has its finality certificate. Waiters are bounded; one that
gives up leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from services.chassis.errors import ExhaustedError, ServiceError

WAITERS_MAX: Final = 50_000

ResultFuture = asyncio.Future[ledger_pb2.TransactionResult]


class FinalityBoard:
    """Futures by transaction id, and an event that every new certified height sets."""

    def __init__(self, certified_height: int, waiters_max: int = WAITERS_MAX) -> None:
        self.certified_height = certified_height
        self._waiters_max = waiters_max
        self._count = 0
        self._by_id: dict[bytes, list[ResultFuture]] = {}
        self._advanced = asyncio.Event()

    @contextmanager
    def waiting(self, transaction_id: bytes) -> Iterator[ResultFuture]:
        """A future for the result, registered until the block is left."""
        if self._count >= self._waiters_max:
            raise ExhaustedError("QUEUE_FULL", waiting=self._count)
        future: ResultFuture = asyncio.get_running_loop().create_future()
        waiters = self._by_id.setdefault(transaction_id, [])
        waiters.append(future)
        self._count += 1
        try:
            yield future
        finally:
            self._count -= 1
            waiters.remove(future)
            if not waiters and self._by_id.get(transaction_id) is waiters:
                del self._by_id[transaction_id]
            future.cancel()

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for any transaction."""
        return bool(self._by_id)

    def awaited(self) -> tuple[bytes, ...]:
        """The transactions that anybody waits for."""
        return tuple(self._by_id)

    def wanted(self, transaction_id: bytes) -> bool:
        """Whether somebody waits for this transaction."""
        return transaction_id in self._by_id

    def resolve(self, result: ledger_pb2.TransactionResult) -> None:
        """The transaction is final."""
        for future in self._by_id.get(result.transaction_id, ()):
            if not future.done():
                future.set_result(result)

    def refuse(self, transaction_id: bytes, error: ServiceError) -> None:
        """The transaction can never become final."""
        for future in self._by_id.get(transaction_id, ()):
            if not future.done():
                future.set_exception(error)

    def advance(self, certified_height: int) -> None:
        """A block became final."""
        assert certified_height >= self.certified_height
        self.certified_height = certified_height
        self._advanced.set()
        self._advanced = asyncio.Event()

    async def wait_certified(self, height: int) -> None:
        """Return when the block of `height` is final."""
        while self.certified_height < height:
            await self._advanced.wait()
