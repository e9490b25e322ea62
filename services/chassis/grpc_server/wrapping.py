"""Wraps a method's handler: guard first, then parse, then the handler under a deadline; errors
become rich statuses.

gRPC hands over the raw message bytes (the wrapped handler has no deserializer), because the
signature covers the bytes as received. All four kinds of call are wrapped as coroutines; handlers
may be coroutines or async generators. gRPC sees client streams only, which are the same on the
wire: it would wait for the message of a unary call itself, without any bound, before it calls us.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from grpc.aio import AbortError, ServicerContext
from opentelemetry import trace
from prometheus_client import Histogram

from services.chassis.errors import (
    DeadlineError,
    InvalidError,
    ServiceError,
    UnimplementedError,
)
from services.chassis.grpc_server.grpc_errors import (
    STATUS_METADATA_KEY,
    grpc_code,
    seen_by_caller,
    to_rpc_status,
)
from services.chassis.grpc_server.guard import Call, Guard
from services.chassis.grpc_server.identity import calling_as
from services.chassis.grpc_server.policy import Policy, StreamItems
from services.chassis.grpc_server.refusals import RpcRefusals
from services.chassis.grpc_tracing import server_span
from services.chassis.strict_protobuf import NotStrictError, parse_strict
from services.chassis.telemetry import current_trace_id

Context: TypeAlias = ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
T = TypeVar("T")

_logger = structlog.get_logger("grpc")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """Wraps the handlers of one server."""

    guard: Guard
    tracer: trace.Tracer
    duration: Histogram
    refusals: RpcRefusals

    def wrap(self, method: str, handler: Handler, policy: Policy | None) -> Handler:
        """The guarded form of `handler`."""
        # Responses are serialized here too: an error in it is ours to tell. Only a handler that
        # writes to the context itself leaves that to gRPC.
        writes_itself = handler.response_streaming and not inspect.isasyncgenfunction(
            _behaviour(handler)
        )
        serializer = handler.response_serializer if writes_itself else None
        wrapped = _Wrapped(self, method, handler, policy, serialized_by_grpc=writes_itself)
        many_in = handler.request_streaming
        if handler.response_streaming:
            many_out = wrapped.stream_stream if many_in else wrapped.unary_stream
            return grpc.stream_stream_rpc_method_handler(many_out, None, serializer)
        one_out = wrapped.stream_unary if many_in else wrapped.unary_unary
        return grpc.stream_unary_rpc_method_handler(one_out, None, serializer)

    def unknown(self, method: str) -> Handler:
        """A handler that refuses a method that does not exist, whatever its kind."""

        async def refuse(_requests: object, context: Context) -> None:
            async def work(_call: Call) -> None:
                raise UnimplementedError("METHOD_UNKNOWN", method=method[:200])

            # The name is the caller's: it must not become a metric's label or a span's name.
            await self.run(
                "unknown", None, context, self.guard.limits.deadline_default_seconds, work
            )

        return grpc.stream_stream_rpc_method_handler(refuse, None, None)

    async def run(
        self,
        method: str,
        policy: Policy | None,
        context: Context,
        seconds: float,
        work: Callable[[Call], Awaitable[T]],
    ) -> T:
        """Do the work of one call within its deadline, in its span; whatever it raises is recorded
        and ends as a status.
        """
        started = time.monotonic()
        code = grpc.StatusCode.OK
        metadata = [(str(key), value) for key, value in context.invocation_metadata() or ()]
        with server_span(self.tracer, method, metadata) as span:
            trace_id = current_trace_id() or uuid.uuid4().hex
            call = Call(method, context, policy, trace_id)
            try:
                return await _within(seconds, work(call))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except AbortError:
                code = context.code()
                raise
            except Exception as error:
                told = seen_by_caller(error)
                if isinstance(told, ServiceError):
                    self.refusals.count(call.organisation, told.code)
                else:
                    _logger.error("rpc.failed", method=method, trace_id=trace_id, exc_info=error)
                status = to_rpc_status(told, trace_id)
                code = grpc_code(status)
                name = told.code if isinstance(told, ServiceError) else "INTERNAL"
                span.set_attribute("guqiao.code", name)
                await self.guard.record_end(call, name)
                # Frames of errors hold one another; the message would stay until collected.
                traceback.clear_frames(error.__traceback__)
                del told
                await context.abort(
                    code, status.message, ((STATUS_METADATA_KEY, status.SerializeToString()),)
                )
            finally:
                self.guard.end(call)
                if code is not grpc.StatusCode.OK:
                    span.set_status(trace.StatusCode.ERROR)
                seconds_taken = time.monotonic() - started
                self.duration.labels(method=method, code=code.name).observe(seconds_taken)


def _behaviour(handler: Handler) -> Any:
    """The service's own function in a handler of whichever kind."""
    kinds = (
        handler.unary_unary,
        handler.unary_stream,
        handler.stream_unary,
        handler.stream_stream,
    )
    return next(kind for kind in kinds if kind is not None)


