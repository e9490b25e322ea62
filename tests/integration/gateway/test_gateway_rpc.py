"""The gateway's door for other gateways: what is forged is refused by the chain, with its code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from guqiao_sdk.proof.header import BlockHeader
from services.chassis.gm_tunnel import IdentityMap
from services.chassis.grpc_server.tunnel_peers import TunnelPeers
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.questions import CalledGateway
from tests.plugins.ledger_node import identity_of
from tests.plugins.link_lab import KEYS, PEER, STRANGER, LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import refusal
from tests.unit.proof.proof_keys import Replicas

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub


INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        yield opened


async def delivery(link: LinkLab) -> pb.DeliverPacketsRequest:
    """What the market's relay would send next; the regulator has not seen it."""
    caught: list[pb.DeliverPacketsRequest] = []

    class Catch:
        async def DeliverPackets(self, request: Any, **options: Any) -> Any:
            caught.append(request)
            return pb.DeliverPacketsResponse()

    await link.project()
    relay = link.another_relay()
    relay.gateway = CalledGateway(Catch())  # type: ignore[arg-type]
    await relay.deliver_some()
    await link.market.pool.execute("UPDATE packets_sent SET state = 1 WHERE state = 2")
    return caught[0]


def door(link: LinkLab, port: int = 0) -> GatewayServiceAsyncStub:
    """The regulator's gateway as the market's sees it."""
    return GatewayServiceStub(
        link.regulator.channel(port or link.port, link.market.runtime.identity)
    )


@pytest.mark.req("T2-14", "G2-19-4")
async def test_forged_deliveries_are_refused_by_the_chain_with_its_code(link: LinkLab) -> None:
    """Headers without a quorum, proofs of something else, payloads that were changed: each refused
    by the light client or the packet contract, nothing recorded, and the true one then taken."""
    link.report(2)
    true = await delivery(link)
    stub = door(link)
    for name, forged, expected in forgeries(link, true):
        assert await refusal(stub.DeliverPackets(forged)) == expected, name
        assert link.recorded() == 0, name
    await stub.DeliverPackets(true)
    assert link.recorded() == 2


def forgeries(
    link: LinkLab, true: pb.DeliverPacketsRequest
) -> list[tuple[str, pb.DeliverPacketsRequest, tuple[grpc.StatusCode, str]]]:
    """Name, request, and the status and code that must come back."""

    def changed(**fields: Any) -> pb.DeliverPacketsRequest:
        copy = pb.DeliverPacketsRequest.FromString(true.SerializeToString())
        for field, value in fields.items():
            setattr(copy.packets[0].packet, field, value)
        return copy

    header = BlockHeader.decode(true.certified_header.header)
    replicas = Replicas(KEYS, "shandong")
    strangers = Replicas(KEYS, "shandong", epoch=7)
    too_few = changed()
    too_few.certified_header.certificate = replicas.certify(header, [0, 1]).encode()
    other_keys = changed()
    other_keys.certified_header.certificate = strangers.certify(header).encode()
    other_root = changed()
    other_root.certified_header.header = BlockHeader(
        **{
            name: getattr(header, name)
            for name in header.__dataclass_fields__
            if name != "state_root"
        },
        state_root=bytes(32),
    ).encode()
    unreadable = changed()
    unreadable.certified_header.header = b"no header"
    other_proof = changed()
    other_proof.packets[0].proof = true.packets[1].proof
    no_proof = changed()
    no_proof.packets[0].proof = b"\xff"
    empty = changed()
    del empty.packets[:]
    unverified = PRECONDITION, "HEADER_UNVERIFIED"
    unproven = INVALID, "PROOF_INVALID"
    malformed = INVALID, "REQUEST_MALFORMED"
    return [
        ("two signatures of four", too_few, unverified),
        ("signatures of other keys", other_keys, unverified),
        ("another state root", other_root, unverified),
        ("no header at all", unreadable, malformed),
        ("the proof of another packet", other_proof, unproven),
        ("no proof", no_proof, unproven),
        ("another payload", changed(payload=b"{}"), unproven),
        ("a later sequence", changed(sequence=9), (PRECONDITION, "PACKET_OUT_OF_ORDER")),
        ("another port", changed(port="bank"), (DENIED, "PACKET_PORT_FORBIDDEN")),
        ("another destination", changed(destination="beijing"), (INVALID, "CHAIN_MISMATCH")),
        ("bytes that are no text", changed(payload=b"\xff\xfe"), malformed),
        ("a sequence beyond all counting", changed(sequence=2**63), malformed),
        ("sequence zero", changed(sequence=0), malformed),
        ("no packet", empty, malformed),
    ]


