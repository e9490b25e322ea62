"""Mistakes about evidence and catching up; see `bugs`."""

from __future__ import annotations

from typing import Final

from tests.planted.bug import CONSENSUS_TESTS, CORE, Bug

EVIDENCE: Final = (
    Bug(
        "P13",
        "two pre-prepares for one sequence number leave no evidence",
        f"{CORE}/ordering.py",
        "            Evidence(statement.replica, Equivocation(earlier, statement)),\n",
        "",
        ("B3",),
        rules=("S10",),
    ),
    Bug(
        "P13",
        "two checkpoint votes for one height leave no evidence",
        f"{CORE}/checkpoint.py",
        "            Evidence(vote.replica, Equivocation(*statements)),\n",
        "",
        ("B4",),
        rules=("S10",),
    ),
    Bug(
        "P13",
        "two view-changes to one view leave no evidence",
        f"{CORE}/view_change.py",
        "            Evidence(message.replica, Equivocation(*statements)),\n",
        "",
        ("B4",),
        rules=("S10",),
    ),
    Bug(
        "P13",
        "two new-views of one view leave no evidence",
        f"{CORE}/view_change.py",
        "        Evidence(first.replica, Equivocation(first, second)),\n",
        "",
        rules=("S10",),
    ),
    Bug(
        "N12",
        "what others carry of a replica's statements leaves no evidence",
        f"{CORE}/said_before.py",
        'found += [Reject(each.replica, "a statement that excludes an earlier one"), each]\n',
        'found += [Reject(each.replica, "a statement that excludes an earlier one")]\n',
        rules=("S10",),
    ),
    Bug(
        "E1",
        "a batch that admission refuses leaves no evidence",
        f"{CORE}/replica.py",
        "            Evidence(primary, InvalidBatch(refused, message.reason, message.index)),\n",
        "",
        ("B10",),
        rules=("S10",),
    ),
    Bug(
        "E7",
        "the contract believes that a valid batch is invalid",
        f"{CORE}/faults.py",
        '        raise UnprovenError("admission does not refuse the transaction")\n',
        '        return Proven(statement, "TRANSACTION_MALFORMED")\n',
        test="tests/unit/contracts/test_evidence_of_primaries.py::test_e7",
    ),
    Bug(
        "E7",
        "the contract takes anybody's signature for the accused primary's",
        f"{CORE}/faults.py",
        "    if not verify(key, statement_bytes(statement, replica_set), statement.signature):",
        "    if not (key and statement_bytes(statement, replica_set)):",
        test="tests/unit/contracts/test_evidence_of_primaries.py::test_e7",
    ),
    Bug(
        "E8",
        "the contract believes that an honest new-view is invalid",
        f"{CORE}/faults.py",
        '        raise UnprovenError("its proposals follow from its view-changes")\n',
        '        fault = "its proposals do not follow from its view-changes"\n',
        test="tests/unit/contracts/test_evidence_of_primaries.py::test_e8",
    ),
)

CATCH_UP: Final = (
    Bug(
        "C6",
        "what was certified during a fetch is left to the next resend",
        f"{CORE}/replica.py",
        "self._fetching.ask_at_once(self.low_watermark, self.low_watermark)\n",
        "self._fetching.ask_at_once(self.low_watermark, self._ordering.high)\n",
        test=f"{CONSENSUS_TESTS}/test_paper_normal_case.py::test_c6",
    ),
    Bug(
        "V7",
        "a missing batch is asked for of nobody",
        f"{CORE}/ordering.py",
        "        return [FetchBatch(entry.sequence, digest, tuple(sorted(holders)))]\n",
        "        return [FetchBatch(entry.sequence, digest, tuple(sorted(holders))[:0])]\n",
        ("B3",),
        size=4,
        rules=("L1", "L4"),
    ),
)
