"""What people are told of a light client that ages, and of one that is frozen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from services.chassis.errors import ServiceError
from services.chassis.grpc_server import error_of_code
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.domain.errors import LinkUnattendedError
from tests.integration.gateway.link_ends import (
    MARKET,
    PERIOD,
    REGULATOR,
    End,
    Saying,
    answer_of,
    change_sets,
    end_of,
    pass_minutes,
)
from tests.plugins.link_lab import KEYS, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until
from tests.unit.proof.proof_keys import Replicas

pytestmark = pytest.mark.req("G2-10-3", "G2-16-4")


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        await pass_minutes(opened, 1)
        yield opened


@pytest.fixture(params=[REGULATOR, MARKET])
def end(link: LinkLab, request: pytest.FixtureRequest) -> End:
    return end_of(link, request.param)


async def test_an_alarm_is_raised_after_half_the_period_and_a_stale_client_catches_up(
    end: End,
) -> None:
    """A silent client is stale, not dead."""
    await end.fresh.look()
    honest = end.fresh.gateway

    def away() -> None:
        raise LinkUnattendedError(end.remote)

    end.fresh.gateway = Saying(away)  # type: ignore[assignment]
    for minutes, codes in ((119, {}), (2, {"CLIENT_AGES": 1}), (120, {"CLIENT_STALE": 1})):
        await pass_minutes(end.link, minutes)
        with capture_logs() as logs, pytest.raises(LinkUnattendedError):
            await end.fresh.look()
        told = [line["code"] for line in logs if line["event"] == "relay.alarm_raised"]
        assert told == list(codes)
        assert [end.alarms(code) for code in codes] == list(codes.values())
        assert end.fresh.seen is not None
        assert end.fresh.seen.code == "".join(codes)
    change_sets(end.other, 1)
    await pass_minutes(end.link, 1)
    end.fresh.gateway = honest
    await end.fresh.look()
    assert end.alarms("CLIENT_STALE") == 2, "it was stale until now"
    seen: Any = end.fresh.seen
    assert (end.client["epoch"], seen.code) == (1, "")
    assert seen.age_seconds < 60
    shown = end.own.runtime.telemetry.metrics.registry.get_sample_value(
        "guqiao_gateway_light_client_time_seconds", {"remote": end.remote}
    )
    assert shown == end.other.node.chain.header.block_time_ms / 1_000


async def test_a_header_that_contradicts_the_one_held_freezes_the_client_and_raises_the_alarm(
    end: End,
) -> None:
    await end.fresh.look()
    answer = await answer_of(end)
    header = BlockHeader.decode(answer.certified_header.header)
    other = replace(header, state_root=b"\x01" * 32)
    answer.certified_header.header = other.encode()
    certificate = Replicas(KEYS, end.remote).certify(other)
    answer.certified_header.certificate = certificate.encode()
    await pass_minutes(end.link, 61)
    end.fresh.gateway = Saying(lambda: answer)  # type: ignore[assignment]
    with pytest.raises(ServiceError) as frozen:
        await end.fresh.look()
    assert (frozen.value.code, end.client["status"]) == ("CLIENT_FROZEN", "FROZEN")
    submitted = end.own.node.submissions
    running = asyncio.ensure_future(end.fresh.run())

    async def is_raised() -> bool:
        return end.alarms("CLIENT_FROZEN") > 0

    await wait_until("the alarm", is_raised)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert end.own.node.submissions == submitted, "nothing is brought to a frozen client"
    assert "CLIENT_FROZEN" in end.fresh.last_error


async def test_a_chain_that_is_away_is_told_of_and_no_alarm_is_made_up(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    await end.fresh.look()
    await pass_minutes(end.link, 600)
    seen = end.fresh.seen

    async def away(key: str) -> None:
        raise error_of_code("CHAIN_UNAVAILABLE")

    monkeypatch.setattr(end.fresh.client, "get_state_proof", away)
    with pytest.raises(ServiceError) as failed:
        await end.fresh.look()
    assert failed.value.code == "CHAIN_UNAVAILABLE"
    assert (end.fresh.seen, end.alarms("CLIENT_STALE")) == (seen, 0)


async def test_the_state_of_a_link_shows_how_far_and_how_old_the_client_is(end: End) -> None:
    """Nothing before the first look, and no age before the first header."""
    handlers = end.link.regulator_handlers
    if end.own is end.link.market:
        handlers = end.link.market_handlers
    servicer = GatewayServicer(handlers, lambda chain: "", fresh={end.remote: end.fresh})
    async with end.own.serving(POLICIES, add_GatewayServiceServicer_to_server, servicer) as port:
        stub = GatewayServiceStub(end.own.channel(port, end.own.runtime.identity))
        asked = pb.GetLinkRequest(remote_chain_id=end.remote)
        assert not (await stub.GetLink(asked)).HasField("light_client")
        honest = end.fresh.gateway
        end.fresh.gateway = Saying(lambda: pb.GetPacketAbsencesResponse())  # type: ignore[assignment]
        with pytest.raises(ProofError):
            await end.fresh.look()
        none_yet = pb.FollowedClient(period_seconds=PERIOD)
        assert (await stub.GetLink(asked)).light_client == none_yet
        end.fresh.gateway = honest
        await end.fresh.look()
        head = end.other.node.chain.header
        held = (await stub.GetLink(asked)).light_client
        assert (held.height, held.block_time_ms) == (head.height, head.block_time_ms)
        assert held.header_hash == head.hash()
        assert (held.period_seconds, held.code) == (PERIOD, "")
        end.fresh.gateway = Saying(lambda: pb.GetPacketAbsencesResponse())  # type: ignore[assignment]
        await pass_minutes(end.link, 121)
        with pytest.raises(ProofError):
            await end.fresh.look()
        held = (await stub.GetLink(asked)).light_client
        age_ms = end.own.node.chain.header.block_time_ms - head.block_time_ms
        assert (held.age_seconds, held.code) == (age_ms // 1_000, "CLIENT_AGES")
