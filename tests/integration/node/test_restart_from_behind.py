"""A restart from above what a replica holds, or from below: pbft.md, Q3, Q6 and Q7.

Drivers, stores and signatures are real, joined in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.errors import ProofError
from services.consensus.catch_up import verified_blocks
from services.consensus.domain.learner import Learner
from services.consensus.domain.replica import Replica
from tests.integration.node.memory_chain import memory_chain
from tests.integration.node.test_restart_in_memory import NEW, Lab, network_of, sets_of
from tests.integration.node.test_set_changes_in_memory import register, same_blocks
from tests.plugins.ceremony import Authorities, statement_of


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    authorities = Authorities.create(open_provider())
    network = network_of(tmp_path, authorities)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        yield Lab(chain, network, authorities)


@pytest.mark.req("G2-13-2")
async def test_who_knows_more_that_is_final_refuses_a_restart_below(lab: Lab) -> None:
    """Q3: the statement is made from the folder that is behind, as if the other were gone."""
    chain = lab.chain
    first, second = await lose_quorum_behind(lab, behind=(0,))
    lab.lose(2, 3)
    low = lab.statement(0)
    assert low.height == first
    with pytest.raises(ProofError, match=f"replica 1 holds {second}") as refused:
        lab.put_in_force(lab.ceremony.approve(low), 1)
    assert refused.value.code == "RESTART_TOO_LOW"
    high = lab.ceremony.approve(lab.statement(0, 1))
    assert high.statement.height == second
    assert [each.height for each in high.statement.remaining] == [first, second]
    assert lab.put_in_force(high, 0, 1, *NEW) == [True] * 4
    restarted = await lab.start_restarted()
    after = await register(restarted[1], lab.network, "after")
    await chain.wait_for(lambda: all(m.finality.certified_height >= after for m in restarted))
    assert same_blocks(restarted, second)


@pytest.mark.req("G2-13-2", "G2-16-4")
async def test_a_survivor_that_is_behind_votes_in_no_epoch_that_is_over(lab: Lab) -> None:
    """Q6: it takes blocks up to the header of the restart, and votes from there on."""
    first, second = await lose_quorum_behind(lab, behind=(0,))
    lab.lose(2, 3)
    restart = lab.ceremony.approve(lab.statement(0, 1))
    assert restart.statement.height == second
    assert lab.put_in_force(restart, 0, 1, *NEW) == [True] * 4
    lab.chain.founding = False
    behind = await lab.chain.start(0)
    assert behind.ledger.store.last_certified == first
    assert isinstance(behind.driver.replica, Learner), "it has a key of the old set"
    others = [await lab.chain.start(1)]
    others += [await lab.chain.start(number, (lab.new_keys[number],)) for number in NEW]
    after = await register(others[0], lab.network, "after")
    members = [behind, *others]
    await lab.chain.wait_for(lambda: all(m.finality.certified_height >= after for m in members))
    assert isinstance(behind.driver.replica, Replica)
    assert behind.driver.replica.epoch == 1
    assert same_blocks(members, after)


@pytest.mark.req("G2-13-2", "G2-16-4")
async def test_blocks_of_the_old_epoch_above_a_restart_are_taken_from_nobody(lab: Lab) -> None:
    """Q7: one that was lost comes back and has them with the old set's certificates. Who comes to
    the header from below, with an empty folder, refuses them, and is not halted by them.
    """
    first, second = await lose_quorum_behind(lab, behind=(0,))
    old, keys = lab.chain.genesis.replica_set.members, lab.network.provider.keygen
    new = [old[0], *(replace(old[number], public_key=keys().public_key) for number in (1, 2, 3))]
    lab.lose(1)
    restart = lab.ceremony.approve(statement_of(lab.chain.genesis, lab.folders(0), new))
    assert (restart.statement.height, second) == (first, first + 1)
    assert lab.put_in_force(restart, 1) == [True]
    back = await lab.chain.start(2)
    blocks = [back.ledger.block_message(height) for height in range(1, second + 1)]
    response = peer_pb2.BlockResponse(blocks=[each for each in blocks if each is not None])
    refused: list[str] = []
    with sets_of(lab, 1) as sets:
        verify = lab.network.provider.verify
        taken = verified_blocks(response, 1, sets.set_at, verify, refused.append)
        assert sets.set_at(first) == lab.chain.genesis.replica_set
    assert [block.height for block in taken] == list(range(1, first + 1))
    assert len(refused) == 1


async def lose_quorum_behind(lab: Lab, behind: tuple[int, ...]) -> tuple[int, int]:
    """The replicas of `behind` stop a block earlier than the others; then all have stopped."""
    chain = lab.chain
    members = [await chain.start(number) for number in range(4)]
    first = await register(members[0], lab.network, "first")
    await chain.wait_for(lambda: all(m.finality.certified_height >= first for m in members))
    for number in behind:
        await chain.stop(number)
    left = [number for number in range(4) if number not in behind]
    second = await register(members[left[0]], lab.network, "second")
    at_work = [members[number] for number in left]
    await chain.wait_for(lambda: all(m.finality.certified_height >= second for m in at_work))
    for number in left:
        await chain.stop(number)
    return first, second