async def _within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, or OUTCOME_UNKNOWN when the deadline passes first."""
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await work
    except TimeoutError:
        if not deadline.expired():
            raise  # The handler's own: a bug there.
        raise DeadlineError("OUTCOME_UNKNOWN", seconds=str(seconds)) from None


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """One guarded method, in the four shapes that gRPC calls."""

    wrapper: Wrapper
    method: str
    handler: Handler
    policy: Policy | None
    serialized_by_grpc: bool

    async def unary_unary(self, _items: object, context: Context) -> Any:
        async def work(call: Call) -> Any:
            request = await self._admitted(call)
            with self._identity(call):
                return self._serialize(await self._handle(request, context))

        return await self._run(context, work)

    async def unary_stream(self, _items: object, context: Context) -> None:
        async def work(call: Call) -> None:
            request = await self._admitted(call)
            with self._identity(call):
                await self._respond(call, self._handle(request, context))

        await self._run(context, self._watched(work))

    async def stream_unary(self, items: AsyncIterator[bytes], context: Context) -> Any:
        async def work(call: Call) -> Any:
            await self.wrapper.guard.admit(call, opens_stream=True)
            with self._identity(call):
                response = await self._handle(self._items(call, items), context)
                return self._serialize(response)

        return await self._run(context, self._watched(work))

    async def stream_stream(self, items: AsyncIterator[bytes], context: Context) -> None:
        async def work(call: Call) -> None:
            await self.wrapper.guard.admit(call, opens_stream=True)
            with self._identity(call):
                requests = self._items(call, items)
                await self._respond(call, self._handle(requests, context))

        await self._run(context, self._watched(work))

    def _handle(self, request: Any, context: Context) -> Any:
        """Start the service's own code: a coroutine, or an async generator of responses."""
        return _behaviour(self.handler)(request, context)

    def _serialize(self, response: Any) -> Any:
        if self.serialized_by_grpc or self.handler.response_serializer is None:
            return response
        return self.handler.response_serializer(response)

    def _watched(self, work: Callable[[Call], Awaitable[T]]) -> Callable[[Call], Awaitable[T]]:
        """The work of a stream, cut when its caller may no longer call, even while it is idle."""

        async def watched(call: Call) -> T:
            worker = asyncio.current_task()
            assert worker is not None, "gRPC runs each call in a task"
            watch = asyncio.create_task(self.wrapper.guard.watch_key(call))
            working = True

            def cut(_watch: object) -> None:
                if working:
                    worker.cancel()

            watch.add_done_callback(cut)
            try:
                return await work(call)
            except asyncio.CancelledError:
                error = watch.exception() if watch.done() and not watch.cancelled() else None
                if error is None or worker.uncancel() > 0:
                    raise  # The client or the deadline ended the call.
                raise error from None
            finally:
                working = False
                watch.cancel()

        return watched

    async def _run(self, context: Context, work: Callable[[Call], Awaitable[T]]) -> T:
        seconds = self._deadline_seconds(context)
        return await self.wrapper.run(self.method, self.policy, context, seconds, work)

    def _deadline_seconds(self, context: Context) -> float:
        """The client's deadline where there is one, within ours; ours where there is none."""
        limits = self.wrapper.guard.limits
        streaming = self.handler.request_streaming or self.handler.response_streaming
        longest = limits.stream_deadline_seconds if streaming else limits.deadline_max_seconds
        imposed = longest if streaming else limits.deadline_default_seconds
        if self.policy is not None and self.policy.deadline_seconds is not None:
            longest = imposed = self.policy.deadline_seconds
        remaining: float | None = context.time_remaining()
        return imposed if remaining is None else min(remaining, longest)

    def _identity(self, call: Call) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if call.identity is None else calling_as(call.identity)

    async def _admitted(self, call: Call) -> Any:
        return self._parse(await self.wrapper.guard.admit(call, opens_stream=False))

    def _parse(self, raw: bytes) -> Any:
        read = self.handler.request_deserializer
        if read is None:
            return raw
        kind = getattr(read, "__self__", None)  # Generated code names `FromString` of the message.
        try:
            if isinstance(kind, type) and issubclass(kind, Message):
                return parse_strict(kind, raw)
            request = read(raw)
        except NotStrictError as error:
            raise InvalidError("REQUEST_MALFORMED", detail=str(error)) from error
        except Exception as error:
            # Whatever a parser raises on signed bytes, the request is what is wrong.
            raise InvalidError("REQUEST_MALFORMED") from error
        assert not isinstance(request, Message), "a message is read by its own FromString"
        return request

    async def _items(self, call: Call, items: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        guard = self.wrapper.guard
        counter = 0
        iterator = aiter(items)
        while True:
            guard.let_go(call)  # The handler is done with the item before.
            raw = await self._idle_bounded(anext(iterator, None))
            if raw is None:
                return
            counter += 1
            guard.hold(call, raw)
            if self.policy is not None and self.policy.stream_items is StreamItems.SIGNED:
                raw = await guard.open_item(call, raw, counter)
            guard.check_size(self.policy, raw)
            yield self._parse(raw)

    async def _respond(self, call: Call, responses: Any) -> None:
        """Send what the handler streams; a handler that writes to the context itself is only
        awaited.
        """
        if not hasattr(responses, "__aiter__"):
            await responses
            return
        async with contextlib.aclosing(responses):
            async for response in responses:
                await self._idle_bounded(call.context.write(self._serialize(response)))

    async def _idle_bounded(self, step: Awaitable[T]) -> T:
        seconds = self.wrapper.guard.limits.stream_idle_seconds
        try:
            async with asyncio.timeout(seconds) as idle:
                return await step
        except TimeoutError:
            if not idle.expired():
                raise
            raise DeadlineError("STREAM_IDLE", seconds=str(seconds)) from None
