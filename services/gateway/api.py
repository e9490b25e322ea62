"""The gateway's gRPC door: parse, call a handler, build the reply. It decides nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao.gateway.v1 import gateway_service_pb2_grpc as pb_grpc
from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.packet_messages import (
    packet_of_message,
    packet_to_message,
    terms_to_message,
)
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.packet import Packet
from services.chassis.grpc_server import Policy, caller
from services.gateway.admission import Admission
from services.gateway.domain.client_age import FollowedClient
from services.gateway.domain.errors import (
    DeliveryMalformedError,
    LinkUnknownError,
    OtherOrganisationError,
)
from services.gateway.domain.relay import PACKETS_MAX, PacketState, ProvenHeader, ProvenPacket
from services.gateway.fetched_calls import FetchedCalls
from services.gateway.freshness import Freshness
from services.gateway.handlers import Handlers, PacketReceipt
from services.gateway.observed.observer import Observer
from services.gateway.store import PacketSummary
from services.gateway.travel import encoded_changes

STAFF: Final = ("observer", "supervisor", "identity_admin", "market_admin", "operator_maker")
NUMBER_MAX: Final = 2**53 - 1
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 500
_SERVICE: Final = "/guqiao.gateway.v1.GatewayService"
POLICIES: Final = {
    f"{_SERVICE}/DeliverPackets": Policy.of("peer_gateway"),
    f"{_SERVICE}/GetPacketReceipts": Policy.of("peer_gateway", "supervisor"),
    f"{_SERVICE}/GetPacketAbsences": Policy.of("peer_gateway", "supervisor"),
    f"{_SERVICE}/FetchCalls": Policy.of("peer_gateway"),
    f"{_SERVICE}/AnswerCall": Policy.of("peer_gateway"),
    f"{_SERVICE}/GetLink": Policy.of(*STAFF),
    f"{_SERVICE}/ListObservedChains": Policy.of(*STAFF),
    f"{_SERVICE}/GetPacket": Policy.of(*STAFF),
    f"{_SERVICE}/ListPackets": Policy.of(*STAFF),
    f"{_SERVICE}/ResumePacket": Policy.of("operator_maker", "market_admin", "identity_admin"),
}


class GatewayServicer(pb_grpc.GatewayServiceServicer):
    """Translates between protobuf and the handlers; `fetched` are the calls to each chain whose
    gateway fetches them, `fresh` is what keeps the own chain's client of each young.
    """

    def __init__(
        self,
        handlers: Handlers,
        last_error_of: Callable[[str], str],
        fetched: Mapping[str, FetchedCalls] | None = None,
        fresh: Mapping[str, Freshness] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._handlers = handlers
        self._last_error_of = last_error_of
        self._fetched = fetched or {}
        self._fresh = fresh or {}
        self._observers = observers

    async def DeliverPackets(
        self, request: pb.DeliverPacketsRequest, context: object
    ) -> pb.DeliverPacketsResponse:
        header = _proven_header(request.certified_header, request.set_changes)
        if not 1 <= len(request.packets) <= PACKETS_MAX:
            detail = f"{len(request.packets)} packets, 1 to {PACKETS_MAX} at a time"
            raise DeliveryMalformedError(detail)
        self._check_speaks_for(header.chain_id)
        packets = [ProvenPacket(_packet(row.packet), row.proof) for row in request.packets]
        result = await self._handlers.deliver(header, packets)
        return pb.DeliverPacketsResponse(height=result.height)

    async def GetPacketReceipts(
        self, request: pb.GetPacketReceiptsRequest, context: object
    ) -> pb.GetPacketReceiptsResponse:
        _check_sequences(request.sequences)
        self._check_speaks_for(request.source)
        found = await self._handlers.get_receipts(request.source, request.port, request.sequences)
        sets = self._handlers.client.sets
        return pb.GetPacketReceiptsResponse(
            certified_header=found[0].state.message.certified_header,
            receipts=[_receipt(receipt) for receipt in found],
            set_changes=encoded_changes(sets, found[0].state.header.epoch),
        )

    async def GetPacketAbsences(
        self, request: pb.GetPacketAbsencesRequest, context: object
    ) -> pb.GetPacketAbsencesResponse:
        _check_sequences(request.sequences)
        self._check_speaks_for(request.source)
        source, port = _port(request.source), _port(request.port)
        found = await self._handlers.get_absences(source, port, request.sequences)
        first = found[0]
        return pb.GetPacketAbsencesResponse(
            certified_header=first.message.certified_header,
            absences=[
                pb.PacketAbsence(
                    sequence=sequence,
                    is_received=state.value is not None,
                    proof=state.message.proof,
                )
                for sequence, state in zip(request.sequences, found, strict=True)
            ],
            set_changes=encoded_changes(self._handlers.client.sets, first.header.epoch),
        )

    async def FetchCalls(
        self, request: pb.FetchCallsRequest, context: object
    ) -> AsyncIterator[pb.FetchCallsResponse]:
        fetched = self._fetched_of(request.chain_id)
        admission = Admission(self._handlers.client, request.chain_id, caller().organisation)
        await admission.require_if_known()
        async with aclosing(fetched.hand_out()) as calls:
            async for call in calls:
                if call.WhichOneof("call") is None:
                    await admission.require_if_known()
                else:  # Where it is refused, the stream ends, and the call fails at once.
                    await admission.require()
                yield call

    async def AnswerCall(
        self, request: pb.AnswerCallRequest, context: object
    ) -> pb.AnswerCallResponse:
        self._fetched_of(request.chain_id).answer(request)
        return pb.AnswerCallResponse()

    def _check_speaks_for(self, chain: str) -> None:
        """The regulator's gateway hears of a market's chain from that market's gateway alone. A
        market's hears only what its own fetched.
        """
        if self._fetched:
            self._fetched_of(chain)

    def _fetched_of(self, chain: str) -> FetchedCalls:
        """The calls to a chain's gateway, if the caller is that of its organisation: what is asked
        of a market is no other market's business.
        """
        found = self._fetched.get(chain)
        if found is None:
            raise LinkUnknownError(chain)
        if found.organisation != caller().organisation:
            raise OtherOrganisationError(caller().organisation)
        return found

    async def GetLink(self, request: pb.GetLinkRequest, context: object) -> pb.GetLinkResponse:
        link = await self._handlers.get_link(request.remote_chain_id)
        now_ms = time.time_ns() // 1_000_000
        fresh = self._fresh.get(request.remote_chain_id)
        held = None if fresh is None else fresh.seen
        return pb.GetLinkResponse(
            sent=link.counts.sent,
            acknowledged=link.counts.acknowledged,
            received=link.counts.received,
            parked=link.counts.parked,
            height=link.height,
            last_error=self._last_error_of(request.remote_chain_id),
            timed_out=link.counts.timed_out,
            revocation_lists=[
                pb.PublishedRevocationList(
                    authority=each.authority,
                    number=each.number,
                    next_update_ms=each.next_update_ms,
                    ends_soon=each.ends_soon(now_ms),
                )
                for each in link.lists
            ],
            light_client=None if held is None else _followed(held),
        )

    async def ListObservedChains(
        self, request: pb.ListObservedChainsRequest, context: object
    ) -> pb.ListObservedChainsResponse:
        return pb.ListObservedChainsResponse(chains=map(_observed, self._observers))

    async def GetPacket(
        self, request: pb.GetPacketRequest, context: object
    ) -> pb.GetPacketResponse:
        sent, count = await self._handlers.get_packet(request.transaction_id, request.index)
        return pb.GetPacketResponse(
            packet=packet_to_message(sent.packet),
            state=packet_pb2.PacketState.ValueType(int(sent.state)),
            remote_transaction_id=sent.remote_transaction_id,
            anchor=packet_pb2.Anchor.FromString(sent.anchor) if sent.anchor else None,
            acknowledgement_transaction_id=sent.acknowledgement_transaction_id,
            count=count,
        )

    async def ListPackets(
        self, request: pb.ListPacketsRequest, context: object
    ) -> pb.ListPacketsResponse:
        if request.state not in packet_pb2.PacketState.values():
            raise DeliveryMalformedError(f"a state of {request.state}")
        if request.after_sequence > NUMBER_MAX:
            raise DeliveryMalformedError(f"after_sequence of {request.after_sequence}")
        found, has_more = await self._handlers.list_packets(
            request.remote_chain_id,
            state=PacketState(request.state) if request.state else None,
            is_parked=request.parked,
            after=(_port(request.after_port), request.after_sequence),
            limit=min(request.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
        )
        return pb.ListPacketsResponse(packets=map(_summary, found), has_more=has_more)

    async def ResumePacket(
        self, request: pb.ResumePacketRequest, context: object
    ) -> pb.ResumePacketResponse:
        _check_number(request.sequence, "a sequence")
        port = _port(request.port)
        await self._handlers.resume_packet(request.remote_chain_id, port, request.sequence)
        return pb.ResumePacketResponse()


def _observed(observer: Observer) -> pb.ObservedChain:
    recorded = observer.recorded
    return pb.ObservedChain(
        chain_id=observer.chain,
        status="" if recorded is None else recorded.status,
        generation=0 if recorded is None else recorded.generation,
        height=0 if recorded is None else recorded.trusted.number,
        header_hash=b"" if recorded is None else recorded.trusted.header_hash,
        recorded_height=0 if recorded is None else recorded.recorded_height,
        last_error=observer.last_error,
        nodes=[
            pb.ObservedNode(
                name=each.name,
                state=pb.ObservedNodeState.ValueType(int(each.state)),
                height=each.height,
                detail=each.detail,
            )
            for each in observer.views
        ],
    )


def _port(text: str) -> str:
    """A port, as the database can compare with it."""
    if "\x00" in text:
        raise DeliveryMalformedError("a port with NUL")
    return text


def _followed(held: FollowedClient) -> pb.FollowedClient:
    return pb.FollowedClient(
        height=held.height,
        header_hash=BlockHeader.decode(held.header).hash() if held.header else b"",
        block_time_ms=held.block_time_ms,
        age_seconds=held.age_seconds,
        period_seconds=held.period.seconds,
        code=held.code,
    )


def _summary(found: PacketSummary) -> pb.PacketSummary:
    return pb.PacketSummary(
        port=found.port,
        sequence=found.sequence,
        state=packet_pb2.PacketState.ValueType(int(found.state)),
        transaction_id=found.transaction_id,
        height=found.height,
        remote_transaction_id=found.remote_transaction_id,
        parked_cause=found.parked_cause,
        refused_code=found.refused_code,
        terms=terms_to_message(found.terms),
    )


def _proven_header(
    message: ledger_pb2.CertifiedHeader, set_changes: Sequence[bytes]
) -> ProvenHeader:
    """Read only what names the header; the light client judges it."""
    try:
        header = BlockHeader.decode(message.header)
    except MalformedError as error:
        raise DeliveryMalformedError(f"certified header: {error}") from error
    _check_number(header.height, "the header's height")
    return ProvenHeader(
        header.chain_id, header.height, message.header, message.certificate, tuple(set_changes)
    )


def _packet(message: packet_pb2.Packet) -> Packet:
    _check_number(message.sequence, "a sequence")
    try:
        message.payload.decode()
    except UnicodeDecodeError as error:
        raise DeliveryMalformedError("a payload that is no text") from error
    try:
        return packet_of_message(message)
    except ProofError as error:
        raise DeliveryMalformedError(str(error)) from error


def _check_sequences(sequences: Sequence[int]) -> None:
    if not 1 <= len(sequences) <= PACKETS_MAX:
        detail = f"{len(sequences)} sequences, 1 to {PACKETS_MAX} at a time"
        raise DeliveryMalformedError(detail)
    for sequence in sequences:
        _check_number(sequence, "a sequence")


def _check_number(number: int, what: str) -> None:
    """Sequences and heights are counted by chains, so they fit what JSON state can carry."""
    if not 1 <= number <= NUMBER_MAX:
        raise DeliveryMalformedError(f"{what} of {number}, 1 to {NUMBER_MAX} can be")


def _receipt(found: PacketReceipt) -> pb.PacketReceipt:
    recording = found.recording.message
    return pb.PacketReceipt(
        sequence=found.sequence,
        receipt=found.state.value or b"",
        proof=found.state.message.proof,
        transaction_id=recording.result.transaction_id,
        anchor=packet_pb2.Anchor(
            certified_header=recording.certified_header,
            receipt_proof=recording.receipt_proof,
        ),
    )
