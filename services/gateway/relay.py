"""The sending end: carries the own chain's packets to the other gateway, and their acknowledgements
back.

Every step is idempotent and its progress is on the chains, so the relay may die anywhere and begin
again: a packet delivered twice has one receipt, an acknowledgement submitted twice one effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.anchors import anchor_to_message, verify_anchor
from guqiao_sdk.client.blocks import verify_header
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.packet_messages import packet_to_message
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.errors import GuqiaoError, guqiao_errors
from guqiao_sdk.proof.bundle import Anchor
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.packet import Packet, commitment_key
from guqiao_sdk.signing import system_time_ms
from services.chassis.bus.transient import Backoff, is_transient, stay_cancelled
from services.chassis.errors import ServiceError
from services.chassis.postgres import Pool
from services.chassis.telemetry import extract
from services.gateway import overdue, store
from services.gateway.domain.relay import (
    ALARMS,
    PACKETS_MAX,
    PacketState,
    ProvenHeader,
    ProvenPacket,
    ProvenReceipt,
    Remedy,
    acknowledge_body,
    count_fitting,
    late_packets,
    remedy_for,
    time_out_body,
)
from services.gateway.handlers import submit_relay, update_light_client
from services.gateway.metrics import GatewayMetrics
from services.gateway.travel import (
    checked_absence,
    checked_receipt,
    decoded_header,
    encoded_changes,
    header_to_message,
)

if TYPE_CHECKING:
    from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub

IDLE_SECONDS: Final = 0.15
EARLY_SECONDS: Final = 1.0
CALL_SECONDS: Final = 60.0
BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MAX_SECONDS: Final = 5.0
TOO_MUCH_CODES: Final = frozenset(
    {"TRANSACTION_TOO_LARGE", "REQUEST_TOO_LARGE", "LIMIT_EXCEEDED", "BLOCK_FULL"}
)
"""Refusals after which fewer packets at a time may pass."""

_REFUSALS: Final = (GuqiaoError, ServiceError, ProofError)
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Relay:
    """One direction of one link: own chain -> the chain of `remote_sets`."""

    pool: Pool
    client: ChainClient
    remote_sets: SetHistory
    stub: GatewayServiceAsyncStub
    verify: Verify
    tracer: trace.Tracer
    metrics: GatewayMetrics
    now_ms: Callable[[], int] = system_time_ms
    _unproven: int = 0
    _at_once: int = PACKETS_MAX
    _anchors_at_once: int = PACKETS_MAX
    _remote_height: int = 0
    _errors: dict[str, str] = field(default_factory=dict)

    @property
    def last_error(self) -> str:
        """Why the steps that do not get on do not; empty when all do."""
        return "; ".join(f"{step}: {text}" for step, text in sorted(self._errors.items()))

    async def run(self) -> None:
        """Carry packets and acknowledgements until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat("deliver", self.deliver_some))
            tasks.create_task(self._repeat("acknowledge", self.acknowledge_some))
            tasks.create_task(self._repeat("anchor", self.anchor_some))
            tasks.create_task(self._repeat("time_out", self.time_out_some))

    async def _repeat(self, step: str, action: Callable[[], Awaitable[int]]) -> None:
        backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS)
        while True:
            try:
                carried = await action()
            except Exception as error:
                stay_cancelled(error)
                if not isinstance(error, _REFUSALS) and not is_transient(error):
                    raise
                self._note_failure(step, error)
                await asyncio.sleep(backoff.next_seconds())
                continue
            self._errors.pop(step, None)
            backoff.reset()
            self.metrics.packets.labels(self.remote_sets.chain_id, step).inc(carried)
            if carried:
                self._at_once = min(2 * self._at_once, PACKETS_MAX)
            else:
                await asyncio.sleep(IDLE_SECONDS)

    def _note_failure(self, step: str, error: Exception) -> None:
        # A time-out says nothing but its name.
        code, text = getattr(error, "code", ""), (str(error) or repr(error))[:500]
        if code in TOO_MUCH_CODES:
            self._at_once = max(self._at_once // 2, 1)
        self._errors[step] = text
        self.metrics.failures.labels(self.remote_sets.chain_id, step).inc()
        remote, kind = self.remote_sets.chain_id, type(error).__name__
        is_own = isinstance(error, ServiceError)
        log.warning("relay.failed", remote=remote, step=step, kind=kind, code=code, error=text)
        # What the other chain refuses for good was raised when it was parked.
        if code in ALARMS and (is_own or remedy_for(code, 0) is not Remedy.PARK):
            self._raise_alarm(code, text)

    def _raise_alarm(self, code: str, text: str) -> None:
        remote = self.remote_sets.chain_id
        self.metrics.alarms.labels(remote, code).inc()
        log.error("relay.alarm_raised", remote=remote, code=code, error=text)

    async def deliver_some(self) -> int:
        """Deliver the next packets with their proofs; returns how many."""
        packets = await self._open(PacketState.SENT)
        if not packets:
            return 0
        header = await self._proven_header(packets[-1].height)
        parent, links = await self._traces_of(packets)
        with self.tracer.start_as_current_span(
            "gateway.deliver_packets",
            context=parent,
            links=links,
            attributes={"packets": len(packets), "first": packets[0].packet.sequence},
        ):
            request = pb.DeliverPacketsRequest(
                certified_header=header_to_message(header), set_changes=header.set_changes
            )
            proofs = await asyncio.gather(
                *(
                    self.client.get_state_proof(_commitment_key(sent), header.height)
                    for sent in packets
                )
            )
            proven_packets = [
                ProvenPacket(sent.packet, proven.message.proof)
                for sent, proven in zip(packets, proofs, strict=True)
            ]
            # The rest goes with the next delivery.
            packets = packets[: count_fitting(proven_packets)]
            for sent, proven in zip(packets, proofs, strict=False):
                request.packets.add(
                    packet=packet_to_message(sent.packet), proof=proven.message.proof
                )
            async with self._remedied(packets):
                await self.stub.DeliverPackets(request, timeout=CALL_SECONDS)
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_received(connection, [sent.packet for sent in packets])
        return len(packets)

    async def acknowledge_some(self) -> int:
        """Bring the receipts of delivered packets home to the own chain; returns how many."""
        packets = _of_first_port(await self._open(PacketState.RECEIVED))
        if not packets:
            return 0
        async with self._remedied(packets):
            response = await self._fetch_receipts(packets)
        certified = response.certified_header
        header = self._remote_header(certified, response.set_changes)
        receipts = [
            checked_receipt(sent.packet, row, header)
            for sent, row in zip(packets, response.receipts, strict=True)
        ]
        self._unproven = 0
        _, failure = await self._keep_anchors(packets, response.receipts)
        if failure is not None:  # The receipts are proven by themselves; anchors can come later.
            self._note_failure("anchor", failure)
        proven = self._proven_remote(certified, header)
        update = await update_light_client(self.client, proven)
        body = acknowledge_body(proven, receipts)
        await submit_relay(self.client, "packets", "acknowledge", body, update.transaction_id)
        await self._note_ends(packets, receipts)
        return len(packets)

    async def _note_ends(
        self, packets: Sequence[store.SentPacket], receipts: Sequence[ProvenReceipt]
    ) -> None:
        """What came too late in its turn has timed out, all else is acknowledged."""
        pairs = list(zip([sent.packet for sent in packets], receipts, strict=True))
        late = [packet for packet, each in pairs if packet.deadline and each.is_expired]
        taken = [packet for packet, each in pairs if not (packet.deadline and each.is_expired)]
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_acknowledged(connection, taken)
            await overdue.mark_timed_out(connection, late)

    async def time_out_some(self) -> int:
        """End packets whose deadline has passed by proving that they are absent; returns how many.

        Those that take their turn are delivered all the same, and answered as expired. What turns
        out to be received already goes on as received.
        """
        async with self.pool.acquire() as connection:
            packets = await overdue.list_overdue(
                connection,
                self.client.chain_id,
                self.remote_sets.chain_id,
                height=self._remote_height,
                now_ms=self.now_ms(),
                limit=PACKETS_MAX,
            )
        if not packets:
            return 0
        packets = _of_first_port(packets)
        with guqiao_errors():
            response = await self._fetch_absences(packets)
        certified = response.certified_header
        header = self._remote_header(certified, response.set_changes)
        pairs = list(zip([sent.packet for sent in packets], response.absences, strict=True))
        received = [packet for packet, row in pairs if row.is_received]
        absent = [
            (packet, checked_absence(packet, row, header))
            for packet, row in pairs
            if not row.is_received
            and packet.deadline.excludes_later(header.height, header.block_time_ms)
        ]
        if absent:
            proven = self._proven_remote(certified, header)
            update = await update_light_client(self.client, proven)
            body = time_out_body(proven, [absence for _, absence in absent])
            await submit_relay(self.client, "packets", "time_out", body, update.transaction_id)
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_received(connection, received)
            await overdue.mark_timed_out(connection, [packet for packet, _ in absent])
        if not absent and not received:  # Too early by the other chain's blocks: ask less often.
            await asyncio.sleep(EARLY_SECONDS)
        return len(absent) + len(received)

    async def _fetch_absences(
        self, packets: Sequence[store.SentPacket]
    ) -> pb.GetPacketAbsencesResponse:
        """What the other gateway says of receipts of packets of one port; nothing is proven."""
        first = packets[0].packet
        request = pb.GetPacketAbsencesRequest(
            source=first.source,
            port=first.port,
            sequences=[sent.packet.sequence for sent in packets],
        )
        response = await self.stub.GetPacketAbsences(request, timeout=CALL_SECONDS)
        if len(response.absences) != len(packets):
            detail = f"{len(packets)} were asked for, {len(response.absences)} came"
            raise ProofError("absences", detail)
        return response

    def _proven_remote(
        self, certified: ledger_pb2.CertifiedHeader, header: BlockHeader
    ) -> ProvenHeader:
        """A header of the destination as its light client at home takes it."""
        return ProvenHeader(
            header.chain_id,
            header.height,
            certified.header,
            certified.certificate,
            tuple(change.encode() for change in self.remote_sets.changes_to(header.epoch)),
        )

    async def anchor_some(self) -> int:
        """Fetch the anchors that acknowledged packets lack here; returns how many are kept now, and
        raises `ProofError` where none of those that came holds.

        What came to nothing is asked for again after all others, and a call that failed is made
        again for half as many, down to one: no packet holds up the anchors of others.
        """
        async with self.pool.acquire() as connection:
            packets = await store.list_unanchored(
                connection, self.client.chain_id, self.remote_sets.chain_id, self._anchors_at_once
            )
        if not packets:
            return 0
        packets = _of_first_port(packets)
        try:
            with guqiao_errors():
                response = await self._fetch_receipts(packets)
            self.remote_sets.learn(response.set_changes)
        except _REFUSALS:
            if len(packets) == 1:
                async with self.pool.acquire() as connection:
                    await store.postpone_anchors(connection, [packets[0].packet])
            self._anchors_at_once = max(len(packets) // 2, 1)
            raise
        self._anchors_at_once = min(2 * self._anchors_at_once, PACKETS_MAX)
        kept, failure = await self._keep_anchors(packets, response.receipts)
        if failure is not None:
            if not kept:
                raise failure
            self._note_failure("anchor", failure)
        return kept

    async def _fetch_receipts(
        self, packets: Sequence[store.SentPacket]
    ) -> pb.GetPacketReceiptsResponse:
        """What the other gateway says of packets of one port, one row each; nothing is proven."""
        first = packets[0].packet
        request = pb.GetPacketReceiptsRequest(
            source=first.source,
            port=first.port,
            sequences=[sent.packet.sequence for sent in packets],
        )
        response = await self.stub.GetPacketReceipts(request, timeout=CALL_SECONDS)
        if len(response.receipts) != len(packets):
            detail = f"{len(packets)} were asked for, {len(response.receipts)} came"
            raise ProofError("receipts", detail)
        return response

    async def _keep_anchors(
        self, packets: Sequence[store.SentPacket], rows: Sequence[pb.PacketReceipt]
    ) -> tuple[int, ProofError | None]:
        """Keep the anchors that hold; returns how many, and why the first other one does not."""
        failure: ProofError | None = None
        false = []
        true: list[tuple[Packet, Anchor]] = []
        for sent, row in zip(packets, rows, strict=True):
            packet = sent.packet
            try:
                anchor = verify_anchor(row.anchor, packet, row.transaction_id, self.remote_sets)
            except ProofError as error:
                false.append(packet)
                piece = f"anchor of packet {packet.sequence}"
                failure = failure or ProofError(piece, str(error), error.code)
            else:
                true.append((packet, anchor))
        async with self.pool.acquire() as connection, connection.transaction():
            for packet, anchor in true:
                message = anchor_to_message(anchor).SerializeToString()
                name = anchor.receipt.transaction_id
                await store.set_anchor(connection, packet, name, message)
            await store.postpone_anchors(connection, false)
        return len(true), failure

    def _remote_header(
        self, certified: ledger_pb2.CertifiedHeader, set_changes: Sequence[bytes]
    ) -> BlockHeader:
        """The destination's header, certified by the set of its epoch; raises `ProofError`."""
        self.remote_sets.learn(set_changes)
        header = decoded_header(certified)
        verify_header(certified, self.remote_sets.set_of(header), self.verify)
        self._remote_height = max(self._remote_height, header.height)
        return header

    async def _open(self, state: PacketState) -> list[store.SentPacket]:
        async with self.pool.acquire() as connection:
            return await store.list_open(
                connection, self.client.chain_id, self.remote_sets.chain_id, state, self._at_once
            )

    async def _proven_header(self, height_min: int) -> ProvenHeader:
        header, certificate = await self.client.get_header()
        if header.height < height_min:  # A replica that lags answered; this height is certified.
            header, certificate = await self.client.get_header(height_min)
        return ProvenHeader(
            header.chain_id,
            header.height,
            header.encode(),
            certificate.encode(),
            tuple(encoded_changes(self.client.sets, header.epoch)),
        )

    async def _traces_of(self, packets: Sequence[store.SentPacket]) -> tuple[Context, list[Link]]:
        """The first packet's trace to go on in, and links to those of the others."""
        ids = [sent.transaction_id for sent in packets]
        async with self.pool.acquire() as connection:
            known = await store.find_traces(connection, ids)
        contexts = [extract({"traceparent": known.get(name, "")}) for name in ids]
        spans = [trace.get_current_span(context).get_span_context() for context in contexts[1:]]
        others = {span.span_id: Link(span) for span in spans if span.is_valid}
        return contexts[0], list(others.values())

    @asynccontextmanager
    async def _remedied(self, packets: Sequence[store.SentPacket]) -> AsyncIterator[None]:
        """Turn the other gateway's refusal into its error, after doing what helps against it."""
        try:
            with guqiao_errors():
                yield
        except GuqiaoError as error:
            if error.code == "PACKET_UNKNOWN":
                self._unproven += 1
            match remedy_for(error.code, self._unproven):
                case Remedy.PARK:
                    # First: what is parked is not tried again, so nothing would raise it later.
                    self._raise_alarm(error.code, str(error)[:500])
                    await self._park(packets, error)
                case Remedy.TIME_OUT:
                    await self._give_up(packets, error)
                case Remedy.DELIVER_AGAIN:
                    self._unproven = 0
                    async with self.pool.acquire() as connection:
                        await store.mark_undelivered(connection, self.remote_sets.chain_id)
            raise

    async def _give_up(self, packets: Sequence[store.SentPacket], error: GuqiaoError) -> None:
        """Deliver no more what the destination refused as expired, and what is as late by its word:
        a thousand packets after an outage are not refused one by one.
        """
        late = late_packets([sent.packet for sent in packets], error.fields)
        async with self.pool.acquire() as connection, connection.transaction():
            await overdue.mark_expired(connection, late)

    async def _park(self, packets: Sequence[store.SentPacket], error: GuqiaoError) -> None:
        """Set the packet aside that the destination named; its port stops there."""
        for sent in _named(packets, error):
            packet = sent.packet
            async with self.pool.acquire() as connection:
                await store.park(
                    connection,
                    destination=packet.destination,
                    port=packet.port,
                    sequence=packet.sequence,
                    cause=f"{error.code}: {error}"[:500],
                )


def _named(packets: Sequence[store.SentPacket], error: GuqiaoError) -> list[store.SentPacket]:
    """The packet that a refusal is about."""
    named = error.fields.get("port"), error.fields.get("sequence")
    return [each for each in packets if named == (each.packet.port, str(each.packet.sequence))]


def _of_first_port(packets: Sequence[store.SentPacket]) -> list[store.SentPacket]:
    """Receipts are asked for one port at a time."""
    return [sent for sent in packets if sent.packet.port == packets[0].packet.port]


def _commitment_key(sent: store.SentPacket) -> str:
    packet = sent.packet
    return commitment_key(packet.destination, packet.port, packet.sequence)
