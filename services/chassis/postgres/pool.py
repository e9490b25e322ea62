"""Connections and pools: one alias each, so that stores and handlers need not know asyncpg's kinds.

A pool hands out proxies and `asyncpg.connect` connections; a store function takes either. Giving a
connection back asks the server nothing, for what a transaction did ends with it. What lasts longer
(a lock of the session, LISTEN) is for `session` alone, which takes it away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from pydantic import BaseModel, ConfigDict, Field, SecretStr

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

IDLE_SECONDS_MAX: Final = 300.0
CLOSE_SECONDS_MAX: Final = 2.0
RESET_SECONDS_MAX: Final = 2.0


class PostgresSettings(BaseModel):
    """Where a database is and how many connections a process may hold to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr
    connections_min: int = Field(default=1, ge=0)
    connections_max: int = Field(default=5, ge=1, le=50)
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    command_timeout_seconds: float = Field(default=30.0, gt=0)


def open_pool(settings: PostgresSettings) -> Pool:
    """A pool to enter: `async with entered(open_pool(settings)) as pool`."""
    return asyncpg.create_pool(
        settings.url.get_secret_value(),
        min_size=settings.connections_min,
        max_size=settings.connections_max,
        timeout=settings.connect_timeout_seconds,
        command_timeout=settings.command_timeout_seconds,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        reset=_leave,
    )


async def _leave(_: object) -> None:
    """A transaction that was left open is rolled back before this; nothing else is to be undone."""


@asynccontextmanager
async def session(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for what lasts beyond a transaction: when the block ends, however it ends, locks
    of the session, LISTEN and settings end too, or else the connection does.
    """
    async with pool.acquire() as connection:
        try:
            yield connection
        finally:
            with suppress(asyncpg.InterfaceError):  # The server may have ended it before.
                await _reset(connection)


async def _reset(connection: Connection) -> None:
    try:
        await connection.reset(timeout=RESET_SECONDS_MAX)
    except BaseException:
        connection.terminate()
        raise


@asynccontextmanager
async def entered(pool: Pool) -> AsyncIterator[Pool]:
    """The pool, connected; closed within a bound, whatever its server does meanwhile."""
    await pool
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()
