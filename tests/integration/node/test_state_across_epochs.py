"""A state behind a change of the set: who takes it follows the set from genesis to there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_archived_blocks import (
    SEGMENT_BYTES_MAX,
    archive_of,
    remove_old_blocks,
)
from tests.integration.node.test_repair import FAST
from tests.integration.node.test_set_changes_in_memory import ROLES, WINDOW, decide
from tests.integration.node.test_state_transfer import INTERVAL, check_joined, lie
from tests.plugins.chain_network import OBSERVER, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain with governors that makes an empty block every 100 ms."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles={**ROLES, OBSERVER: ("observer",)},
        contracts=(("identity", 1), ("governance", 1), ("evidence", 1)),
        parameters={**FAST, "snapshot_interval": INTERVAL},
    )


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        chain.without_blocks_steps = 20
        yield chain


async def without_blocks_of_the_first_epoch(chain: MemoryChain, network: ChainNetwork) -> int:
    """Replica 2 has a new vote key, and every block up to the change is away; the height at which
    it was decided.
    """
    new = network.provider.keygen()
    keys = {2: (network.vote_keys[2], new)}
    members = [await chain.start(number, keys.get(number, ())) for number in range(3)]
    decided = await decide(chain, network, [*network.vote_keys[:2], new, network.vote_keys[3]])
    await chain.wait_for(lambda: all(member.driver.replica.epoch == 1 for member in members))
    end = decided.height + WINDOW - 1
    await remove_old_blocks(chain, end, range(3), keys)
    for number in range(3):
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    chain.founding = False
    return decided.height


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_a_new_replica_takes_a_state_behind_a_change_of_the_set(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """docs/protocol/pbft.md, T3 and G6: the set that certified the state is the one that the old
    quorum named.
    """
    decided = await without_blocks_of_the_first_epoch(chain, network)
    late = await chain.start(3)
    await check_joined(chain, network, late, decided)
    assert late.driver.replica.epoch == 1
    assert [change.replica_set.epoch for change in late.ledger.set_changes(0)] == [1]
    assert late.ledger.history_from >= decided + WINDOW
    assert late.ledger.set_at(late.ledger.history_from).epoch == 1


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_a_state_without_the_change_that_leads_to_its_set_is_not_taken_from_who_sends_it(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    def without_changes(answer: peer_pb2.StateResponse) -> peer_pb2.StateResponse:
        del answer.set_changes[:]
        return answer

    decided = await without_blocks_of_the_first_epoch(chain, network)
    lies = lie(chain.members[0], without_changes)
    late = await chain.start(3)
    await check_joined(chain, network, late, decided)
    assert lies
