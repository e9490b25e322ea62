"""What a report of tests names from version 4 of `contracts` on."""

from __future__ import annotations

from typing import Any, Final

ANALYSIS: Final[dict[str, Any]] = {
    "tool": "guqiao contract lint",
    "version": "0.1",
    "findings": "3c" * 32,
}
TEST_RUN: Final[dict[str, Any]] = {"chain": "shandong", "transaction": "4d" * 32}
EVIDENCE: Final[dict[str, Any]] = {"analysis": ANALYSIS, "test_run": TEST_RUN}


def evidence_for(contracts: int) -> dict[str, Any]:
    """What this version asks for."""
    return EVIDENCE if contracts >= 4 else {}
