"""Mistakes about when a state is taken in the place of blocks; see `bugs`.

What a liar gains by them is time, and simulated liars stop in the end: tests of the production's
driver and of the rule itself must notice.
"""

from __future__ import annotations

from typing import Final

from tests.planted.bug import Bug

STATES: Final = (
    Bug(
        "T1",
        "any block at all keeps a replica from the state that the others offer",
        "services/consensus/block_pace.py",
        "        if self._there is None or self._period_there is None:\n",
        "        if came >= 0:\n",
        test="tests/integration/node/test_dripped_blocks.py::test_t1",
    ),
    Bug(
        "T1",
        "blocks that are fast for a while end the taking of a state",
        "services/consensus/state_transfer.py",
        "        elif pace is Pace.FAIR and self._taking is None:\n",
        "        elif pace is Pace.FAIR:\n",
        test="tests/unit/node/test_state_taking.py::test_t1_a_fair_pace_does_not_end",
    ),
)
