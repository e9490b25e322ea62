"""What a relay asks the other gateway; nothing of what comes is proven by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.proof.errors import ProofError
from services.gateway.store import SentPacket

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

CALL_SECONDS: Final = 60.0
HEADER_PORT: Final = "data_object"
"""Where the packet is named of whose answer only the header is wanted."""


class RemoteGateway(Protocol):
    """Another gateway, however it is reached. What it refuses is raised as `GuqiaoError`, or as the
    error of gRPC that `guqiao_errors` makes one of.
    """

    async def deliver_packets(
        self, request: pb.DeliverPacketsRequest
    ) -> pb.DeliverPacketsResponse: ...

    async def get_packet_receipts(
        self, request: pb.GetPacketReceiptsRequest
    ) -> pb.GetPacketReceiptsResponse: ...

    async def get_packet_absences(
        self, request: pb.GetPacketAbsencesRequest
    ) -> pb.GetPacketAbsencesResponse: ...


@dataclass(slots=True)
class CalledGateway:
    """One that is called, through the generated stub."""

    stub: GatewayServiceAsyncStub

    async def deliver_packets(self, request: pb.DeliverPacketsRequest) -> pb.DeliverPacketsResponse:
        return await self.stub.DeliverPackets(request, timeout=CALL_SECONDS)

    async def get_packet_receipts(
        self, request: pb.GetPacketReceiptsRequest
    ) -> pb.GetPacketReceiptsResponse:
        return await self.stub.GetPacketReceipts(request, timeout=CALL_SECONDS)

    async def get_packet_absences(
        self, request: pb.GetPacketAbsencesRequest
    ) -> pb.GetPacketAbsencesResponse:
        return await self.stub.GetPacketAbsences(request, timeout=CALL_SECONDS)


async def fetch_receipts(
    gateway: RemoteGateway, packets: Sequence[SentPacket]
) -> pb.GetPacketReceiptsResponse:
    """What the other gateway says of packets of one port, one row each; raises `ProofError` where
    rows are missing.
    """
    first = packets[0].packet
    request = pb.GetPacketReceiptsRequest(
        source=first.source,
        port=first.port,
        sequences=[sent.packet.sequence for sent in packets],
    )
    response = await gateway.get_packet_receipts(request)
    _require_all("receipts", len(packets), len(response.receipts))
    return response


async def fetch_absences(
    gateway: RemoteGateway, packets: Sequence[SentPacket]
) -> pb.GetPacketAbsencesResponse:
    """What the other gateway says of receipts of packets of one port, one row each; raises
    `ProofError` where rows are missing.
    """
    first = packets[0].packet
    request = pb.GetPacketAbsencesRequest(
        source=first.source,
        port=first.port,
        sequences=[sent.packet.sequence for sent in packets],
    )
    response = await gateway.get_packet_absences(request)
    _require_all("absences", len(packets), len(response.absences))
    return response


async def fetch_header(gateway: RemoteGateway, source: str) -> pb.GetPacketAbsencesResponse:
    """The newest certified header of the other gateway's chain, and the set changes up to it: what
    an answer about any packet of `source` begins with, in every version. What it says of the packet
    is not read.
    """
    request = pb.GetPacketAbsencesRequest(source=source, port=HEADER_PORT, sequences=[1])
    return await gateway.get_packet_absences(request)


def _require_all(piece: str, asked: int, came: int) -> None:
    if came != asked:
        raise ProofError(piece, f"{asked} were asked for, {came} came")
