"""What a relay looks for several times a second costs what it finds, not the history behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.packet import DELIVERY_PORT, Packet, PacketClass, Terms
from services.gateway import open_packets, store
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


async def insert_delivery(connection: asyncpg.Connection, sequence: int, sender: str) -> None:
    """A message that the regulatory chain sends on for another, or its own where `sender` is it."""
    origin: Json = {"chain": sender}
    payload = canonical_json({"from": origin} if sender != "csrc" else {"own": origin})
    terms = Terms(PacketClass.UNORDERED)
    packet = Packet("csrc", "shandong", DELIVERY_PORT, sequence, payload, terms)
    sent = store.SentPacket(packet, bytes(32), sequence, PacketState.SENT, b"", b"", b"")
    await store.insert_sent(connection, sent)


@pytest.mark.req("N0-07")
@pytest.mark.parametrize("backlog", [100, 2_000])
async def test_a_held_sender_costs_nothing_for_its_backlog(
    connection: asyncpg.Connection, backlog: int
) -> None:
    """What others sent is found behind it, in order, and what is held is not read."""
    for sequence in range(1, backlog + 1):
        await insert_delivery(connection, sequence, "beijing")
    others = ["tianjin", "csrc", "hebei"] * 10
    for sequence, sender in enumerate(others, backlog + 1):
        await insert_delivery(connection, sequence, sender)
    await connection.execute("VACUUM ANALYZE packets_sent")

    async def find(*held: str, limit: int = OPEN) -> tuple[list[int], int]:
        async with connection.transaction():
            before = await rows_read(connection)
            found = await open_packets.list_open(
                connection, "csrc", "shandong", DELIVERY_PORT, PacketState.SENT, limit, held
            )
            cost = await rows_read(connection) - before
        return [sent.packet.sequence for sent in found], cost

    behind = list(range(backlog + 1, backlog + len(others) + 1))
    found, cost = await find("beijing")
    assert found == behind
    assert len(found) <= cost <= 4 * len(found) + 2 * ROWS_BESIDE
    assert (await find("beijing", limit=4))[0] == behind[:4]
    assert (await find("beijing", "hebei"))[0] == [n for n in behind if (n - backlog) % 3]
    assert (await find("beijing", "hebei", "tianjin"))[0] == behind[1::3]
    assert (await find("nobody"))[0] == (await find())[0] == list(range(1, OPEN + 1))


async def test_what_was_noted_before_senders_were_is_held_like_the_rest(
    new_database: NewDatabase,
) -> None:
    settings = await new_database()
    opened = await asyncpg.connect(settings.url.get_secret_value())
    try:
        for statements in SCHEMA[:4]:
            await opened.execute(statements)
        for sequence, payload in enumerate(
            (b'{"from":{"chain":"beijing"}}', b'{"body":"\xe4\xbb\xb6"}'), 1
        ):
            await opened.execute(
                """
                INSERT INTO packets_sent (destination, port, sequence, payload, transaction_id,
                                          height, state, packet_class)
                VALUES ('shandong', $1, $2, $3, '\\x00', 1, 1, 'unordered')
                """,
                DELIVERY_PORT,
                sequence,
                payload,
            )
        for statements in SCHEMA[4:]:
            await opened.execute(statements)
        found = await open_packets.list_open(
            opened, "csrc", "shandong", DELIVERY_PORT, PacketState.SENT, OPEN, ["beijing"]
        )
        assert [sent.packet.sequence for sent in found] == [2]
    finally:
        await opened.close()
