"""The register is counted again from its read model, against itself and the chain's own record of
each product; whatever was changed in a database shows, by the invariant that it breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from guqiao_sdk.client import reads
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.gm.provider import open_provider
from services.registry import checker as checker_module
from services.registry.app import MIGRATIONS
from services.registry.checker import DIFFERS, RegisterChecker
from services.registry.consumers import apply_block
from services.registry.recount import recount
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab, wait_until
from tests.unit.proof.proof_keys import Sm2Keys

KEYS = Sm2Keys(open_provider())


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


def checker_of(lab: Lab) -> RegisterChecker:
    return RegisterChecker(lab.pool, lab.runtime.client, lab.runtime.telemetry.metrics)


def gauge(lab: Lab, name: str) -> float:
    text = lab.runtime.telemetry.metrics.render().decode()
    (line,) = (line for line in text.splitlines() if line.startswith(f"guqiao_registry_{name}"))
    return float(line.split()[1])


async def broken(lab: Lab) -> set[str]:
    found = await recount(lab.pool, lab.runtime.client)
    assert all(each.counted != each.recorded for each in found.violations)
    return {each.invariant for each in found.violations}


@pytest.mark.req("N0-15", "N0-19")
async def test_a_register_adds_up_after_every_block(lab: Lab) -> None:
    checker = checker_of(lab)
    counted = 0
    for height in lab.node.chain.blocks:
        await lab.project(apply_block, [height])
        await checker.step()
        assert (checker.height, checker.violations) == (height, ())
        if height % 10 == 0:
            found = await recount(lab.pool, lab.runtime.client)
            assert (found.height, found.violations) == (height, ())
            counted = max(counted, found.products)
    assert counted > 1
    assert await checker.check() is None
    assert (gauge(lab, "violations"), gauge(lab, "recounted_height")) == (0, checker.height)


HELD: Final = "to_height IS NULL AND available > 1 AND pledged > 0"
ONE: Final = "ctid = (SELECT min(ctid) FROM {table} WHERE {which})"
CHANGES: Final[dict[str, tuple[str, set[str]]]] = {
    "more shares": (
        "UPDATE positions SET total = total + 1, available = available + 1 WHERE {one}",
        {"TOTAL_IS_REGISTERED"},
    ),
    "more at hand": ("UPDATE positions SET available = available + 1 WHERE {one}", {"AVAILABLE"}),
    "nothing bound": (
        "UPDATE positions SET pledged = 0, pledged_and_frozen = 0, available = total - frozen"
        " WHERE {one}",
        {"PLEDGED"},
    ),
    "frozen by nothing": (
        "UPDATE positions SET frozen = frozen + 1, available = available - 1 WHERE {one}",
        {"FROZEN"},
    ),
    "bound twice in one": (
        "UPDATE positions SET pledged_and_frozen = pledged + 1,"
        " available = total - pledged - frozen + pledged + 1 WHERE {one}",
        {"OVERLAP_WITHIN_BOTH"},
    ),
    "a position gone": (
        "DELETE FROM positions WHERE {one}",
        {"TOTAL_IS_REGISTERED", "PLEDGED", "HOLDER_COUNT", "ENCUMBERED_WITHIN_TOTAL"},
    ),
    "all of a product gone": (
        "DELETE FROM positions WHERE product_code ="
        " (SELECT product_code FROM positions WHERE {one})",
        {"TOTAL_IS_REGISTERED", "PLEDGED", "FROZEN", "HOLDER_COUNT", "ENCUMBERED_WITHIN_TOTAL"},
    ),
    "another holder": (
        "UPDATE accounts SET counted_holders = counted_holders + 1",
        {"HOLDER_COUNT"},
    ),
    "a product nobody registered": (
        "INSERT INTO positions SELECT account, 'X', nature, from_height, to_height, 5, 5, 0, 0, 0,"
        " confirmed, restricted_until FROM positions WHERE {one}",
        {"PRODUCT_REGISTERED"},
    ),
    "a product the chain does not know": (
        "INSERT INTO products VALUES ('X'); INSERT INTO positions SELECT account, 'X', nature,"
        " from_height, to_height, 5, 5, 0, 0, 0, confirmed, restricted_until FROM positions"
        " WHERE {one}",
        {"TOTAL_IS_REGISTERED", "HOLDER_COUNT"},
    ),
    "a waiting freeze where shares are free": (
        "INSERT INTO encumbrances SELECT 'freeze', 'F-X', from_height, NULL, account, product_code,"
        " nature, 5, 0, 5 FROM positions WHERE {one}",
        {"ALL_FROZEN_WHERE_WAITING"},
    ),
}


@pytest.mark.req("N0-15", "N0-19")
async def test_what_somebody_changed_shows_by_the_invariant_that_it_breaks(lab: Lab) -> None:
    await lab.project(apply_block)
    tables = ("accounts", "products", "positions", "encumbrances")
    for table in tables:
        await lab.pool.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
    one = ONE.format(table="positions", which=HELD)
    for what, (change, invariants) in CHANGES.items():
        await lab.pool.execute(change.format(one=one))
        found = await broken(lab)
        assert found & invariants, what
        assert found <= invariants, what
        for table in tables:
            await lab.pool.execute(f"DELETE FROM {table}; INSERT INTO {table} TABLE kept_{table}")
        assert await broken(lab) == set(), what


@pytest.mark.req("N0-15", "G2-13-2")
async def test_the_service_tells_what_does_not_add_up_until_it_does(lab: Lab) -> None:
    blocks = [*lab.node.chain.blocks]
    await lab.project(apply_block, blocks)
    checker = checker_of(lab)
    await lab.pool.execute("UPDATE positions SET available = available + 1 WHERE to_height IS NULL")
    await checker.step()
    said = await checker.check()
    assert said is not None
    assert said.startswith(f"{DIFFERS}: ")
    assert str(checker.violations[0]) in said
    assert "AVAILABLE" in said
    assert gauge(lab, "violations") == len(checker.violations) > 1
    await lab.pool.execute("UPDATE positions SET available = available - 1 WHERE to_height IS NULL")
    await checker.step()
    assert await checker.check() is None
    assert gauge(lab, "violations") == 0


@pytest.mark.req("N0-15")
async def test_between_two_full_counts_what_blocks_change_is_counted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change where no block came is found when everything is counted again."""
    blocks = [*lab.node.chain.blocks]
    await lab.project(apply_block, blocks[:-8])
    checker = checker_of(lab)
    await checker.step()
    since = checker.height
    await lab.project(apply_block, blocks[-8:])
    changed = (await recount(lab.pool, lab.runtime.client, since)).products
    whole = (await recount(lab.pool, lab.runtime.client)).products
    assert 0 < changed < whole
    rows = await lab.pool.fetch(
        "SELECT product_code FROM positions GROUP BY 1"
        " HAVING max(from_height) <= $1 AND coalesce(max(to_height), 0) <= $1",
        since,
    )
    still = rows[0]["product_code"]
    await lab.pool.execute("UPDATE positions SET available = 0 WHERE product_code = $1", still)
    await checker.step()
    assert await checker.check() is None
    monkeypatch.setattr(checker_module, "FULL_EVERY_HEIGHTS", 1)
    await checker.step()
    assert {each.invariant for each in checker.violations} == {"AVAILABLE"}


@pytest.mark.req("G2-13-2")
async def test_a_chain_that_is_away_is_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(reads, "CALL_SECONDS", 0.5)
    await lab.project(apply_block)
    checker = checker_of(lab)
    await lab.node.stop()
    with pytest.raises(GuqiaoError):
        await checker.step()
    task = asyncio.create_task(checker.run())
    try:
        await lab.node.start()

        async def counted() -> bool:
            return checker.height > 0

        await wait_until("the chain is back and the register counted", counted)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert checker.violations == ()
