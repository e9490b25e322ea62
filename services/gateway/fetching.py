"""The end of a link that opens every connection: fetches what the other gateway asks of this one,
does it, and brings back the answer.

What is asked is what another gateway could ask by calling: packets to deliver, receipts and
absences to prove. The other gateway is believed as little as if it had called.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.errors import GuqiaoError, guqiao_errors
from services.chassis.bus.transient import is_transient
from services.chassis.errors import ServiceError
from services.chassis.grpc_server import to_rpc_status
from services.chassis.telemetry import current_trace_id, extract
from services.gateway.api import GatewayServicer
from services.gateway.domain.errors import DeliveryMalformedError
from services.gateway.metrics import GatewayMetrics
from services.gateway.questions import CALL_SECONDS
from services.gateway.steps import Steps

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

SILENCE_SECONDS_MAX: Final = 40.0
"""A stream that says nothing for so long is given up and opened again."""

CALLS_AT_ONCE_MAX: Final = 16
STEP: Final = "fetch"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Fetching:
    """For the own chain `chain_id`, from the gateway of the chain `remote` behind `stub`;
    `answering` does what that asks.
    """

    chain_id: str
    remote: str
    stub: GatewayServiceAsyncStub
    answering: GatewayServicer
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
        """Fetch over one stream until it ends; returns how many packets came. Raises
        `GuqiaoError`, and `TimeoutError` where it falls silent.
        """
        packets = 0
        with guqiao_errors():
            stream = self.stub.FetchCalls(pb.FetchCallsRequest(chain_id=self.chain_id))
            calls = aiter(stream)
            try:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS_MAX):
                        call = await anext(calls, None)
                    if call is None:
                        return packets
                    self._steps.note_success(STEP)
                    if call.WhichOneof("call") is not None:
                        packets += len(call.deliver_packets.packets)
                        await self._slots.acquire()
                        tasks.create_task(self._answer(call))
            finally:
                stream.cancel()

    async def _answer(self, call: pb.FetchCallsResponse) -> None:
        """Do what is asked and bring back what came of it. Where that fails, it is asked again."""
        answer = pb.AnswerCallRequest(chain_id=self.chain_id, call_id=call.call_id)
        context = extract({"traceparent": call.traceparent})
        kind = trace.SpanKind.SERVER
        try:
            with self.tracer.start_as_current_span("gateway.answer_call", context, kind):
                await self._fill(call, answer)
            with guqiao_errors():
                await self.stub.AnswerCall(answer, timeout=CALL_SECONDS)
        except GuqiaoError as error:
            self._steps.note_failure("answer", error, STEP)
        finally:
            self._slots.release()

    async def _fill(self, call: pb.FetchCallsResponse, answer: pb.AnswerCallRequest) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._do(call, answer)
        except Exception as error:
            if not isinstance(error, ServiceError | GuqiaoError) and not is_transient(error):
                log.exception("call.failed", remote=self.remote, call=call.WhichOneof("call"))
            answer.error = to_rpc_status(error, current_trace_id()).SerializeToString()

    async def _do(self, call: pb.FetchCallsResponse, answer: pb.AnswerCallRequest) -> None:
        match call.WhichOneof("call"):
            case "deliver_packets":
                delivered = await self.answering.DeliverPackets(call.deliver_packets, None)
                answer.deliver_packets.CopyFrom(delivered)
            case "get_packet_receipts":
                receipts = await self.answering.GetPacketReceipts(call.get_packet_receipts, None)
                answer.get_packet_receipts.CopyFrom(receipts)
            case "get_packet_absences":
                absences = await self.answering.GetPacketAbsences(call.get_packet_absences, None)
                answer.get_packet_absences.CopyFrom(absences)
            case other:
                raise DeliveryMalformedError(f"a call of {other}")
