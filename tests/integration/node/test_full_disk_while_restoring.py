"""A replica that restores stops before its disk is full, too, and goes on with space."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.errors import ServiceError
from services.consensus.jobs import Pause
from tests.integration.node.memory_chain import MemoryChain
from tests.integration.node.test_driver_in_memory import APPLIED, submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.mark.req("G2-13-2")
async def test_a_replica_that_restores_on_a_full_disk_takes_nothing_and_goes_on_with_space(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/protocol/ledger.md, Segments and recovery, and pbft.md, C4: it has the error of others,
    and afterwards it still restores, and does not vote before it has what it misses.
    """
    members = [await chain.start(number) for number in range(3)]
    for number in range(4):
        result = await submit(members[number % 3], transaction(network, f"before{number}"))
        assert result.outcome == APPLIED
    chain.founding = False
    late = await chain.start(3)
    assert late.driver.pause is Pause.RESTORING
    monkeypatch.setattr(late.ledger, "_reserve_bytes", 2**62)
    await chain.wait_for(lambda: late.driver.pause is Pause.DISK_FULL)
    assert late.driver.restores
    with pytest.raises(ServiceError) as refused:
        await submit(late, transaction(network, "refused"))
    assert refused.value.code == "DISK_FULL"
    assert late.driver.due_block is None
    await late.driver._ledger_work.settled()  # What was under way when it was seen.
    stands = late.ledger.store.last_certified
    assert (await submit(members[0], transaction(network, "meanwhile"))).outcome == APPLIED
    assert late.ledger.store.last_certified == stands
    assert list(late.ledger.records()) == []
    monkeypatch.setattr(late.ledger, "_reserve_bytes", 0)
    await chain.wait_for(lambda: late.driver.pause is Pause.RESTORING or late.driver.votes)
    top = members[0].finality.certified_height
    await chain.wait_for(lambda: late.ledger.store.last_certified >= top)
    assert late.ledger.header(top).hash() == members[0].ledger.header(top).hash()
