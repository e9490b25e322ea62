"""Builds a read model anew from the chain, beside the one that is shown, and compares the two.

The blocks come from the replicas, not from the bus, each verified; the rows go to a schema of their
own, so nobody who reads notices; only while both are compared does the next block wait. Every row
counts: a read model is a function of the chain (design, section 2), so one that differs is a fault.
On request what was built takes the place of what was shown, in one transaction, for which those who
read wait too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.gm.sm3 import sm3
from services.chassis.block_feed.follower import Apply, projected_height
from services.chassis.errors import AbortedError, UnavailableError
from services.chassis.postgres import Connection, Pool, migrate, session

SCHEMA: Final = "rebuilt"
LOCK: Final = 0x6775_7169_6172
BLOCKS_IN_TRANSACTION: Final = 50
BLOCK_SECONDS_MAX: Final = 60.0
STATEMENT_SECONDS_MAX: Final = 3_600.0
_HOLD: Final = "LOCK TABLE projected_blocks IN SHARE MODE"
"""The follower ends each block by writing its position: none is committed any more."""
_HOLD_FOR_REPLACING: Final = "LOCK TABLE projected_blocks IN ACCESS EXCLUSIVE MODE"
"""The follower begins each block by reading its position: none is being applied any more, so none
holds a row that is to be replaced."""
EXAMPLES_MAX: Final = 3

Progress = Callable[[int, int], None]
"""Told of the height that is built, and of the one that is to be."""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """What of a service's database is a function of its chain's blocks alone: how a block is
    applied, and the tables, those first that others refer to.
    """

    apply: Apply
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table as shown and as built: its rows and their SM3 digest, sorted; `examples` are rows of
    one that the other lacks.
    """

    name: str
    rows_shown: int
    rows_built: int
    digest_shown: bytes
    digest_built: bytes
    examples: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same rows."""
        return self.digest_shown == self.digest_built


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both read models at `height`; `seconds` is how long the blocks took to be read and applied,
    with `transactions` in them.
    """

    height: int
    transactions: int
    seconds: float
    tables: tuple[ComparedTable, ...]

    @property
    def is_equal(self) -> bool:
        """Whether every table holds the same rows."""
        return all(table.is_equal for table in self.tables)


class RebuildRunningError(AbortedError):
    """Another process builds a read model in this database."""

    def __init__(self) -> None:
        super().__init__("PROJECTION_REBUILD_RUNNING")


async def rebuild(
    pool: Pool,
    client: ChainClient,
    read_model: ReadModel,
    *,
    service: str,
    migrations: Path,
    replace: bool,
    on_progress: Progress,
) -> Comparison:
    """Build `service`'s read model from block 1 on and compare; with `replace`, have it shown where
    the two differ. `pool` has room for two connections. Raises `RebuildRunningError`,
    `CHAIN_UNAVAILABLE`, and what reading the chain raises.
    """
    async with AsyncExitStack() as stack:
        built = await stack.enter_async_context(_scratch(pool, service, migrations))
        blocks = await stack.enter_async_context(aclosing(client.watch_blocks(1)))
        builder = _Builder(built, read_model, blocks, on_progress, client.chain_id)
        async with pool.acquire() as shown:
            await builder.go_on(await projected_height(shown, client.chain_id))
            async with shown.transaction():
                await shown.execute(_HOLD_FOR_REPLACING if replace else _HOLD)
                comparison = await builder.compare(shown)
                if replace and not comparison.is_equal:
                    await _take_over(shown, read_model.tables)
                return comparison


@asynccontextmanager
async def _scratch(pool: Pool, service: str, migrations: Path) -> AsyncIterator[Connection]:
    """A connection whose tables are the service's own, empty, in a schema that ends with it."""
    async with session(pool) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            raise RebuildRunningError
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        try:
            await connection.execute(f"SET search_path TO {SCHEMA}")
            await migrate(connection, service, migrations)
            yield connection
        finally:
            if not connection.is_closed():
                await connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


