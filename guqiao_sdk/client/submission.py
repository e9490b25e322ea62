"""Many transactions over one stream, with resubmission: what a service or an import uses.

Each transaction is answered exactly once: with its final result, with the error that refused it, or
with OUTCOME_UNKNOWN when its time is up. When a replica goes away, everything unanswered goes to
the next one in the order in which it came; the same transaction twice has one effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import grpc.aio

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.endpoints import CLOCK_CODES, Endpoints, Stub
from guqiao_sdk.client.failures import unknown_outcome
from guqiao_sdk.client.transactions import (
    TransactionResult,
    result_from_message,
    transaction_to_message,
)
from guqiao_sdk.errors import GuqiaoError, error_from_bytes, error_from_rpc
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.receipt import NOT_EXECUTED_CODES
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload

RECONNECT_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 0.2
EXPIRY_CHECK_SECONDS: Final = 0.5
SILENCE_SECONDS_MAX: Final = 5.0
REQUEST_BYTES: Final = 256 * 1024
"""Of payloads in one message of the stream, but for the last of them."""
PREDECESSORS_KEPT_MAX: Final = 10_000
RETRY_CODES: Final = frozenset(
    {
        "QUEUE_FULL",
        "RATE_LIMITED",
        "DISK_FULL",
        "CHAIN_NOT_CAUGHT_UP",
        "CHAIN_UNAVAILABLE",
        "FIRST_MESSAGE_LATE",
        "OUTCOME_UNKNOWN",
        "STORAGE_RECORD_DAMAGED",
        "TOO_MANY_CALLS",
    }
)
UNCERTAIN_CODES: Final = frozenset({"", "OUTCOME_UNKNOWN", "INTERNAL"})
"""After these a transaction may have been admitted; no code: the call broke off."""

_UNSETTLED_CODES: Final = UNCERTAIN_CODES | RETRY_CODES | CLOCK_CODES
_FATAL: Final = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one transaction: exactly one of `result` and `error` is set."""

    transaction: SignedTransaction
    result: TransactionResult | None
    error: GuqiaoError | None


@dataclass(slots=True)
class _Item:
    transaction: SignedTransaction
    deadline: float
    # Sent in a conversation that broke off: a replica may have admitted it.
    is_uncertain: bool = False
    # One replica refused it, and others are asked.
    is_refused: bool = False


