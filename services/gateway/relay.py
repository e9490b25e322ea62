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
from functools import partial
from itertools import groupby
from typing import Final

import structlog
from opentelemetry import trace

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.packet_messages import packet_to_message
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.errors import GuqiaoError, guqiao_errors
from guqiao_sdk.proof.header import BlockHeader, Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import Packet, PacketClass, sender_of
from guqiao_sdk.signing import system_time_ms
from services.chassis.errors import ServiceError
from services.chassis.postgres import Pool
from services.gateway import open_packets, overdue, questions, store
from services.gateway.anchoring import keep_anchors
from services.gateway.deliveries import Deliveries, Delivery, OvertookError, proven_delivery
from services.gateway.domain.errors import ReceiptTooLargeError
from services.gateway.domain.relay import (
    IS_PARKED_CODES,
    OUT_OF_ORDER,
    PACKETS_MAX,
    TOO_MUCH_CODES,
    PacketState,
    ProvenHeader,
    ProvenPacket,
    ProvenReceipt,
    Remedy,
    acknowledge_body,
    remedy_for,
    time_out_body,
)
from services.gateway.giving_up import GivingUp
from services.gateway.handlers import submit_proven
from services.gateway.held_senders import HeldSenders
from services.gateway.metrics import GatewayMetrics
from services.gateway.parking import is_too_large, park, set_aside, told_by
from services.gateway.refusals import late_of, named_by
from services.gateway.steps import REFUSALS, Steps
from services.gateway.travel import (
    checked_absence,
    checked_receipt,
    header_to_message,
    proven_remote,
    verified_header,
)

