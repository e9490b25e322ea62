"""The gateway's SQL: one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from guqiao_sdk.proof.packet import Deadline, Packet, PacketClass, Terms, commitment_key, sender_of
from services.chassis.postgres import Connection
from services.gateway.domain.relay import PacketState


@dataclass(frozen=True, slots=True)
class SentPacket:
    """A packet of the own chain and how far it is."""

    packet: Packet
    transaction_id: bytes
    height: int
    state: PacketState
    remote_transaction_id: bytes
    anchor: bytes
    acknowledgement_transaction_id: bytes

    @property
    def commitment_key(self) -> str:
        """State key of its commitment on the own chain."""
        packet = self.packet
        return commitment_key(packet.destination, packet.port, packet.sequence)


@dataclass(frozen=True, slots=True)
class PacketSummary:
    """A packet of the own chain without its payload; `parked_cause` is empty where it is not set
    aside, `remote_transaction_id` until that is known here, `refused_code` unless the destination
    acknowledged with one.
    """

    port: str
    sequence: int
    state: PacketState
    transaction_id: bytes
    height: int
    remote_transaction_id: bytes
    parked_cause: str
    terms: Terms | None
    refused_code: str = ""


@dataclass(frozen=True, slots=True)
class LinkCounts:
    """How many packets are where."""

    sent: int
    acknowledged: int
    received: int
    parked: int
    timed_out: int


async def insert_sent(connection: Connection, sent: SentPacket) -> None:
    """Note a packet that the own chain sent."""
    sender = sender_of(sent.packet)
    await connection.execute(
        """
        INSERT INTO packets_sent (destination, port, sequence, payload, transaction_id, height,
                                  state, packet_class, deadline_height, deadline_time_ms, sender)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING
        """,
        sent.packet.destination,
        sent.packet.port,
        sent.packet.sequence,
        sent.packet.payload,
        sent.transaction_id,
        sent.height,
        int(sent.state),
        None if sent.packet.terms is None else sent.packet.packet_class.value,
        sent.packet.deadline.height,
        sent.packet.deadline.time_ms,
        "" if sender == sent.packet.source else sender,
    )


async def insert_received(
    connection: Connection,
    *,
    source: str,
    port: str,
    sequence: int,
    transaction_id: bytes,
    height: int,
) -> None:
    """Note a packet that the own chain received."""
    await connection.execute(
        """
        INSERT INTO packets_received (source, port, sequence, transaction_id, height)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
        """,
        source,
        port,
        sequence,
        transaction_id,
        height,
    )


async def list_unanchored(
    connection: Connection, source: str, destination: str, limit: int
) -> list[SentPacket]:
    """Acknowledged packets whose anchor is not kept here or does not hold: another relay carried
    them, these rows were rebuilt, or the destination's gateway gave a false one. Those never asked
    for come first, then those asked for in vain the longest ago.
    """
    rows = await connection.fetch(
        """
        SELECT destination, port, sequence, payload, transaction_id, height, state,
               remote_transaction_id, anchor, acknowledgement_transaction_id,
               packet_class, deadline_height, deadline_time_ms
        FROM packets_sent
        WHERE destination = $1 AND state = 3
          AND (anchor IS NULL OR anchor_refused_at IS NOT NULL)
        ORDER BY anchor_refused_at NULLS FIRST, port, sequence LIMIT $2
        """,
        destination,
        limit,
    )
    return [sent_of(row, source) for row in rows]


async def mark_received(connection: Connection, packets: Sequence[Packet]) -> None:
    """Note that the destination says it recorded the packets; proofs come with the receipts."""
    await connection.executemany(
        """
        UPDATE packets_sent SET state = $4, expired = false
        WHERE destination = $1 AND port = $2 AND sequence = $3 AND state < $4
        """,
        [
            (packet.destination, packet.port, packet.sequence, int(PacketState.RECEIVED))
            for packet in packets
        ],
    )


async def mark_undelivered(connection: Connection, destination: str) -> None:
    """Forget what the destination said it had recorded but cannot prove: it is delivered again,
    which has one effect.
    """
    await connection.execute(
        "UPDATE packets_sent SET state = $2 WHERE destination = $1 AND state = $3",
        destination,
        int(PacketState.SENT),
        int(PacketState.RECEIVED),
    )


async def set_anchor(
    connection: Connection, packets: Sequence[Packet], remote_transaction_id: bytes, anchor: bytes
) -> None:
    """Keep what proves the destination's record of packets of one port for ever; the caller judged
    it.
    """
    await connection.execute(
        """
        UPDATE packets_sent
        SET remote_transaction_id = $4, anchor = $5, anchor_refused_at = NULL
        WHERE destination = $1 AND port = $2 AND sequence = ANY ($3::bigint[])
        """,
        packets[0].destination,
        packets[0].port,
        [packet.sequence for packet in packets],
        remote_transaction_id,
        anchor,
    )


async def postpone_anchors(connection: Connection, packets: Sequence[Packet]) -> None:
    """Note that there was no true anchor to be had for these packets now, where none is kept: they
    are asked for again after all others.
    """
    await connection.executemany(
        """
        UPDATE packets_sent SET anchor_refused_at = now()
        WHERE destination = $1 AND port = $2 AND sequence = $3
          AND (anchor IS NULL OR anchor_refused_at IS NOT NULL)
        """,
        [(packet.destination, packet.port, packet.sequence) for packet in packets],
    )


async def refuse_anchor(connection: Connection, packet: Packet, anchor: bytes) -> None:
    """Note that the anchor kept for a packet does not hold, so that it is asked for again. It stays
    until then: where this gateway's own trust is what is wrong, nothing is lost.
    """
    await connection.execute(
        """
        UPDATE packets_sent SET anchor_refused_at = coalesce(anchor_refused_at, now())
        WHERE destination = $1 AND port = $2 AND sequence = $3 AND anchor = $4
        """,
        packet.destination,
        packet.port,
        packet.sequence,
        anchor,
    )


async def mark_acknowledged(connection: Connection, packets: Sequence[Packet]) -> None:
    """Note that the acknowledgements were accepted by the own chain; its block says by which
    transaction.
    """
    await connection.executemany(
        """
        UPDATE packets_sent SET state = $4, parked_cause = NULL
        WHERE destination = $1 AND port = $2 AND sequence = $3
        """,
        [
            (packet.destination, packet.port, packet.sequence, int(PacketState.ACKNOWLEDGED))
            for packet in packets
        ],
    )


async def set_acknowledgement(
    connection: Connection,
    destination: str,
    port: str,
    sequence: int,
    transaction_id: bytes,
    refused_code: str,
) -> None:
    """Note the transaction that put the acknowledgement on the own chain, and the code in it."""
    await connection.execute(
        """
        UPDATE packets_sent
        SET state = $4, acknowledgement_transaction_id = $5, refused_code = $6, parked_cause = NULL
        WHERE destination = $1 AND port = $2 AND sequence = $3
        """,
        destination,
        port,
        sequence,
        int(PacketState.ACKNOWLEDGED),
        transaction_id,
        refused_code,
    )


async def list_packets(
    connection: Connection,
    destination: str,
    *,
    state: PacketState | None,
    is_parked: bool,
    after: tuple[str, int],
    limit: int,
) -> list[PacketSummary]:
    """The packets to a destination behind a port and sequence, in order; `state` None is any, and
    `is_parked` asks for those alone that are set aside. The order is that of the primary key, so
    that a page costs what is on it.
    """
    rows = await connection.fetch(
        """
        SELECT port, sequence, state, transaction_id, height, remote_transaction_id, parked_cause,
               refused_code, packet_class, deadline_height, deadline_time_ms
        FROM packets_sent
        WHERE destination = $1 AND ($2::int IS NULL OR state = $2)
          AND (NOT $3 OR parked_cause IS NOT NULL)
          AND (port, sequence) > ($4, $5)
        ORDER BY port, sequence LIMIT $6
        """,
        destination,
        None if state is None else int(state),
        is_parked,
        *after,
        limit,
    )
    return [
        PacketSummary(
            row["port"],
            row["sequence"],
            PacketState(row["state"]),
            row["transaction_id"],
            row["height"],
            row["remote_transaction_id"] or b"",
            row["parked_cause"] or "",
            _terms(row),
            row["refused_code"],
        )
        for row in rows
    ]


async def find_sent(
    connection: Connection, source: str, transaction_id: bytes, index: int
) -> tuple[SentPacket, int] | None:
    """One of the packets that a transaction of the own chain sent, and how many it sent."""
    row = await connection.fetchrow(
        """
        SELECT destination, port, sequence, payload, transaction_id, height, state,
               remote_transaction_id, anchor, acknowledgement_transaction_id,
               packet_class, deadline_height, deadline_time_ms,
               (SELECT count(*) FROM packets_sent WHERE transaction_id = $1) AS sent_count
        FROM packets_sent WHERE transaction_id = $1
        ORDER BY destination, port, sequence OFFSET $2::bigint LIMIT 1
        """,
        transaction_id,
        index,
    )
    return None if row is None else (sent_of(row, source), row["sent_count"])


async def find_received(
    connection: Connection, source: str, port: str, sequences: Sequence[int]
) -> dict[int, tuple[bytes, int]]:
    """Transaction and height on the own chain that recorded each packet, by sequence."""
    rows = await connection.fetch(
        """
        SELECT sequence, transaction_id, height FROM packets_received
        WHERE source = $1 AND port = $2 AND sequence = ANY($3)
        """,
        source,
        port,
        list(sequences),
    )
    return {row["sequence"]: (row["transaction_id"], row["height"]) for row in rows}


async def count_link(connection: Connection, remote: str) -> LinkCounts:
    """How the link with another chain stands."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS sent,
               count(*) FILTER (WHERE state = 3) AS acknowledged,
               count(*) FILTER (WHERE state = 4) AS timed_out,
               count(*) FILTER (WHERE parked_cause IS NOT NULL) AS parked,
               (SELECT count(*) FROM packets_received WHERE source = $1) AS received
        FROM packets_sent WHERE destination = $1
        """,
        remote,
    )
    assert row is not None
    return LinkCounts(**row)


async def insert_trace(connection: Connection, transaction_id: bytes, traceparent: str) -> None:
    """Remember which trace an operation belongs to."""
    await connection.execute(
        """
        INSERT INTO operation_traces (transaction_id, traceparent) VALUES ($1, $2)
        ON CONFLICT DO NOTHING
        """,
        transaction_id,
        traceparent,
    )


async def find_traces(connection: Connection, transaction_ids: Sequence[bytes]) -> dict[bytes, str]:
    """The traces that are known of these operations."""
    rows = await connection.fetch(
        "SELECT transaction_id, traceparent FROM operation_traces WHERE transaction_id = ANY($1)",
        list(transaction_ids),
    )
    return {row["transaction_id"]: row["traceparent"] for row in rows}


async def prune_traces(connection: Connection, hours: int) -> None:
    """Forget traces that were noted so long ago."""
    await connection.execute(
        "DELETE FROM operation_traces WHERE noted_at < now() - make_interval(hours => $1)", hours
    )


def sent_of(row: asyncpg.Record, source: str) -> SentPacket:
    """A row of `packets_sent` with all that `open_packets.list_open` selects."""
    return SentPacket(
        packet=Packet(
            source,
            row["destination"],
            row["port"],
            row["sequence"],
            row["payload"],
            _terms(row),
        ),
        transaction_id=row["transaction_id"],
        height=row["height"],
        state=PacketState(row["state"]),
        remote_transaction_id=row["remote_transaction_id"] or b"",
        anchor=row["anchor"] or b"",
        acknowledgement_transaction_id=row["acknowledgement_transaction_id"] or b"",
    )


def _terms(row: asyncpg.Record) -> Terms | None:
    if row["packet_class"] is None:
        return None
    deadline = Deadline(row["deadline_height"], row["deadline_time_ms"])
    return Terms(PacketClass(row["packet_class"]), deadline)
