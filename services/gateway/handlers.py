"""What a gateway does for the other end and for its own staff. It proves everything and is trusted
with nothing.

The receiving chain's light client and packet contract judge what comes; this service only carries
it to them, and proves what they did with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.anchors import verify_anchor
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.proven import ProvenState, ProvenTransaction
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.packet import receipt_key
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.block_feed import projected_height
from services.chassis.errors import ServiceError
from services.chassis.grpc_server import error_of_code
from services.chassis.postgres import Pool
from services.gateway import open_packets, store
from services.gateway.domain.errors import (
    DeliveryMalformedError,
    LinkUnknownError,
    PacketNotParkedError,
    PacketUnknownError,
)
from services.gateway.domain.relay import (
    ALARMS,
    PacketState,
    ProvenHeader,
    ProvenPacket,
    receive_body,
    request_id_of,
    update_bodies,
)
from services.gateway.lanes import Lanes, Place
from services.gateway.metrics import GatewayMetrics
from services.gateway.revocation_lists import PublishedList, published_lists

READ_MODEL_SECONDS: Final = 3.0
READ_MODEL_POLL_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)

_UPDATE: Final = ("light_client", "update")


@dataclass(frozen=True, slots=True)
class PacketReceipt:
    """The state proof of a receipt, and the transaction that wrote it with its own proofs."""

    sequence: int
    state: ProvenState
    recording: ProvenTransaction


@dataclass(frozen=True, slots=True)
class Link:
    """How the link with another chain stands."""

    counts: store.LinkCounts
    height: int
    lists: Sequence[PublishedList]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The receiving end, and the queries; `remotes` are the sets of each chain linked with."""

    pool: Pool
    client: ChainClient
    remotes: Mapping[str, SetHistory]
    metrics: GatewayMetrics
    lanes: Lanes = field(default_factory=Lanes)

    async def deliver(
        self, header: ProvenHeader, packets: Sequence[ProvenPacket]
    ) -> TransactionResult:
        """Submit the header to the light client, then the packets; the chain verifies both. What
        came before for the same port goes before it.
        """
        body = receive_body(header, packets)
        try:
            with self.lanes.place(header.chain_id, packets[0].packet.port) as place:
                return await submit_proven(self.client, header, "receive", body, place)
        except ServiceError as error:
            if error.code in ALARMS:
                self.metrics.alarms.labels(header.chain_id, error.code).inc()
                log.error("packets.alarm_raised", remote=header.chain_id, code=error.code)
            raise

    async def get_receipts(
        self, source: str, port: str, sequences: Sequence[int]
    ) -> list[PacketReceipt]:
        """Prove what the own chain did with packets, all at its latest certified height."""
        recorded = await self._recording_transactions(source, port, sequences)
        keys = [receipt_key(source, port, sequence) for sequence in sequences]
        states = await self.client.get_state_proofs(keys)
        height_min = max(height for _, height in recorded.values())
        if states[0].header.height < height_min:  # A replica that lags answered.
            states = await self.client.get_state_proofs(keys, height_min)
        distinct = {transaction_id for transaction_id, _ in recorded.values()}
        found = await asyncio.gather(*map(self.client.get_transaction, distinct))
        recordings = {proven.result.transaction_id: proven for proven in found}
        return [
            PacketReceipt(sequence, state, recordings[recorded[sequence][0]])
            for sequence, state in zip(sequences, states, strict=True)
        ]

    async def get_absences(
        self, source: str, port: str, sequences: Sequence[int]
    ) -> list[ProvenState]:
        """Prove what stands under the receipts' keys, all at the latest certified height."""
        keys = [receipt_key(source, port, sequence) for sequence in sequences]
        return await self.client.get_state_proofs(keys)

    async def _recording_transactions(
        self, source: str, port: str, sequences: Sequence[int]
    ) -> dict[int, tuple[bytes, int]]:
        """Transaction and height by sequence, from the read model, which may be a moment behind."""
        deadline = asyncio.get_running_loop().time() + READ_MODEL_SECONDS
        while True:
            async with self.pool.acquire() as connection:
                recorded = await store.find_received(connection, source, port, sequences)
            missing = [sequence for sequence in sequences if sequence not in recorded]
            if not missing:
                return recorded
            if asyncio.get_running_loop().time() > deadline:
                raise PacketUnknownError(f"{source}/{port}/{missing[0]}")
            await asyncio.sleep(READ_MODEL_POLL_SECONDS)

    async def get_packet(self, transaction_id: bytes, index: int) -> tuple[store.SentPacket, int]:
        """A packet that a transaction of the own chain sent, and how many it sent; with its anchor
        where one is kept that holds.
        """
        async with self.pool.acquire() as connection:
            found = await store.find_sent(connection, self.client.chain_id, transaction_id, index)
        if found is None:
            raise PacketUnknownError(f"{transaction_id.hex()}/{index}")
        sent, count = found
        return await self._with_true_anchor(sent) if sent.anchor else sent, count

    async def _with_true_anchor(self, sent: store.SentPacket) -> store.SentPacket:
        """Earlier versions kept what the other gateway gave: what does not hold is not handed out,
        and the relay asks for it again.
        """
        packet, sets = sent.packet, self.remotes.get(sent.packet.destination)
        if sets is None:
            raise LinkUnknownError(packet.destination)
        try:
            message = packet_pb2.Anchor.FromString(sent.anchor)
            verify_anchor(message, packet, sent.remote_transaction_id, sets)
        except (DecodeError, ProofError) as error:
            log.warning(
                "anchor.refused",
                remote=packet.destination,
                sequence=packet.sequence,
                error=str(error),
            )
            async with self.pool.acquire() as connection:
                await store.refuse_anchor(connection, packet, sent.anchor)
            return replace(sent, remote_transaction_id=b"", anchor=b"")
        return sent

    async def list_packets(
        self,
        remote_chain_id: str,
        *,
        state: PacketState | None,
        is_parked: bool,
        after: tuple[str, int],
        limit: int,
    ) -> tuple[list[store.PacketSummary], bool]:
        """A page of the packets to another chain, and whether more follow."""
        self._require_link(remote_chain_id)
        async with self.pool.acquire() as connection:
            found = await store.list_packets(
                connection,
                remote_chain_id,
                state=state,
                is_parked=is_parked,
                after=after,
                limit=limit + 1,
            )
        return found[:limit], len(found) > limit

    async def resume_packet(self, remote_chain_id: str, port: str, sequence: int) -> None:
        """Let a packet that is set aside be delivered again."""
        self._require_link(remote_chain_id)
        async with self.pool.acquire() as connection:
            found = await open_packets.resume(
                connection, destination=remote_chain_id, port=port, sequence=sequence
            )
        if not found:
            raise PacketNotParkedError(remote_chain_id, port, sequence)
        log.info("packet.resumed", remote=remote_chain_id, port=port, sequence=sequence)

    def _require_link(self, remote_chain_id: str) -> None:
        if remote_chain_id not in self.remotes:
            raise LinkUnknownError(remote_chain_id)

    async def get_link(self, remote_chain_id: str) -> Link:
        """How the link with another chain stands."""
        self._require_link(remote_chain_id)
        async with self.pool.acquire() as connection:
            counts = await store.count_link(connection, remote_chain_id)
            height = await projected_height(connection, self.client.chain_id)
            return Link(counts, height, await published_lists(connection))


