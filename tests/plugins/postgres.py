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


@pytest.fixture
async def new_database(postgres_server: EmbeddedPostgres) -> AsyncIterator[NewDatabase]:
    """Makes empty databases, dropped after the test together with whoever still uses them."""
    names: list[str] = []

    async def make() -> PostgresSettings:
        name = f"test_{uuid4().hex}"
        names.append(name)
        url = await postgres_server.create_database(name)
        return PostgresSettings(url=SecretStr(url), connections_max=8)

    yield make
    connection = await asyncpg.connect(postgres_server.url("postgres"))
    try:
        for name in names:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()
