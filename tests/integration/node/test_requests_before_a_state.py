"""What clients brought to a replica that then took a state instead of the blocks: what those
executed is ordered no more, times nobody, and its outcome is asked of others (pbft.md T7, V11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guqiao_sdk.client.transactions import EXPIRES_AFTER_MS
from services.chassis.errors import FailedPreconditionError, UnavailableError
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain, now_ms
from tests.integration.node.test_archived_blocks import (
    SEGMENT_BYTES_MAX,
    archive_of,
    remove_old_blocks,
)
from tests.integration.node.test_driver_in_memory import position, transaction
from tests.integration.node.test_repair import FAST, submit
from tests.plugins.chain_network import ChainNetwork

OTHERS = (0, 1, 2)
LATE = 3
"""The replica that takes the state."""
ENDS_MS = 1_000


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms and gives the state of every eighth."""
    return ChainNetwork.create(tmp_path / "network", parameters={**FAST, "snapshot_interval": 8})


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        chain.without_blocks_steps = 20
        yield chain


class Cut:
    """Whether the replica that is to take the state is cut off from all others, and which
    transactions are lost wherever it passes them on.
    """

    def __init__(self, chain: MemoryChain) -> None:
        self.holds = False
        self.lost: list[bytes] = []
        self._chain = chain
        chain.carry = self.carry

    def carry(self, sender: int, to: int, frame: bytes) -> None:
        is_cut = self.holds and LATE in (sender, to)
        if not is_cut and not any(each in frame for each in self.lost):
            self._chain.deliver(sender, to, frame)


async def without_old_blocks(chain: MemoryChain, height: int) -> None:
    """The blocks up to `height` go to archives that nobody can read."""
    await remove_old_blocks(chain, height, OTHERS)
    for number in OTHERS:
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    chain.founding = False


async def takes_a_state(chain: MemoryChain, height: int) -> None:
    """The late replica takes part again, without the block of `height`."""
    late = chain.members[LATE]
    await chain.wait_for(lambda: late.ledger.history_from > height and late.driver.votes)


def time_of(member: Member) -> int:
    return member.ledger.header(member.ledger.store.last_certified).block_time_ms


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_what_the_blocks_before_a_state_executed_is_ordered_and_timed_no_more(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    late, cut = members[LATE], Cut(chain)
    await chain.wait_for(lambda: late.ledger.store.last_certified > 2)
    cut.holds = True
    expires_ms = now_ms() + ENDS_MS
    executed, ends, fresh = entries = [
        transaction(network, "executed"),
        transaction(network, "ends", at=position(time_ms=expires_ms - EXPIRES_AFTER_MS)),
        transaction(network, "fresh"),
    ]
    waiting = [
        asyncio.create_task(late.submissions.submit(each, wait_final=True)) for each in entries
    ]
    await chain.wait_for(lambda: all(each.id() in late.driver.mempool for each in entries))
    height = await submit(members[0], executed)  # Its client tried another replica.
    await chain.wait_for(lambda: time_of(members[0]) > expires_ms)

    await without_old_blocks(chain, height)
    cut.lost = [fresh.payload]
    cut.holds = False
    await takes_a_state(chain, height)

    with pytest.raises(UnavailableError) as refused:
        await waiting[0]
    assert refused.value.code == "HISTORY_NOT_HERE"
    with pytest.raises(FailedPreconditionError) as expired:
        await waiting[1]
    assert expired.value.code == "TRANSACTION_EXPIRED"
    assert not {executed.id(), ends.id()} & {each.id for each in late.driver.mempool.oldest()}
    cut.lost = []
    result = await waiting[2]
    assert result is not None, "what nobody executed is passed on and ordered"
    await chain.wait_for(lambda: not len(late.driver.mempool))


@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize("wait_final", [True, False])
async def test_who_submits_again_what_such_a_block_executed_is_sent_to_others(
    chain: MemoryChain, network: ChainNetwork, wait_final: bool
) -> None:
    members = [await chain.start(number) for number in OTHERS]
    executed = transaction(network, "executed")
    height = await submit(members[0], executed)
    await without_old_blocks(chain, height)
    late = await chain.start(LATE)
    await takes_a_state(chain, height)
    with pytest.raises(UnavailableError) as refused:
        await late.submissions.submit(executed, wait_final=wait_final)
    assert refused.value.code == "HISTORY_NOT_HERE"
