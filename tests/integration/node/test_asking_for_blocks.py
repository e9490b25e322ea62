"""What a replica that restores asks its peers for: each block once, as long as it is given it.

Method: an emptied replica whose execution the test holds back; what it asks for meanwhile is noted.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from guqiao.consensus.v1 import peer_pb2
from services.consensus import repair, wire
from services.consensus.catch_up import CertifiedBatch
from services.consensus.domain.codec import decode_message
from services.consensus.domain.messages import Hello
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason, Refusals
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_repair import content, grown
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

HELLOS = 4
"""So many rounds in which it asks where anything is to be asked for."""


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms."""
    fast = {**PARAMETERS, "heartbeat_ms": 100, "view_timeout_ms": 5_000}
    return ChainNetwork.create(tmp_path / "network", parameters=fast)


class Asked:
    """What replica 3 says to others: the first heights it asks for, and how often it says where it
    stands.
    """

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.hellos = 0

    def __call__(self, sender: int, data: bytes) -> None:
        frame = peer_pb2.PeerFrame.FromString(data)
        content = frame.WhichOneof("content")
        if sender == 3 and content == "block_request":
            self.firsts.append(frame.block_request.from_height)
        elif sender == 3 and content == "message":
            self.hellos += isinstance(decode_message(frame.message), Hello)


async def emptied(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> tuple[Member, asyncio.Event]:
    """Replica 3 restores from nothing; it executes no block before the event is set."""
    await grown(chain, network)
    await chain.stop(3)
    shutil.rmtree(chain.folder_of(3))
    chain.founding = False
    member = await chain.start(3)
    apply, may_go_on = member.ledger.apply_certified, asyncio.Event()

    async def held(block: CertifiedBatch) -> bool:
        await may_go_on.wait()
        return await apply(block)

    monkeypatch.setattr(member.ledger, "apply_certified", held)
    return member, may_go_on


async def rounds(chain: MemoryChain, asked: Asked) -> None:
    """Let it ask for some time."""
    seen = asked.hellos
    await chain.wait_for(lambda: asked.hellos >= seen + HELLOS)


@pytest.mark.req("G2-13-2")
async def test_blocks_that_it_was_given_are_not_asked_for_again_while_it_executes_them(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is being executed, one waits: what came beside them would only take room."""
    monkeypatch.setattr(repair, "ASKED_AT_ONCE_MAX", 1)
    chain.on_send = asked = Asked()
    member, may_go_on = await emptied(chain, network, monkeypatch)
    await chain.wait_for(lambda: member.driver.due_block is None)
    count = len(asked.firsts)
    await rounds(chain, asked)
    assert len(asked.firsts) == count
    assert set(asked.firsts) == {1, 2}
    may_go_on.set()
    await chain.wait_for(lambda: member.driver.votes)
    assert content(member, 3) == content(chain.members[0], 3)
    assert asked.firsts == sorted(asked.firsts)


@pytest.mark.req("G2-13-2")
async def test_what_does_not_come_is_asked_for_again(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_blocks(data: bytes) -> bool:
        return peer_pb2.PeerFrame.FromString(data).WhichOneof("content") == "block_response"

    chain.on_send = asked = Asked()
    chain.loses = is_blocks
    member, may_go_on = await emptied(chain, network, monkeypatch)
    await chain.wait_for(lambda: len(asked.firsts) >= HELLOS)
    assert set(asked.firsts) == {1}
    assert len(asked.firsts) <= asked.hellos, "not more often than it says where it stands"
    chain.loses = None
    may_go_on.set()
    await chain.wait_for(lambda: member.driver.votes)


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("pause", [Pause.DISK_FULL, Pause.HALTED])
async def test_who_may_not_write_takes_no_blocks_that_a_peer_sends(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch, pause: Pause
) -> None:
    """pbft.md C4: nobody asked for them, and they would use up what is left of the disk."""
    await grown(chain, network)
    paused, peer = chain.members[3], chain.members[2]
    monkeypatch.setattr(paused.ledger, "_reserve_bytes", 2**62)
    paused.driver.pause = pause
    await chain.wait_for(lambda: peer.ledger.store.last_certified > paused_at(paused) + 3)
    height = paused_at(paused)
    until = peer.ledger.store.last_certified
    blocks = [peer.ledger.block_message(each) for each in range(height + 1, until + 1)]
    frame = wire.block_response_frame([each for each in blocks if each is not None], until)
    refused: list[Reason] = []
    count = paused.intake._exchange._refusals.count

    def counting(sender: int, reason: Reason, why: str = "", *, times: int = 1) -> None:
        refused.append(reason)
        count(sender, reason, why, times=times)

    monkeypatch.setattr(
        paused.intake._exchange, "_refusals", cast(Refusals, SimpleNamespace(count=counting))
    )
    chain.deliver(2, 3, frame)
    await chain.wait_for(lambda: Reason.UNREADY in refused or paused_at(paused) > height)
    assert paused_at(paused) == height


def paused_at(member: Member) -> int:
    """How far its blocks go."""
    return member.ledger.store.last_certified
