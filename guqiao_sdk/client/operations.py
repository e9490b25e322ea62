"""Many operations through the registry: in flight together, in effect one after the other.

Each operation names the one before it (`after`), so results come out in order whatever the network
does; after a pause so long that the chain has forgotten the last one, the next one names nothing.
When the stream breaks, or an operation was not executed (expired, predecessor missing), everything
without a final outcome is signed anew and sent again; the chain binds the request id to its first
outcome, so nothing is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao_sdk.client.transactions import (
    ChainPosition,
    Identity,
    TransactionResult,
    build_transaction,
    result_from_message,
    transaction_to_message,
)
from guqiao_sdk.errors import said_by_a_service
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.transaction import (
    BODY_BYTES_MAX,
    EXPIRY_HEIGHTS_MAX,
    SignedTransaction,
)

if TYPE_CHECKING:
    from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

T = TypeVar("T")

IN_FLIGHT_MAX: Final = 256
SLOT_BYTES: Final = 32 * 1024
"""A large operation takes the place of several, so that what is in flight has at most 8 MiB."""

POSITION_REFRESH_EVERY: Final = 100
STALLED_SECONDS_MAX: Final = 120.0
RETRY_DELAY_SECONDS: Final = 0.3
_SIGNED_ANEW_CODES: Final = frozenset({"PREDECESSOR_MISSING", "TRANSACTION_EXPIRED", "BLOCK_FULL"})
"""Outcomes of an attempt after which the same operation is signed and sent again."""
UNSUPPORTED_CODE: Final = "UNSUPPORTED_OPERATION"
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE.value[0],
        grpc.StatusCode.DEADLINE_EXCEEDED.value[0],
        grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
        grpc.StatusCode.ABORTED.value[0],
        grpc.StatusCode.CANCELLED.value[0],
    }
)


class OperationStatus(StrEnum):
    """What became of an operation."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the register contract, not yet signed."""

    request_id: str
    method: str
    body: Mapping[str, Json]
    business_time: str | None
    maker: Identity


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer to one operation; `result` is None only for an unsupported one."""

    status: OperationStatus
    code: str
    result: TransactionResult | None


class OperationError(Exception):
    """The stream cannot go on; `code` is of the rule catalogue, `index` the operation concerned."""

    def __init__(self, code: str, text: str, index: int) -> None:
        super().__init__(f"{code}: {text} (operation {index})")
        self.code = code
        self.index = index


class _RetryError(Exception):
    """This session of the stream ends; the next one begins at the first operation unanswered."""


class OperationPipeline:
    """Submits operations of one market. `methods` are those that the registry says are built."""

    def __init__(
        self,
        stub: RegistryServiceAsyncStub,
        provider: GmProvider,
        position: Callable[[], Awaitable[ChainPosition]],
        methods: frozenset[str],
    ) -> None:
        self._stub = stub
        self._provider = provider
        self._position = position
        self._methods = methods
        self._previous: TransactionResult | None = None

    async def run(
        self, operations: Sequence[Operation], on_answer: Callable[[int, Answer], None]
    ) -> None:
        """Submit all, and report each final answer in order. Raises `OperationError`, before
        anything is sent where an operation fits no transaction.
        """
        session = _Session(operations, on_answer)
        last_progress, stalled_since = -1, asyncio.get_running_loop().time()
        while session.answered < len(operations):
            now = asyncio.get_running_loop().time()
            if session.answered > last_progress:
                last_progress, stalled_since = session.answered, now
            elif now - stalled_since > STALLED_SECONDS_MAX:
                text = f"no final outcome for {STALLED_SECONDS_MAX:.0f} s"
                raise OperationError("OUTCOME_UNKNOWN", text, session.answered)
            try:
                await self._run_session(session)
            except (_RetryError, grpc.aio.AioRpcError) as error:
                _raise_unless_retryable(error, session.answered)
                await asyncio.sleep(RETRY_DELAY_SECONDS)

    async def _run_session(self, session: _Session) -> None:
        session.begin(self._previous)
        call = self._stub.SubmitOperations(self._requests(session, await self._position()))
        try:
            async for response in call:
                session.take(response)
                self._previous = session.last_executed
                if session.answered == len(session.operations):
                    return
            raise _RetryError
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if session.failure is not None:
                raise session.failure from None
            # gRPC words it so when our own stream of requests failed: the registry fell meanwhile.
            raise _RetryError from None
        finally:
            call.cancel()
            session.end()

    async def _requests(
        self, session: _Session, position: ChainPosition
    ) -> AsyncIterator[pb.SubmitOperationsRequest]:
        after = _nameable(self._previous, position)
        slots = session.slots
        for index in range(session.answered, len(session.operations)):
            for _ in range(session.slots_of[index]):
                await slots.acquire()
                if slots is not session.slots:
                    return  # The call is over, and gRPC leaves who feeds it waiting for ever.
            if (index + 1) % POSITION_REFRESH_EVERY == 0:
                position = await self._position()
            operation = session.operations[index]
            transaction = self._build(session, operation, position, after)
            if operation.method in self._methods:
                after = transaction.id()
            message = transaction_to_message(transaction)
            yield pb.SubmitOperationsRequest(item=index, transaction=message)

    def _build(
        self, session: _Session, operation: Operation, position: ChainPosition, after: bytes | None
    ) -> SignedTransaction:
        """Build one; what fails here is no failure of the call, and is not tried again."""
        try:
            return build_transaction(
                self._provider,
                operation.maker,
                position,
                contract="register",
                method=operation.method,
                body=operation.body,
                request_id=operation.request_id,
                business_time=operation.business_time,
                after=after,
            )
        except Exception as error:
            session.failure = error
            raise


class _Session:
    """What is answered, and what waits for its turn to be reported."""

    def __init__(
        self, operations: Sequence[Operation], on_answer: Callable[[int, Answer], None]
    ) -> None:
        self.operations = operations
        self.slots_of = [_slots_of(operation, at) for at, operation in enumerate(operations)]
        self.answered = 0
        self.last_executed: TransactionResult | None = None
        self.slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self.failure: Exception | None = None
        self._on_answer = on_answer
        self._waiting: dict[int, Answer] = {}

    def begin(self, previous: TransactionResult | None) -> None:
        """Forget what a broken session answered out of order: it will be answered again."""
        self.last_executed = previous
        self.slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._waiting.clear()

    def end(self) -> None:
        """Let whoever waits for a place in flight go."""
        slots, self.slots = self.slots, asyncio.Semaphore(0)
        slots.release()

    def take(self, response: pb.SubmitOperationsResponse) -> None:
        """Note an answer and report all whose turn came; one to be repeated ends the session."""
        self._waiting[response.item] = _answer(response)
        while (answer := self._waiting.pop(self.answered, None)) is not None:
            if answer.result is not None:
                self.last_executed = answer.result
            self._on_answer(self.answered, answer)
            for _ in range(self.slots_of[self.answered]):
                self.slots.release()
            self.answered += 1


def _nameable(previous: TransactionResult | None, position: ChainPosition) -> bytes | None:
    """What the first operation of a session follows. An id that the chain has forgotten would never
    be found; what was executed so long ago comes before anything new all the same.
    """
    if previous is None or position.height - previous.height >= EXPIRY_HEIGHTS_MAX:
        return None
    return previous.transaction_id


def _slots_of(operation: Operation, index: int) -> int:
    """How many of the places in flight an operation takes."""
    size = len(canonical_json(dict(operation.body)))
    if size > BODY_BYTES_MAX:
        text = f"{operation.request_id} has a body of {size} bytes, more than a transaction holds"
        raise OperationError("TRANSACTION_TOO_LARGE", text, index)
    return 1 + size // SLOT_BYTES


def _answer(response: pb.SubmitOperationsResponse) -> Answer:
    """What an answer says; raises `OperationError` where it ends the stream or makes no sense."""
    try:
        return _read(response)
    except (ProofError, DecodeError) as error:
        raise OperationError("OUTCOME_UNKNOWN", str(error), response.item) from error


def _read(response: pb.SubmitOperationsResponse) -> Answer:
    if response.WhichOneof("answer") == "result":
        result = result_from_message(response.result)
        if result.code in _SIGNED_ANEW_CODES:
            raise _RetryError
        status = OperationStatus.ACCEPTED if result.accepted else OperationStatus.REJECTED
        return Answer(status, result.code, result)
    status_message = status_pb2.Status.FromString(response.error)
    code = _reason(status_message)
    if status_message.code == grpc.StatusCode.UNIMPLEMENTED.value[0]:
        return Answer(OperationStatus.UNSUPPORTED, code, None)
    if status_message.code in _RETRYABLE or code in _SIGNED_ANEW_CODES:
        raise _RetryError
    raise OperationError(code, status_message.message, response.item)


def _reason(status: status_pb2.Status) -> str:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.type_url.endswith(f"/{info.DESCRIPTOR.full_name}") and detail.Unpack(info):
            return info.reason
    return "OUTCOME_UNKNOWN"


async def repeated(call: Callable[[], Awaitable[T]], *, is_up: bool = True) -> T:
    """Make a call of no effect, or of the same effect each time, until the service that is away for
    a moment answers. Raises its last error when `STALLED_SECONDS_MAX` is over; where it is not
    known that the service `is_up` at all, at once unless the service itself says what it lacks, or
    took the call and hangs.
    """
    deadline = asyncio.get_running_loop().time() + STALLED_SECONDS_MAX
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            hangs = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            passes = _passes(error) and (is_up or hangs or said_by_a_service(error))
            if not passes or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(RETRY_DELAY_SECONDS)


def _passes(error: grpc.aio.AioRpcError) -> bool:
    """Whether the same may succeed a moment later. What gRPC calls internal without a service
    having said so is a connection that broke while it was written to.
    """
    code = error.code()
    is_broken = code is grpc.StatusCode.INTERNAL and not said_by_a_service(error)
    return is_broken or code.value[0] in _RETRYABLE


def _raise_unless_retryable(error: Exception, index: int) -> None:
    if isinstance(error, grpc.aio.AioRpcError) and not _passes(error):
        raise OperationError(error.code().name, error.details() or "", index) from error
