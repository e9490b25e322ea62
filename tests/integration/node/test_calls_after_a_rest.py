"""A call on a chain that rested: its transaction expires as the chain's time goes on, and is signed
anew for the same request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from guqiao_sdk.client import chain as chain_client
from guqiao_sdk.client.chain import SIGNED_ANEW_MAX, ChainClient
from guqiao_sdk.errors import GuqiaoError
from services.consensus.domain.ledger.admission import read_transaction
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains
from tests.plugins.service_lab import wait_until

HOUR_MS = 3_600_000
REFUSING = 2
"""So many replicas must refuse an attempt before the client believes it."""
REPORT = ("reports", "report", {"count": 1, "broken": False})


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LedgerNode]:
    monkeypatch.setattr(chain_client, "WENT_ON_POLL_SECONDS", 0.001)
    chain, _ = link_chains()
    started = LedgerNode(chain)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def client(node: LedgerNode) -> AsyncIterator[ChainClient]:
    async with node.client(KEYS.provider, identity_of(node.chain, KEYS)) as opened:
        yield opened


def requests(node: LedgerNode) -> list[str]:
    """Of the transactions in blocks, in their order."""
    blocks = node.chain.blocks.values()
    return [
        read_transaction(encoded).payload.request_id
        for block in blocks
        for encoded in block.transactions
    ]


def reports(node: LedgerNode) -> int:
    """How often something was reported with effect."""
    return sum(
        receipt.code == "" for block in node.chain.blocks.values() for receipt in block.receipts
    )


@pytest.mark.req("G2-20-2")
async def test_what_expires_in_the_first_block_after_a_rest_is_signed_anew(
    node: LedgerNode, client: ChainClient
) -> None:
    node.rests_ms = [HOUR_MS]
    result = await client.call(*REPORT)
    assert (result.accepted, node.submissions, reports(node)) == (True, 2, 1)
    first, second = requests(node)
    assert first == second


async def test_what_is_not_admitted_any_more_is_signed_anew(
    node: LedgerNode, client: ChainClient
) -> None:
    await client.latest()
    node.chain.execute(time_ms=node.chain.header.block_time_ms + HOUR_MS)
    result = await client.call(*REPORT, request_id="11111111-1111-4111-8111-111111111111")
    assert (result.accepted, reports(node)) == (True, 1)
    assert requests(node) == ["11111111-1111-4111-8111-111111111111"]


async def test_it_is_signed_anew_when_the_heartbeat_came_and_no_sooner(
    node: LedgerNode, client: ChainClient
) -> None:
    node.ahead_ms = HOUR_MS
    calling = asyncio.ensure_future(client.call(*REPORT))

    async def was_looked_at_often() -> bool:
        return node.submissions >= REFUSING and node.looks > 20

    await wait_until("the client waits for a block", was_looked_at_often)
    assert (node.submissions, calling.done()) == (REFUSING, False)
    node.chain.execute(time_ms=node.chain.header.block_time_ms + HOUR_MS)
    node.ahead_ms = 0
    result = await calling
    assert (result.accepted, node.submissions, reports(node)) == (True, REFUSING + 1, 1)


async def test_a_chain_whose_time_stands_still_is_not_waited_for_for_ever(
    node: LedgerNode, client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_client, "WENT_ON_SECONDS_MAX", 0.0)
    node.ahead_ms = HOUR_MS
    with pytest.raises(GuqiaoError) as expired:
        await client.call(*REPORT)
    assert (expired.value.code, node.submissions) == ("TRANSACTION_EXPIRED", REFUSING)


async def test_what_expires_every_time_says_so_in_the_end(
    node: LedgerNode, client: ChainClient
) -> None:
    node.rests_ms = [HOUR_MS] * (SIGNED_ANEW_MAX + 2)
    result = await client.call(*REPORT)
    assert (result.code, reports(node)) == ("TRANSACTION_EXPIRED", 0)
    assert node.submissions == SIGNED_ANEW_MAX + 1


async def test_another_refusal_is_told_at_once(node: LedgerNode, client: ChainClient) -> None:
    result = await client.call("reports", "no_such_method", {})
    assert (result.accepted, node.submissions) == (False, 1)
    with pytest.raises(GuqiaoError) as refused:
        await client.call(*REPORT, request_id="no UUID")
    assert (refused.value.code, node.submissions) == ("TRANSACTION_MALFORMED", 1 + REFUSING)
