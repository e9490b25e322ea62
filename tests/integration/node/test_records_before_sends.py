"""P14: a replica's own statement is durable in its segments before it is handed to the links."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.codec import decode_message, encode_log_record
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from tests.integration.node.durable_segments import DurableSegments
from tests.integration.node.memory_chain import MemoryChain
from tests.integration.node.test_driver_in_memory import transaction
from tests.integration.node.test_repair import submit
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

BEATING: dict[str, Json] = {**PARAMETERS, "heartbeat_ms": 100, "view_timeout_ms": 1_000}
Spoken = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; a block is made every 100 ms."""
    return ChainNetwork.create(tmp_path / "network", parameters=BEATING)


@dataclass(slots=True)
class Sends:
    """What replicas hand to their links, and what of it no segment holds at that moment."""

    chain: MemoryChain
    segments: DurableSegments = field(default_factory=DurableSegments)
    said: Counter[type] = field(default_factory=Counter)
    early: list[tuple[int, str]] = field(default_factory=list)

    def watch(self, sender: int, data: bytes) -> None:
        frame = peer_pb2.PeerFrame.FromString(data)
        if frame.WhichOneof("content") != "message":
            return
        message = decode_message(frame.message)
        if not isinstance(message, Spoken) or self._author(message) != sender:
            return
        self.said[type(message)] += 1
        if not self.segments.holds(self.chain.folder_of(sender), encode_log_record(message)):
            self.early.append((sender, type(message).__name__))

    def _author(self, message: Spoken) -> int:
        if isinstance(message, PrePrepare | NewView):
            return message.view % self.chain.genesis.replica_set.size
        return message.replica


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_p14_every_statement_is_durable_when_it_is_handed_to_the_links(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md D2. Of each kind, over a view-change and a restart; the observer stands at the send
    itself, for on delivery, a turn of the loop later, a record may have caught up.
    """
    sends = Sends(chain)
    chain.files, chain.on_send = sends.segments.files, sends.watch
    members = [await chain.start(number) for number in range(4)]
    await submit(members[0], transaction(network, "first"))
    await chain.stop(0, clean=False)
    live = members[1:]
    await chain.wait_for(lambda: all(each.driver.replica.view > 0 for each in live))
    await submit(members[1], transaction(network, "second"))
    again = await chain.start(0)
    await submit(again, transaction(network, "third"))
    assert set(sends.said) == set(get_args(Spoken))
    assert not sends.early