EARLY_SECONDS: Final = 1.0
HEIGHT_SECONDS: Final = 5.0  # Between questions for a height that ends packets.
LEFT_OVER_SECONDS: Final = 0.5  # Between looks for late packets and for anchors that did not come.

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Relay:
    """One direction of one link: own chain -> the chain of `remote_sets`."""

    pool: Pool
    client: ChainClient
    remote_sets: SetHistory
    gateway: questions.RemoteGateway
    verify: Verify
    tracer: trace.Tracer
    metrics: GatewayMetrics
    now_ms: Callable[[], int] = system_time_ms
    _unproven: dict[str, int] = field(default_factory=dict)
    _at_once: dict[str, int] = field(default_factory=dict)
    _anchors_at_once: int = PACKETS_MAX
    _own_height: int = 0
    _remote_height: int = 0
    _asked_height_ms: int = 0
    _steps: Steps = field(init=False)
    _giving_up: GivingUp = field(init=False)
    _held: HeldSenders = field(init=False)
    _deliveries: Deliveries = field(init=False)

    def __post_init__(self) -> None:
        remote = self.remote_sets.chain_id
        self._steps = Steps(remote, self.metrics)
        self._giving_up = GivingUp(self.pool, self.client, remote, self.now_ms)
        self._held = HeldSenders(self.now_ms)
        self._deliveries = Deliveries(self._prepare, self._send)

    @property
    def last_error(self) -> str:
        """Why the steps that do not get on do not; empty when all do."""
        return self._steps.last_error

    async def run(self) -> None:
        """Carry packets and acknowledgements until cancelled, each port by itself."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._steps.repeat("ports", partial(self._begin_ports, tasks)))
            for step, action in (("anchor", self.anchor_some), ("time_out", self.time_out_some)):
                repeated = self._steps.repeat(step, action, idle_seconds=LEFT_OVER_SECONDS)
                tasks.create_task(repeated)
            tasks.create_task(self.watch())

    async def watch(self) -> None:
        """Only give up what a chain that is not admitted leaves open, until cancelled."""
        await self._steps.repeat("give_up", self._giving_up.look)

    async def _begin_ports(self, tasks: asyncio.TaskGroup) -> int:
        """Begin with the ports that have something to carry; no port waits for another."""
        for port in await self._ports(PacketState.SENT):
            carry = partial(self._deliveries.carry, tasks)
            action = partial(self._at_a_fitting_rate, carry, port)
            self._steps.begin(tasks, "deliver", port, action)
        for port in await self._ports(PacketState.RECEIVED):
            action = partial(self._at_a_fitting_rate, self.acknowledge_port, port)
            self._steps.begin(tasks, "acknowledge", port, action)
        return 0

    async def _at_a_fitting_rate(self, action: Callable[[str], Awaitable[int]], port: str) -> int:
        """Carry half as many at once where it was too much, twice as many where it was not."""
        now = self._at_once.get(port, PACKETS_MAX)
        try:
            carried = await action(port)
        except REFUSALS as error:
            if error.code in TOO_MUCH_CODES:
                self._at_once[port] = max(now // 2, 1)
            raise
        if carried:
            self._at_once[port] = min(2 * now, PACKETS_MAX)
        return carried

    async def deliver_some(self) -> int:
        """One turn of every port; returns how many packets were delivered, and raises the first
        failure after the others had their turn.
        """
        return await self._each_port(PacketState.SENT, self.deliver_port)

    async def acknowledge_some(self) -> int:
        """One turn of every port, as `deliver_some`."""
        return await self._each_port(PacketState.RECEIVED, self.acknowledge_port)

    async def _each_port(self, state: PacketState, action: Callable[[str], Awaitable[int]]) -> int:
        carried, failures = 0, []
        for port in await self._ports(state):
            try:
                carried += await action(port)
            except REFUSALS as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return carried

    async def deliver_port(self, port: str) -> int:
        """Deliver the next packets to a port with their proofs; returns how many. Those that the
        destination says are too late, or of a sender whose breaker is open, are left out, and the
        others go at once.
        """
        delivery = await self._prepare(port, ())
        return 0 if delivery is None else await self._send(delivery, is_first=True)

    async def _prepare(self, port: str, under_way: Sequence[int]) -> Delivery | None:
        """The next packets to a port, besides those that are under way, with their proofs; None
        where there are none.
        """
        packets = await self._open(PacketState.SENT, port, self._held.of(port), under_way)
        if not packets:
            return None
        delivery = await proven_delivery(self.pool, self.client, packets, self._own_height)
        self._own_height = delivery.header.height
        return delivery

    async def _send(self, delivery: Delivery, *, is_first: bool) -> int:
        pairs = list(delivery.pairs)
        while pairs:
            left_out = await self._deliver(delivery, pairs, is_first=is_first)
            if not left_out:
                break
            pairs = [pair for pair in pairs if pair[1].packet not in left_out]
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_received(connection, [sent.packet for sent, _ in pairs])
        return len(pairs)

    async def _deliver(
        self,
        delivery: Delivery,
        pairs: Sequence[tuple[store.SentPacket, ProvenPacket]],
        *,
        is_first: bool,
    ) -> list[Packet]:
        """Deliver all of these, or none where some are too late or held: those, noted as such."""
        packets, header = [sent for sent, _ in pairs], delivery.header
        with self.tracer.start_as_current_span(
            "gateway.deliver_packets",
            context=delivery.parent,
            links=delivery.links,
            attributes={"packets": len(packets), "first": packets[0].packet.sequence},
        ):
            request = pb.DeliverPacketsRequest(
                certified_header=header_to_message(header), set_changes=header.set_changes
            )
            for sent, proven in pairs:
                request.packets.add(packet=packet_to_message(sent.packet), proof=proven.proof)
            try:
                async with self._remedied(packets, is_first=is_first):
                    await self.gateway.deliver_packets(request)
            except GuqiaoError as error:
                held = self._held.hold([sent.packet for sent in packets], error)
                if held:
                    name = f"deliver {held[0].port} of {sender_of(held[0])}"
                    self._steps.note_failure("deliver", error, name)
                    return held
                late = late_of(packets, error)
                if not late:
                    raise
                log.info(
                    "packets.late",
                    remote=self.remote_sets.chain_id,
                    port=late[0].port,
                    sequences=[packet.sequence for packet in late],
                )
                return late
        return []

    async def acknowledge_port(self, port: str) -> int:
        """Bring the receipts of packets delivered to a port home to the own chain; returns how
        many.
        """
        packets = await self._open(PacketState.RECEIVED, port)
        if not packets:
            return 0
        async with self._remedied(packets):
            response = await questions.fetch_receipts(self.gateway, packets)
        certified = response.certified_header
        header = self._remote_header(certified, response.set_changes)
        receipts = [
            checked_receipt(sent.packet, row, header)
            for sent, row in zip(packets, response.receipts, strict=True)
        ]
        self._unproven.pop(port, None)
        _, failure = await keep_anchors(self.pool, self.remote_sets, packets, response.receipts)
        if failure is not None:  # The receipts are proven by themselves; anchors can come later.
            self._steps.note_failure("anchor", failure)
        proven = proven_remote(self.remote_sets, certified, header)
        await self._submit("acknowledge", proven, acknowledge_body(proven, receipts), packets)
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
            await self._learn_height()
            return 0
        carried, failures = 0, []
        packets.sort(key=lambda sent: sent.packet.port)  # Stable: the earliest deadlines first.
        for _, group in groupby(packets, key=lambda sent: sent.packet.port):
            try:
                carried += await self._time_out(list(group))
            except REFUSALS as error:
                failures.append(error)
        if failures:
            raise failures[0]
        if not carried:  # Too early by the other chain's blocks: ask less often.
            await asyncio.sleep(EARLY_SECONDS)
        return carried

    async def _time_out(self, packets: Sequence[store.SentPacket]) -> int:
        """End packets of one port that are shown absent. What the destination said is too late, and
        what by its header is not, is delivered again: nothing is lost by a false word.
        """
        with guqiao_errors():
            response = await questions.fetch_absences(self.gateway, packets)
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
        early = [
            packet
            for packet, row in pairs
            if not row.is_received
            and not packet.deadline.excludes_later(header.height, header.block_time_ms)
        ]
        async with self.pool.acquire() as connection, connection.transaction():
            await overdue.clear_expired(connection, early)
        if absent:
            proven = proven_remote(self.remote_sets, certified, header)
            body = time_out_body(proven, [absence for _, absence in absent])
            await self._submit("time_out", proven, body, packets)
        async with self.pool.acquire() as connection, connection.transaction():
            await store.mark_received(connection, received)
            await overdue.mark_timed_out(connection, [packet for packet, _ in absent])
        return len(absent) + len(received)

    async def _learn_height(self) -> None:
        """Ask how high the destination is where that ends a packet: nobody else may tell."""
        now_ms = self.now_ms()
        if now_ms - self._asked_height_ms < HEIGHT_SECONDS * 1_000:
            return
        async with self.pool.acquire() as connection:
            first = await overdue.first_by_height(
                connection, self.client.chain_id, self.remote_sets.chain_id
            )
        if first is not None:
            with guqiao_errors():
                response = await questions.fetch_absences(self.gateway, [first])
            self._remote_header(response.certified_header, response.set_changes)
        self._asked_height_ms = now_ms

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
                response = await questions.fetch_receipts(self.gateway, packets)
            self.remote_sets.learn(response.set_changes)
        except REFUSALS:
            if len(packets) == 1:
                async with self.pool.acquire() as connection:
                    await store.postpone_anchors(connection, [packets[0].packet])
            self._anchors_at_once = max(len(packets) // 2, 1)
            raise
        self._anchors_at_once = min(2 * self._anchors_at_once, PACKETS_MAX)
        kept, failure = await keep_anchors(self.pool, self.remote_sets, packets, response.receipts)
        if failure is not None:
            if not kept:
                raise failure
            self._steps.note_failure("anchor", failure)
        return kept

    def _remote_header(
        self, certified: ledger_pb2.CertifiedHeader, set_changes: Sequence[bytes]
    ) -> BlockHeader:
        """The destination's header, certified by the set of its epoch; raises `ProofError`."""
        header = verified_header(self.remote_sets, certified, set_changes, self.verify)
        self._remote_height = max(self._remote_height, header.height)
        return header

    async def _ports(self, state: PacketState) -> list[str]:
        for port, sender in self._held.let_go():
            self._steps.note_success(f"deliver {port} of {sender}")
        async with self.pool.acquire() as connection:
            return await open_packets.list_ports(connection, self.remote_sets.chain_id, state)

    async def _open(
        self,
        state: PacketState,
        port: str,
        held: Sequence[str] = (),
        under_way: Sequence[int] = (),
    ) -> list[store.SentPacket]:
        limit = self._at_once.get(port, PACKETS_MAX)
        async with self.pool.acquire() as connection:
            return await open_packets.list_open(
                connection,
                self.client.chain_id,
                self.remote_sets.chain_id,
                port,
                state,
                limit,
                held,
                under_way,
            )

    async def _submit(
        self,
        method: str,
        header: ProvenHeader,
        body: dict[str, Json],
        packets: Sequence[store.SentPacket],
    ) -> None:
        """Submit what ends packets to the own chain, with the header that proves it. Where that
        finds that the destination contradicts itself about one, it is set aside: trying again would
        find the same for ever.
        """
        try:
            await submit_proven(self.client, header, method, body)
        except ServiceError as error:
            if error.code in IS_PARKED_CODES:
                await park(self.pool, named_by(error, packets), error, is_contradicted=True)
            if method == "acknowledge" and is_too_large(packets, error):
                raise await self._receipt_too_large(packets[0], error) from error
            raise

    @asynccontextmanager
    async def _remedied(
        self, packets: Sequence[store.SentPacket], *, is_first: bool = True
    ) -> AsyncIterator[None]:
        """Turn the other gateway's refusal into its error, after doing what helps against it. What
        only came before its turn needs no help: it is an `OvertookError`.
        """
        try:
            with guqiao_errors():
                yield
        except GuqiaoError as error:
            if error.code == OUT_OF_ORDER and not is_first:
                raise OvertookError from error
            if is_too_large(packets, error):
                raise await self._receipt_too_large(packets[0], error) from error
            await self._help(packets, error)
            raise

    async def _help(self, packets: Sequence[store.SentPacket], error: GuqiaoError) -> None:
        """Do what helps against a refusal, besides trying again."""
        port = packets[0].packet.port
        if error.code == "PACKET_UNKNOWN":
            self._unproven[port] = self._unproven.get(port, 0) + 1
        in_order = packets[0].packet.packet_class is PacketClass.ORDERED
        match remedy_for(error.code, self._unproven.get(port, 0), in_order=in_order):
            case Remedy.PARK:
                # First: what is parked is not tried again, so nothing would raise it later.
                self._steps.raise_alarm(error.code, told_by(error)[:500])
                if not await set_aside(self.pool, packets, error):
                    self._at_once[port] = 1  # One by one, until it is alone.
            case Remedy.TIME_OUT:
                async with self.pool.acquire() as connection, connection.transaction():
                    await overdue.mark_expired(connection, late_of(packets, error))
            case Remedy.DELIVER_AGAIN:
                self._unproven.pop(port, None)
                async with self.pool.acquire() as connection:
                    await store.mark_undelivered(connection, self.remote_sets.chain_id)

    async def _receipt_too_large(
        self, sent: store.SentPacket, error: GuqiaoError | ServiceError
    ) -> ReceiptTooLargeError:
        """Set a packet aside whose receipt alone is too much: asking again would bring the same."""
        refused = ReceiptTooLargeError(sent.packet.port, sent.packet.sequence, error.code)
        self._steps.raise_alarm(refused.code, str(refused)[:500])
        await park(self.pool, [sent], refused)
        return refused


def _of_first_port(packets: Sequence[store.SentPacket]) -> list[store.SentPacket]:
    """Receipts are asked for one port at a time."""
    return [sent for sent in packets if sent.packet.port == packets[0].packet.port]
