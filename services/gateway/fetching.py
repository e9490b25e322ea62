"""The end of a link that opens every connection: fetches what the other gateway asks of this one,
does it, and brings back the answer.

What is asked is what another gateway could ask by calling: packets to deliver, receipts and
absences to prove. The other gateway is believed as little as if it had called, its messages are
read as strictly, and each call is recorded and counted as the server does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc.aio
import structlog
from opentelemetry import trace

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.errors import GuqiaoError, guqiao_errors
from services.chassis.errors import InvalidError, ServiceError
from services.chassis.grpc_server import to_rpc_status
from services.chassis.grpc_server.grpc_errors import seen_by_caller
from services.chassis.grpc_server.ports import Decision
from services.chassis.strict_protobuf import NotStrictError, parse_strict
from services.chassis.telemetry import current_trace_id, extract
from services.gateway.api import GatewayServicer
from services.gateway.domain.errors import DeliveryMalformedError, LinkBrokenError
from services.gateway.fetched_audit import FetchedAudit
from services.gateway.metrics import GatewayMetrics
from services.gateway.questions import CALL_SECONDS
from services.gateway.steps import Steps

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

SILENCE_SECONDS_MAX: Final = 40.0
"""A stream that says nothing for so long is given up and opened again."""

CALLS_AT_ONCE_MAX: Final = 16
CALL_ID_BYTES: Final = 16
_ID_FRAME: Final = bytes((1 << 3 | 2, CALL_ID_BYTES))
"""Before the id of a call, which is the first field of its message."""

STEP: Final = "fetch"
ELSEWHERE: Final = "CALL_UNKNOWN"
"""What a gateway says to an answer that another one waits for."""

FetchCalls: TypeAlias = Callable[[pb.FetchCallsRequest], Any]
"""`FetchCalls` of the other gateway: a stream of messages as the bytes that came."""

log = structlog.get_logger(__name__)


def fetch_calls_of(channel: grpc.aio.Channel) -> FetchCalls:
    """`FetchCalls` through a channel. The generated stub would read what comes as leniently as the
    library does, and leave no bytes to record.
    """
    method = "/guqiao.gateway.v1.GatewayService/FetchCalls"
    stream: FetchCalls = channel.unary_stream(method, pb.FetchCallsRequest.SerializeToString, None)
    return stream


@dataclass(slots=True)
class Fetching:
    """For the own chain `chain_id`, from the gateway of the chain `remote` behind `fetch_calls` and
    `stub`; `answering` does what that asks, and `audit` keeps that it asked.
    """

    chain_id: str
    remote: str
    fetch_calls: FetchCalls
    stub: GatewayServiceAsyncStub
    answering: GatewayServicer
    audit: FetchedAudit
    tracer: trace.Tracer
    metrics: GatewayMetrics
    _slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CALLS_AT_ONCE_MAX), init=False
    )
    _steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        self._steps = Steps(self.remote, self.metrics)

    @property
    def last_error(self) -> str:
        """Why nothing is fetched; empty while a stream stands."""
        return self._steps.last_error

    async def run(self) -> None:
        """Fetch calls until cancelled, over one stream after another."""
        async with asyncio.TaskGroup() as tasks:
            await self._steps.repeat(STEP, partial(self._fetch, tasks))

    async def _fetch(self, tasks: asyncio.TaskGroup) -> int:
        """Fetch over one stream until it ends. Packets are counted call by call, for a stream
        seldom ends by itself: none are left to count here. Raises `GuqiaoError`, also where its
        answers come to another gateway than the one that asks, and `TimeoutError` where it falls
        silent.
        """
        strayed: asyncio.Future[GuqiaoError] = asyncio.get_running_loop().create_future()
        with guqiao_errors():
            stream = self.fetch_calls(pb.FetchCallsRequest(chain_id=self.chain_id))
            calls = aiter(stream)
            try:
                while True:
                    message = await _next_of(calls, strayed)
                    if message is None:
                        return 0
                    self._steps.note_success(STEP)
                    answering = self._answering(message, strayed)
                    if answering is not None:
                        await self._slots.acquire()
                        tasks.create_task(answering)
            finally:
                strayed.cancel()
                stream.cancel()

    def _answering(
        self, message: bytes, strayed: asyncio.Future[GuqiaoError]
    ) -> Coroutine[Any, Any, None] | None:
        """What has to be done for a message; None where it asks nothing."""
        try:
            call = parse_strict(pb.FetchCallsResponse, message)
        except NotStrictError as error:
            return self._refuse(message, InvalidError("REQUEST_MALFORMED", detail=str(error)))
        asked = call.WhichOneof("call")
        return None if asked is None else self._answer(call, message, strayed)

    async def _refuse(self, message: bytes, refused: InvalidError) -> None:
        """Keep that a message has no single reading, or says what this version does not know, and
        tell it to whoever asked: a newer gateway learns so which field it may not send here yet.
        """
        trace_id = uuid.uuid4().hex
        try:
            await self.audit.refuse(message, refused.code, trace_id)
            self._steps.note_failure("answer", refused, STEP)
            call_id = _first_id(message)
            if call_id:
                answer = pb.AnswerCallRequest(chain_id=self.chain_id, call_id=call_id)
                answer.error = to_rpc_status(refused, trace_id).SerializeToString()
                await self._send(answer)
        except GuqiaoError as error:
            self._steps.note_failure("answer", error, STEP)
        finally:
            self._slots.release()

    async def _answer(
        self, call: pb.FetchCallsResponse, message: bytes, strayed: asyncio.Future[GuqiaoError]
    ) -> None:
        """Do what is asked and bring back what came of it. An answer that comes to another gateway
        than the one that asks ends the stream of the call, so that the asker need not wait: the
        next stream goes where answers go.
        """
        context = extract({"traceparent": call.traceparent})
        kind = trace.SpanKind.SERVER
        try:
            with self.tracer.start_as_current_span("gateway.answer_call", context, kind):
                await self._bring_back(await self._answer_to(call, message))
        except GuqiaoError as error:
            if error.code == ELSEWHERE and not strayed.done():
                strayed.set_result(error)  # `_fetch` fails with it, which is noted.
            else:
                self._steps.note_failure("answer", error, STEP)
        finally:
            self._slots.release()

    async def _answer_to(self, call: pb.FetchCallsResponse, message: bytes) -> pb.AnswerCallRequest:
        answer = pb.AnswerCallRequest(chain_id=self.chain_id, call_id=call.call_id)
        trace_id = current_trace_id() or uuid.uuid4().hex
        asked = call.WhichOneof("call")
        decision = Decision.REFUSED
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self.audit.allow(asked, message, trace_id)
                decision = Decision.ENDED
                await self._do(call, answer)
        except Exception as error:
            told = seen_by_caller(error)
            if isinstance(told, ServiceError):
                self.audit.count(told.code)
            else:  # The other gateway learns the trace id alone, so that must lead to something.
                log.exception("call.failed", remote=self.remote, call=asked, trace_id=trace_id)
            code = told.code if isinstance(told, ServiceError) else "INTERNAL"
            await self.audit.end(decision, asked, message, code, trace_id)
            _mark_failed(code)
            answer.error = to_rpc_status(told, trace_id).SerializeToString()
        return answer

    async def _bring_back(self, answer: pb.AnswerCallRequest) -> None:
        """Bring back an answer, or, where that is refused, why: whoever waits for it asks for less
        then, instead of for the same again. Raises `GuqiaoError` where neither gets there.
        """
        try:
            await self._send(answer)
        except GuqiaoError as error:
            if error.code == ELSEWHERE:
                raise
            self._steps.note_failure("answer", error, STEP)
            _mark_failed(error.code)
            told = error if error.code else LinkBrokenError(self.remote)
            status = to_rpc_status(told, current_trace_id())
            refused = pb.AnswerCallRequest(chain_id=self.chain_id, call_id=answer.call_id)
            refused.error = status.SerializeToString()
            await self._send(refused)

    async def _send(self, answer: pb.AnswerCallRequest) -> None:
        with guqiao_errors():
            await self.stub.AnswerCall(answer, timeout=CALL_SECONDS)

    async def _do(self, call: pb.FetchCallsResponse, answer: pb.AnswerCallRequest) -> None:
        match call.WhichOneof("call"):
            case "deliver_packets":
                delivered = await self.answering.DeliverPackets(call.deliver_packets, None)
                count = len(call.deliver_packets.packets)
                self.metrics.packets.labels(self.remote, STEP).inc(count)
                answer.deliver_packets.CopyFrom(delivered)
            case "get_packet_receipts":
                receipts = await self.answering.GetPacketReceipts(call.get_packet_receipts, None)
                answer.get_packet_receipts.CopyFrom(receipts)
            case "get_packet_absences":
                absences = await self.answering.GetPacketAbsences(call.get_packet_absences, None)
                answer.get_packet_absences.CopyFrom(absences)
            case other:
                raise DeliveryMalformedError(f"a call of {other}")


async def _next_of(
    calls: AsyncIterator[bytes], strayed: asyncio.Future[GuqiaoError]
) -> bytes | None:
    """The next message of a stream; None where it ended. Raises what `strayed` says as soon as it
    is there, and `TimeoutError` where nothing comes.
    """
    coming = asyncio.ensure_future(anext(calls, None))
    either: list[asyncio.Future[Any]] = [coming, strayed]
    try:
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait(either, timeout=SILENCE_SECONDS_MAX, return_when=first)
        if strayed.done():
            raise strayed.result()
        if not coming.done():
            raise TimeoutError
        return await coming
    finally:
        coming.cancel()


def _first_id(message: bytes) -> bytes:
    """The id that a message begins with, as gateways write it; empty where it begins with none. It
    is all that is read of a message that is refused, and good for nothing but to say so.
    """
    id_end = len(_ID_FRAME) + CALL_ID_BYTES
    begins = message.startswith(_ID_FRAME) and len(message) >= id_end
    return message[len(_ID_FRAME) : id_end] if begins else b""


def _mark_failed(code: str) -> None:
    span = trace.get_current_span()
    span.set_status(trace.StatusCode.ERROR)
    span.set_attribute("guqiao.code", code)
