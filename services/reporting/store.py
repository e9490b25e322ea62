"""Reporting's SQL: one function a statement."""

from __future__ import annotations

import asyncpg

from services.chassis.postgres import Connection
from services.reporting.domain.records import DataObject, Recording


async def insert_object(connection: Connection, item: DataObject) -> None:
    """Add a version of an object."""
    await connection.execute(
        """
        INSERT INTO data_objects (object_id, version, content_type, object, digest, source_chain,
                                  source_height, source_transaction_id, packet_sequence,
                                  recorded_chain, recorded_height, recorded_transaction_id,
                                  whole_id, part_count)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        """,
        item.object_id,
        item.version,
        item.content_type,
        item.object,
        item.digest,
        item.source_chain,
        item.source_height,
        item.source_transaction_id,
        item.packet_sequence,
        item.recorded.chain,
        item.recorded.height,
        item.recorded.transaction_id,
        item.whole_id,
        item.part_count,
    )
    if item.anchored:
        await mark_anchored(connection, item.source_chain, item.packet_sequence)


async def mark_anchored(connection: Connection, source_chain: str, packet_sequence: int) -> None:
    """Note that the object's packet is known to be on the regulatory chain. An object in parts is
    anchored, with every part of it, when all of them are there.
    """
    await connection.execute(
        """
        UPDATE data_objects SET is_there = true WHERE source_chain = $1 AND packet_sequence = $2
        """,
        source_chain,
        packet_sequence,
    )
    await connection.execute(
        """
        UPDATE data_objects AS item SET anchored = true
        FROM data_objects AS part
        WHERE part.source_chain = $1 AND part.packet_sequence = $2
          AND item.whole_id = part.whole_id AND item.version = part.version
          AND part.part_count = (SELECT count(*) FROM data_objects AS there
                                 WHERE there.whole_id = part.whole_id
                                   AND there.version = part.version AND there.is_there)
        """,
        source_chain,
        packet_sequence,
    )


async def find_object(connection: Connection, object_id: str, version: int) -> DataObject | None:
    """One version of an object."""
    row = await connection.fetchrow(
        """
        SELECT object_id, version, content_type, object, digest, source_chain, source_height,
               source_transaction_id, packet_sequence, recorded_chain, recorded_height,
               recorded_transaction_id, anchored, whole_id, part_count, place
        FROM data_objects WHERE object_id = $1 AND version = $2::bigint
        """,
        object_id,
        version,
    )
    return None if row is None else _object(row)


async def list_objects(
    connection: Connection, *, content_type: str, after_place: int, limit: int
) -> list[tuple[int, DataObject]]:
    """Objects in the order of their recording, each with its place."""
    rows = await connection.fetch(
        """
        SELECT object_id, version, content_type, object, digest, source_chain, source_height,
               source_transaction_id, packet_sequence, recorded_chain, recorded_height,
               recorded_transaction_id, anchored, whole_id, part_count, place
        FROM data_objects
        WHERE place > $1 AND ($2 = '' OR content_type = $2) ORDER BY place LIMIT $3
        """,
        after_place,
        content_type,
        limit,
    )
    return [(row["place"], _object(row)) for row in rows]


async def count_objects(connection: Connection) -> tuple[int, int]:
    """How many objects are known, and how many of them are anchored."""
    row = await connection.fetchrow(
        "SELECT count(*) AS known, count(*) FILTER (WHERE anchored) AS anchored FROM data_objects"
    )
    assert row is not None
    return row["known"], row["anchored"]


def _object(row: asyncpg.Record) -> DataObject:
    return DataObject(
        object_id=row["object_id"],
        version=row["version"],
        content_type=row["content_type"],
        object=row["object"],
        digest=row["digest"],
        source_chain=row["source_chain"],
        source_height=row["source_height"],
        source_transaction_id=row["source_transaction_id"],
        packet_sequence=row["packet_sequence"],
        recorded=Recording(
            row["recorded_chain"], row["recorded_height"], row["recorded_transaction_id"]
        ),
        whole_id=row["whole_id"],
        part_count=row["part_count"],
        anchored=row["anchored"],
    )
