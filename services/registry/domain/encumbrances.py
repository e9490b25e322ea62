"""What market datasets call the state of a freeze or pledge: docs/market-dataset.md, section 11."""

from __future__ import annotations


def status_of(*, effective: int, waiting: int) -> str:
    """Tell whether an encumbrance binds shares now, waits for all of them, or has ended."""
    if effective:
        return "EFFECTIVE"
    return "WAITING" if waiting else "ENDED"