async def test_a_header_of_a_chain_that_is_not_registered_is_refused(link: LinkLab) -> None:
    link.report()
    request = await delivery(link)
    header = BlockHeader.decode(request.certified_header.header)
    beijing = Replicas(KEYS, "beijing")
    fields = {name: getattr(header, name) for name in header.__dataclass_fields__}
    foreign = BlockHeader(**fields | {"chain_id": "beijing", "next_set_hash": beijing.set.hash()})
    request.certified_header.CopyFrom(
        ledger_pb2.CertifiedHeader(
            header=foreign.encode(), certificate=beijing.certify(foreign).encode()
        )
    )
    code, name = await refusal(door(link).DeliverPackets(request))
    assert name == "CLIENT_UNKNOWN"
    assert code is grpc.StatusCode.NOT_FOUND
    assert link.recorded() == 0


async def test_the_same_delivery_again_is_answered_and_has_no_second_effect(link: LinkLab) -> None:
    link.report(3)
    request = await delivery(link)
    stub = door(link)
    first = await stub.DeliverPackets(request)
    again = await stub.DeliverPackets(request)
    assert again.height >= first.height
    assert link.recorded() == 3


async def test_only_gateways_deliver(link: LinkLab) -> None:
    """Reliability G34: an identity that the chain knows, without the role."""
    link.report()
    request = await delivery(link)
    stranger = identity_of(link.regulator.node.chain, KEYS, STRANGER)
    stub = GatewayServiceStub(link.regulator.channel(link.port, stranger))
    assert await refusal(stub.DeliverPackets(request)) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "ROLE_MISSING",
    )
    unknown = identity_of(link.regulator.node.chain, KEYS, "did:rem:csrc:NOBODY")
    stub = GatewayServiceStub(link.regulator.channel(link.port, unknown))
    code, _ = await refusal(stub.DeliverPackets(request))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert link.recorded() == 0


@dataclass
class Certificates:
    """Which certificate stands behind every connection."""

    name: str | None

    async def identity_of(self, port: int) -> str | None:
        return self.name


@pytest.mark.parametrize(
    ("certificate", "refused"),
    [
        ("guqiao:service:shandong/gateway", False),
        ("guqiao:service:beijing/gateway", True),
        ("guqiao:service:nobody/gateway", True),
        (None, True),
    ],
)
async def test_g35_behind_the_tunnel_a_gateway_speaks_only_for_its_own_organisation(
    link: LinkLab, certificate: str | None, refused: bool
) -> None:
    """Reliability G35: the signature must belong to the organisation of the certificate."""
    gateways = {
        "guqiao:service:shandong/gateway": PEER,
        "guqiao:service:beijing/gateway": "did:rem:beijing:91110000MA0000000X",
    }
    peers = TunnelPeers(Certificates(certificate), gateways.get)
    link.report()
    request = await delivery(link)
    servicer = GatewayServicer(link.regulator_handlers, lambda chain: "")
    add = add_GatewayServiceServicer_to_server
    async with link.regulator.serving(POLICIES, add, servicer, peers) as port:
        call = door(link, port).DeliverPackets(request)
        if refused:
            code, name = await refusal(call)
            assert code in (
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.UNAUTHENTICATED,
            )
            assert name in ("PEER_UNKNOWN", "ORGANISATION_MISMATCH")
        else:
            await call
    assert link.recorded() == (0 if refused else 1)


async def test_before_the_tunnel_is_up_no_connection_has_an_organisation() -> None:
    gateways = {"guqiao:service:shandong/gateway": PEER}
    assert await TunnelPeers(IdentityMap(), gateways.get).organisation_of(1) is None


async def test_queries_name_what_is_not_there(link: LinkLab) -> None:
    link.report()
    await link.deliver_and_acknowledge()
    operator = link.regulator.runtime.identity
    stub = GatewayServiceStub(link.regulator.channel(link.port, operator))
    status = await stub.GetLink(pb.GetLinkRequest(remote_chain_id="shandong"))
    assert (status.received, status.sent) == (1, 0)
    not_found = grpc.StatusCode.NOT_FOUND
    unknown_link = stub.GetLink(pb.GetLinkRequest(remote_chain_id="beijing"))
    assert await refusal(unknown_link) == (not_found, "CLIENT_UNKNOWN")
    unknown_packet = stub.GetPacket(pb.GetPacketRequest(transaction_id=bytes(32)))
    assert await refusal(unknown_packet) == (not_found, "PACKET_UNKNOWN")
    too_many = pb.GetPacketReceiptsRequest(
        source="shandong", port="data_object", sequences=[1] * 51
    )
    malformed = INVALID, "REQUEST_MALFORMED"
    assert await refusal(stub.GetPacketReceipts(too_many)) == malformed
    beyond = pb.GetPacketReceiptsRequest(source="shandong", port="x", sequences=[2**63])
    assert await refusal(stub.GetPacketReceipts(beyond)) == malformed
