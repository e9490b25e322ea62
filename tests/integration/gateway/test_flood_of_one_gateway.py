"""A gateway that floods is refused beyond its quota; those of other markets do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from services.gateway.api import POLICIES, GatewayServicer
from tests.integration.gateway.test_gateway_rpc import delivery
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, OTHER_PEER, PEER, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

LIMITED = grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"
QUOTA: Final = 3
FLOOD: Final = 20
CALLS_A_SECOND: Final = 1e-6
"""So the quota does not grow while a test runs, however slow the machine."""


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        yield opened


@asynccontextmanager
async def door_with_quota(link: LinkLab) -> AsyncIterator[int]:
    """The regulator's door for other gateways, which takes `QUOTA` calls of each of them."""
    runtime = link.regulator.runtime
    limits = {"rate_per_second": CALLS_A_SECOND, "rate_burst": QUOTA}
    settings = runtime.settings.grpc.model_copy(update=limits)
    narrow = replace(runtime, settings=runtime.settings.model_copy(update={"grpc": settings}))
    lab = replace(link.regulator, runtime=narrow)
    servicer = GatewayServicer(link.regulator_handlers, lambda chain: "")
    async with lab.serving(POLICIES, add_GatewayServiceServicer_to_server, servicer) as port:
        yield port


def gateway(link: LinkLab, port: int, did: str) -> GatewayServiceAsyncStub:
    """The door as the gateway of this market sees it."""
    caller = identity_of(link.regulator.node.chain, KEYS, did)
    return GatewayServiceStub(link.regulator.channel(port, caller))


async def outcome(call: Any) -> Any:
    """The refusal of a call, or None where it was answered."""
    ended = asyncio.ensure_future(call)
    await asyncio.wait([ended])
    return None if ended.exception() is None else await refusal(ended)


@pytest.mark.req("G2-16-1", "T2-14")
async def test_g36_a_gateway_that_floods_is_refused_beyond_its_quota_and_no_other_one(
    link: LinkLab,
) -> None:
    link.report()
    first = await delivery(link)
    async with door_with_quota(link) as port:
        flooding, other = gateway(link, port, PEER), gateway(link, port, OTHER_PEER)
        told = await asyncio.gather(
            *(outcome(flooding.DeliverPackets(first)) for _ in range(FLOOD))
        )
        assert (told.count(None), told.count(LIMITED)) == (QUOTA, FLOOD - QUOTA)
        assert link.recorded() == 1, "the same delivery, so often as it was let in"
        link.report()
        second = await delivery(link)
        before = link.regulator.node.submissions
        assert await refusal(flooding.DeliverPackets(second)) == LIMITED
        asked = pb.GetPacketReceiptsRequest(source="shandong", port="data_object", sequences=[1])
        assert await refusal(flooding.GetPacketReceipts(asked)) == LIMITED
        assert link.regulator.node.submissions == before, "nothing of it reaches the chain"
        await other.DeliverPackets(second)
        assert link.recorded() == 2
        assert await outcome(other.DeliverPackets(second)) is None
