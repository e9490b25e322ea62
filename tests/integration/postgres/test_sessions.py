"""What a connection keeps beyond a transaction ends with its session; other uses leave nothing."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from services.chassis.bus.transient import is_transient
from services.chassis.postgres import Connection, Pool, entered, open_pool, session
from tests.plugins.postgres import NewDatabase

KEY = 7


async def is_free(pool: Pool) -> bool:
    """Whether somebody else can have the lock."""
    async with session(pool) as connection:
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", KEY))


async def listens(connection: Connection) -> list[str]:
    return [row[0] for row in await connection.fetch("SELECT pg_listening_channels()")]


async def test_a_session_leaves_no_lock_channel_or_setting(new_database: NewDatabase) -> None:
    settings = (await new_database()).model_copy(update={"connections_max": 1})
    other = settings.model_copy(update={"connections_max": 1})
    async with entered(open_pool(settings)) as pool, entered(open_pool(other)) as others:
        async with session(pool) as connection:
            server = connection.get_server_pid()
            assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", KEY)
            await connection.add_listener("news", lambda *_: None)
            await connection.execute("SET application_name = 'session'")
            assert await listens(connection) == ["news"]
            assert not await is_free(others)
        assert await is_free(others)
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == server
            assert await listens(connection) == []
            assert await connection.fetchval("SHOW application_name") == ""


async def test_a_session_that_fails_leaves_nothing_either(new_database: NewDatabase) -> None:
    async def fail(pool: Pool) -> None:
        async with session(pool) as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", KEY)
            await connection.execute("SELECT 1 / 0")

    settings = await new_database()
    async with entered(open_pool(settings)) as pool, entered(open_pool(settings)) as others:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail(pool)
        assert await is_free(others)


async def test_a_session_that_is_cancelled_leaves_nothing_either(new_database: NewDatabase) -> None:
    settings = await new_database()
    held = asyncio.Event()

    async def hold(pool: Pool) -> None:
        async with session(pool) as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", KEY)
            held.set()
            await connection.execute("SELECT pg_sleep(600)")

    async with entered(open_pool(settings)) as pool, entered(open_pool(settings)) as others:
        holding = asyncio.ensure_future(hold(pool))
        await held.wait()
        assert not await is_free(others)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert await is_free(others)


async def test_a_session_that_the_server_ends_is_given_up(new_database: NewDatabase) -> None:
    async def end(pool: Pool) -> None:
        async with session(pool) as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    settings = (await new_database()).model_copy(update={"connections_max": 1})
    async with entered(open_pool(settings)) as pool:
        with pytest.raises(asyncpg.PostgresError) as raised:
            await end(pool)
        assert is_transient(raised.value)
        assert await pool.fetchval("SELECT 1") == 1


async def test_giving_a_connection_back_asks_the_server_nothing(new_database: NewDatabase) -> None:
    asked: list[str] = []
    async with entered(open_pool(await new_database())) as pool:
        async with pool.acquire() as connection:
            connection.add_query_logger(lambda query: asked.append(query.query))
            await connection.execute("SELECT 1")
        assert asked == ["SELECT 1"]


async def test_a_transaction_that_was_left_open_is_rolled_back(new_database: NewDatabase) -> None:
    settings = (await new_database()).model_copy(update={"connections_max": 1})
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["message"]))
    async with entered(open_pool(settings)) as pool:
        await pool.execute("CREATE TABLE kept (x int)")
        async with pool.acquire() as connection:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO kept VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM kept") == 0
    assert len(told) == 1
