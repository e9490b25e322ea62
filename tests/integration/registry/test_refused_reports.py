"""The registry tells with which code the regulatory chain refused what an operation reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.receipt import Event, Outcome
from services.registry import store
from services.registry.app import MIGRATIONS
from services.registry.consumers import apply_block
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.market_ledger import MarketLedger, market_ledger
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import Lab, open_lab
from tests.unit.proof.proof_keys import Sm2Keys

KEYS = Sm2Keys(open_provider())
AGAIN = 10_000
"""The sequence under which the object is sent again."""


@pytest.fixture(scope="module")
def tiny() -> MarketLedger:
    return market_ledger(KEYS, "market-tiny")


@pytest.fixture
async def lab(new_database: NewDatabase, tiny: MarketLedger) -> AsyncIterator[Lab]:
    async with open_lab(
        new_database,
        LedgerNode(tiny.chain, port=1),
        identity_of(tiny.chain, KEYS),
        KEYS.provider,
        service="registry",
        migrations=MIGRATIONS,
    ) as opened:
        await opened.project(apply_block)
        yield opened


async def announce(lab: Lab, topic: str, **body: Any) -> None:
    """Project a block in which the chain says so."""
    block = lab.block(1)
    said = Event(topic, canonical_json({"port": "data_object", **body}))
    receipt = replace(block.receipts[0], outcome=Outcome.REPLAYED, events=(said,))
    told = replace(block, transactions=block.transactions[:1], receipts=(receipt,))
    async with lab.pool.acquire() as connection:
        await apply_block(connection, told)


async def stands(lab: Lab) -> tuple[int, str, bool, int]:
    """The first packet of the first operation that reports, its code, whether it is anchored, and
    how many reports are refused.
    """
    async with lab.pool.acquire() as connection:
        found: Any = await connection.fetchrow(
            "SELECT organisation, request_id FROM operations WHERE packet_sequence = 1"
        )
        row = await store.find_operation(connection, found["organisation"], found["request_id"])
        assert row is not None
        assert row.packet_sequence is not None
        counts = await store.count_operations(connection)
        return row.packet_sequence, row.report_code, row.anchored, counts.reports_refused


@pytest.mark.req("N0-42")
async def test_a_refused_report_has_its_code_until_it_is_taken(lab: Lab) -> None:
    assert await stands(lab) == (1, "", False, 0)
    await announce(lab, "packet.acknowledged", sequence=1, code="REF_MISSING")
    assert await stands(lab) == (1, "REF_MISSING", False, 1)
    await announce(lab, "object.resubmitted", sequence=1, resubmitted_as=AGAIN)
    await announce(lab, "packet.acknowledged", sequence=AGAIN, code="SCHEMA_FAILED")
    assert await stands(lab) == (1, "SCHEMA_FAILED", False, 1)
    await announce(lab, "object.resubmitted", sequence=1, resubmitted_as=AGAIN + 1)
    await announce(lab, "packet.acknowledged", sequence=AGAIN + 1, code="")
    assert await stands(lab) == (1, "", True, 0)


async def test_a_packet_that_no_operation_sent_changes_none(lab: Lab) -> None:
    await announce(lab, "packet.acknowledged", sequence=AGAIN, code="SCHEMA_FAILED")
    await announce(lab, "packet.acknowledged", sequence=AGAIN, code="")
    assert await stands(lab) == (1, "", False, 0)
