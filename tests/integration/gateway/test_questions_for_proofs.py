"""However many packets go together, each end asks its chain once for the proofs of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.plugins.ledger_node import LedgerNode
from tests.plugins.link_lab import LinkLab, open_link
from tests.plugins.postgres import NewDatabase

PACKETS = 12


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often which chain was asked for proofs of state."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(LedgerNode, name)

        async def method(self: LedgerNode, request: Any, context: Any) -> Any:
            counted[f"{self.chain.header.chain_id} {name}"] += 1
            return await real(self, request, context)

        monkeypatch.setattr(LedgerNode, name, method)

    count("GetStateProofs")
    monkeypatch.setattr(LedgerNode, "GetStateProof", None)  # None is asked for by itself.
    return counted


@pytest.fixture
async def link(asked: Counter[str], new_database: NewDatabase) -> AsyncIterator[LinkLab]:
    """A server takes a node's methods when it starts: what is counted comes first."""
    async with open_link(new_database) as opened:
        yield opened


@pytest.mark.req("N0-07", "G2-13-2")
async def test_packets_and_their_receipts_are_proven_with_one_question_at_each_end(
    link: LinkLab, asked: Counter[str]
) -> None:
    link.report(PACKETS)
    await link.project()
    assert await link.relay.deliver_some() == PACKETS
    assert asked == {"shandong GetStateProofs": 1}
    await link.project()
    assert await link.relay.acknowledge_some() == PACKETS
    assert asked == {"shandong GetStateProofs": 1, "csrc GetStateProofs": 1}


@pytest.mark.req("N0-07")
async def test_absences_are_proven_with_one_question(link: LinkLab, asked: Counter[str]) -> None:
    link.report()
    await link.deliver_and_acknowledge()
    asked.clear()
    states = await link.regulator_handlers.get_absences("shandong", "data_object", range(1, 9))
    assert [state.value is not None for state in states] == [True] + [False] * 7
    assert asked == {"csrc GetStateProofs": 1}
