"""A client channel signs what it sends, once a message, anew each attempt, and retries only what
is safe.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from guqiao_sdk.channel import NO_RETRIES, RetryPolicy, open_channel, service_config
from guqiao_sdk.errors import (
    ConflictError,
    DeniedError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
    guqiao_errors,
)
from guqiao_sdk.signing import RequestSigner
from services.chassis import errors
from tests.integration.chassis.kit import World, path, serving

FAST = RetryPolicy(attempts_max=4, backoff_first_seconds=0.001, backoff_max_seconds=0.002)


def channel_to(world: World, **options: Any) -> Any:
    return open_channel(world.target, options.pop("signer", world.signer()), **options)


class Slow(RetryPolicy):
    """Would wait longer than any deadline here."""

    def wait_seconds(self, attempt: int) -> float:
        return 3_600.0


class Flaky:
    """Fails the first `failures` calls with `error`, and keeps the nonces it saw."""

    def __init__(self, failures: int, error: errors.ServiceError) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    async def handle(self, request: bytes, context: object) -> bytes:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return request


def make_flaky(world: World, failures: int, error: errors.ServiceError) -> Flaky:
    """Put a failing handler in the place of Echo."""
    flaky = Flaky(failures, error)
    world.service.behaviour = flaky.handle
    return flaky


async def test_an_idempotent_call_is_tried_again_with_a_fresh_signature() -> None:
    async with serving() as world:
        flaky = make_flaky(world, 2, errors.UnavailableError("CHAIN_UNAVAILABLE"))
        method = path("Flexible")
        async with channel_to(world, idempotent=[method], retry=FAST) as channel:
            assert await channel.unary_unary(method)(b"body") == b"body"
        assert flaky.calls == 3
        tried = [record.code for record in world.audit.records]
        assert tried == ["", "CHAIN_UNAVAILABLE", "", "CHAIN_UNAVAILABLE", ""]


async def test_a_call_that_is_not_named_idempotent_is_tried_once() -> None:
    async with serving() as world:
        flaky = make_flaky(world, 1, errors.UnavailableError("CHAIN_UNAVAILABLE"))
        async with channel_to(world, retry=FAST) as channel:
            with pytest.raises(UnavailableError) as caught, guqiao_errors():
                await channel.unary_unary(path("Flexible"))(b"body")
        assert flaky.calls == 1
        assert caught.value.code == "CHAIN_UNAVAILABLE"
        assert caught.value.retry_after_seconds == 1.0


async def test_attempts_are_bounded() -> None:
    async with serving() as world:
        flaky = make_flaky(world, 100, errors.UnavailableError("CHAIN_UNAVAILABLE"))
        method = path("Flexible")
        async with channel_to(world, idempotent=[method], retry=FAST) as channel:
            with pytest.raises(UnavailableError), guqiao_errors():
                await channel.unary_unary(method)(b"body")
        assert flaky.calls == FAST.attempts_max


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ConflictError("REQUEST_ID_REUSED"), ConflictError),
        (errors.NotFoundError("TRANSACTION_UNKNOWN"), NotFoundError),
        (errors.ForbiddenError("METHOD_FORBIDDEN"), DeniedError),
    ],
)
async def test_what_will_not_pass_later_is_not_tried_again(
    error: errors.ServiceError, kind: type[Exception]
) -> None:
    async with serving() as world:
        flaky = make_flaky(world, 1, error)
        method = path("Flexible")
        async with channel_to(world, idempotent=[method], retry=FAST) as channel:
            with pytest.raises(kind), guqiao_errors():
                await channel.unary_unary(method)(b"body")
        assert flaky.calls == 1


async def test_no_retries_means_one_attempt() -> None:
    async with serving() as world:
        flaky = make_flaky(world, 1, errors.UnavailableError("CHAIN_UNAVAILABLE"))
        method = path("Flexible")
        async with channel_to(world, idempotent=[method], retry=NO_RETRIES) as channel:
            with pytest.raises(UnavailableError), guqiao_errors():
                await channel.unary_unary(method)(b"body")
        assert flaky.calls == 1


async def test_every_call_has_a_deadline() -> None:
    async with serving() as world:
        async with channel_to(world, deadline_seconds=0.05) as channel:
            with pytest.raises(OutcomeUnknownError), guqiao_errors():
                await channel.unary_unary(path("Hang"))(b"")
        await asyncio.wait_for(world.service.left.wait(), 10)


async def test_retries_do_not_outlast_the_deadline() -> None:
    async with serving() as world:
        flaky = make_flaky(world, 100, errors.UnavailableError("CHAIN_UNAVAILABLE"))
        method = path("Flexible")
        async with channel_to(world, idempotent=[method], retry=Slow()) as channel:
            with pytest.raises(UnavailableError), guqiao_errors():
                await channel.unary_unary(method)(b"body", timeout=20)
        assert flaky.calls == 1


async def test_a_server_that_is_not_there_is_unavailable_and_has_no_code() -> None:
    async with serving() as world:
        signer, target = world.signer(), world.target
    channel: Any = open_channel(target, signer)
    async with channel:
        with pytest.raises(UnavailableError) as caught, guqiao_errors():
            await channel.unary_unary(path("Echo"))(b"body", timeout=5)
    assert caught.value.code == ""


async def test_a_message_is_serialized_once_and_those_bytes_are_signed() -> None:
    serialized: list[bytes] = []

    def serializer(message: str) -> bytes:
        # Not the same bytes twice: were it serialized again, the signature would not hold.
        serialized.append(f"{message}{len(serialized)}".encode())
        return serialized[-1]

    async with serving() as world, channel_to(world) as channel:
        call = channel.unary_unary(path("EchoText"), request_serializer=serializer)
        assert await call("ab") == b"AB0"
        assert serialized == [b"ab0"]


async def test_a_message_above_the_limit_is_not_sent() -> None:
    async with serving() as world, channel_to(world, message_bytes_max=1_000) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path("Echo"))(b"x" * 2_000)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert world.audit.records == []


async def test_the_channel_can_be_waited_for_and_closed() -> None:
    async with serving() as world:
        channel = channel_to(world)
        await asyncio.wait_for(channel.channel_ready(), 10)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()


async def test_calls_over_a_unix_socket_work_as_over_loopback(tmp_path: Any) -> None:
    address = f"unix:{tmp_path}/s"
    async with serving(address=address) as world, channel_to(world) as channel:
        assert (await channel.unary_unary(path("Echo"))(b"body")).endswith(b"body")


def test_the_published_policy_names_methods_and_codes() -> None:
    config: dict[str, Any] = service_config(["/a.v1.A/Get", "/a.v1.A/List"], RetryPolicy())
    [entry] = config["methodConfig"]
    assert entry["name"] == [
        {"service": "a.v1.A", "method": "Get"},
        {"service": "a.v1.A", "method": "List"},
    ]
    assert entry["retryPolicy"]["maxAttempts"] == 4
    assert entry["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]


def test_waits_grow_and_stay_bounded() -> None:
    policy = RetryPolicy(attempts_max=10, backoff_first_seconds=0.1, backoff_max_seconds=1.0)
    for attempt in range(1, 10):
        longest = min(1.0, 0.1 * 2 ** (attempt - 1))
        assert all(0 <= policy.wait_seconds(attempt) <= longest for _ in range(50))


def test_a_signer_does_not_show_its_key() -> None:
    signer = RequestSigner("did", "key", "CANARY", _NoProvider(), "shandong", "registry")
    assert "CANARY" not in repr(signer)


class _NoProvider:
    def sign(self, private: Any, message: bytes) -> bytes:
        raise AssertionError("nothing is signed here")
