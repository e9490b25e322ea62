"""Opens a gRPC channel that signs, retries and bounds every call.

A message is serialized once and those bytes are both signed and sent. Retries follow the published
policy (`SERVICE_CONFIG`), but are made here and not by gRPC's core, because every attempt needs a
fresh nonce and signature. Only methods that the caller names as idempotent are retried.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from grpc.aio import ClientCallDetails, Metadata

from guqiao_sdk.signing import STREAM_OPENING, RequestSigner, RequestStamp

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
METADATA_BYTES_MAX: Final = 64 * 1024
DEADLINE_SECONDS: Final = 30.0
RETRYABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast an idempotent call is tried again. Waits double, with full jitter."""

    attempts_max: int = 4
    backoff_first_seconds: float = 0.1
    backoff_max_seconds: float = 2.0

    def wait_seconds(self, attempt: int) -> float:
        """How long to wait after failed attempt number `attempt` (from 1)."""
        longest = min(self.backoff_max_seconds, self.backoff_first_seconds * 2 ** (attempt - 1))
        return random.uniform(0, longest)  # noqa: S311 - jitter is no secret


NO_RETRIES: Final = RetryPolicy(attempts_max=1)


def service_config(methods: Iterable[str], policy: RetryPolicy) -> dict[str, object]:
    """The policy as gRPC service config JSON, for clients in other languages. They must sign each
    attempt anew.
    """
    names = [method.removeprefix("/").partition("/") for method in methods]
    return {
        "methodConfig": [
            {
                "name": [{"service": service, "method": method} for service, _, method in names],
                "timeout": f"{DEADLINE_SECONDS}s",
                "retryPolicy": {
                    "maxAttempts": policy.attempts_max,
                    "initialBackoff": f"{policy.backoff_first_seconds}s",
                    "maxBackoff": f"{policy.backoff_max_seconds}s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": [code.name for code in RETRYABLE],
                },
            }
        ]
    }


def open_channel(
    target: str,
    signer: RequestSigner | None,
    *,
    idempotent: Collection[str] = (),
    signed_streams: Collection[str] = (),
    retry: RetryPolicy | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """A channel for generated stubs; plain gRPC, so `target` is loopback or a Unix socket (the GM
    tunnel's end).

    `idempotent` names the unary methods (`/package.Service/Method`) that are retried;
    `signed_streams` the client-streaming ones whose items are signed one by one. Without a
    `signer` nothing is signed (health and reflection in development).
    """
    own: list[grpc.aio.ClientInterceptor] = []
    if signer is not None:
        attempts = retry if retry is not None else RetryPolicy()
        own = [
            _SignUnaryUnary(signer, frozenset(idempotent), attempts, deadline_seconds),
            _SignUnaryStream(signer),
            _SignStreamUnary(signer, frozenset(signed_streams)),
            _SignStreamStream(signer, frozenset(signed_streams)),
        ]
    channel = grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", message_bytes_max),
            ("grpc.max_send_message_length", message_bytes_max),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.enable_retries", 0),
        ],
        interceptors=[*interceptors, *own],
    )
    return _RawChannel(channel)


