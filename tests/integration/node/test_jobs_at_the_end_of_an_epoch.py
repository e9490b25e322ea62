"""The core of the next epoch is opened from a store that stands still (pbft.md R5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader
from services.consensus.catch_up import CertifiedBatch
from services.consensus.domain.ledger.admission import AdmittedTransaction
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_set_changes_in_memory import ROLES, check_chain, decide, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; a block is made every 100 ms."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1)),
        parameters={**PARAMETERS, "heartbeat_ms": 100},
    )


@dataclass(slots=True)
class SlowMember:
    """Its blocks wait: those of the last window of epoch 0, that it executes itself, for `old`; the
    fetched ones of epoch 1 for `new`.
    """

    member: Member
    old: asyncio.Event = field(default_factory=asyncio.Event)
    new: asyncio.Event = field(default_factory=asyncio.Event)
    at_new: asyncio.Event = field(default_factory=asyncio.Event)
    offered: list[VerifiedBlock] = field(default_factory=list)

    def __post_init__(self) -> None:
        driver, ledger = self.member.driver, self.member.ledger
        execute, apply, offer = ledger.execute, ledger.apply_certified, driver.offer_blocks

        async def slow_execute(
            batch: Batch, transactions: Sequence[AdmittedTransaction] | None
        ) -> BlockHeader:
            if ledger.epoch_end(0) is not None:
                await self.old.wait()
            return await execute(batch, transactions)

        async def slow_apply(block: CertifiedBatch) -> bool:
            if block.header.epoch == 1:
                self.at_new.set()
                await self.new.wait()
            return await apply(block)

        def offer_noted(blocks: Sequence[VerifiedBlock]) -> bool:
            taken = offer(blocks)
            self.offered += blocks if taken else ()
            return taken

        ledger.execute = slow_execute  # type: ignore[method-assign]
        ledger.apply_certified = slow_apply  # type: ignore[method-assign]
        driver.offer_blocks = offer_noted  # type: ignore[method-assign]


def are_blocks(frame: bytes) -> bool:
    return peer_pb2.PeerFrame.FromString(frame).WhichOneof("content") == "block_response"


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_the_next_core_waits_for_the_blocks_in_hand_when_an_epoch_ends(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """Replica 3 fetches blocks from both sides of the end at once, and executes slowly behind it:
    opened meanwhile, the core would read sets, head and records of different heights.
    """
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(3)]
    slow = SlowMember(await chain.start(3, (network.vote_keys[3], new)))
    driver, store = slow.member.driver, members[0].ledger.store
    chain.loses = are_blocks
    decided = await decide(chain, network, [*network.vote_keys[:3], new])
    await chain.wait_for(lambda: store.last_certified > decided.height + 10)
    core = driver.replica
    assert core.epoch == 0
    chain.loses = None
    await chain.wait_for(lambda: any(block.header.epoch == 1 for block in slow.offered))
    slow.old.set()
    await chain.wait_for(lambda: slow.at_new.is_set() and core.ended)
    height = store.last_certified + 2
    await chain.wait_for(lambda: store.last_certified >= height)
    assert driver.replica is core, "a block is in hand"
    in_hand = slow.offered[-1].height
    slow.new.set()
    await chain.wait_for(lambda: driver.replica is not core)
    assert driver.replica.epoch == 1
    assert driver.replica.low_watermark >= in_hand
    await chain.stop(1)
    await register(members[0], network, "after")
    check_chain(chain, slow.member)
