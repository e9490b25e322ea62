"""Old traces are forgotten every hour, through whatever hours PostgreSQL is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import pytest

from services.chassis.postgres import Pool
from services.gateway import app


@dataclass
class FailingPool:
    """Gives itself as the connection, once it has failed with each of `errors`."""

    errors: list[Exception]
    pruned: list[tuple[Any, ...]] = field(default_factory=list)
    has_pruned: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[FailingPool]:
        if self.errors:
            raise self.errors.pop(0)
        yield self

    async def execute(self, statement: str, *arguments: Any) -> None:
        self.pruned.append((statement.split()[:3], *arguments))
        self.has_pruned.set()


@pytest.fixture(autouse=True)
def no_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "PRUNE_SECONDS", 0.0)


async def prune(pool: FailingPool) -> None:
    """Until something was pruned, or the failure that ended it."""
    task = asyncio.ensure_future(app._prune_traces(cast(Pool, pool)))
    pruned = asyncio.ensure_future(pool.has_pruned.wait())
    try:
        await asyncio.wait((task, pruned), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, pruned):
            each.cancel()
        await asyncio.gather(task, pruned, return_exceptions=True)


async def test_a_database_that_is_away_is_asked_again_at_the_next_hour() -> None:
    pool = FailingPool(
        [
            ConnectionRefusedError("PostgreSQL is away"),
            asyncpg.CannotConnectNowError("the database system is starting up"),
            asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ]
    )
    await prune(pool)
    assert pool.errors == []
    assert pool.pruned[0] == (["DELETE", "FROM", "operation_traces"], app.TRACES_KEPT_HOURS)


async def test_a_failure_that_does_not_pass_ends_the_gateway() -> None:
    pool = FailingPool([asyncpg.UndefinedTableError("operation_traces does not exist")])
    with pytest.raises(asyncpg.UndefinedTableError):
        await prune(pool)
    assert pool.pruned == []
