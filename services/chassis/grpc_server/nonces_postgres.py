"""Nonces in PostgreSQL: shared by all instances of a service, durable across restarts.

The table's migration is `migrations/0001_request_nonces.sql` beside this module; a service runs it
with its own. The primary key decides who was first, so two instances that receive one request at
once cannot both accept it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg

from services.chassis.errors import UnavailableError

MIGRATIONS: Final = Path(__file__).parent / "migrations"

PRUNE_BATCH: Final = 10_000
PRUNE_INTERVAL_SECONDS: Final = 60.0


class QueryPool(Protocol):
    """The part of an asyncpg pool that is used here."""

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Run the statement and give the first value of its first row, or None."""


class PostgresNonceStore:
    """A `NonceStore` over one table."""

    __slots__ = ("_pool",)

    def __init__(self, pool: QueryPool) -> None:
        self._pool = pool

    async def remember(self, did: str, nonce: str, expires_at_ms: int) -> bool:
        """True the first time, False ever after; DATABASE_UNAVAILABLE when it cannot be known."""
        try:
            inserted = await self._pool.fetchval(
                """
                INSERT INTO request_nonces (did, nonce, expires_at_ms)
                VALUES ($1, $2, $3)
                ON CONFLICT (did, nonce) DO NOTHING
                RETURNING true
                """,
                did,
                nonce,
                expires_at_ms,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise UnavailableError("DATABASE_UNAVAILABLE") from error
        return inserted is not None

    async def prune(self, now_ms: int) -> int:
        """Forget the nonces that the time window refuses anyway, a batch at a time; how many they
        were. However fast they came, none that is due stays.
        """
        total = 0
        while pruned := await self._prune_batch(now_ms):
            total += pruned
        return total

    async def _prune_batch(self, now_ms: int) -> int:
        pruned: int = await self._pool.fetchval(
            """
            WITH expired AS (
                DELETE FROM request_nonces
                WHERE (did, nonce) IN (
                    SELECT did, nonce FROM request_nonces
                    WHERE expires_at_ms < $1
                    ORDER BY expires_at_ms
                    LIMIT $2
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING 1
            )
            SELECT count(*) FROM expired
            """,
            now_ms,
            PRUNE_BATCH,
        )
        return pruned
