"""What a consumer group keeps in its own database: positions, handled event ids, parked events.

They change in the transaction that holds the effects. The row of a partition is also the claim on
it: whoever holds its lock handles the partition, so two members never handle one event, whatever
the adapter believes about who owns what.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from services.chassis.bus.port import (
    BusEvent,
    ParkedEvent,
    Partition,
    Position,
    Progress,
    Record,
)
from services.chassis.postgres.migrations import migrate
from services.chassis.postgres.pool import Connection

COMPONENT: Final = "chassis.bus.consumer"
MIGRATIONS: Final = Path(__file__).parent / "migrations" / "consumer"
CAUSE_CHARACTERS_MAX: Final = 2000
PARKED_LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to handle a partition until the transaction ends."""

    progress: Progress | None


async def migrate_consumer(connection: Connection) -> None:
    """Create or update the tables that `subscribe` needs in the consumer's database."""
    await migrate(connection, COMPONENT, MIGRATIONS)


async def claim(connection: Connection, group: str, partition: Partition) -> Claim | None:
    """Lock the group's place in the partition; None when another member holds it, or it is new."""
    row = await connection.fetchrow(
        """
        SELECT position, event_id FROM bus_positions
        WHERE group_name = $1 AND topic = $2 AND partition = $3
        FOR UPDATE SKIP LOCKED
        """,
        group,
        partition.topic,
        partition.number,
    )
    if row is None:
        return None
    if row["position"] is None:
        return Claim(None)
    return Claim(Progress(Position(row["position"]), row["event_id"]))


async def ensure_position(connection: Connection, group: str, partition: Partition) -> None:
    """Give the group a place before the first event, unless it has one."""
    await connection.execute(
        """
        INSERT INTO bus_positions (group_name, topic, partition) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
        """,
        group,
        partition.topic,
        partition.number,
    )


async def advance(connection: Connection, group: str, record: Record) -> None:
    """Record the last handled event of the partition. The caller holds the claim."""
    await connection.execute(
        """
        UPDATE bus_positions SET position = $4, event_id = $5
        WHERE group_name = $1 AND topic = $2 AND partition = $3
        """,
        group,
        record.partition.topic,
        record.partition.number,
        record.position,
        record.event.event_id,
    )


async def mark_handled(connection: Connection, group: str, event: BusEvent) -> bool:
    """Whether the event is new to the group; it counts as handled from now on."""
    inserted = await connection.fetchval(
        """
        INSERT INTO bus_handled (group_name, topic, event_id) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        group,
        event.topic,
        event.event_id,
    )
    return inserted is True


async def park(
    connection: Connection, group: str, record: Record, *, cause: str, attempts: int
) -> None:
    """Set the event aside with its cause."""
    event = record.event
    await connection.execute(
        """
        INSERT INTO bus_parked
            (group_name, topic, partition, position, key, payload, headers, cause, attempts)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        group,
        event.topic,
        record.partition.number,
        record.position,
        event.key,
        event.payload,
        json.dumps(dict(event.headers)),
        cause[:CAUSE_CHARACTERS_MAX].replace("\x00", "\\0"),
        attempts,
    )


async def count_parked(connection: Connection) -> int:
    """How many events the service's groups have set aside."""
    return int(await connection.fetchval("SELECT count(*) FROM bus_parked"))


async def list_parked(
    connection: Connection, *, after_id: int = 0, limit: int = PARKED_LISTED_MAX
) -> list[ParkedEvent]:
    """The parked events of the service's groups, oldest first, a page at a time."""
    rows = await connection.fetch(
        "SELECT * FROM bus_parked WHERE parked_id > $1 ORDER BY parked_id LIMIT $2",
        after_id,
        min(limit, PARKED_LISTED_MAX),
    )
    return [_parked(row) for row in rows]


async def discard_parked(connection: Connection, parked_id: int) -> bool:
    """Forget a parked event; whether there was one."""
    found = await connection.fetchval(
        "DELETE FROM bus_parked WHERE parked_id = $1 RETURNING true", parked_id
    )
    return found is True


def _parked(row: asyncpg.Record) -> ParkedEvent:
    event = BusEvent(row["topic"], row["key"], row["payload"], json.loads(row["headers"]))
    partition = Partition(row["topic"], row["partition"])
    return ParkedEvent(
        parked_id=row["parked_id"],
        group=row["group_name"],
        record=Record(partition, Position(row["position"]), event),
        cause=row["cause"],
        attempts=row["attempts"],
    )
