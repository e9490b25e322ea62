"""A read model that is built anew from the chain is the one that is shown, to the last row; a row
that somebody changed is found, named and put right (design, section 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from services.chassis.block_feed import rebuild as rebuilding
from services.chassis.block_feed.rebuild import (
    LOCK,
    SCHEMA,
    Comparison,
    Progress,
    ReadModel,
    RebuildRunningError,
    rebuild,
)
from services.chassis.errors import UnavailableError
from services.chassis.postgres import Connection, migrate, session
from services.enablement import app as enablement
from services.enablement import consumers as enablement_consumers
from services.registry.app import MIGRATIONS
from services.registry.consumers import READ_MODEL, apply_block
from services.registry.recount import recount
from services.reporting import app as reporting
from services.reporting import consumers as reporting_consumers
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, ledger_of, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, wait_until
from tests.unit.contracts.market_generator import BASIC, LATER, Generator, write_dataset
from tests.unit.proof.proof_keys import Sm2Keys

KEYS = Sm2Keys(open_provider())
KEPT: Final = {"registry": {"investor_bodies"}}
"""What no block holds."""


@pytest.fixture(scope="module")
def tiny() -> MarketLedger:
    return market_ledger(KEYS, "market-tiny", block_events=3)


@pytest.fixture
async def lab(new_database: NewDatabase, tiny: MarketLedger) -> AsyncIterator[Lab]:
    node = LedgerNode(tiny.chain)
    await node.start()
    try:
        async with open_lab(
            new_database,
            node,
            identity_of(tiny.chain, KEYS),
            KEYS.provider,
            service="registry",
            migrations=MIGRATIONS,
        ) as opened:
            yield opened
    finally:
        await node.stop()


def nothing(height: int, target: int) -> None:
    pass


async def rebuilt(
    lab: Lab,
    *,
    replace: bool = False,
    on_progress: Progress = nothing,
    read_model: ReadModel = READ_MODEL,
    service: str = "registry",
    migrations: Path = MIGRATIONS,
) -> Comparison:
    return await rebuild(
        lab.pool,
        lab.runtime.client,
        read_model,
        service=service,
        migrations=migrations,
        replace=replace,
        on_progress=on_progress,
    )


def differing(comparison: Comparison) -> list[str]:
    return [table.name for table in comparison.tables if not table.is_equal]


@pytest.mark.req("N0-19", "G2-13-2")
async def test_what_is_built_anew_is_what_is_shown(lab: Lab) -> None:
    await lab.project(apply_block)
    told: list[tuple[int, int]] = []
    comparison = await rebuilt(lab, on_progress=lambda *at: told.append(at))
    height = lab.node.chain.header.height
    assert (comparison.height, comparison.is_equal) == (height, True)
    assert told[-1] == (height, height)
    rows = {table.name: table.rows_built for table in comparison.tables}
    assert min(rows["operations"], rows["positions"], rows["encumbrances"]) > 10
    assert rows["dividend_rows"] > 1
    assert await lab.pool.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None


async def test_a_read_model_that_is_behind_is_compared_at_its_own_height(lab: Lab) -> None:
    await lab.project(apply_block, range(1, 11))
    comparison = await rebuilt(lab)
    assert (comparison.height, comparison.is_equal) == (10, True)


async def test_blocks_that_are_applied_meanwhile_are_compared_too(lab: Lab) -> None:
    """The follower gets on while the first blocks are being built."""
    blocks = [*lab.node.chain.blocks]
    await lab.project(apply_block, blocks[:5])
    followed: list[asyncio.Task[None]] = []

    def follow(height: int, target: int) -> None:
        if not followed:
            followed.append(asyncio.create_task(lab.project(apply_block, blocks[5:20])))

    comparison = await rebuilt(lab, on_progress=follow)
    await followed[0]
    assert comparison.height >= blocks[4]
    assert comparison.is_equal


CHANGES: Final = {
    "operations": "UPDATE operations SET code = 'X' WHERE height = 2",
    "positions": "UPDATE positions SET total = total + 1 WHERE to_height IS NULL",
    "accounts": "UPDATE accounts SET counted_holders = 7",
    "products": "DELETE FROM products",
    "encumbrances": "DELETE FROM encumbrances WHERE to_height IS NULL",
    "dividend_rows": "UPDATE dividend_rows SET amount_fen = 0 WHERE line = 1",
    "dividends": "INSERT INTO dividends VALUES (1, 7, 'D', 'P')",
    "resubmissions": "INSERT INTO resubmissions VALUES (1, 2)",
}


@pytest.mark.req("N0-19", "G2-13-2")
async def test_a_change_of_any_table_is_found_and_put_right(lab: Lab) -> None:
    await lab.project(apply_block, [*lab.node.chain.blocks][:-1])
    assert set(CHANGES) == set(READ_MODEL.tables)
    for name, change in CHANGES.items():
        await lab.pool.execute(change)
        found = await rebuilt(lab)
        assert differing(found) == [name]
        (table,) = (table for table in found.tables if not table.is_equal)
        assert table.examples
        assert {example[0] for example in table.examples} <= {"-", "+"}
        assert differing(await rebuilt(lab, replace=True)) == [name], "looking changed nothing"
        assert (await rebuilt(lab)).is_equal, name
    await lab.project(apply_block, [*lab.node.chain.blocks][-1:])
    assert (await rebuilt(lab)).is_equal, "the follower goes on from what was put there"


@pytest.mark.req("G2-13-2")
async def test_nothing_is_replaced_under_a_block_that_is_being_applied(lab: Lab) -> None:
    blocks = [*lab.node.chain.blocks]
    await lab.project(apply_block, blocks[:-1])
    await lab.pool.execute(CHANGES["positions"])
    block = lab.block(blocks[-1])
    async with lab.pool.acquire() as follower:
        async with follower.transaction():
            await follower.fetchval("SELECT height FROM projected_blocks")
            await apply_block(follower, block)
            replacing = asyncio.create_task(rebuilt(lab, replace=True))
            await wait_until("the lock is waited for", lambda: lock_is_waited_for(lab))
            await follower.execute(
                "UPDATE projected_blocks SET height = $1, header_hash = $2",
                block.height,
                block.header.hash(),
            )
        comparison = await replacing
    assert (comparison.height, differing(comparison)) == (block.height, ["positions"])
    assert (await rebuilt(lab)).is_equal


async def lock_is_waited_for(lab: Lab) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    return bool(await lab.pool.fetchval(query))


async def test_a_chain_that_is_away_ends_it_and_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "BLOCK_SECONDS_MAX", 0.2)
    await lab.project(apply_block, range(1, 5))
    await lab.node.stop()
    with pytest.raises(UnavailableError) as refused:
        await rebuilt(lab)
    assert refused.value.code == "CHAIN_UNAVAILABLE"
    assert await lab.pool.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None


async def test_one_at_a_time_builds(lab: Lab) -> None:
    await lab.project(apply_block, range(1, 5))
    async with session(lab.pool) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        with pytest.raises(RebuildRunningError):
            await rebuilt(lab)
    assert (await rebuilt(lab)).is_equal


async def test_what_an_interrupted_one_left_is_in_nobodys_way(lab: Lab) -> None:
    await lab.project(apply_block, range(1, 5))
    await lab.pool.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.positions (x int)")
    assert (await rebuilt(lab)).is_equal


@pytest.mark.req("G2-13-2")
async def test_rows_that_the_database_numbers_keep_their_order(
    new_database: NewDatabase, tiny: MarketLedger
) -> None:
    """Data objects are listed by the order in which blocks made them; their numbers may differ."""
    node = LedgerNode(tiny.chain)
    await node.start()
    try:
        async with open_lab(
            new_database,
            node,
            identity_of(tiny.chain, KEYS),
            KEYS.provider,
            service="reporting",
            migrations=reporting.MIGRATIONS,
        ) as lab:
            await lab.project(reporting_consumers.apply_block)
            before = await lab.rows("data_objects", "place")
            await lab.pool.execute("UPDATE data_objects SET digest = '\\x00' WHERE place = 2")

            async def build(*, replace: bool) -> Comparison:
                return await rebuilt(
                    lab,
                    replace=replace,
                    read_model=reporting_consumers.READ_MODEL,
                    service="reporting",
                    migrations=reporting.MIGRATIONS,
                )

            assert differing(await build(replace=True)) == ["data_objects"]
            assert (await build(replace=False)).is_equal
            after = await lab.rows("data_objects", "place")
    finally:
        await node.stop()
    assert len(before) > 10
    assert [row | {"place": 0} for row in after] == [row | {"place": 0} for row in before]


@pytest.mark.req("N0-15", "N0-19")
async def test_a_thousand_blocks_of_a_market_full_of_refusals_are_built_anew_and_add_up(
    lab: Lab, tmp_path: Path
) -> None:
    """Reliability, T-19: random events, each in a block of its own."""
    write_dataset(Generator(2, 1_000, (*BASIC, *LATER)).dataset(), tmp_path / "market")
    market = read_dataset(tmp_path / "market")
    assert isinstance(market, MarketDataset)
    lab.node.chain = ledger_of(KEYS, market).chain
    await lab.project(apply_block)
    comparison = await rebuilt(lab)
    assert comparison.height >= 1_000
    assert comparison.is_equal
    rows = {table.name: table.rows_built for table in comparison.tables}
    assert min(rows["positions"], rows["encumbrances"], rows["dividend_rows"]) > 10
    found = await recount(lab.pool, lab.runtime.client)
    assert (found.height, found.violations) == (comparison.height, ())


@pytest.mark.parametrize(
    ("service", "migrations", "read_model"),
    [
        ("registry", MIGRATIONS, READ_MODEL),
        ("reporting", reporting.MIGRATIONS, reporting_consumers.READ_MODEL),
        ("enablement", enablement.MIGRATIONS, enablement_consumers.READ_MODEL),
    ],
)
async def test_every_table_of_a_service_is_rebuilt_or_is_kept_for_a_reason(
    lab: Lab, service: str, migrations: Path, read_model: ReadModel
) -> None:
    async with session(lab.pool) as connection:
        await connection.execute("CREATE SCHEMA looked_at; SET search_path TO looked_at")
        await migrate(connection, service, migrations)
        tables = await tables_of(connection)
    assert tables - {"schema_migrations"} == {*read_model.tables, *KEPT.get(service, set())}


async def tables_of(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    )
    return {row["table_name"] for row in rows}
