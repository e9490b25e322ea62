"""What a relay looks for several times a second costs what it finds, not the history behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.gateway import open_packets
from services.gateway.app import MIGRATIONS
from services.gateway.domain.relay import PacketState
from tests.plugins.postgres import NewDatabase

HISTORY, OPEN = 5_000, 50
SCHEMA = [file.read_text() for file in sorted(MIGRATIONS.glob("*.sql"))]
ROWS_BESIDE = 10
"""What may be read besides what is found: where the port is stopped, the end of a range."""


@pytest.fixture
async def connection(new_database: NewDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Two ports with a long history each, and something open behind it."""
    settings = await new_database()
    opened = await asyncpg.connect(settings.url.get_secret_value())
    for statements in SCHEMA:
        await opened.execute(statements)
    for port, packet_class in (("data_object", None), ("market_message", "unordered")):
        await opened.execute(
            """
            INSERT INTO packets_sent (destination, port, sequence, payload, transaction_id, height,
                                      state, anchor, packet_class)
            SELECT 'csrc', $1, n, decode(repeat('ab', 300), 'hex'), '\\x00', n,
                   CASE WHEN n <= $2 THEN 3 ELSE 1 END, CASE WHEN n <= $2 THEN '\\x00'::bytea END,
                   $3
            FROM generate_series(1, $4::int) AS n
            """,
            port,
            HISTORY,
            packet_class,
            HISTORY + OPEN,
        )
    await opened.execute("VACUUM ANALYZE packets_sent")
    yield opened
    await opened.close()


async def rows_read(connection: asyncpg.Connection) -> int:
    """How many rows and index entries of `packets_sent` this transaction has read so far."""
    count = await connection.fetchval(
        """
        SELECT pg_stat_get_xact_tuples_returned(relation.oid)
             + pg_stat_get_xact_tuples_fetched(relation.oid)
             + (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index
                WHERE indrelid = relation.oid)
        FROM pg_class AS relation WHERE relname = 'packets_sent'
        """
    )
    return int(count)


@pytest.mark.req("N0-07")
@pytest.mark.parametrize("port", ["data_object", "market_message"])
@pytest.mark.parametrize("stopped", [False, True])
async def test_open_packets_cost_nothing_for_the_history(
    connection: asyncpg.Connection, port: str, stopped: bool
) -> None:
    if stopped:
        await open_packets.park(
            connection, destination="csrc", port=port, sequence=HISTORY + 11, cause="by hand"
        )
    async with connection.transaction():
        before = await rows_read(connection)
        found = await open_packets.list_open(
            connection, "shandong", "csrc", port, PacketState.SENT, OPEN
        )
        cost = await rows_read(connection) - before
    open_ones = [HISTORY + n for n in range(1, OPEN + 1)]
    if stopped and port == "data_object":
        open_ones = open_ones[:10]
    elif stopped:
        open_ones.remove(HISTORY + 11)
    assert [sent.packet.sequence for sent in found] == open_ones
    assert len(found) <= cost <= 3 * len(found) + ROWS_BESIDE


async def test_ports_are_found_in_a_step_each(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        before = await rows_read(connection)
        ports = await open_packets.list_ports(connection, "csrc", PacketState.SENT)
        cost = await rows_read(connection) - before
    assert ports == ["data_object", "market_message"]
    assert 2 <= cost <= ROWS_BESIDE
    assert await open_packets.list_ports(connection, "csrc", PacketState.RECEIVED) == []
