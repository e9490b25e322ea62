"""How large a block can become: what a chain's genesis allows, with all that a block carries.

A node states it, so that whoever reads blocks knows what to expect (JR/T 0314: 16 MB at most).
"""

from __future__ import annotations

from typing import Final

from services.consensus.domain.ledger.execution import BLOCK_OUTPUT_BYTES_MAX, DETAIL_BYTES_MAX
from services.consensus.domain.ledger.genesis import ProtocolParameters

RECEIPT_FRAME_BYTES: Final = 256
"""Of a receipt, beside the facts of a refusal and the events: id, outcome, code and lengths."""
AROUND_BYTES_MAX: Final = 512 * 1024
"""Header, certificate, the set that follows, and the restarts before an epoch, with a hundred
replicas.
"""


def block_bytes_max(parameters: ProtocolParameters) -> int:
    """The most bytes of a block: its batch, all that its calls may announce, the facts of refusals,
    and what stands around them.
    """
    details = parameters.batch_transactions_max * (DETAIL_BYTES_MAX + RECEIPT_FRAME_BYTES)
    # Events are counted with their topics and lengths.
    return parameters.batch_bytes_max + BLOCK_OUTPUT_BYTES_MAX + details + AROUND_BYTES_MAX
