"""Passing transactions on to other replicas, in frames of bounded size.

Frames of transactions give way first where a link is slow: what matters is passed on again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.consensus import wire
from services.consensus.peers import Links

GOSSIP_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of one frame; a single transaction may be larger."""


def gossip(links: Links, encoded: Sequence[bytes], to: int | None = None) -> None:
    """Pass transactions on to one replica, or to all."""
    start, size = 0, 0
    for index, transaction in enumerate(encoded):
        if size and size + len(transaction) > GOSSIP_BYTES_MAX:
            _send(links, encoded[start:index], to)
            start, size = index, 0
        size += len(transaction)
    if start < len(encoded):
        _send(links, encoded[start:], to)


def _send(links: Links, encoded: Sequence[bytes], to: int | None) -> None:
    frame = wire.gossip_frame(encoded)
    if to is None:
        links.broadcast(frame, droppable=True)
    else:
        links.send(to, frame, droppable=True)
