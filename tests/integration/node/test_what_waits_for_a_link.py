"""What a peer is told whose link was down for long, and whose folder may be another since: where
this replica stands now, and nothing of where it stood (ADR 0020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from services.chassis.gm_tls import GmTlsIdentity
from services.consensus import wire
from services.consensus.domain.messages import Hello
from services.consensus.peers import PeerLinks, SendQueue
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

AWAY = 3
BLOCKS = 4


class Both:
    """Links of one process, and beside them those of production, of which none ever comes up."""

    def __init__(self, within: Any, beside: PeerLinks) -> None:
        self._within = within
        self._beside = beside

    def broadcast(self, frame: bytes, **how: bool) -> None:
        self._within.broadcast(frame, **how)
        self._beside.broadcast(frame, **how)

    def send(self, to: int, frame: bytes, **how: bool) -> None:
        self._within.send(to, frame, **how)
        self._beside.send(to, frame, **how)

    def connected(self) -> frozenset[int]:
        return cast(frozenset[int], self._within.connected())

    def waiting(self, to: int) -> list[wire.Frame]:
        """What `to` is told once its link is up."""
        queue, frames = self._beside._queues[to], list[bytes]()
        while len(queue):
            frames += queue.take()
        return [wire.read_frame(frame) for frame in frames]


def watched(chain: MemoryChain, number: int, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Also what the driver and the repairs of a replica put into the queues of production."""
    links = PeerLinks(
        chain_id=chain.genesis.chain_id,
        replica=number,
        addresses=[("127.0.0.1", 1)] * 4,
        identity=cast(GmTlsIdentity, None),
        on_frame=lambda sender, frame: None,
        on_link=lambda other: None,
        on_oversized=lambda sender, why: None,
    )
    member = chain.members[number]
    both = Both(member.driver._links, links)
    for part in (member.driver, member.repairs):
        monkeypatch.setattr(part, "_links", both)
    return both


@pytest.mark.req("G2-13-2")
async def test_a_peer_that_was_away_is_told_the_present_height_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ChainNetwork.create(
        tmp_path / "network", parameters={**PARAMETERS, "heartbeat_ms": 60_000}
    )
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        members = [await chain.start(number) for number in range(3)]
        both = watched(chain, 0, monkeypatch)
        for number in range(BLOCKS):
            await submit(members[1], transaction(network, f"user{number}"))
        told = members[1].driver.peer_heights
        await chain.wait_for(lambda: told.get(members[0].driver.me, 0) >= BLOCKS)
        frames = both.waiting(AWAY)
        assert [each.certified for each in frames if isinstance(each, Hello)] == [BLOCKS]
        assert len(frames) > BLOCKS, "votes wait as before"


@pytest.mark.req("G2-13-2")
async def test_one_that_restores_says_the_present_height_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ChainNetwork.create(tmp_path / "network", parameters=PARAMETERS)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        member = await chain.start(0)
        both = watched(chain, 0, monkeypatch)
        for _ in range(3):
            member.repairs._say_where_it_stands()
        assert len([each for each in both.waiting(AWAY) if isinstance(each, Hello)]) == 1


def test_what_is_said_last_leaves_behind_what_was_queued_before_it() -> None:
    """A vote for a height may not come behind the word that the height is certified."""
    queue = SendQueue()
    queue.put_latest(b"stands at 1")
    queue.put(b"vote for 2", droppable=False)
    queue.put_latest(b"stands at 2")
    queue.put(b"vote for 3", droppable=False)
    assert queue.size == len(b"vote for 2stands at 2vote for 3")
    assert queue.take() == [b"vote for 2", b"stands at 2", b"vote for 3"]
    queue.put_latest(b"stands at 2")
    assert queue.take() == [b"stands at 2"]
    assert (queue.size, queue.dropped, queue.filled.is_set()) == (0, 0, False)
