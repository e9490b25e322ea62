"""The gateway's SQL of packets that have no effect in time: one function a statement."""

from __future__ import annotations

from collections.abc import Sequence

from guqiao_sdk.proof.packet import Packet
from services.chassis.postgres import Connection
from services.gateway.domain.relay import PacketState
from services.gateway.store import SentPacket, sent_of


async def list_overdue(
    connection: Connection, source: str, destination: str, *, height: int, now_ms: int, limit: int
) -> list[SentPacket]:
    """The unordered packets to a destination that it is not known to have received and whose
    deadline has passed by its `height`, by the clock or by its word; those with the earliest
    deadlines first.
    """
    rows = await connection.fetch(
        """
        SELECT destination, port, sequence, payload, transaction_id, height, state,
               remote_transaction_id, anchor, acknowledgement_transaction_id,
               packet_class, deadline_height, deadline_time_ms
        FROM packets_sent
        WHERE destination = $1 AND state = 1 AND packet_class = 'unordered'
          AND (deadline_height > 0 OR deadline_time_ms > 0) AND NOT contradicted
          AND (expired OR (deadline_height > 0 AND deadline_height <= $2)
               OR (deadline_time_ms > 0 AND deadline_time_ms < $3))
        ORDER BY deadline_time_ms, deadline_height, port, sequence LIMIT $4
        """,
        destination,
        height,
        now_ms,
        limit,
    )
    return [sent_of(row, source) for row in rows]


async def list_unanswered(
    connection: Connection, destination: str, *, before_ms: int, limit: int
) -> list[tuple[str, int]]:
    """Port and sequence of the unordered packets to a destination that are not known to have ended
    and whose deadline was before a time; those with the earliest deadlines first.
    """
    rows = await connection.fetch(
        """
        SELECT port, sequence FROM packets_sent
        WHERE destination = $1 AND state < 3 AND packet_class = 'unordered'
          AND deadline_time_ms > 0 AND deadline_time_ms < $2
        ORDER BY deadline_time_ms, port, sequence LIMIT $3
        """,
        destination,
        before_ms,
        limit,
    )
    return [(row["port"], row["sequence"]) for row in rows]


async def mark_given_up(
    connection: Connection, destination: str, packets: Sequence[tuple[str, int]]
) -> None:
    """Note that the own chain has ended packets without a proof; its block says so as well."""
    await connection.executemany(
        """
        UPDATE packets_sent SET state = $4, parked_cause = NULL
        WHERE destination = $1 AND port = $2 AND sequence = $3
        """,
        [(destination, port, sequence, int(PacketState.TIMED_OUT)) for port, sequence in packets],
    )


async def first_by_height(
    connection: Connection, source: str, destination: str
) -> SentPacket | None:
    """Of the unordered packets to a destination that it is not known to have received, the one that
    its height ends first.
    """
    row = await connection.fetchrow(
        """
        SELECT destination, port, sequence, payload, transaction_id, height, state,
               remote_transaction_id, anchor, acknowledgement_transaction_id,
               packet_class, deadline_height, deadline_time_ms
        FROM packets_sent
        WHERE destination = $1 AND state = 1 AND packet_class = 'unordered'
          AND deadline_height > 0 AND NOT contradicted
        ORDER BY deadline_height, port, sequence LIMIT 1
        """,
        destination,
    )
    return None if row is None else sent_of(row, source)


async def mark_expired(connection: Connection, packets: Sequence[Packet]) -> None:
    """Note that the destination refuses packets because their deadlines have passed there."""
    await connection.executemany(
        """
        UPDATE packets_sent SET expired = true
        WHERE destination = $1 AND port = $2 AND sequence = $3 AND state = 1
        """,
        [(packet.destination, packet.port, packet.sequence) for packet in packets],
    )


async def clear_expired(connection: Connection, packets: Sequence[Packet]) -> None:
    """Deliver again what the destination refused as expired and what by its own header is not."""
    await connection.executemany(
        """
        UPDATE packets_sent SET expired = false
        WHERE destination = $1 AND port = $2 AND sequence = $3 AND state = 1
        """,
        [(packet.destination, packet.port, packet.sequence) for packet in packets],
    )


async def mark_timed_out(connection: Connection, packets: Sequence[Packet]) -> None:
    """Note that the own chain has taken the proof that the packets had no effect in time."""
    await connection.executemany(
        """
        UPDATE packets_sent SET state = $4, parked_cause = NULL
        WHERE destination = $1 AND port = $2 AND sequence = $3
        """,
        [
            (packet.destination, packet.port, packet.sequence, int(PacketState.TIMED_OUT))
            for packet in packets
        ],
    )


async def set_time_out(
    connection: Connection,
    destination: str,
    port: str,
    sequence: int,
    transaction_id: bytes,
    *,
    by_absence: bool,
) -> None:
    """Note the transaction that ended a packet on the own chain. One in order that is shown absent
    is still delivered, so that the destination passes over it.
    """
    await connection.execute(
        """
        UPDATE packets_sent
        SET state = $4, acknowledgement_transaction_id = $5, parked_cause = NULL
        WHERE destination = $1 AND port = $2 AND sequence = $3
          AND (NOT $6 OR packet_class = 'unordered')
        """,
        destination,
        port,
        sequence,
        int(PacketState.TIMED_OUT),
        transaction_id,
        by_absence,
    )
