"""What staff see of the packets that their chain sent, and how one that was set aside goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import packet_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from services.gateway import open_packets
from services.gateway.api import PAGE_SIZE_MAX, POLICIES, GatewayServicer
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

NOT_FOUND = grpc.StatusCode.NOT_FOUND
MALFORMED = (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
PORT = "data_object"
SENT = packet_pb2.PACKET_STATE_SENT
ACKNOWLEDGED = packet_pb2.PACKET_STATE_ACKNOWLEDGED

pytestmark = pytest.mark.req("G2-16-2", "G2-19-4")


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        yield opened


@pytest.fixture
async def staff(link: LinkLab) -> AsyncIterator[GatewayServiceAsyncStub]:
    """The market's gateway as the market's staff ask it."""
    servicer = GatewayServicer(link.market_handlers, lambda chain: "")
    add = add_GatewayServiceServicer_to_server
    async with link.market.serving(POLICIES, add, servicer) as port:
        yield GatewayServiceStub(link.market.channel(port, link.market.runtime.identity))


async def park(link: LinkLab, sequence: int, cause: str) -> None:
    async with link.market.pool.acquire() as connection:
        await open_packets.park(
            connection, destination="csrc", port=PORT, sequence=sequence, cause=cause
        )


def request(**fields: Any) -> pb.ListPacketsRequest:
    return pb.ListPacketsRequest(remote_chain_id="csrc", **fields)


async def test_every_packet_is_listed_once_in_order_over_all_pages(
    link: LinkLab, staff: GatewayServiceAsyncStub
) -> None:
    link.report(5)
    await link.deliver_and_acknowledge()
    link.report(3)
    await link.project()
    whole = await staff.ListPackets(request())
    assert not whole.has_more
    assert [each.sequence for each in whole.packets] == list(range(1, 9))
    assert [each.state for each in whole.packets] == [ACKNOWLEDGED] * 5 + [SENT] * 3
    assert all(each.port == PORT and len(each.transaction_id) == 32 for each in whole.packets)
    assert [bool(each.remote_transaction_id) for each in whole.packets] == [True] * 5 + [False] * 3
    found: list[pb.PacketSummary] = []
    after = ("", 0)
    for _ in range(3):
        asked = request(page_size=3, after_port=after[0], after_sequence=after[1])
        page = await staff.ListPackets(asked)
        found += page.packets
        after = (page.packets[-1].port, page.packets[-1].sequence)
        assert page.has_more == (len(found) < 8)
    assert found == list(whole.packets)
    sent = await staff.ListPackets(request(state=SENT))
    assert [each.sequence for each in sent.packets] == [6, 7, 8]
    most = await staff.ListPackets(request(page_size=PAGE_SIZE_MAX + 1))
    assert len(most.packets) == 8


@pytest.mark.req("G2-16-2")
async def test_what_the_destination_refused_is_listed_with_its_code(
    link: LinkLab, staff: GatewayServiceAsyncStub
) -> None:
    """It is acknowledged like the rest; only its code says that nothing was recorded of it."""
    link.report(1, broken=True)
    link.report(1)
    await link.project()
    before = (await staff.ListPackets(request())).packets
    assert [each.refused_code for each in before] == ["", ""]
    await link.deliver_and_acknowledge()
    await link.project()
    found = (await staff.ListPackets(request(state=ACKNOWLEDGED))).packets
    assert [(each.sequence, each.refused_code) for each in found] == [
        (1, "SOURCE_MISSING"),
        (2, ""),
    ]


async def test_what_is_set_aside_is_listed_with_its_cause_and_resumed_once(
    link: LinkLab, staff: GatewayServiceAsyncStub
) -> None:
    link.report(3)
    await link.project()
    await park(link, 2, "PACKET_CONFLICT: another payload")
    listed = await staff.ListPackets(request(parked=True))
    assert [(each.sequence, each.parked_cause) for each in listed.packets] == [
        (2, "PACKET_CONFLICT: another payload")
    ]
    while await link.relay.deliver_some():
        pass
    assert link.recorded() == 1, "nothing overtakes it"
    resume = pb.ResumePacketRequest(remote_chain_id="csrc", port=PORT, sequence=2)
    await staff.ResumePacket(resume)
    assert await refusal(staff.ResumePacket(resume)) == (NOT_FOUND, "PACKET_NOT_PARKED")
    assert not (await staff.ListPackets(request(parked=True))).packets
    await link.deliver_and_acknowledge()
    assert link.recorded() == 3


async def test_what_is_not_there_or_no_request_is_refused_with_its_code(
    link: LinkLab, staff: GatewayServiceAsyncStub
) -> None:
    link.report()
    await link.project()
    unknown = pb.ListPacketsRequest(remote_chain_id="beijing")
    assert await refusal(staff.ListPackets(unknown)) == (NOT_FOUND, "CLIENT_UNKNOWN")
    nobody = pb.ResumePacketRequest(remote_chain_id="beijing", port=PORT, sequence=1)
    assert await refusal(staff.ResumePacket(nobody)) == (NOT_FOUND, "CLIENT_UNKNOWN")
    for sequence in (1, 9):
        absent = pb.ResumePacketRequest(remote_chain_id="csrc", port=PORT, sequence=sequence)
        assert await refusal(staff.ResumePacket(absent)) == (NOT_FOUND, "PACKET_NOT_PARKED")
    for wrong in (
        request(state=99),
        request(after_sequence=2**63),
        request(after_port="a\x00b"),
    ):
        assert await refusal(staff.ListPackets(wrong)) == MALFORMED
    for sequence in (0, 2**63):
        wrong_number = pb.ResumePacketRequest(remote_chain_id="csrc", port=PORT, sequence=sequence)
        assert await refusal(staff.ResumePacket(wrong_number)) == MALFORMED


async def test_the_other_end_neither_lists_nor_resumes(link: LinkLab) -> None:
    """It has the role of a gateway alone."""
    stub = GatewayServiceStub(link.regulator.channel(link.port, link.market.runtime.identity))
    denied = (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
    listed = stub.ListPackets(pb.ListPacketsRequest(remote_chain_id="shandong"))
    assert await refusal(listed) == denied
    resumed = stub.ResumePacket(
        pb.ResumePacketRequest(remote_chain_id="shandong", port=PORT, sequence=1)
    )
    assert await refusal(resumed) == denied
