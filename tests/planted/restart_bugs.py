"""Mistakes about the restart of a lost quorum; see `bugs`."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import CONSENSUS_TESTS, CORE, Bug

RESTARTS: Final = (
    Bug(
        "Q2",
        "nobody verifies the signatures under a restart",
        "guqiao_sdk/proof/restart_rules.py",
        "    if not _holds(statement, approval, verify):\n",
        "    if not approval.signature:\n",
        rules=("Q2",),
        scenarios=("ceremony/7/0",),
    ),
    Bug(
        "Q3",
        "a replica takes a restart from below what it holds",
        "services/consensus/restart.py",
        "    if held.height > height:\n",
        "    if held.height > height + 1_000:\n",
        rules=("Q3",),
        scenarios=("ceremony/27/1+sm2",),
    ),
    Bug(
        "Q5",
        "a second restart of an epoch takes the place of the first",
        "services/consensus/restart.py",
        "        if known != restart:\n",
        "        if known.statement.epoch != epoch:\n",
        rules=("Q5",),
        scenarios=("ceremony/7/0",),
    ),
    Bug(
        "Q6",
        "a replica votes in an epoch that a restart ended",
        "services/consensus/epochs.py",
        "        key = None if is_over else voting_key(replica_set, self.me)\n",
        "        key = voting_key(replica_set, self.me)\n",
        test="tests/integration/node/test_restart_from_behind.py::test_a_survivor_that_is_behind",
    ),
    Bug(
        "Q6",
        "what a restart makes void is taken into the index again",
        "services/consensus/store/restarts.py",
        " and header.epoch < each.statement.epoch\n",
        " and header.epoch > each.statement.epoch\n",
        rules=("L1", "L4"),
        scenarios=("ceremony/127/6+sm2",),
    ),
    Bug(
        "Q7",
        "blocks above a restart are judged by the old set",
        "services/consensus/chain_sets.py",
        "            if here < each.statement.height < height:\n",
        "            if here < each.statement.height < 0:\n",
        rules=("S5",),
    ),
)

FLOOR: Final = (
    Bug(
        "V3",
        "who lost its votes votes below its floor",
        f"{CORE}/replica.py",
        "            replica._view, replica._active = view_floor, False\n"
        "            replica._ordering.voting = False\n",
        "            replica._view, replica._active = view_floor, False\n",
        rules=("V3",),
        scenarios=("storm/30+rot+stored",),
    ),
    Bug(
        "R4",
        "a compacted log forgets what was prepared",
        f"{CORE}/ordering.py",
        "            for record in (entry.prepare, entry.prepared, entry.commit):\n",
        "            for record in (entry.prepare, entry.commit):\n",
        test=f"{CONSENSUS_TESTS}/test_paper_view_change.py::test_r4_a_compacted_log_still_shows",
    ),
    Bug(
        "V8",
        "who waits at its floor is missed where others wait for a quorum",
        f"{CORE}/replica.py",
        "        if agreed or self._is_missed():\n",
        "        if agreed:\n",
        test=f"{CONSENSUS_TESTS}/test_view_floor.py::test_v8_f_plus_1",
    ),
)
