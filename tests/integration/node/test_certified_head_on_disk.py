"""A replica's certified head is on disk before votes that follow from it leave (pbft.md D2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader
from services.consensus.domain.codec import decode_message
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Commit, Prepare, PrePrepare
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_set_changes_in_memory import ROLES, WINDOW, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; an idle chain makes blocks, so that windows fill by themselves."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("evidence", 1)),
        parameters={**PARAMETERS, "heartbeat_ms": 100},
    )


def execute_slowly(member: Member, gates: dict[int, asyncio.Event]) -> None:
    """The block of a height in `gates` takes until its gate opens."""
    execute = member.ledger.execute

    async def slow(batch: Batch, transactions: Sequence[AdmittedTransaction] | None) -> BlockHeader:
        gate = gates.get(member.ledger.store.last_height + 1)
        if gate is not None:
            await gate.wait()
        return await execute(batch, transactions)

    member.ledger.execute = slow  # type: ignore[method-assign]


@dataclass(slots=True)
class Votes:
    """What replicas say of proposals, and how it lies beside their certified heads on disk at the
    send: on delivery, a turn of the loop later, the disk may have caught up.
    """

    chain: MemoryChain
    highest: list[int] = field(default_factory=lambda: [0] * 4)
    beyond: list[tuple[int, int, int]] = field(default_factory=list)

    def watch(self, sender: int, data: bytes) -> None:
        frame = peer_pb2.PeerFrame.FromString(data)
        if frame.WhichOneof("content") != "message" or sender not in self.chain.members:
            return
        message = decode_message(frame.message)
        if isinstance(message, PrePrepare | Prepare | Commit):
            certified = self.chain.members[sender].ledger.store.last_certified
            self.highest[sender] = max(self.highest[sender], message.sequence)
            if message.sequence > certified + WINDOW:
                self.beyond.append((sender, message.sequence, certified))


async def certify_while_the_next_block_is_slow(
    chain: MemoryChain, network: ChainNetwork, votes: Votes
) -> tuple[asyncio.Event, asyncio.Future[int]]:
    """Block 3 is certified while block 4 executes, and windows are full above block 3. Returns the
    gate of block 4, and a transaction that waited to be proposed in the turn that certifies.
    """
    chain.on_send = votes.watch
    members = [await chain.start(number) for number in range(4)]
    gates = {3: asyncio.Event(), 4: asyncio.Event()}
    for member in members:
        execute_slowly(member, gates)
    await chain.wait_for(lambda: min(votes.highest) == 2 + WINDOW)
    waiting = asyncio.ensure_future(register(members[0], network, "waits"))
    await chain.wait_for(lambda: members[0].driver.mempool.ready_count > 0)
    gates[3].set()  # Block 4 is decided already: its execution follows at once.
    await chain.wait_for(lambda: min(votes.highest) == 3 + WINDOW)
    return gates[4], waiting


async def test_no_vote_leaves_beyond_the_window_of_the_head_that_is_on_disk(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """D2."""
    votes = Votes(chain)
    gate, waiting = await certify_while_the_next_block_is_slow(chain, network, votes)
    assert not votes.beyond
    gate.set()
    assert await waiting >= 3 + WINDOW, "the window was full before"
    assert not votes.beyond


async def test_a_power_cut_while_a_block_executes_slowly_leaves_a_chain_that_goes_on(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    gate, waiting = await certify_while_the_next_block_is_slow(chain, network, Votes(chain))
    drivers = [member.driver for member in chain.members.values()]
    # What waits is not executed: the primary is given up, and what is prepared is shown to all.
    await chain.wait_for(lambda: all(each.replica.view >= 1 for each in drivers))
    waiting.cancel()
    for number in range(4):
        await chain.stop(number, clean=False)
    gate.set()
    members = [await chain.start(number) for number in range(4)]
    assert await register(members[0], network, "later") > 3
