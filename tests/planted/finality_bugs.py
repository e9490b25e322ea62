"""Mistakes by which a traitor keeps blocks from becoming final; see `bugs`."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import CONSENSUS_TESTS, CORE, Bug

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
        rules=("L1", "L4"),
    ),
    Bug(
        "V5",
        "a view starts above a height that only one replica certified",
        f"{CORE}/view_change.py",
        " and each.certified <= low and ",
        " and ",
        rules=("L1",),
        withheld=True,
    ),
    Bug(
        "V7",
        "a batch that was voted for gives way like any other",
        f"{CORE}/log.py",
        "for digest in spare if digest in self.voted]\n",
        "for digest in spare if digest in ()]\n",
        test=f"{CONSENSUS_TESTS}/test_room_for_batches.py::test_v7_the_oldest",
    ),
    Bug(
        "R2",
        "a certificate that is restored gives back no votes",
        f"{CORE}/log.py",
        "                for vote in record.votes():\n                    self.",
        "                for vote in ():\n                    self.",
        test=f"{CONSENSUS_TESTS}/test_restart_of_core.py::test_r2_a_commit",
    ),
    Bug(
        "Q7",
        "votes behind a restart do not sign its lineage",
        "guqiao_sdk/proof/votes.py",
        "    writer.raw(lineage).text(chain_id)",
        "    writer.text(chain_id)",
        also=(("guqiao_sdk/proof/votes.py", '"guqiao/vote/2" if lineage else ', ""),),
        test=f"{CONSENSUS_TESTS}/test_lost_epochs.py::test_q7_two_votes",
    ),
    Bug(
        "V1",
        "two heartbeats are missed after half of one",
        f"{CORE}/suspicion.py",
        "max(2 * self._parameters.heartbeat_ms, self.timeout_ms)",
        "self._parameters.heartbeat_ms // 2",
        rules=("L2",),
    ),
)
