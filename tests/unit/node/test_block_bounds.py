"""The largest block that a chain can make passes through everything that carries blocks.

A block that is too large for a frame, a call or an event would stop catch-up, clients or the whole
read side for good, because the chain cannot take it back.
"""

from __future__ import annotations

from guqiao_sdk.client import endpoints
from guqiaoctl.network.genesis import PARAMETERS
from services.chassis.bus.port import EVENT_BYTES_MAX
from services.consensus import app
from services.consensus.domain.ledger.execution import BLOCK_OUTPUT_BYTES_MAX, DETAIL_BYTES_MAX
from services.consensus.peers import FRAME_BYTES_MAX

RECEIPT_FRAME_BYTES = 256
CERTIFICATE_BYTES_MAX = 100 * 68 + 1_024


def largest_block() -> int:
    """Its batch, all that its calls may announce, the facts of refusals, and the framing."""
    transactions = int(str(PARAMETERS["batch_transactions_max"]))
    details = transactions * (DETAIL_BYTES_MAX + RECEIPT_FRAME_BYTES)
    output = BLOCK_OUTPUT_BYTES_MAX  # Events are counted with their topics and lengths.
    return int(str(PARAMETERS["batch_bytes_max"])) + output + details + CERTIFICATE_BYTES_MAX


def test_the_largest_block_fits_into_a_frame_a_call_and_an_event_of_the_bus() -> None:
    for maximum in (
        FRAME_BYTES_MAX,
        app.ANSWER_BYTES_MAX,
        endpoints.MESSAGE_BYTES_MAX,
        EVENT_BYTES_MAX,
    ):
        assert largest_block() < maximum
