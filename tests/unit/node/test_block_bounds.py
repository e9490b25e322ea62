"""The largest block that a chain can make passes through everything that carries blocks.

A block that is too large for a frame, a call or an event would stop catch-up, clients or the whole
read side for good, because the chain cannot take it back.
"""

from __future__ import annotations

from guqiao_sdk.client import endpoints
from guqiaoctl.network.genesis import PARAMETERS
from services.chassis.bus.port import EVENT_BYTES_MAX
from services.consensus import app
from services.consensus.domain.ledger.block_size import block_bytes_max
from services.consensus.domain.ledger.genesis import ProtocolParameters
from services.consensus.peers import FRAME_BYTES_MAX


def largest_block() -> int:
    """Of a chain as `guqiao dev` makes it."""
    return block_bytes_max(ProtocolParameters(**{**PARAMETERS}))


def test_the_largest_block_fits_into_a_frame_a_call_and_an_event_of_the_bus() -> None:
    for maximum in (
        FRAME_BYTES_MAX,
        app.ANSWER_BYTES_MAX,
        endpoints.MESSAGE_BYTES_MAX,
        EVENT_BYTES_MAX,
    ):
        assert largest_block() < maximum
