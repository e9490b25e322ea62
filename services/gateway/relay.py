"""The sending end: carries the own chain's packets to the other gateway, and their acknowledgements
back.

Every step is idempotent and its progress is on the chains, so the relay may die anywhere and begin
again: a packet delivered twice has one receipt, an acknowledgement submitted twice one effect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import grpc
import structlog
from opentelemetry import trace

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.errors import GuqiaoError, error_from_rpc
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.packet import Packet, commitment_key, receipt_key
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from services.chassis.bus.transient import Backoff
from services.chassis.errors import ServiceError
from services.chassis.postgres import Pool
from services.chassis.telemetry import extract
from services.gateway import store
from services.gateway.domain.relay import (
    PACKETS_MAX,
    PacketState,
    ProvenHeader,
    ProvenReceipt,
    acknowledge_body,
    update_body,
)
from services.gateway.handlers import submit_relay

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

IDLE_SECONDS: Final = 0.15
CALL_SECONDS: Final = 60.0
TOO_MUCH_CODES: Final = frozenset(
    {"TRANSACTION_TOO_LARGE", "REQUEST_TOO_LARGE", "LIMIT_EXCEEDED", "BLOCK_FULL"}
)
"""Refusals after which fewer packets at a time may pass."""
HOPELESS_CODES: Final = frozenset({"PACKET_CONFLICT", "CLIENT_FROZEN"})

log = structlog.get_logger(__name__)
tracer = trace.get_tracer(__name__)


@dataclass(slots=True)
class Relay:
    """One direction of one link: own chain -> the chain of `remote`."""

    pool: Pool
    client: ChainClient
    remote: ChainTrust
    stub: GatewayServiceAsyncStub
    verify: Verify
    last_error: str = ""
    packets_max: int = PACKETS_MAX

    async def run(self) -> None:
        """Carry packets and acknowledgements until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._deliver_some))
            tasks.create_task(self._repeat(self._acknowledge_some))

    async def _repeat(self, step: Callable[[], Awaitable[bool]]) -> None:
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                busy = await step()
                self.last_error = ""
                backoff.reset()
            except (
                GuqiaoError,
                ServiceError,
                ProofError,
                grpc.aio.AioRpcError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                OSError,
            ) as error:
                await self._note_failure(error)
                await asyncio.sleep(backoff.next_seconds())
                continue
            if not busy:
                await asyncio.sleep(IDLE_SECONDS)

    async def _deliver_some(self) -> bool:
        packets = await self._open(PacketState.SENT)
        if not packets:
            return False
        header = await self._proven_header(packets[-1].height)
        with tracer.start_as_current_span(
            "gateway.deliver_packets",
            context=extract({"traceparent": await self._trace_of(packets[0])}),
            attributes={"packets": len(packets), "first": packets[0].packet.sequence},
        ):
            request = pb.DeliverPacketsRequest(certified_header=_to_message(header))
            proofs = await asyncio.gather(
                *(
                    self.client.get_state_proof(_commitment_key(sent), header.height)
                    for sent in packets
                )
            )
            for sent, proven in zip(packets, proofs, strict=True):
                request.packets.add(packet=packet_to_message(sent), proof=proven.message.proof)
            await self.stub.DeliverPackets(request, timeout=CALL_SECONDS)
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_received(connection, [sent.packet for sent in packets])
        self.packets_max = min(2 * self.packets_max, PACKETS_MAX)
        return True

    async def _acknowledge_some(self) -> bool:
        open_packets = await self._open(PacketState.RECEIVED)
        if not open_packets:
            return False
        port = open_packets[0].packet.port
        packets = [sent for sent in open_packets if sent.packet.port == port]
        receipts, header = await self._fetch_receipts(packets)
        update = await submit_relay(
            self.client, "light_client", "update", update_body(header), None
        )
        body = acknowledge_body(header, receipts)
        result = await submit_relay(
            self.client, "packets", "acknowledge", body, update.transaction_id
        )
        async with self.pool.acquire() as connection, connection.transaction():
            for sent in packets:
                packet = sent.packet
                await store.mark_acknowledged(
                    connection,
                    packet.destination,
                    packet.port,
                    packet.sequence,
                    result.transaction_id,
                )
        return True

    async def _fetch_receipts(
        self, packets: Sequence[store.SentPacket]
    ) -> tuple[list[ProvenReceipt], ProvenHeader]:
        """The receipts, all proven at one height of the destination and verified here too."""
        first = packets[0].packet
        request = pb.GetPacketReceiptsRequest(
            source=first.source,
            port=first.port,
            sequences=[sent.packet.sequence for sent in packets],
        )
        response = await self.stub.GetPacketReceipts(request, timeout=CALL_SECONDS)
        certified = response.certified_header
        header, _ = verify_header(certified, self.remote.replica_set, self.verify)
        if len(response.receipts) != len(packets):
            raise ProofError("receipts", f"{len(response.receipts)}, {len(packets)} were asked for")
        receipts = []
        async with self.pool.acquire() as connection, connection.transaction():
            for sent, row in zip(packets, response.receipts, strict=True):
                receipts.append(_checked_receipt(sent.packet, row, header))
                anchor = row.anchor.SerializeToString()
                await store.set_anchor(connection, sent.packet, row.transaction_id, anchor)
        proven = ProvenHeader(
            header.chain_id, header.height, certified.header, certified.certificate
        )
        return receipts, proven

    async def _open(self, state: PacketState) -> list[store.SentPacket]:
        async with self.pool.acquire() as connection:
            return await store.list_open(
                connection, self.client.chain_id, self.remote.chain_id, state, self.packets_max
            )

    async def _proven_header(self, height_min: int) -> ProvenHeader:
        header, certificate = await self.client.get_header()
        if header.height < height_min:  # A replica that lags answered; this height is certified.
            header, certificate = await self.client.get_header(height_min)
        return ProvenHeader(header.chain_id, header.height, header.encode(), certificate.encode())

    async def _trace_of(self, sent: store.SentPacket) -> str:
        async with self.pool.acquire() as connection:
            return await store.find_trace(connection, sent.transaction_id)

    async def _note_failure(self, error: Exception) -> None:
        known = error_from_rpc(error) if isinstance(error, grpc.aio.AioRpcError) else error
        self.last_error = str(known)
        code = getattr(known, "code", "")
        log.warning("relay.failed", remote=self.remote.chain_id, code=code, error=str(known)[:500])
        if code in TOO_MUCH_CODES:
            self.packets_max = max(self.packets_max // 2, 1)
        if code in HOPELESS_CODES:
            open_packets = await self._open(PacketState.SENT)
            async with self.pool.acquire() as connection:
                for sent in open_packets[:1]:
                    await store.park(connection, sent.packet, str(known)[:500])


def packet_to_message(sent: store.SentPacket) -> packet_pb2.Packet:
    """A packet as it travels."""
    packet = sent.packet
    return packet_pb2.Packet(
        source=packet.source,
        destination=packet.destination,
        port=packet.port,
        sequence=packet.sequence,
        payload=packet.payload,
    )


def _to_message(header: ProvenHeader) -> ledger_pb2.CertifiedHeader:
    return ledger_pb2.CertifiedHeader(header=header.header, certificate=header.certificate)


def _commitment_key(sent: store.SentPacket) -> str:
    packet = sent.packet
    return commitment_key(packet.destination, packet.port, packet.sequence)


def _checked_receipt(packet: Packet, row: pb.PacketReceipt, header: BlockHeader) -> ProvenReceipt:
    piece = f"receipt of packet {packet.sequence}"
    try:
        proof = StateProof.decode(row.proof)
    except MalformedError as error:
        raise ProofError(piece, str(error)) from error
    verify_state_proof(
        piece=piece,
        root=header.state_root,
        key=receipt_key(packet.source, packet.port, packet.sequence).encode(),
        value=row.receipt,
        proof=proof,
    )
    # Read only now: what a quorum certified was written by the contract, anything else by anybody.
    acknowledgement = json.loads(row.receipt)["acknowledgement"]
    return ProvenReceipt(packet.port, packet.sequence, acknowledgement, row.proof)
