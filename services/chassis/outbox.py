"""Publishes an event if, and only if, the transaction that decided it commits.

`append` writes the event beside the service's own rows; `relay` hands it to the bus, in order, and
deletes it. A crash in between publishes it twice: its id lets consumers handle it once.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from services.chassis.bus.port import BusEvent, Publisher, checked
from services.chassis.bus.transient import Backoff, is_transient
from services.chassis.postgres.migrations import migrate
from services.chassis.postgres.pool import Connection, Pool

COMPONENT: Final = "chassis.outbox"
MIGRATIONS: Final = Path(__file__).parent / "bus" / "migrations" / "outbox"
RELAY_LOCK: Final = 0x6F75_7462_6F78  # "outbox"
BATCH_EVENTS_MAX: Final = 200
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
POLL_SECONDS: Final = 1.0
"""For what nobody hinted at: appended before a crash, or by another process."""

BACKOFF_FIRST_SECONDS: Final = 0.05
BACKOFF_MAX_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


async def migrate_outbox(connection: Connection) -> None:
    """Create or update the outbox table of a service's database."""
    await migrate(connection, COMPONENT, MIGRATIONS)


async def append(connection: Connection, *events: BusEvent) -> None:
    """Record the events, in order. They are published if, and only if, the surrounding transaction
    commits.
    """
    assert connection.is_in_transaction(), "an event is announced by the transaction that made it"
    for event in events:
        checked(event)
    await connection.execute(
        """
        INSERT INTO outbox (topic, key, payload, headers)
        SELECT topic, key, payload, headers::jsonb
        FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[])
             WITH ORDINALITY AS row (topic, key, payload, headers, place)
        ORDER BY place
        """,
        [event.topic for event in events],
        [event.key for event in events],
        [event.payload for event in events],
        [json.dumps(dict(event.headers)) for event in events],
    )


async def relay(
    pool: Pool,
    bus: Publisher,
    *,
    appended: asyncio.Event | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Publish what is appended, for ever; one relay of a database at a time, others stand by.

    `appended` is a hint that a process gives itself after a commit, so that nothing waits for the
    poll.
    """
    news = appended if appended is not None else asyncio.Event()
    backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS)
    while True:
        news.clear()  # Before looking: what is appended from now on sets it again.
        try:
            published = await relay_batch(pool, bus)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("outbox.relay_waits", error=repr(error))
            await asyncio.sleep(backoff.next_seconds())
            continue
        backoff.reset()
        if published == 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_seconds):
                    await news.wait()


async def relay_batch(pool: Pool, bus: Publisher) -> int:
    """Publish the oldest events, then delete them; returns how many (0 while another relay works).

    Rows are deleted, not passed by a cursor, because an earlier position may commit later.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", RELAY_LOCK):
            return 0
        rows = await connection.fetch(_OLDEST, BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
        if not rows:
            return 0
        await bus.publish(
            [
                BusEvent(row["topic"], row["key"], row["payload"], json.loads(row["headers"]))
                for row in rows
            ]
        )
        await connection.execute(
            "DELETE FROM outbox WHERE position = ANY($1)", [row["position"] for row in rows]
        )
        return len(rows)


_OLDEST: Final = """
SELECT position, topic, key, payload, headers FROM (
    SELECT position, topic, key, payload, headers,
           row_number() OVER before AS number, sum(octet_length(payload)) OVER before AS bytes
    FROM (SELECT * FROM outbox ORDER BY position LIMIT $1) AS oldest
    WINDOW before AS (ORDER BY position)
) AS counted
WHERE bytes <= $2 OR number = 1
ORDER BY position
"""