class _Builder:
    """What is built, as far as it is."""

    def __init__(
        self,
        connection: Connection,
        read_model: ReadModel,
        blocks: AsyncGenerator[VerifiedBlock],
        on_progress: Progress,
        chain_id: str,
    ) -> None:
        self._chain_id = chain_id
        self._connection = connection
        self._read_model = read_model
        self._blocks = blocks
        self._on_progress = on_progress
        self._height = 0
        self._transactions = 0
        self._seconds = 0.0

    async def go_on(self, height: int) -> None:
        """Apply blocks up to `height`."""
        began = time.monotonic()
        while self._height < height:
            last = min(height, self._height + BLOCKS_IN_TRANSACTION)
            async with self._connection.transaction():
                while self._height < last:
                    block = await self._next()
                    await self._read_model.apply(self._connection, block)
                    self._height = block.height
                    self._transactions += len(block.transactions)
            self._on_progress(self._height, height)
        self._seconds += time.monotonic() - began

    async def _next(self) -> VerifiedBlock:
        """The next block; the chain has it, for it was projected."""
        try:
            async with asyncio.timeout(BLOCK_SECONDS_MAX):
                return await anext(self._blocks)
        except TimeoutError:
            raise UnavailableError("CHAIN_UNAVAILABLE", chain=self._chain_id) from None

    async def compare(self, shown: Connection) -> Comparison:
        """Compare with what is shown in the transaction that `shown` is in."""
        height = await projected_height(shown, self._chain_id)
        await self.go_on(height)
        tables = [await self._compare_table(shown, name) for name in self._read_model.tables]
        return Comparison(height, self._transactions, self._seconds, tuple(tables))

    async def _compare_table(self, shown: Connection, name: str) -> ComparedTable:
        columns = await _columns(shown, name)
        rows_shown, digest_shown = await _digest(shown, name, columns)
        rows_built, digest_built = await _digest(self._connection, name, columns)
        examples: tuple[str, ...] = ()
        if digest_shown != digest_built:
            examples = await _examples(shown, name, columns)
        return ComparedTable(name, rows_shown, rows_built, digest_shown, digest_built, examples)


async def _columns(connection: Connection, table: str) -> str:
    """The columns that blocks decide: not those that the database numbers."""
    names = await connection.fetch(
        """
        SELECT quote_ident(column_name) AS name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'NO'
        ORDER BY ordinal_position
        """,
        table,
    )
    return ", ".join(row["name"] for row in names)


async def _digest(connection: Connection, table: str, columns: str) -> tuple[int, bytes]:
    """How many rows, and the digest of their texts in order: each line is digested by itself, and
    the line before it with it.
    """
    count, digest = 0, bytes(32)
    lines = f"SELECT ROW({columns})::text AS line FROM {table}"  # noqa: S608 - names of our tables
    query = f'SELECT line FROM ({lines}) AS lines ORDER BY line COLLATE "C"'  # noqa: S608
    async with connection.transaction():
        async for row in connection.cursor(query, prefetch=1_000, timeout=STATEMENT_SECONDS_MAX):
            count, digest = count + 1, sm3(digest + row["line"].encode())
    return count, digest


async def _examples(connection: Connection, table: str, columns: str) -> tuple[str, ...]:
    """Some rows that one of both has and the other lacks."""
    lines = f"SELECT ROW({columns})::text FROM "  # noqa: S608 - names of our tables
    shown, built = lines + table, f"{lines}{SCHEMA}.{table}"
    found = []
    for mark, here, there in (("-", shown, built), ("+", built, shown)):
        query = f"{here} EXCEPT ALL {there} LIMIT {EXAMPLES_MAX}"
        rows = await connection.fetch(query, timeout=STATEMENT_SECONDS_MAX)
        found += [f"{mark} {row[0]}" for row in rows]
    return tuple(found)


async def _take_over(connection: Connection, tables: tuple[str, ...]) -> None:
    """Put what was built in the place of what is shown; columns that the database numbers are
    numbered by it again.
    """
    for table in reversed(tables):
        delete = f"DELETE FROM {table}"  # noqa: S608 - a name of our tables
        await connection.execute(delete, timeout=STATEMENT_SECONDS_MAX)
    for table in tables:
        columns = await _columns(connection, table)
        rows = f"SELECT {columns} FROM {SCHEMA}.{table}"  # noqa: S608 - names of our tables
        insert = f"INSERT INTO {table} ({columns}) {rows}{await _order(connection, table)}"
        await connection.execute(insert, timeout=STATEMENT_SECONDS_MAX)


async def _order(connection: Connection, table: str) -> str:
    """Rows that the database numbers keep the order in which blocks made them."""
    name = await connection.fetchval(
        """
        SELECT quote_ident(column_name) FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'
        """,
        table,
    )
    return "" if name is None else f" ORDER BY {name}"
