"""Migrations run once, in order, together or not at all, and never over what was changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from services.chassis.postgres import Pool, migrate, open_pool
from services.chassis.postgres.errors import MigrationError
from tests.plugins.postgres import NewDatabase


def write(folder: Path, **files: str) -> Path:
    for name, sql in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
    return folder


async def run(pool: Pool, folder: Path, component: str = "registry") -> list[str]:
    async with pool.acquire() as connection:
        return [migration.name for migration in await migrate(connection, component, folder)]


async def test_new_files_run_once_in_order(new_database: NewDatabase, tmp_path: Path) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int)", m0002_b="ALTER TABLE a ADD y int")
    async with open_pool(await new_database()) as pool:
        assert await run(pool, tmp_path) == ["a", "b"]
        assert await run(pool, tmp_path) == []
        write(tmp_path, m0003_c="INSERT INTO a VALUES (1, 2)")
        assert await run(pool, tmp_path) == ["c"]
        assert await pool.fetchval("SELECT y FROM a") == 2
        rows = await pool.fetch("SELECT version, name FROM schema_migrations ORDER BY version")
        assert [tuple(row) for row in rows] == [(1, "a"), (2, "b"), (3, "c")]


async def test_a_failing_file_leaves_nothing_and_the_ones_before_it_stay(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    write(
        tmp_path,
        m0001_a="CREATE TABLE a (x int)",
        m0002_b="CREATE TABLE b (x int); SELECT 1 / 0",
    )
    async with open_pool(await new_database()) as pool:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await run(pool, tmp_path)
        assert await pool.fetchval("SELECT to_regclass('b')") is None
        write(tmp_path, m0002_b="CREATE TABLE b (x int)")
        assert await run(pool, tmp_path) == ["b"]


async def test_a_file_that_was_changed_after_it_ran_is_refused(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int)")
    async with open_pool(await new_database()) as pool:
        await run(pool, tmp_path)
        write(tmp_path, m0001_a="CREATE TABLE a (x bigint)", m0002_b="CREATE TABLE b (x int)")
        with pytest.raises(MigrationError, match="0001_a was changed"):
            await run(pool, tmp_path)
        assert await pool.fetchval("SELECT to_regclass('b')") is None


async def test_a_database_newer_than_the_code_is_refused(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    write(tmp_path, m0001_a="SELECT 1", m0002_b="SELECT 1")
    async with open_pool(await new_database()) as pool:
        await run(pool, tmp_path)
        (tmp_path / "0002_b.sql").unlink()
        with pytest.raises(MigrationError, match="0002_b"):
            await run(pool, tmp_path)


@pytest.mark.parametrize(
    "names", [["0002_b"], ["0001_a", "0003_c"], ["0001_a", "0001_b"], ["1_a"], ["0001_A"], []]
)
async def test_gaps_doubles_and_other_names_are_refused(
    new_database: NewDatabase, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1")
    async with open_pool(await new_database()) as pool:
        with pytest.raises(MigrationError):
            await run(pool, tmp_path)


async def test_instances_that_start_together_run_each_file_once(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    write(tmp_path, m0001_a="CREATE TABLE a (x int)", m0002_b="INSERT INTO a VALUES (1)")
    async with open_pool(await new_database()) as pool:
        applied = await asyncio.gather(*(run(pool, tmp_path) for _ in range(5)))
        assert sorted(applied, key=len) == [[], [], [], [], ["a", "b"]]
        assert await pool.fetchval("SELECT count(*) FROM a") == 1


async def test_components_of_one_database_count_for_themselves(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    write(one, m0001_a="CREATE TABLE a (x int)")
    write(two, m0001_b="CREATE TABLE b (x int)")
    async with open_pool(await new_database()) as pool:
        assert await run(pool, one, "one") == ["a"]
        assert await run(pool, two, "two") == ["b"]
