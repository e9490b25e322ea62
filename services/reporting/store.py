"""Reporting's SQL: one function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import asyncpg

from services.chassis.postgres import Connection
from services.reporting.domain.records import ACCEPTED, DataObject, Recording, Refusal


async def insert_objects(connection: Connection, items: Sequence[DataObject]) -> None:
    """Add versions of objects; sent again or rewritten, one takes the place of what it was."""
    await connection.executemany(
        """
        INSERT INTO data_objects (object_id, version, content_type, object, digest, source_chain,
                                  source_height, source_transaction_id, packet_sequence,
                                  recorded_chain, recorded_height, recorded_transaction_id,
                                  whole_id, part_count)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (object_id, version) DO UPDATE SET
            content_type = excluded.content_type, object = excluded.object,
            digest = excluded.digest, source_chain = excluded.source_chain,
            source_height = excluded.source_height,
            source_transaction_id = excluded.source_transaction_id,
            packet_sequence = excluded.packet_sequence, recorded_chain = excluded.recorded_chain,
            recorded_height = excluded.recorded_height,
            recorded_transaction_id = excluded.recorded_transaction_id,
            whole_id = excluded.whole_id, part_count = excluded.part_count,
            is_there = false, anchored = false
        """,
        [_columns(item) for item in items],
    )
    anchored = [(item.source_chain, item.packet_sequence) for item in items if item.anchored]
    for source_chain, pairs in groupby(sorted(anchored), key=itemgetter(0)):
        await mark_anchored(connection, source_chain, [sequence for _, sequence in pairs])


def _columns(item: DataObject) -> tuple[object, ...]:
    return (
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


async def mark_anchored(
    connection: Connection, source_chain: str, sequences: Sequence[int]
) -> None:
    """Note that the objects' packets are known to be on the regulatory chain. An object in parts is
    anchored, with every part of it, when all of them are there.
    """
    await connection.execute(
        """
        UPDATE data_objects SET is_there = true
        WHERE source_chain = $1 AND packet_sequence = ANY($2::bigint[])
        """,
        source_chain,
        sequences,
    )
    await connection.execute(
        """
        UPDATE data_objects AS item SET anchored = true
        FROM data_objects AS part
        WHERE part.source_chain = $1 AND part.packet_sequence = ANY($2::bigint[])
          AND item.whole_id = part.whole_id AND item.version = part.version
          AND part.part_count = (SELECT count(*) FROM data_objects AS there
                                 WHERE there.whole_id = part.whole_id
                                   AND there.version = part.version AND there.is_there)
        """,
        source_chain,
        sequences,
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


async def insert_refusal(connection: Connection, item: Refusal) -> None:
    """Add an object that was not taken. Where the row says nothing of the object, it is the one
    that went in that packet.
    """
    await connection.execute(
        """
        INSERT INTO refusals (source_chain, packet_sequence, object_id, version, code, detail,
                              state, resubmits, recorded_height)
        SELECT $1::text, $2::bigint, coalesce($3::text, sent.object_id, ''),
               coalesce($4::int, sent.version), $5, $6, $7, $8, $9
        FROM (SELECT 1) AS one LEFT JOIN data_objects AS sent
          ON sent.source_chain = $1::text AND sent.packet_sequence = $2::bigint
        """,
        item.source_chain,
        item.packet_sequence,
        item.object_id,
        item.version,
        item.code,
        item.detail,
        item.state,
        item.resubmits,
        item.recorded_height,
    )


async def change_refusal(
    connection: Connection, source_chain: str, first: int, state: str, resubmitted_as: int
) -> None:
    """Note what became of an object that was refused first under that sequence."""
    await connection.execute(
        """
        UPDATE refusals SET state = $3, resubmitted_as = $4
        WHERE source_chain = $1 AND packet_sequence = $2
        """,
        source_chain,
        first,
        state,
        resubmitted_as,
    )


async def accept_resubmitted(
    connection: Connection, source_chain: str, sequences: Sequence[int]
) -> None:
    """What was refused first and sent again under one of these sequences was taken."""
    await connection.execute(
        """
        UPDATE refusals SET state = $3
        WHERE source_chain = $1 AND resubmitted_as = ANY($2::bigint[])
        """,
        source_chain,
        sequences,
        ACCEPTED,
    )


async def first_refusal(
    connection: Connection, source_chain: str, resubmitted_as: int
) -> int | None:
    """Under which sequence an object was refused first that was sent again under this one."""
    first: int | None = await connection.fetchval(
        "SELECT packet_sequence FROM refusals WHERE source_chain = $1 AND resubmitted_as = $2",
        source_chain,
        resubmitted_as,
    )
    return first


async def list_refusals(
    connection: Connection, *, open_only: bool, after_place: int, limit: int
) -> list[tuple[int, Refusal]]:
    """Refusals in the order in which they became known, each with its place."""
    rows = await connection.fetch(
        """
        SELECT source_chain, packet_sequence, object_id, version, code, detail, state, resubmits,
               resubmitted_as, recorded_height, place
        FROM refusals
        WHERE place > $1 AND (NOT $2 OR (resubmits IS NULL AND state <> 'ACCEPTED'))
        ORDER BY place LIMIT $3
        """,
        after_place,
        open_only,
        limit,
    )
    found = [dict(row) for row in rows]
    return [(row.pop("place"), Refusal(**row)) for row in found]


async def count_refusals(connection: Connection) -> int:
    """How many refusals are open."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM refusals WHERE resubmits IS NULL AND state <> 'ACCEPTED'"
    )
    return count


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
