"""Mistakes by which a traitor keeps blocks from becoming final; see `bugs`."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import CORE, Bug

FINALITY: Final = (
    Bug(
        "V1",
        "nothing times what is decided and not certified",
        f"{CORE}/ordering.py",
        "            if entry.proposal is not None:\n"
        "                return max(entry.proposal.since_ms, self.progress_ms)\n"
        "            if entry.committed is not None:\n"
        "                return max(entry.decided_ms, self.progress_ms)\n",
        "            if entry.proposal is not None and entry.committed is None:\n"
        "                return max(entry.proposal.since_ms, self.progress_ms)\n",
        rules=("L1",),
    ),
    Bug(
        "V5",
        "a view starts above a height that only one replica certified",
        f"{CORE}/view_change.py",
        " and each.certified <= low and ",
        " and ",
        rules=("L1",),
    ),
)
