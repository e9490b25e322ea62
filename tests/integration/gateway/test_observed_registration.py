"""What the gateway reads of a registered chain of another kind, held against its registration by
the regulatory chain: the operator gets a task, and stating who seals ends it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.consensus.domain.contracts.observed import ObservedContract
from tests.integration.gateway.test_observer import Observation
from tests.plugins.fisco_chain import FiscoChain
from tests.plugins.fisco_node import FiscoNode
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.unit.xchain.observed_chain import CHAIN
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    KEYS,
    TECH_SIDE,
    Registry,
)
from tests.unit.xchain.test_observed_drift import FIRST, LATER, names, stated

pytestmark = pytest.mark.req("G2-10-3", "T2-13", "T2-14")


@pytest.fixture
async def made() -> AsyncIterator[Observation]:
    """A chain whose registered keys seal, begun and with two blocks to be read."""
    async with AsyncExitStack() as stack:
        registry = Registry.make(ObservedContract(2))
        fisco = FiscoChain(names=names(FIRST))
        registry.bring("ACTIVE", stated(fisco))
        ledger = LedgerNode(registry.csrc)
        await ledger.start()
        stack.push_async_callback(ledger.stop)
        client = ledger.client(KEYS.provider, identity_of(registry.csrc, KEYS))
        stack.push_async_callback(client.close)
        found = Observation(registry, ledger, client, fisco, [FiscoNode(fisco), FiscoNode(fisco)])
        await found.start()
        stack.push_async_callback(found.stop)
        found.grow(2)
        found.decide("begin", fisco.trusted(), *BOTH_SIDES)
        yield found


async def test_the_gateway_s_reading_opens_a_task_that_an_update_closes(made: Observation) -> None:
    registry, observer = made.registry, made.observer()
    assert await observer.follow_some() == 2
    assert (registry.status(), registry.csrc.value(f"chains/stale/{CHAIN}")) == ("ACTIVE", None)
    made.fisco.names = names(LATER)
    made.grow(2)
    assert await observer.follow_some() == 2
    assert registry.status() == "STALE"
    proven = await made.client.get_state_proof(f"chains/stale/{CHAIN}")
    assert proven.value is not None, "whoever asks the chain is shown the task, with proof"
    made.grow()
    assert await made.observer().follow_some() == 1, "it is watched all the same"
    value = stated(made.fisco, LATER)
    registry.must("update", BY_OPERATOR, chain_id=CHAIN, registration=value)
    registry.must("accept_update", (TECH_SIDE,), **registry.report(value))
    assert registry.status() == "ACTIVE"
    task = registry.csrc.value(f"chains/stale/{CHAIN}")
    assert isinstance(task, dict)
    assert task["closed_height"] == registry.csrc.header.height
    made.grow()
    assert await made.observer().follow_some() == 1
    assert registry.status() == "ACTIVE"