class _RawChannel(grpc.aio.Channel):
    """Serializes before the interceptors, so that they see, sign and send the same bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        inner: Any = self._channel.unary_unary(method, None, response_deserializer)
        return _serialized(inner, request_serializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        inner: Any = self._channel.unary_stream(method, None, response_deserializer)
        return _serialized(inner, request_serializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        inner: Any = self._channel.stream_unary(method, None, response_deserializer)
        return _serialized_items(inner, request_serializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        inner: Any = self._channel.stream_stream(method, None, response_deserializer)
        return _serialized_items(inner, request_serializer)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> _RawChannel:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._channel.close()


def _bytes_of(message: Any, serializer: Callable[[Any], bytes] | None) -> bytes:
    raw = message if serializer is None else serializer(message)
    assert isinstance(raw, bytes), "a request is bytes once it is serialized"
    return raw


def _serialized(inner: Any, serializer: Callable[[Any], bytes] | None) -> Callable[..., Any]:
    def call(request: Any, **options: Any) -> Any:
        return inner(_bytes_of(request, serializer), **options)

    return call


def _serialized_items(inner: Any, serializer: Callable[[Any], bytes] | None) -> Callable[..., Any]:
    async def raw_items(items: Any) -> AsyncIterator[bytes]:
        if isinstance(items, AsyncIterable):
            async for item in items:
                yield _bytes_of(item, serializer)
        else:
            for item in items:
                yield _bytes_of(item, serializer)

    def call(request_iterator: Any, **options: Any) -> Any:
        return inner(raw_items(request_iterator), **options)

    return call


def _method_name(details: Any) -> str:
    method = details.method
    return method.decode() if isinstance(method, bytes) else str(method)


def _signed(
    signer: RequestSigner, details: Any, message: bytes, stamp: RequestStamp, timeout: float | None
) -> ClientCallDetails:
    metadata = Metadata(*(details.metadata or ()))
    for key, value in signer.metadata(_method_name(details), message, stamp):
        metadata[key] = value
    return ClientCallDetails(
        details.method, timeout, metadata, details.credentials, details.wait_for_ready
    )


class _SignUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    """Signs each attempt; tries idempotent methods again while the deadline lasts."""

    def __init__(
        self,
        signer: RequestSigner,
        idempotent: frozenset[str],
        retry: RetryPolicy,
        deadline_seconds: float,
    ) -> None:
        self._signer = signer
        self._idempotent = idempotent
        self._retry = retry
        self._deadline_seconds = deadline_seconds

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        timeout = client_call_details.timeout
        clock = asyncio.get_running_loop().time
        ends = clock() + (self._deadline_seconds if timeout is None else timeout)
        retried = _method_name(client_call_details) in self._idempotent
        attempts_max = self._retry.attempts_max if retried else 1
        attempt = 1
        while True:
            remaining = ends - clock()
            stamp = self._signer.stamp()
            details = _signed(self._signer, client_call_details, request, stamp, remaining)
            call = await continuation(details, request)
            if attempt >= attempts_max or await call.code() not in RETRYABLE:
                return call
            wait_seconds = self._retry.wait_seconds(attempt)
            if clock() + wait_seconds >= ends:
                return call
            await asyncio.sleep(wait_seconds)
            attempt += 1


class _SignUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    """Signs the one request."""

    def __init__(self, signer: RequestSigner) -> None:
        self._signer = signer

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        timeout = client_call_details.timeout
        details = _signed(self._signer, client_call_details, request, self._signer.stamp(), timeout)
        return await continuation(details, request)


class _StreamSigner:
    """Signs the opening of a client stream and, for methods that want it, every item."""

    def __init__(self, signer: RequestSigner, signed_streams: frozenset[str]) -> None:
        self._signer = signer
        self._signed_streams = signed_streams

    async def _open(self, continuation: Any, details: Any, items: AsyncIterable[bytes]) -> Any:
        stamp = self._signer.stamp()
        opened = _signed(self._signer, details, STREAM_OPENING, stamp, details.timeout)
        method = _method_name(details)
        if method in self._signed_streams:
            items = self._sealed(method, stamp, items)
        return await continuation(opened, items)

    async def _sealed(
        self, method: str, stamp: RequestStamp, items: AsyncIterable[bytes]
    ) -> AsyncIterator[bytes]:
        counter = 0
        async for item in items:
            counter += 1
            yield self._signer.seal_item(method, item, stamp, counter)


class _SignStreamUnary(_StreamSigner, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._open(continuation, client_call_details, request_iterator)


class _SignStreamStream(_StreamSigner, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._open(continuation, client_call_details, request_iterator)
