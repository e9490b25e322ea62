"""One liar gives a replica a block now and then, just before it would ask for the state that the
honest peers offer: it takes the state all the same (pbft.md, T1 and T2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from services.consensus import wire
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain
from tests.integration.node.test_archived_blocks import SEGMENT_BYTES_MAX, archive_of, archived
from tests.integration.node.test_repair import FAST
from tests.integration.node.test_state_transfer import INTERVAL, check_joined
from tests.plugins.chain_network import ChainNetwork

LIAR, LATE = 0, 3
STEPS = 50
"""Without blocks, before a state is asked for; three times as many where the replica votes."""


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms and gives the state of every eighth."""
    parameters = {**FAST, "snapshot_interval": INTERVAL}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        chain.without_blocks_steps = STEPS
        yield chain


async def with_old_blocks_at_one_liar(chain: MemoryChain, network: ChainNetwork) -> None:
    """Three replicas at work; the archives of the honest ones are away."""
    honest = (1, 2)
    await archived(chain, network, honest)
    for number in honest:
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    chain.founding = False


async def check_took_a_state(chain: MemoryChain, network: ChainNetwork, late: Member) -> None:
    """And votes, without the blocks between the last that the liar gave and the state."""
    head = chain.members[1].ledger.store
    await chain.wait_for(lambda: late.ledger.store.last_certified > head.last_certified - INTERVAL)
    assert late.ledger.history_from > 0, "the liar gave it all blocks that nobody else has"
    await check_joined(chain, network, late, late.ledger.history_from - 1)


def drip(chain: MemoryChain, every: int) -> list[int]:
    """Let the liar answer with one block, whenever the late replica has made so many steps since
    the last; the heights that it gave.
    """
    liar, given, last = chain.members[LIAR], list[int](), [-every]

    async def answer(sender: int, request: peer_pb2.BlockRequest) -> None:
        late = chain.members.get(LATE)
        if sender != LATE or late is None or _steps(late) - last[0] < every:
            return
        block = liar.ledger.block_message(request.from_height)
        if block is not None:
            last[0] = _steps(late)
            given.append(request.from_height)
            certified = liar.ledger.store.last_certified
            chain.deliver(LIAR, LATE, wire.block_response_frame([block], certified))

    liar.intake._exchange._answer_blocks = answer  # type: ignore[method-assign]
    return given


def _steps(late: Member) -> int:
    """Of restoring, and of looking whether it must."""
    return late.repairs.state._steps + late.repairs._pace._steps


@pytest.mark.req("G2-13-2", "G2-07-1", "G2-07-3")
async def test_t1_one_liar_that_drips_blocks_does_not_keep_a_new_replica_from_the_state(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    await with_old_blocks_at_one_liar(chain, network)
    given = drip(chain, every=STEPS * 3 // 5)
    late = await chain.start(LATE)
    await check_took_a_state(chain, network, late)
    assert given[:2] == [1, 2], "it gave more than one block before the state was taken"


@pytest.mark.req("G2-13-2", "G2-07-1", "G2-07-3")
async def test_t2_nor_does_it_keep_one_that_votes_from_stopping_to_restore(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    early = await chain.start(LATE)
    for number in range(3):
        await chain.start(number)
    await chain.wait_for(lambda: early.ledger.store.last_certified > 2)
    for number in (LATE, 0, 1, 2):
        await chain.stop(number)
    await with_old_blocks_at_one_liar(chain, network)
    given = drip(chain, every=STEPS * 3 // 5)
    late = await chain.start(LATE)
    assert late.driver.votes, "nothing of its own is missing"
    await check_took_a_state(chain, network, late)
    assert len(given) > 1
