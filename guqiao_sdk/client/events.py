"""The one event of this service: a block is final. Topic, key, identity and body of the message.

The publisher runs in the domain's gateway and takes the blocks from any replica after verifying
them; it imports this module and nothing of the replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao.consensus.v1 import consensus_events_pb2, ledger_pb2

BLOCK_TOPIC: Final = "consensus.block.v1"


@dataclass(frozen=True, slots=True)
class BlockEvent:
    """What goes on the bus: `event_id` is `<chain>/<height>`, so a repetition is recognised."""

    topic: str
    key: str
    event_id: str
    payload: bytes


def block_certified(chain_id: str, height: int, block: ledger_pb2.Block) -> BlockEvent:
    """The event for a block that the publisher has verified."""
    assert height >= 1, "the genesis is no event"
    message = consensus_events_pb2.BlockCertified(chain_id=chain_id, height=height, block=block)
    name = block_event_id(chain_id, height)
    return BlockEvent(BLOCK_TOPIC, chain_id, name, message.SerializeToString())


def block_event_id(chain_id: str, height: int) -> str:
    """What a block's event is called."""
    return f"{chain_id}/{height}"
