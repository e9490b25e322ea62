"""One stream of operations on its way to the chain.

Three things happen side by side: operations are read and checked, those that wait are announced
together in one commit, and their outcomes come back as they become final. Every queue is bounded,
so a slow reader of the answers slows the sender down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ServiceError

IN_FLIGHT_MAX: Final = 512

Entry = tuple[int, SignedTransaction]
Item = tuple[int, SignedTransaction | ServiceError]
"""What a caller sent under its number: an operation, or why it is none by its form."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The answer to one item of a stream: a final result, or why there is none."""

    item: int
    result: TransactionResult | None
    error: Exception | None


def _queue() -> asyncio.Queue[Entry | None]:
    return asyncio.Queue(IN_FLIGHT_MAX)


def _outcomes() -> asyncio.Queue[ItemOutcome | None]:
    return asyncio.Queue(IN_FLIGHT_MAX)


@dataclass(slots=True)
class OperationStream:
    """`require_built` refuses what the market's contract cannot do; `announce` records operations
    in the outbox.
    """

    client: ChainClient
    require_built: Callable[[SignedTransaction], Awaitable[None]]
    announce: Callable[[Sequence[SignedTransaction]], Awaitable[None]]
    _waiting: asyncio.Queue[Entry | None] = field(default_factory=_queue)
    _answers: asyncio.Queue[ItemOutcome | None] = field(default_factory=_outcomes)
    _items: dict[bytes, list[int]] = field(default_factory=dict)

    async def run(self, items: AsyncIterator[Item]) -> AsyncIterator[ItemOutcome]:
        """Pass the operations on; yield each outcome when it is final."""
        working = [asyncio.create_task(self._read(items)), asyncio.create_task(self._submit())]
        try:
            while (outcome := await _next(self._answers, working)) is not None:
                yield outcome
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _read(self, items: AsyncIterator[Item]) -> None:
        async for item, transaction in items:
            try:
                if isinstance(transaction, ServiceError):
                    raise transaction
                await self.require_built(transaction)
            except ServiceError as error:
                await self._answers.put(ItemOutcome(item, None, error))
                continue
            await self._waiting.put((item, transaction))
        await self._waiting.put(None)

    async def _submit(self) -> None:
        submissions = self.client.submit_many(self._announced(), in_flight_max=IN_FLIGHT_MAX)
        async for submission in submissions:
            for item in self._items.pop(submission.transaction.id(), []):
                await self._answers.put(ItemOutcome(item, submission.result, submission.error))
        await self._answers.put(None)

    async def _announced(self) -> AsyncIterator[SignedTransaction]:
        more = True
        while more:
            batch, more = await _take_all(self._waiting)
            await self.announce([transaction for _, transaction in batch])
            for item, transaction in batch:
                self._items.setdefault(transaction.id(), []).append(item)
                yield transaction


async def _take_all(waiting: asyncio.Queue[Entry | None]) -> tuple[list[Entry], bool]:
    """Everything that waits, at least one entry, and whether more may come after it."""
    batch: list[Entry] = []
    entry = await waiting.get()
    while entry is not None:
        batch.append(entry)
        if waiting.empty():
            return batch, True
        entry = waiting.get_nowait()
    return batch, False


async def _next(
    answers: asyncio.Queue[ItemOutcome | None], working: Sequence[asyncio.Task[None]]
) -> ItemOutcome | None:
    """The next outcome; a failure of one of the tasks is raised here."""
    getting = asyncio.ensure_future(answers.get())
    try:
        while not getting.done():
            running = [task for task in working if not task.done()]
            await asyncio.wait({getting, *running}, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
        return getting.result()
    finally:
        getting.cancel()
