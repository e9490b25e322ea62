"""What a relay asks the other gateway; nothing of what comes is proven by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.proof.errors import ProofError
from services.gateway.store import SentPacket

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

CALL_SECONDS: Final = 60.0


async def fetch_receipts(
    stub: GatewayServiceAsyncStub, packets: Sequence[SentPacket]
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
    response = await stub.GetPacketReceipts(request, timeout=CALL_SECONDS)
    _require_all("receipts", len(packets), len(response.receipts))
    return response


async def fetch_absences(
    stub: GatewayServiceAsyncStub, packets: Sequence[SentPacket]
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
    response = await stub.GetPacketAbsences(request, timeout=CALL_SECONDS)
    _require_all("absences", len(packets), len(response.absences))
    return response


def _require_all(piece: str, asked: int, came: int) -> None:
    if came != asked:
        raise ProofError(piece, f"{asked} were asked for, {came} came")
