"""Calls that break: what a moment mends is tried again, what a service refused is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, Metadata

from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao_sdk.client import operations
from guqiao_sdk.client.operations import (
    IN_FLIGHT_MAX,
    Operation,
    OperationError,
    OperationPipeline,
    repeated,
)
from guqiao_sdk.client.transactions import ChainPosition, Identity
from guqiao_sdk.errors import STATUS_METADATA_KEY
from guqiao_sdk.gm.provider import open_provider

PROVIDER = open_provider()
MAKER = Identity("did:rem:shandong:1", "k1", "did:rem:shandong:2", PROVIDER.keygen())
OPERATION = Operation("0" * 36, "open_account", {"a": 1}, "2025-09-01T10:00:00+08:00", MAKER)
BROKEN = [
    pytest.param(grpc.StatusCode.UNAVAILABLE, id="the service is away"),
    pytest.param(grpc.StatusCode.INTERNAL, id="the connection broke while it was written to"),
]


class AnsweredError(Exception):
    """The call was made again, which is all that is asked here."""


def broken(code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details="Internal error from Core")


def refused_by_the_service() -> AioRpcError:
    info = AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain="guqiao"))
    status = status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], details=[info])
    details = Metadata((STATUS_METADATA_KEY, status.SerializeToString()))
    return AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), details)


class Calls:
    """A registry whose first answer is a failure; the second is `AnsweredError`."""

    def __init__(self, failure: AioRpcError) -> None:
        self.answers: list[Exception] = [AnsweredError(), failure]

    def SubmitOperations(self, requests: Any) -> Any:
        return self

    def cancel(self) -> None:
        """The pipeline ends every call that it made."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        raise self.answers.pop()
        yield

    async def once(self) -> None:
        raise self.answers.pop()


async def position() -> ChainPosition:
    return ChainPosition("shandong", 1, b"", 1_700_000_000_000)


async def run(calls: Calls) -> None:
    stub: Any = calls
    methods = frozenset({"open_account"})
    await OperationPipeline(stub, PROVIDER, position, methods).run([OPERATION], lambda i, a: None)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "RETRY_DELAY_SECONDS", 0.0)


@pytest.mark.parametrize("code", BROKEN)
async def test_a_stream_that_breaks_is_opened_again(code: grpc.StatusCode) -> None:
    calls = Calls(broken(code))
    with pytest.raises(AnsweredError):
        await run(calls)
    assert calls.answers == []


async def test_a_stream_that_a_service_ended_as_failed_is_not_opened_again() -> None:
    calls = Calls(refused_by_the_service())
    with pytest.raises(OperationError, match="INTERNAL"):
        await run(calls)
    assert len(calls.answers) == 1


class FedCalls(Calls):
    """Takes requests as gRPC does: a task of its own, which it leaves alone when a call breaks."""

    def __init__(self, failure: AioRpcError) -> None:
        super().__init__(failure)
        self.feeding: list[asyncio.Task[int]] = []

    def SubmitOperations(self, requests: Any) -> Any:
        async def consume() -> int:
            return len([request async for request in requests])

        self.feeding.append(asyncio.create_task(consume()))
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        await asyncio.sleep(0.05)  # Until as much is in flight as may be.
        raise self.answers.pop()
        yield


async def test_who_feeds_a_call_that_broke_is_let_go() -> None:
    """Otherwise it is said at the user's terminal that a task was destroyed while it waited."""
    calls = FedCalls(broken(grpc.StatusCode.UNAVAILABLE))
    stub: Any = calls
    pipeline = OperationPipeline(stub, PROVIDER, position, frozenset({"open_account"}))
    with pytest.raises(AnsweredError):
        await pipeline.run([OPERATION] * (IN_FLIGHT_MAX + 1), lambda i, a: None)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*calls.feeding) == [IN_FLIGHT_MAX, IN_FLIGHT_MAX]


@pytest.mark.parametrize("code", BROKEN)
async def test_a_call_that_breaks_is_made_again(code: grpc.StatusCode) -> None:
    calls = Calls(broken(code))
    with pytest.raises(AnsweredError):
        await repeated(calls.once)
    assert calls.answers == []


async def test_where_nobody_knows_that_the_service_is_up_a_broken_call_is_not_made_again() -> None:
    calls = Calls(broken(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(AioRpcError):
        await repeated(calls.once, is_up=False)
    assert len(calls.answers) == 1


async def test_a_service_that_took_the_first_call_and_hangs_is_asked_again() -> None:
    """Its database hangs, say: who waits a moment has an answer."""
    calls = Calls(broken(grpc.StatusCode.DEADLINE_EXCEEDED))
    with pytest.raises(AnsweredError):
        await repeated(calls.once, is_up=False)
    assert calls.answers == []


async def test_a_call_that_a_service_refused_is_not_made_again() -> None:
    calls = Calls(refused_by_the_service())
    with pytest.raises(AioRpcError):
        await repeated(calls.once)
    assert len(calls.answers) == 1


async def test_a_service_that_stays_away_is_an_error_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "STALLED_SECONDS_MAX", -1.0)
    calls = Calls(broken(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(AioRpcError):
        await repeated(calls.once)
    assert len(calls.answers) == 1


UNREADABLE = [
    pytest.param({"error": b"\xff"}, id="no status"),
    pytest.param({"error": b"\x08\x0a\x1a\x38" + b"\x0a" * 10}, id="a status that is cut off"),
    pytest.param({"result": {"transaction_id": b"t", "outcome": 99}}, id="no outcome"),
    pytest.param({"result": {"transaction_id": b"t", "outcome": 1, "detail": b"{"}}, id="no JSON"),
]


class AnsweringCalls(Calls):
    """A registry that answers the first operation with this."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(broken(grpc.StatusCode.UNAVAILABLE))
        self.answer = answer

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield pb.SubmitOperationsResponse(item=0, **self.answer)


@pytest.mark.parametrize("answer", UNREADABLE)
async def test_an_answer_that_makes_no_sense_is_an_unknown_outcome(answer: dict[str, Any]) -> None:
    with pytest.raises(OperationError) as raised:
        await run(AnsweringCalls(answer))
    assert (raised.value.code, raised.value.index) == ("OUTCOME_UNKNOWN", 0)