async def submit_proven(
    client: ChainClient,
    header: ProvenHeader,
    method: str,
    body: dict[str, Json],
    place: Place | None = None,
) -> TransactionResult:
    """Submit to `packets` what a header of another chain proves, and the header to the light client
    before it, through its set changes. The chain verifies all of it.

    Both leave at once, the first after what has the `place` before and the second after the first
    (`after`), so that one block may hold all. Where the header is refused at first, it is asked for
    by itself, and what it proves afterwards: each request follows from its content, so it has one
    effect however often it comes.

    Raises `DeliveryMalformedError`, or the chain's refusal.
    """
    *steps, last = await _update_bodies(client, header)
    for step in steps:
        await submit_relay(client, *_UPDATE, step)
    before = None if place is None else await place.predecessor()
    first = await _built(client, *_UPDATE, last, before)
    second = await _built(client, "packets", method, body, first.id())
    if place is not None:
        place.note_made(second.id())
    update, result = await asyncio.gather(
        client.submit(first), client.submit(second), return_exceptions=True
    )
    if isinstance(update, BaseException):
        raise update
    if not update.accepted:
        update = await _settled(client, *_UPDATE, last, None, update)
        return await submit_relay(client, "packets", method, body, update.transaction_id)
    if isinstance(result, BaseException):
        raise result
    return await _settled(client, "packets", method, body, update.transaction_id, result)


