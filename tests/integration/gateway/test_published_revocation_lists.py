"""The gateway keeps the newest revocation list of each authority by the blocks that publish it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.receipt import Receipt
from services.chassis.postgres import open_pool
from services.chassis.runtime import prepare_database
from services.gateway.app import MIGRATIONS
from services.gateway.consumers import apply_block
from services.gateway.revocation_lists import published_lists
from tests.contract.test_bus_events_decode import owner
from tests.plugins.postgres import NewDatabase
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import BOTH_SIDES, NOW, TECH_SIDE, Registry, crl

pytestmark = pytest.mark.req("G2-19-5")


def block_of(height: int, *receipts: Receipt) -> VerifiedBlock:
    """As far as the consumer reads it."""
    return cast("VerifiedBlock", SimpleNamespace(height=height, receipts=receipts))


async def test_the_newest_list_is_kept_and_that_of_a_distrusted_authority_is_not(
    new_database: NewDatabase,
) -> None:
    registry = Registry.make(version=3)
    first = registry.must("publish_crl", (TECH_SIDE,), crl=crl())
    second = registry.must("publish_crl", (TECH_SIDE,), crl=crl(number=2, days=9))
    (told,) = events(second, "chain.crl_published")
    gone = registry.must("distrust_root", BOTH_SIDES, fingerprint=told["authority"])
    async with open_pool(await new_database()) as pool:
        await prepare_database(pool, owner("gateway", "csrc"), MIGRATIONS)
        async with pool.acquire() as connection:
            found = []
            for height, receipt in enumerate((first, second, gone), 1):
                await apply_block(connection, block_of(height, receipt))
                found.append(await published_lists(connection))
    (kept,), (newest,), nothing = found
    assert (kept.number, newest.number, newest.authority) == ("1", "2", told["authority"])
    assert newest.next_update_ms == told["next_update_ms"]
    assert newest.next_update_ms > kept.next_update_ms > int(NOW.timestamp() * 1_000)
    assert nothing == []
