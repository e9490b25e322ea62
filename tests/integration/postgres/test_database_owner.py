"""A database belongs to one service of one chain: its first start says so, others are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from services.chassis.endings import EXIT_CONFLICT, end_for
from services.chassis.postgres import (
    DatabaseOwner,
    Pool,
    claim_database,
    entered,
    migrate,
    open_pool,
)
from services.chassis.postgres.errors import MigrationError, OtherOwnerError
from services.chassis.runtime import DATABASE_ENDINGS, prepare_database
from services.gateway.app import MIGRATIONS as OF_GATEWAY
from services.registry.app import MIGRATIONS
from tests.plugins.postgres import NewDatabase

OWN = DatabaseOwner("registry", "shandong", b"\x01" * 32)
OTHERS = [
    replace(OWN, genesis_hash=b"\x02" * 32),
    replace(OWN, chain_id="qingdao"),
    replace(OWN, service="gateway"),
]


@pytest.fixture
async def pool(new_database: NewDatabase) -> AsyncIterator[Pool]:
    async with entered(open_pool(await new_database())) as opened:
        yield opened


async def claim(pool: Pool, owner: DatabaseOwner) -> None:
    async with pool.acquire() as connection:
        await claim_database(connection, owner)


async def columns(pool: Pool) -> list[tuple[object, ...]]:
    rows = await pool.fetch(
        """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'public' ORDER BY 1, 2
        """
    )
    return [tuple(row) for row in rows]


async def content(pool: Pool) -> list[tuple[object, ...]]:
    """Every column of every table, the migrations that ran, and the owner."""
    rows = await columns(pool)
    others = await pool.fetch("SELECT * FROM schema_migrations ORDER BY component, version")
    others += await pool.fetch("SELECT * FROM database_owner")
    return rows + [tuple(row) for row in others]


async def test_the_first_start_writes_down_the_owner_and_the_next_ones_pass(pool: Pool) -> None:
    await prepare_database(pool, OWN, MIGRATIONS)
    row = await pool.fetchrow("SELECT service, chain_id, genesis_hash FROM database_owner")
    assert row is not None
    assert tuple(row) == ("registry", "shandong", b"\x01" * 32)
    before = await content(pool)
    await prepare_database(pool, OWN, MIGRATIONS)
    assert await content(pool) == before


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("other", OTHERS, ids=["genesis", "chain", "service"])
async def test_a_start_upon_the_database_of_another_is_refused_and_changes_nothing(
    pool: Pool, other: DatabaseOwner
) -> None:
    await prepare_database(pool, OWN, MIGRATIONS)
    before = await content(pool)
    with pytest.raises(OtherOwnerError) as refused:
        await prepare_database(pool, other, OF_GATEWAY)
    assert (refused.value.found, refused.value.expected) == (str(OWN), str(other))
    assert await content(pool) == before
    await prepare_database(pool, OWN, MIGRATIONS)


async def test_a_database_of_before_gets_its_owner_at_the_next_start(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await migrate(connection, "registry", MIGRATIONS)
    await prepare_database(pool, OWN, MIGRATIONS)
    with pytest.raises(OtherOwnerError):
        await claim(pool, OTHERS[0])


async def test_instances_that_start_together_for_the_first_time_agree(pool: Pool) -> None:
    await asyncio.gather(*(prepare_database(pool, OWN, MIGRATIONS) for _ in range(5)))
    assert await pool.fetchval("SELECT count(*) FROM database_owner") == 1


async def test_of_two_networks_that_start_together_for_the_first_time_one_is_refused(
    pool: Pool,
) -> None:
    ends = await asyncio.gather(
        *(claim(pool, owner) for owner in (OWN, OTHERS[0])), return_exceptions=True
    )
    refused = [end for end in ends if end is not None]
    assert [type(end) for end in refused] == [OtherOwnerError]
    winner = (OWN, OTHERS[0])[ends.index(None)]
    assert await pool.fetchval("SELECT genesis_hash FROM database_owner") == winner.genesis_hash


def test_a_service_that_is_refused_ends_with_one_line_code_and_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = OtherOwnerError("shandong_registry", found=str(OTHERS[0]), expected=str(OWN))
    with pytest.raises(SystemExit) as ended:
        end_for(error, "registry", DATABASE_ENDINGS)
    assert ended.value.code == EXIT_CONFLICT
    said = capsys.readouterr().err
    assert said.startswith(
        "DATA_FOLDER_OTHER_NETWORK: the database shandong_registry belongs to registry of shandong"
        " (genesis 0202020202020202), not to registry of shandong (genesis 0101010101010101)."
    )
    assert said.count("\n") == 1
    assert "Put its own data back" in said


GATEWAY = replace(OWN, service="gateway")


def some_of(folder: Path, count: int) -> Path:
    """A gateway of an earlier version: the first migrations only."""
    folder.mkdir()
    for path in sorted(OF_GATEWAY.glob("*.sql"))[:count]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


async def test_g39_a_gateway_whose_migrations_broke_off_opens_nothing_until_they_are_complete(
    pool: Pool, new_database: NewDatabase, tmp_path: Path
) -> None:
    broken = some_of(tmp_path / "broken", 1)
    (broken / "0002_breaks_off.sql").write_text("CREATE TABLE half (x int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await prepare_database(pool, GATEWAY, broken)
    assert await pool.fetchval("SELECT to_regclass('half')") is None
    await prepare_database(pool, GATEWAY, OF_GATEWAY)
    async with entered(open_pool(await new_database())) as fresh:
        await prepare_database(fresh, GATEWAY, OF_GATEWAY)
        assert await columns(pool) == await columns(fresh)


async def test_g39_a_gateway_older_than_its_database_opens_nothing(
    pool: Pool, tmp_path: Path
) -> None:
    await prepare_database(pool, GATEWAY, OF_GATEWAY)
    before = await content(pool)
    with pytest.raises(MigrationError, match="deploy code at least as new"):
        await prepare_database(pool, GATEWAY, some_of(tmp_path / "older", 1))
    assert await content(pool) == before
