"""Nonces in a real PostgreSQL: accepted once by all instances together, pruned when the window
refuses them anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import grpc.aio
import pytest

from guqiao_sdk.signing import system_time_ms
from services.chassis.errors import UnavailableError
from services.chassis.grpc_server import nonces_postgres
from services.chassis.grpc_server.nonces_postgres import MIGRATIONS, PostgresNonceStore
from services.chassis.postgres.migrations import migrate
from services.chassis.postgres.pool import Pool
from tests.integration.chassis.kit import code_of, path, send, serving, signed
from tests.plugins.postgres import NewDatabase

DID = "did:rem:shandong:SD000001"


@pytest.fixture
async def url(new_database: NewDatabase) -> str:
    settings = await new_database()
    address = settings.url.get_secret_value()
    connection = await asyncpg.connect(address)
    try:
        await migrate(connection, "grpc_server", MIGRATIONS)
    finally:
        await connection.close()
    return address


@pytest.fixture
async def pool(url: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(url, min_size=2, max_size=4) as opened:
        yield opened


async def test_a_nonce_is_new_once(pool: Pool) -> None:
    store = PostgresNonceStore(pool)
    assert await store.remember(DID, "aa", 1_000)
    assert not await store.remember(DID, "aa", 2_000)
    assert await store.remember(DID, "bb", 1_000)
    assert await store.remember("did:rem:shandong:SD000002", "aa", 1_000)


async def test_of_many_who_send_one_nonce_at_once_exactly_one_is_first(url: str) -> None:
    async with asyncpg.create_pool(url) as first, asyncpg.create_pool(url) as second:
        stores = [PostgresNonceStore(first), PostgresNonceStore(second)]
        answers = await asyncio.gather(
            *(stores[number % 2].remember(DID, "cc", 1_000) for number in range(20))
        )
        assert sorted(answers) == [False] * 19 + [True]


@pytest.mark.req("G2-16-1")
async def test_a_replay_to_another_instance_is_refused(url: str) -> None:
    async with (
        asyncpg.create_pool(url) as first,
        asyncpg.create_pool(url) as second,
        serving(nonces=PostgresNonceStore(first)) as one,
        serving(nonces=PostgresNonceStore(second), world_keys=(one.provider, one.private)) as two,
    ):
        method = path("Echo")
        metadata = signed(one, method, b"body")
        assert (await send(one.target, method, b"body", metadata)).endswith(b"body")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(two.target, method, b"body", metadata)
        assert code_of(caught.value) == "REQUEST_REPLAYED"


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize(("ahead_seconds", "is_kept"), [(63, True), (64, False)])
async def test_a_replay_is_refused_though_an_instance_whose_clock_is_ahead_prunes(
    pool: Pool, ahead_seconds: int, is_kept: bool
) -> None:
    """What is 297 s old is taken for 3 s more; its nonce stays 60 s longer than that."""
    now = system_time_ms()
    async with serving(nonces=PostgresNonceStore(pool), now_ms=lambda: now) as world:
        method = path("Echo")
        metadata = signed(world, method, b"body", now_ms=lambda: now - 297_000)
        await send(world.target, method, b"body", metadata)
        pruned = await PostgresNonceStore(pool).prune(now + 1_000 * ahead_seconds)
        assert pruned == (0 if is_kept else 1)
        if is_kept:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(world.target, method, b"body", metadata)
            assert code_of(caught.value) == "REQUEST_REPLAYED"


async def test_pruning_forgets_what_expired_and_nothing_else(pool: Pool) -> None:
    store = PostgresNonceStore(pool)
    await store.remember(DID, "old", 999)
    await store.remember(DID, "edge", 1_000)
    assert await store.prune(now_ms=1_000) == 1
    assert await store.remember(DID, "old", 2_000)
    assert not await store.remember(DID, "edge", 2_000)


async def test_however_many_expired_none_stays(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may come faster than one batch a round forgets."""
    monkeypatch.setattr(nonces_postgres, "PRUNE_BATCH", 3)
    store = PostgresNonceStore(pool)
    for number in range(10):
        await store.remember(DID, f"old-{number}", 999)
    await store.remember(DID, "new", 1_001)
    assert await store.prune(now_ms=1_000) == 10
    assert await pool.fetchval("SELECT count(*) FROM request_nonces") == 1


async def test_without_the_database_a_request_is_refused_not_accepted(url: str) -> None:
    pool = await asyncpg.create_pool(url, min_size=1)
    await pool.close()
    with pytest.raises(UnavailableError) as caught:
        await PostgresNonceStore(pool).remember(DID, "dd", 1_000)
    assert caught.value.code == "DATABASE_UNAVAILABLE"
