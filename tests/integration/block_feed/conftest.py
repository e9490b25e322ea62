"""A feed of its own for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.chassis.block_feed import publisher
from tests.integration.block_feed.feed_lab import Feed
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import open_lab


@pytest.fixture
async def feed(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    monkeypatch.setattr(publisher, "ELECTION_POLL_SECONDS", 0.05)
    chain, _ = link_chains()
    node = LedgerNode(chain)
    await node.start()
    try:
        async with open_lab(
            new_database,
            node,
            identity_of(chain, KEYS),
            KEYS.provider,
            service="test",
            migrations=None,
        ) as lab:
            await lab.pool.execute(
                "CREATE TABLE seen (place bigint GENERATED ALWAYS AS IDENTITY, height bigint)"
            )
            yield Feed(lab)
    finally:
        await node.stop()
