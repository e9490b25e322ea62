"""Which code must be covered branch by branch (T-25), and which tests do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PERCENT_MIN: Final = 95.0
"""Of the branches of each part, and of its statements."""


@dataclass(frozen=True, slots=True)
class Part:
    """Files by glob patterns, relative to the repository's root."""

    name: str
    patterns: tuple[str, ...]

    def files(self) -> list[str]:
        """All files, by name; raises `ValueError` for a pattern that names none."""
        found: set[str] = set()
        for pattern in self.patterns:
            paths = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
            if not paths:
                raise ValueError(f"{self.name}: no file is called {pattern}")
            found.update(paths)
        return sorted(found)


PARTS: Final = (
    Part("consensus", ("services/consensus/domain/*.py",)),
    Part("log", ("services/consensus/store/*.py",)),
    Part(
        "gateway verifier",
        (
            *(
                f"guqiao_sdk/proof/{name}.py"
                for name in (
                    *("light_client", "certificates", "der", "header", "quorum", "votes"),
                    *("merkle", "state_proof", "packet", "packet_events", "misbehaviour"),
                    *("restart", "restart_rules", "receipt", "canonical", "framing"),
                )
            ),
            "services/consensus/domain/contracts/light_client*.py",
        ),
    ),
    Part(
        "authorisation",
        (
            "services/consensus/domain/ledger/authorisation.py",
            "services/consensus/domain/ledger/admission.py",
            *(
                f"services/chassis/grpc_server/{name}.py"
                for name in ("guard", "identity", "policy", "refusals", "request_signature")
            ),
        ),
    ),
    Part("crypto wrapper", ("guqiao_sdk/gm/**/*.py",)),
)

SHARES: Final = (
    (
        "tests/unit/consensus",
        "--ignore=tests/unit/consensus/test_rows_in_runs.py",
        "tests/unit/node/test_surplus_votes.py",
        "tests/unit/gm",
        "tests/unit/xchain",
    ),
    (
        "tests/unit/ledger",
        "tests/unit/proof",
        "tests/unit/chassis",
        "tests/unit/contracts/test_evidence_contract.py",
        "tests/unit/contracts/test_evidence_of_primaries.py",
        "tests/integration/ledger",
        *(
            f"tests/integration/node/test_restart_{name}.py"
            for name in ("archive", "faults", "files", "in_memory")
        ),
        "tests/integration/chassis/test_grpc_guarded_server.py",
        "tests/integration/chassis/test_grpc_peer_organisations.py",
        "tests/integration/chassis/test_grpc_request_signatures.py",
    ),
)
"""The tests of these parts, for two processes. Long runs of clusters show little that these do not,
and take as long as all of them.
"""


@dataclass(slots=True)
class Figures:
    """Branches and statements of a part, and how many of each were taken."""

    branches: int = 0
    branches_taken: int = 0
    statements: int = 0
    statements_taken: int = 0

    @property
    def branch_percent(self) -> float:
        """100 where there is none."""
        return _percent(self.branches_taken, self.branches)

    @property
    def statement_percent(self) -> float:
        """100 where there is none."""
        return _percent(self.statements_taken, self.statements)


def figures(files: list[str], report: dict[str, Any]) -> Figures:
    """What coverage.py's JSON report says of these files; raises `ValueError` for one of which it
    says nothing, since no test opened it.
    """
    total = Figures()
    for name in files:
        if name not in report["files"]:
            raise ValueError(f"{name}: no test opened it")
        summary = report["files"][name]["summary"]
        total.branches += summary["num_branches"]
        total.branches_taken += summary["covered_branches"]
        total.statements += summary["num_statements"]
        total.statements_taken += summary["covered_lines"]
    return total


def shortfalls(parts: dict[str, Figures]) -> Iterator[str]:
    """In words, each part of which too little is covered."""
    for name, each in parts.items():
        for what, percent in (
            ("branches", each.branch_percent),
            ("statements", each.statement_percent),
        ):
            if percent < PERCENT_MIN:
                yield f"{name}: {percent:.2f} % of its {what}, not {PERCENT_MIN:g} %"


def _percent(taken: int, count: int) -> float:
    return 100.0 * taken / count if count else 100.0