class StreamSubmitter:
    """One run over one source of transactions."""

    def __init__(self, endpoints: Endpoints, *, in_flight_max: int, timeout_seconds: float) -> None:
        assert in_flight_max >= 1
        self._endpoints = endpoints
        self._timeout_seconds = timeout_seconds
        self._room = asyncio.Semaphore(in_flight_max)
        self._unanswered: dict[bytes, _Item] = {}
        self._answers: asyncio.Queue[Submission | None] = asyncio.Queue(in_flight_max + 1)
        self._outgoing: asyncio.Queue[SignedTransaction | None] = asyncio.Queue()
        self._heard_at = 0.0
        self._fed = False
        self._executed: dict[bytes, int] = {}
        self._all_answered = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(
        self, transactions: AsyncIterable[SignedTransaction] | Iterable[SignedTransaction]
    ) -> AsyncIterator[Submission]:
        """Yield one submission a transaction, in the order of the answers."""
        work = asyncio.ensure_future(self._work(transactions))
        try:
            while (submission := await self._answers.get()) is not None:
                self._room.release()
                yield submission
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _work(
        self, transactions: AsyncIterable[SignedTransaction] | Iterable[SignedTransaction]
    ) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                talking = tasks.create_task(self._talk())
                expiring = tasks.create_task(self._expire())
                await self._feed(transactions)
                self._fed = True
                if self._unanswered:
                    await self._all_answered.wait()
                talking.cancel()
                expiring.cancel()
        finally:
            await self._answers.put(None)

    async def _feed(
        self, transactions: AsyncIterable[SignedTransaction] | Iterable[SignedTransaction]
    ) -> None:
        async for transaction in _each(transactions):
            transaction_id = transaction.id()
            if transaction_id in self._unanswered:
                continue  # The same transaction twice in one run is one transaction.
            await self._room.acquire()
            deadline = asyncio.get_running_loop().time() + self._timeout_seconds
            self._unanswered[transaction_id] = _Item(transaction, deadline)
            self._outgoing.put_nowait(transaction)

    async def _talk(self) -> None:
        """One conversation after the other until the run ends. A refused one admitted nothing; in
        any other that broke off, what was not answered may have been admitted.
        """
        refusals = self._endpoints.refusals(_FATAL)
        while True:
            index = self._endpoints.preferred
            try:
                await self._converse(index)
                self._doubt_all()
                refusals.forget()
            except grpc.aio.AioRpcError as error:
                if error.code() not in _FATAL:
                    self._doubt_all()
                refusal = refusals.judge(index, error.code(), error_from_rpc(error))
                if refusal is not None:
                    self._fail_all(refusal)
            except ProofError:
                self._doubt_all()  # Its answers make no sense; another replica knows better.
            self._endpoints.move_on(index)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _converse(self, index: int) -> None:
        outgoing: asyncio.Queue[SignedTransaction | None] = asyncio.Queue()
        for item in self._unanswered.values():
            outgoing.put_nowait(item.transaction)
        self._outgoing = outgoing
        self._heard_at = asyncio.get_running_loop().time()
        call = self._endpoints.stub(index).SubmitTransactions(_requests(outgoing))
        watch = asyncio.ensure_future(self._watch_silence(call))
        try:
            async for response in call:
                self._heard_at = asyncio.get_running_loop().time()
                for answer in response.answers:
                    self._take(answer)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The watch cut the call: the replica said nothing for too long.
        finally:
            watch.cancel()
            call.cancel()
            outgoing.put_nowait(None)

    async def _watch_silence(self, call: grpc.aio.Call) -> None:
        """Cut a conversation in which answers are due and none come: the replica may be stuck."""
        while True:
            await asyncio.sleep(EXPIRY_CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            if not self._unanswered:
                self._heard_at = now
            elif now - self._heard_at > SILENCE_SECONDS_MAX:
                call.cancel()
                return

    def _take(self, answer: node.TransactionAnswer) -> None:
        item = self._unanswered.get(answer.transaction_id)
        if item is None:
            return
        if answer.WhichOneof("answer") == "result":
            self._take_result(item, result_from_message(answer.result))
            return
        error = error_from_bytes(answer.error)
        if error.code in RETRY_CODES:
            # A replica that is overloaded says when to come again.
            seconds = error.retry_after_seconds or RETRY_SECONDS
            asyncio.get_running_loop().call_later(seconds, self._again, item.transaction)
        elif item.is_uncertain and error.code == "TRANSACTION_EXPIRED":
            # It cannot be admitted any more, but it may have been before.
            self._answer(item, None, unknown_outcome(item.transaction))
        elif self._endpoints.believed == 1:
            self._answer(item, None, error)
        elif not item.is_refused:
            item.is_refused = True
            assert self._tasks is not None, "answers are taken while the run lasts"
            self._tasks.create_task(self._confirm(item))

    async def _confirm(self, item: _Item) -> None:
        """A replica refused it: believed where others do, too. One that lies may have passed it on,
        and the others give what became of it.
        """
        request = node.SubmitTransactionRequest(
            transaction=transaction_to_message(item.transaction), wait_final=True
        )

        async def attempt(stub: Stub, seconds: float) -> node.SubmitTransactionResponse:
            return await stub.SubmitTransaction(request, timeout=seconds)

        left = item.deadline - asyncio.get_running_loop().time()
        try:
            response = await self._endpoints.call(attempt, max(left, 0.0))
        except GuqiaoError as error:
            if item.transaction.id() in self._unanswered:
                is_settled = error.code not in _UNSETTLED_CODES
                told = error if is_settled else unknown_outcome(item.transaction)
                self._answer(item, None, told)
            return
        item.is_refused = False
        if item.transaction.id() in self._unanswered:
            self._take_result(item, result_from_message(response.result))

    def _take_result(self, item: _Item, result: TransactionResult) -> None:
        if result.code == "PREDECESSOR_MISSING" and self._came_too_early(item.transaction, result):
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._again, item.transaction)
            return
        if result.code not in NOT_EXECUTED_CODES:
            self._executed[result.transaction_id] = result.height
        if len(self._executed) > PREDECESSORS_KEPT_MAX:
            del self._executed[next(iter(self._executed))]
        self._answer(item, result, None)

    def _came_too_early(self, transaction: SignedTransaction, result: TransactionResult) -> bool:
        """Whether it was tried before its predecessor, which a replica had asked to come again. A
        predecessor that was executed before that height is one that the chain has forgotten.
        """
        after = parse_payload(transaction.payload).after
        if after is None or after in self._unanswered:
            return after is not None
        return self._executed.get(after, -1) >= result.height

    def _again(self, transaction: SignedTransaction) -> None:
        if transaction.id() in self._unanswered:
            self._outgoing.put_nowait(transaction)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_CHECK_SECONDS)
            now = asyncio.get_running_loop().time()
            for item in [item for item in self._unanswered.values() if item.deadline < now]:
                self._answer(item, None, unknown_outcome(item.transaction))

    def _doubt_all(self) -> None:
        for item in self._unanswered.values():
            item.is_uncertain = True

    def _fail_all(self, error: GuqiaoError) -> None:
        """No replica listens; what one may have admitted before has an outcome all the same."""
        for item in list(self._unanswered.values()):
            is_known = not item.is_uncertain
            self._answer(item, None, error if is_known else unknown_outcome(item.transaction))

    def _answer(
        self, item: _Item, result: TransactionResult | None, error: GuqiaoError | None
    ) -> None:
        del self._unanswered[item.transaction.id()]
        self._answers.put_nowait(Submission(item.transaction, result, error))
        if self._fed and not self._unanswered:
            self._all_answered.set()


async def _each(
    transactions: AsyncIterable[SignedTransaction] | Iterable[SignedTransaction],
) -> AsyncIterator[SignedTransaction]:
    if isinstance(transactions, AsyncIterable):
        async for transaction in transactions:
            yield transaction
    else:
        for transaction in transactions:
            yield transaction


async def _requests(
    outgoing: asyncio.Queue[SignedTransaction | None],
) -> AsyncIterator[node.SubmitTransactionsRequest]:
    """Until None: what is left waiting when its call ends gRPC never lets go."""
    while (transaction := await outgoing.get()) is not None:
        request = node.SubmitTransactionsRequest()
        size = 0
        while transaction is not None:
            request.transactions.append(transaction_to_message(transaction))
            size += len(transaction.payload)
            if size >= REQUEST_BYTES or outgoing.empty():
                break
            transaction = outgoing.get_nowait()
        yield request
        if transaction is None:
            return
