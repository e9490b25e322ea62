"""What the relay says of a step that fails and is made again."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, cast

import pytest
import structlog

from services.chassis.grpc_server import error_of_code
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry import open_telemetry
from services.gateway.metrics import GatewayMetrics
from services.gateway.relay import Relay

SECONDS_MAX = 60.0


class HangingPool:
    """Of a database server that hangs: a command is given up after its time."""

    def acquire(self) -> NoReturn:
        raise TimeoutError


class Csrc:
    """What is known of the remote chain."""

    chain_id = "csrc"


async def test_a_failure_without_words_is_named_by_its_kind() -> None:
    telemetry = open_telemetry(TelemetrySettings(), domain="shandong", service="gateway")
    nobody = cast(Any, None)
    relay = Relay(
        cast(Any, HangingPool()),
        nobody,
        cast(Any, Csrc()),
        nobody,
        nobody,
        telemetry.tracer,
        GatewayMetrics(telemetry.metrics),
    )
    with structlog.testing.capture_logs() as logs:
        running = asyncio.ensure_future(relay.run())
        async with asyncio.timeout(SECONDS_MAX):
            while relay.last_error.count("; ") < 3:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    telemetry.shutdown()
    steps = ("anchor", "give_up", "ports", "time_out")
    assert relay.last_error == "; ".join(f"{step}: TimeoutError()" for step in steps)
    failed = [entry for entry in logs if entry["event"] == "relay.failed"]
    assert {entry["step"] for entry in failed} == set(steps)
    for entry in failed:
        assert (entry["kind"], entry["error"]) == ("TimeoutError", "TimeoutError()")


@pytest.mark.req("G2-16-4")
def test_a_conflict_that_the_own_chain_finds_raises_an_alarm() -> None:
    """The destination contradicts itself: it proved both ends of a packet. Nothing is parked."""
    telemetry = open_telemetry(TelemetrySettings(), domain="shandong", service="gateway")
    nobody = cast(Any, None)
    relay = Relay(
        nobody,
        nobody,
        cast(Any, Csrc()),
        nobody,
        nobody,
        telemetry.tracer,
        GatewayMetrics(telemetry.metrics),
    )
    own = error_of_code("PACKET_CONFLICT", destination="csrc", port="notice", sequence=1)
    relay._steps.note_failure("time_out", own)
    alarms = telemetry.metrics.render().decode()
    telemetry.shutdown()
    assert 'guqiao_gateway_alarms_total{code="PACKET_CONFLICT",remote="csrc"} 1.0' in alarms
