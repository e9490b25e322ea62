"""What a relay keeps of other chains and finds of its own beside the packets: anchors, traces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link

from guqiao.gateway.v1 import gateway_service_pb2 as pb
from guqiao_sdk.client.anchors import AnchorVerifier, anchor_to_message
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.proof.bundle import Anchor
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.packet import Packet
from services.chassis.postgres import Pool
from services.chassis.telemetry import extract
from services.gateway import store


async def keep_anchors(
    pool: Pool,
    remote_sets: SetHistory,
    packets: Sequence[store.SentPacket],
    rows: Sequence[pb.PacketReceipt],
) -> tuple[int, ProofError | None]:
    """Keep the anchors that hold; returns how many, and why the first other one does not."""
    failure: ProofError | None = None
    false = []
    true: list[tuple[Packet, Anchor]] = []
    verifier = AnchorVerifier(remote_sets)
    for sent, row in zip(packets, rows, strict=True):
        packet = sent.packet
        try:
            anchor = verifier.verify(row.anchor, packet, row.transaction_id)
        except ProofError as error:
            false.append(packet)
            piece = f"anchor of packet {packet.sequence}"
            failure = failure or ProofError(piece, str(error), error.code)
        else:
            true.append((packet, anchor))
    async with pool.acquire() as connection, connection.transaction():
        for anchor, group in groupby(true, key=itemgetter(1)):
            message = anchor_to_message(anchor).SerializeToString()
            packets_of = [packet for packet, _ in group]
            await store.set_anchor(connection, packets_of, anchor.receipt.transaction_id, message)
        await store.postpone_anchors(connection, false)
    return len(true), failure


async def traces_of(pool: Pool, packets: Sequence[store.SentPacket]) -> tuple[Context, list[Link]]:
    """The first packet's trace to go on in, and links to those of the others."""
    ids = [sent.transaction_id for sent in packets]
    async with pool.acquire() as connection:
        known = await store.find_traces(connection, ids)
    contexts = [extract({"traceparent": known.get(name, "")}) for name in ids]
    spans = [trace.get_current_span(context).get_span_context() for context in contexts[1:]]
    others = {span.span_id: Link(span) for span in spans if span.is_valid}
    return contexts[0], list(others.values())
