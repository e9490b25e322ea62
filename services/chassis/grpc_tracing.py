"""Spans around gRPC calls: one on each side, joined by the W3C `traceparent` in the metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc.aio import ClientCallDetails, Metadata
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from services.chassis.telemetry import extract, inject


@contextmanager
def server_span(
    tracer: trace.Tracer, method: str, metadata: Iterable[tuple[str, str | bytes]]
) -> Iterator[Span]:
    """The span of one call that is being handled, a child of the caller's."""
    headers = {key: value for key, value in metadata if isinstance(value, str)}
    with tracer.start_as_current_span(
        method.removeprefix("/"),
        context=extract(headers),
        kind=SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.method": method},
        record_exception=False,
    ) as span:
        yield span


class _SpanInterceptor:
    """What the four kinds share: start a span, send its context, end it with the call."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    async def _call(
        self, continuation: Callable[[ClientCallDetails, Any], Any], details: Any, request: Any
    ) -> Any:
        method = details.method
        name = method.decode() if isinstance(method, bytes) else method
        span = self._tracer.start_span(
            name.removeprefix("/"), kind=SpanKind.CLIENT, attributes={"rpc.system": "grpc"}
        )
        metadata = Metadata(*(details.metadata or ()))
        for key, value in inject(trace.set_span_in_context(span)).items():
            metadata[key] = value
        traced = ClientCallDetails(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
        )
        try:
            call = await continuation(traced, request)
        except BaseException:
            span.set_status(StatusCode.ERROR)
            span.end()
            raise
        call.add_done_callback(lambda done: _end(span, done))
        return call


def _end(span: Span, call: Any) -> None:
    # The done callback runs when the call's future is set, so its code is at hand.
    status = getattr(call, "_cython_call", call)
    if status.done() and not status.is_ok():
        span.set_status(StatusCode.ERROR)
    span.end()


class UnaryUnarySpans(_SpanInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    """Spans of calls with one request and one response."""

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        """Trace the call."""
        return await self._call(continuation, client_call_details, request)


class UnaryStreamSpans(_SpanInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    """Spans of calls that receive a stream."""

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        """Trace the call."""
        return await self._call(continuation, client_call_details, request)


class StreamUnarySpans(_SpanInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    """Spans of calls that send a stream."""

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Trace the call."""
        return await self._call(continuation, client_call_details, request_iterator)


class StreamStreamSpans(_SpanInterceptor, grpc.aio.StreamStreamClientInterceptor):
    """Spans of calls that stream both ways."""

    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Trace the call."""
        return await self._call(continuation, client_call_details, request_iterator)


def span_interceptors(tracer: trace.Tracer) -> list[grpc.aio.ClientInterceptor]:
    """One interceptor for each kind of call, for `open_channel(..., interceptors=...)`."""
    return [
        UnaryUnarySpans(tracer),
        UnaryStreamSpans(tracer),
        StreamUnarySpans(tracer),
        StreamStreamSpans(tracer),
    ]
