"""A replica asked for a view that nobody heard of, lost its votes, and takes part again. When one
more stops for good, f = 1, the chain goes on (pbft.md V8; ledger.md, rule of silence, step 4).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services.consensus.domain.messages import Hello, ReplicaId, SequenceNumber, View
from tests.integration.node.memory_chain import MemoryChain
from tests.integration.node.test_driver_in_memory import submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

LONELY = 2


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms."""
    return ChainNetwork.create(tmp_path / "network", parameters={**PARAMETERS, "heartbeat_ms": 100})


async def leaves_alone(chain: MemoryChain) -> None:
    """It hears that another one suspects the primary, and misses heartbeats itself; what it says of
    it nobody hears.
    """
    driver, deliver = chain.members[LONELY].driver, chain.deliver

    def cut(sender: int, to: int, frame: bytes) -> None:
        if LONELY not in (sender, to):
            deliver(sender, to, frame)

    chain.carry = cut
    certified = SequenceNumber(chain.members[LONELY].ledger.store.last_certified)

    def has_left() -> bool:
        driver.put_hello(ReplicaId(3), Hello(View(0), True, True, certified))
        return driver.replica.view > 0

    await chain.wait_for(has_left)
    await chain.stop(LONELY, clean=False)
    chain.carry = None


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("stops", [0, 3])
async def test_one_that_stops_is_not_missed(
    chain: MemoryChain, network: ChainNetwork, stops: int
) -> None:
    members = [await chain.start(number) for number in range(4)]
    await submit(members[0], transaction(network, "early"))
    await leaves_alone(chain)
    shutil.rmtree(chain.folder_of(LONELY) / "segments")
    lonely = await chain.start(LONELY)
    await chain.wait_for(lambda: lonely.driver.votes and lonely.ledger.store.last_certified > 5)
    assert (lonely.driver.replica.view, lonely.driver.replica.active) == (1, False)
    await chain.stop(stops)
    high = max(member.ledger.store.last_certified for member in chain.members.values())
    left = list(chain.members.values())
    await chain.wait_for(lambda: all(m.ledger.store.last_certified > high + 9 for m in left))
    assert all(member.driver.replica.active for member in left)
    await submit(left[0], transaction(network, "late"))
