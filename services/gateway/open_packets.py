"""The gateway's SQL of packets that wait to be carried, and of those that are set aside.

Each statement costs what it finds: a relay asks several times a second, with years behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.chassis.postgres import Connection
from services.gateway.domain.relay import PacketState
from services.gateway.store import SentPacket, sent_of

_LIST_OPEN: Final = """
WITH RECURSIVE senders AS (
    (SELECT sender FROM packets_sent
     WHERE destination = $1 AND port = $2 AND state = $3 AND cardinality($5::text[]) > 0
       AND state < 3 AND NOT expired AND parked_cause IS NULL AND NOT in_order
     ORDER BY sender LIMIT 1)
    UNION ALL
    SELECT (SELECT sent.sender FROM packets_sent AS sent
            WHERE sent.destination = $1 AND sent.port = $2 AND sent.state = $3
              AND sent.sender > senders.sender
              AND sent.state < 3 AND NOT sent.expired AND sent.parked_cause IS NULL
              AND NOT sent.in_order
            ORDER BY sent.sender LIMIT 1)
    FROM senders WHERE senders.sender IS NOT NULL
), others AS (
    SELECT found.sequence FROM senders CROSS JOIN LATERAL (
        SELECT sent.sequence FROM packets_sent AS sent
        WHERE sent.destination = $1 AND sent.port = $2 AND sent.state = $3
          AND sent.sender = senders.sender
          AND sent.state < 3 AND NOT sent.expired AND sent.parked_cause IS NULL
          AND NOT sent.in_order AND sent.sequence <> ALL ($6::bigint[])
        ORDER BY sent.sequence LIMIT $4
    ) AS found
    WHERE senders.sender <> ALL ($5::text[])
    ORDER BY found.sequence LIMIT $4
)
SELECT destination, port, sequence, payload, transaction_id, height, state,
       remote_transaction_id, anchor, acknowledgement_transaction_id,
       packet_class, deadline_height, deadline_time_ms
FROM (
    SELECT * FROM packets_sent
    WHERE destination = $1 AND port = $2 AND state = $3 AND cardinality($5::text[]) = 0
      AND state < 3 AND NOT expired AND parked_cause IS NULL AND NOT in_order
      AND sequence <> ALL ($6::bigint[])
    UNION ALL
    SELECT sent.* FROM others CROSS JOIN LATERAL (
        SELECT * FROM packets_sent
        WHERE destination = $1 AND port = $2 AND sequence = others.sequence
        OFFSET 0  -- Each by its key: no join that reads the held ones beside them.
    ) AS sent
    UNION ALL
    SELECT * FROM packets_sent
    WHERE destination = $1 AND port = $2 AND state = $3
      AND state < 3 AND NOT expired AND parked_cause IS NULL AND in_order
      AND sequence <> ALL ($6::bigint[])
      AND sequence < coalesce(
          (SELECT min(parked.sequence) FROM packets_sent AS parked
           WHERE parked.destination = $1 AND parked.port = $2
             AND parked.parked_cause IS NOT NULL
             AND NOT (parked.state = 2
                      AND starts_with(parked.parked_cause, 'RECEIPT_TOO_LARGE:'))),
          9223372036854775807)
) AS waiting
ORDER BY sequence LIMIT $4
"""
"""Where senders are held, what is not in order is found sender by sender, so that what waits for
the held ones is not read, however much that is. Behind one in order that was delivered, and whose
receipt alone is too large to bring home, the port goes on.
"""


@dataclass(frozen=True, slots=True)
class ParkedPacket:
    """A packet of the own chain that is set aside, and why."""

    destination: str
    port: str
    sequence: int
    cause: str

    @property
    def name(self) -> str:
        """What an operator calls it."""
        return f"{self.destination}/{self.port}/{self.sequence}"


async def list_ports(connection: Connection, destination: str, state: PacketState) -> list[str]:
    """The ports with packets to a destination in `state` that are neither set aside nor said to
    have expired, in order; one step of an index for each.
    """
    rows = await connection.fetch(
        """
        WITH RECURSIVE ports AS (
            (SELECT port FROM packets_sent
             WHERE destination = $1 AND state = $2
               AND state < 3 AND NOT expired AND parked_cause IS NULL
             ORDER BY port LIMIT 1)
            UNION ALL
            SELECT (SELECT sent.port FROM packets_sent AS sent
                    WHERE sent.destination = $1 AND sent.state = $2 AND sent.port > ports.port
                      AND sent.state < 3 AND NOT sent.expired AND sent.parked_cause IS NULL
                    ORDER BY sent.port LIMIT 1)
            FROM ports WHERE ports.port IS NOT NULL
        )
        SELECT port FROM ports WHERE port IS NOT NULL
        """,
        destination,
        int(state),
    )
    return [row["port"] for row in rows]


async def list_open(
    connection: Connection,
    source: str,
    destination: str,
    port: str,
    state: PacketState,
    limit: int,
    held: Sequence[str] = (),
    under_way: Sequence[int] = (),
) -> list[SentPacket]:
    """The packets to a port of a destination that are in `state`, in order; nothing behind one that
    is set aside, unless the port takes packets in any order or only a receipt is too large, none
    that is said to have expired there, none in any order that is sent on for the chains `held`, and
    none of the sequences `under_way`.
    """
    rows = await connection.fetch(
        _LIST_OPEN,
        destination,
        port,
        int(state),
        limit,
        list(held),
        list(under_way),
    )
    return [sent_of(row, source) for row in rows]


async def park(
    connection: Connection,
    *,
    destination: str,
    port: str,
    sequence: int,
    cause: str,
    is_contradicted: bool = False,
) -> None:
    """Set a packet aside; where its port takes packets in order, the port stops there, and the link
    says so. One that is contradicted is not timed out either.
    """
    await connection.execute(
        """
        UPDATE packets_sent SET parked_cause = $4, contradicted = $5
        WHERE destination = $1 AND port = $2 AND sequence = $3
        """,
        destination,
        port,
        sequence,
        cause,
        is_contradicted,
    )


async def list_parked(connection: Connection) -> list[ParkedPacket]:
    """The packets that are set aside, in order."""
    rows = await connection.fetch(
        "SELECT destination, port, sequence, parked_cause FROM packets_sent"
        " WHERE parked_cause IS NOT NULL ORDER BY destination, port, sequence"
    )
    return [
        ParkedPacket(row["destination"], row["port"], row["sequence"], row["parked_cause"])
        for row in rows
    ]


async def resume(connection: Connection, *, destination: str, port: str, sequence: int) -> bool:
    """Let a packet that is set aside be carried again; whether there was one."""
    found = await connection.fetchval(
        """
        UPDATE packets_sent SET parked_cause = NULL, contradicted = false
        WHERE destination = $1 AND port = $2 AND sequence = $3 AND parked_cause IS NOT NULL
        RETURNING true
        """,
        destination,
        port,
        sequence,
    )
    return found is True
