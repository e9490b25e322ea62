"""Refused calls are counted by the caller's organisation as far as it is proven, and requests of
protocol buffers have one reading.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from guqiao_sdk.errors import error_from_status
from guqiao_sdk.gm.provider import open_provider
from services.chassis.grpc_server import RpcRefusals
from services.chassis.grpc_server.refusals import ORGANISATIONS_MAX, OTHERS, UNKNOWN
from services.chassis.telemetry import Metrics
from tests.integration.chassis.kit import (
    ORGANISATION,
    World,
    path,
    send,
    serving,
    signed,
    status_of,
)
from tests.integration.chassis.test_grpc_peer_organisations import (
    OTHER,
    OTHERS_CERTIFICATE,
    refusal,
    tunnelled,
)
from tests.integration.gm.gm_network import Network

CHECK = "/grpc.health.v1.Health/Check"
REQUEST = health_pb2.HealthCheckRequest(service="").SerializeToString()
NAMED = health_pb2.HealthCheckRequest(service="one").SerializeToString()


async def refused(world: World, method: str, message: bytes, **spoilt: Any) -> tuple[str, str]:
    """The code, and the detail where there is one."""
    metadata = signed(world, method, message, **spoilt)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(world.target, method, message, metadata)
    error = error_from_status(status_of(caught.value))
    return error.code, error.fields.get("detail", "")


def line(organisation: str, code: str, count: int = 1) -> str:
    return f'refusals_total{{code="{code}",organisation="{organisation}"}} {count}.0'


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(
    ("message", "why"),
    [
        (NAMED + NAMED, "HealthCheckRequest.service is given twice"),
        (NAMED + b"\xfa\x3f\x05hello", "the unknown field 1023 in HealthCheckRequest"),
        (b"\x0a\x00" * 100_000, "1143 fields in 2284 bytes of HealthCheckRequest"),
    ],
)
async def test_a_signed_request_with_more_than_one_reading_or_too_many_fields_is_refused(
    message: bytes, why: str
) -> None:
    async with serving() as world:
        await world.server.set_serving("one", serving=True)
        answer = await send(world.target, CHECK, NAMED, signed(world, CHECK, NAMED))
        assert health_pb2.HealthCheckResponse.FromString(answer).status == 1
        assert await refused(world, CHECK, message) == ("REQUEST_MALFORMED", why)
        assert line(ORGANISATION, "REQUEST_MALFORMED") in world.telemetry.metrics.render().decode()


@pytest.mark.req("G2-13-2")
async def test_the_message_of_a_refused_call_goes_with_the_call() -> None:
    """Not only when cycles are collected, which no number of bytes brings about."""
    body = bytes(1024 * 1024)
    async with serving() as world:
        gc.disable()
        try:
            for _ in range(4):
                with pytest.raises(grpc.aio.AioRpcError):
                    await send(world.target, path("Echo"), body, ())
            kept = [
                each
                for holder in gc.get_objects()
                for each in gc.get_referents(holder)
                if isinstance(each, bytes) and each == body and each is not body
            ]
        finally:
            gc.enable()
    assert len(kept) == 0


@pytest.mark.req("G2-16-1")
async def test_refusals_are_counted_by_the_organisation_that_the_signature_proves() -> None:
    async with serving() as world:
        for _ in range(2):
            await refused(world, path("Restricted"), b"body")
        await refused(world, path("Fail"), b"body")
        await refused(world, path("Echo"), b"body", private=world.provider.keygen())
        text = world.telemetry.metrics.render().decode()
    assert line(ORGANISATION, "ROLE_MISSING", 2) in text
    assert line(ORGANISATION, "TRANSACTION_UNKNOWN") in text
    assert line(UNKNOWN, "REQUEST_SIGNATURE_INVALID") in text


@pytest.mark.req("G2-16-1")
async def test_who_signs_as_another_is_counted_under_its_own_certificate(tmp_path: Path) -> None:
    network = Network(open_provider(), tmp_path / "network")
    async with tunnelled(network, OTHERS_CERTIFICATE) as (world, target):
        assert await refusal(world, target) == "ORGANISATION_MISMATCH"
        text = world.telemetry.metrics.render().decode()
    assert line(OTHER, "ORGANISATION_MISMATCH") in text
    assert f'organisation="{ORGANISATION}"' not in text


def test_organisations_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics()
    refusals = RpcRefusals(metrics)
    for number in range(ORGANISATIONS_MAX + 3):
        refusals.count(f"organisation {number}", "RATE_LIMITED")
    refusals.count("organisation 0", "RATE_LIMITED")
    text = metrics.render().decode()
    assert line(OTHERS, "RATE_LIMITED", 3) in text
    assert line("organisation 0", "RATE_LIMITED", 2) in text
    assert text.count("refusals_total{") == ORGANISATIONS_MAX + 1
