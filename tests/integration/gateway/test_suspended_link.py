"""A link that the regulatory chain has suspended takes nothing and loses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

import pytest

from guqiao_sdk.errors import GuqiaoError
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until
from tests.unit.xchain.ledger_chain import events

SENT, ACKNOWLEDGED = 1, 3
STANDING: Final = b"chains/standing/shandong"
"""Where the contract `chains` keeps it; who may suspend is shown beside that contract."""


@pytest.fixture
async def link(new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    async with open_link(new_database) as opened:
        yield opened


def suspend(link: LinkLab, scope: str) -> None:
    standing = {"status": "SUSPENDED", "version": 1, "scope": scope, "reason": "安全事件"}
    link.regulator.node.chain.state.values[STANDING] = json.dumps(standing).encode()


def resume(link: LinkLab) -> None:
    del link.regulator.node.chain.state.values[STANDING]


def recorded_sequences(link: LinkLab) -> list[object]:
    """The sequences of the objects that the regulatory chain recorded, in order."""
    blocks = link.regulator.node.chain.blocks
    receipts = [receipt for height in sorted(blocks) for receipt in blocks[height].receipts]
    return [body["sequence"] for each in receipts for body in events(each, "object.recorded")]


@pytest.mark.req("N0-07", "T2-14")
@pytest.mark.parametrize("scope", ["PACKETS", "ALL"])
async def test_g38_a_suspended_link_takes_nothing_and_afterwards_everything_once(
    link: LinkLab, scope: str
) -> None:
    link.report(2)
    await link.deliver_and_acknowledge()
    suspend(link, scope)
    link.report(3)
    await link.project()
    for relay in (link.relay, link.another_relay()):
        with pytest.raises(GuqiaoError) as refused:
            await relay.deliver_some()
        assert refused.value.code == "CHAIN_NOT_ADMITTED"
    assert recorded_sequences(link) == [1, 2]
    assert await link.states() == [ACKNOWLEDGED] * 2 + [SENT] * 3
    assert not [
        row for row in await link.market.rows("packets_sent", "sequence") if row["parked_cause"]
    ]
    resume(link)
    link.report()
    await link.deliver_and_acknowledge()
    assert recorded_sequences(link) == [1, 2, 3, 4, 5, 6]
    assert await link.states() == [ACKNOWLEDGED] * 6
    assert link.acknowledged() == 6


@pytest.mark.req("N0-07", "T2-14")
async def test_g38_a_relay_at_work_says_why_it_waits_and_goes_on_by_itself(link: LinkLab) -> None:
    async with link.at_work():
        link.report(2)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 2)
        suspend(link, "PACKETS")
        link.report(3)

        async def is_told() -> bool:
            return "SUSPENDED" in link.relay.last_error

        await wait_until("the relay's error", is_told)
        assert recorded_sequences(link) == [1, 2]
        resume(link)
        await link.wait_states(lambda: [ACKNOWLEDGED] * 5)
    assert recorded_sequences(link) == [1, 2, 3, 4, 5]
    assert link.acknowledged() == 5
