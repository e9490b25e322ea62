"""The end of a link that is called by nobody in the other direction: what a relay asks of a gateway
waits here until that gateway fetches it, and the answer comes back by another call of its own.

Nothing is kept but in memory: a call that is lost with this process, or with a stream, is made
again by the relay, and every call is safe to repeat.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.errors import error_from_bytes
from guqiao_sdk.proof.errors import ProofError
from services.chassis.errors import DeadlineError
from services.chassis.telemetry import inject
from services.gateway.domain.errors import CallUnknownError, LinkBrokenError, LinkUnattendedError
from services.gateway.questions import CALL_SECONDS

STREAM_SECONDS: Final = 600.0
SILENCE_SECONDS: Final = 10.0
"""After so long without a call a stream says that it stands."""

UNATTENDED_SECONDS: Final = 15.0
"""So long a call waits where nobody fetches when it is made."""

MARK_BYTES: Final = 8
"""The beginning of a call's id: which process hands it out."""

NUMBER_BYTES: Final = 8


@dataclass(slots=True)
class _Call:
    message: pb.FetchCallsResponse
    answer: asyncio.Future[pb.AnswerCallRequest]
    stream: _Stream | None = None
    """Which took it; None while it waits."""


@dataclass(slots=True, eq=False)
class _Stream:
    """One gateway that fetches; `wanted` is there while it waits for a call."""

    wanted: asyncio.Future[_Call | None] | None = None
    is_over: bool = False

    def end(self) -> None:
        """Hand out nothing more: whoever still listens opens another."""
        self.is_over = True
        if self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)

    @property
    def is_free(self) -> bool:
        return not self.is_over and self.wanted is not None and not self.wanted.done()


@dataclass(slots=True)
class FetchedCalls:
    """The gateway of `chain_id` as a relay calls it (`questions.RemoteGateway`), and as the gateway
    of `organisation` fetches and answers those calls. Any number of gateways may fetch at once: a
    call goes to the newest stream that is free, for what stands behind an older one may be gone.

    A call raises what the other gateway answered; `LinkUnattendedError` where nobody fetched,
    `LinkBrokenError` where the stream broke that took it, `DeadlineError` where no answer came in
    time, and `ProofError` where the answer is one to another question.
    """

    chain_id: str
    organisation: str
    _mark: bytes = field(default_factory=partial(secrets.token_bytes, MARK_BYTES), init=False)
    _waiting: dict[bytes, _Call] = field(default_factory=dict, init=False)
    _taken: dict[bytes, _Call] = field(default_factory=dict, init=False)
    _streams: list[_Stream] = field(default_factory=list, init=False)

    async def deliver_packets(self, request: pb.DeliverPacketsRequest) -> pb.DeliverPacketsResponse:
        answer = await self._ask(pb.FetchCallsResponse(deliver_packets=request))
        return answer.deliver_packets

    async def get_packet_receipts(
        self, request: pb.GetPacketReceiptsRequest
    ) -> pb.GetPacketReceiptsResponse:
        answer = await self._ask(pb.FetchCallsResponse(get_packet_receipts=request))
        return answer.get_packet_receipts

    async def get_packet_absences(
        self, request: pb.GetPacketAbsencesRequest
    ) -> pb.GetPacketAbsencesResponse:
        answer = await self._ask(pb.FetchCallsResponse(get_packet_absences=request))
        return answer.get_packet_absences

    async def _ask(self, message: pb.FetchCallsResponse) -> pb.AnswerCallRequest:
        message.call_id = self._mark + secrets.token_bytes(NUMBER_BYTES)
        message.traceparent = inject().get("traceparent", "")
        call = _Call(message, asyncio.get_running_loop().create_future())
        self._waiting[message.call_id] = call
        allowed = CALL_SECONDS if self._is_attended else UNATTENDED_SECONDS
        self._hand_over()
        try:
            async with asyncio.timeout(allowed):
                found = await call.answer
        except TimeoutError as error:
            if call.stream is not None:
                call.stream.end()
            elif not self._is_attended:
                raise LinkUnattendedError(self.chain_id) from error
            raise DeadlineError("OUTCOME_UNKNOWN", seconds=str(allowed)) from error
        finally:
            self._waiting.pop(message.call_id, None)
            self._taken.pop(message.call_id, None)
        return _matching(message, found)

    @property
    def _is_attended(self) -> bool:
        return any(not stream.is_over for stream in self._streams)

    def _hand_over(self) -> None:
        """Give the calls that wait, the oldest first, to the streams that are free."""
        for stream in reversed(self._streams):
            if self._waiting and stream.is_free:
                assert stream.wanted is not None, "a free stream waits"
                call_id = next(iter(self._waiting))
                call = self._taken[call_id] = self._waiting.pop(call_id)
                call.stream = stream
                stream.wanted.set_result(call)

    async def hand_out(self) -> AsyncGenerator[pb.FetchCallsResponse]:
        """The calls as they come; first, and whenever there is none for a while, a message that
        asks nothing. Ends by itself after a while, and once a call that it handed out had no answer
        in time: what else it handed out may still be answered. Where it is cut off, what it handed
        out fails at once.
        """
        ends = asyncio.get_running_loop().time() + STREAM_SECONDS
        stream = _Stream()
        is_cut = True
        self._streams.append(stream)
        try:
            yield pb.FetchCallsResponse()
            while not stream.is_over and asyncio.get_running_loop().time() < ends:
                call = await self._next(stream, SILENCE_SECONDS)
                yield pb.FetchCallsResponse() if call is None else call.message
            is_cut = False
        finally:
            self._streams.remove(stream)
            if is_cut:
                for call_id in [key for key, call in self._taken.items() if call.stream is stream]:
                    self._fail(call_id)

    async def _next(self, stream: _Stream, seconds: float) -> _Call | None:
        """The call that waits the longest, or None where none came. What is handed over is of the
        stream from that moment on, so that it is not lost where the wait is cut off.
        """
        stream.wanted = asyncio.get_running_loop().create_future()
        self._hand_over()
        try:
            await asyncio.wait([stream.wanted], timeout=seconds)
            return stream.wanted.result() if stream.wanted.done() else None
        finally:
            stream.wanted = None

    def _fail(self, call_id: bytes) -> None:
        call = self._taken.pop(call_id, None)
        if call is not None and not call.answer.done():
            call.answer.set_exception(LinkBrokenError(self.chain_id))

    def answer(self, answer: pb.AnswerCallRequest) -> None:
        """Take the answer to a call that was handed out; one that comes when nobody waits for it
        any more is dropped. Raises `CallUnknownError` for one to a call that another process handed
        out, such as another gateway behind the same address: its asker learns nothing of it here.
        """
        if not answer.call_id.startswith(self._mark):
            raise CallUnknownError(self.chain_id)
        call = self._taken.pop(answer.call_id, None)
        if call is not None and not call.answer.done():
            call.answer.set_result(answer)


def _matching(call: pb.FetchCallsResponse, answer: pb.AnswerCallRequest) -> pb.AnswerCallRequest:
    """The answer, where it is one to this call; raises what it says went wrong, or `ProofError`."""
    asked, said = call.WhichOneof("call"), answer.WhichOneof("answer")
    if said == "error":
        raise error_from_bytes(answer.error)
    if said != asked:
        raise ProofError("answer", f"{asked} was asked for, {said} came")
    return answer