async def submit_header(client: ChainClient, header: ProvenHeader) -> None:
    """Submit a header of another chain to the light client, through its set changes. One that was
    taken before changes nothing. Raises as `submit_proven`.
    """
    for body in await _update_bodies(client, header):
        await submit_relay(client, *_UPDATE, body)


async def _update_bodies(client: ChainClient, header: ProvenHeader) -> list[dict[str, Json]]:
    followed = await followed_epoch(client, header.chain_id) if header.set_changes else None
    try:
        return update_bodies(header, followed)
    except MalformedError as error:
        raise DeliveryMalformedError(f"set changes: {error}") from error


async def followed_epoch(client: ChainClient, chain: str) -> int | None:
    """The epoch up to which the own chain follows another one: that of its light client, before the
    first header that of the trust, registered or from genesis. None: it does not know that chain.
    """
    for key in (f"client/{chain}", f"trust/{chain}"):
        record = (await client.get_state_proof(f"light_client/{key}")).value
        if record is not None:
            return int(json.loads(record)["epoch"])
    parameters = (await client.get_state_proof("light_client/parameters")).value
    remotes = [] if parameters is None else json.loads(parameters)["remote_chains"]
    return next((int(each["epoch"]) for each in remotes if each["chain_id"] == chain), None)


async def submit_relay(
    client: ChainClient,
    contract: str,
    method: str,
    body: dict[str, Json],
    after: bytes | None = None,
) -> TransactionResult:
    """Submit a relay transaction under a request id that follows from its content. A refusal is
    raised with the chain's code.
    """
    result = await client.submit(await _built(client, contract, method, body, after))
    return await _settled(client, contract, method, body, after, result)


async def _settled(
    client: ChainClient,
    contract: str,
    method: str,
    body: dict[str, Json],
    after: bytes | None,
    result: TransactionResult,
) -> TransactionResult:
    """What a request came to. An old refusal, which the chain answers again because it is bound to
    the request id, may have lost its reason since: it is asked for once more under an id that
    follows from the height as well. What took effect has one effect all the same.
    """
    if not result.accepted:
        header, _ = await client.get_header()
        if header.height > result.height or result.outcome is Outcome.REPLAYED:
            again = await _built(client, contract, method, body, after, f"@{header.height}")
            result = await client.submit(again)
    if not result.accepted:
        facts = {
            name: fact if isinstance(fact, str | int | bool) else str(fact)
            for name, fact in result.detail.items()
        }
        raise error_of_code(result.code, **facts)
    return result


async def _built(
    client: ChainClient,
    contract: str,
    method: str,
    body: dict[str, Json],
    after: bytes | None = None,
    suffix: str = "",
) -> SignedTransaction:
    request_id = request_id_of(f"{contract}.{method}{suffix}", body)
    return await client.build(contract, method, body, request_id=request_id, after=after)
