"""PostgreSQL for tests: one embedded server a test run, a new database a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from services.chassis.postgres import EmbeddedPostgres, PostgresSettings

NewDatabase = Callable[[], Awaitable[PostgresSettings]]


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One server for the whole run; tests that stop a server start their own."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Names of empty databases on the server: to empty one costs a tenth of making one."""
    return []


@pytest.fixture
async def new_database(
    postgres_server: EmbeddedPostgres, spare_databases: list[str]
) -> AsyncIterator[NewDatabase]:
    """Gives empty databases; after the test whoever still uses them is cut off."""
    names: list[str] = []

    async def make() -> PostgresSettings:
        name = spare_databases.pop() if spare_databases else f"test_{uuid4().hex}"
        names.append(name)
        url = await postgres_server.create_database(name)
        return PostgresSettings(url=SecretStr(url), connections_max=8)

    yield make
    for name in names:
        await empty_database(postgres_server.url(name))
        spare_databases.append(name)


async def empty_database(url: str) -> None:
    """End every other session and drop all that the database holds."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """
            SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            """
        )
        schemas = await connection.fetch(
            r"SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'"
        )
        for (schema,) in schemas:
            await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
        await connection.execute("CREATE SCHEMA public")
    finally:
        await connection.close()
