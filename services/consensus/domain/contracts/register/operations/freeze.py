"""freeze: an authority binds shares; what cannot be bound now waits for its turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import records, state, waiting_queue
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import open_operation, read_evidence
from services.consensus.domain.contracts.register.operations import target
from services.consensus.domain.contracts.register.operations.target import Target, find_target
from services.consensus.domain.contracts.register.records import Freeze

AUTHORITY_OF: Final = {
    "judicial_preservation": "court",
    "judicial_enforcement": "court",
    "aml": "aml_authority",
    "self_discipline": "operator",
}
"""The authority that each category of freeze needs for its release."""


def freeze(host: Host, body: Mapping[str, Json]) -> None:
    """Put a freeze at the end of the position's queue, and run the queue."""
    operation = open_operation(host, "freeze")
    members = Members(body)
    record = _read_freeze(members)
    evidence = read_evidence(members)
    members.finish()
    found = find_target(
        operation,
        evidence,
        account=record.account,
        product_code=record.product_code,
        nature=record.nature,
    )
    try_checks(_Case(found, record, state.find_freeze(host, record.number)), CHECKS)
    changes = found.changes()
    changes.set_encumbrance(record)
    waiting_queue.append(host, record)
    waiting_queue.run(host, changes, record.account, record.nature)
    placed = state.find_freeze(host, record.number)
    assert placed is not None
    found.finish(changes, records.freeze_to_json(placed))


@dataclass(frozen=True, slots=True)
class _Case:
    target: Target
    record: Freeze
    earlier: Freeze | None

    @property
    def shares(self) -> int:
        return self.record.registered


def _read_freeze(members: Members) -> Freeze:
    shares = members.integer("shares")
    return Freeze(
        number=members.text("freeze_no"),
        category=members.choice("category", AUTHORITY_OF),
        account=members.text("account"),
        product_code=members.text("product_code"),
        nature=members.text("nature"),
        registered=shares,
        effective=0,
        waiting=shares,
        fruits=members.boolean("fruits"),
        court_doc_no=members.text("court_doc_no"),
        term_end=members.date("term_end"),
    )


def _court_document_missing(case: _Case) -> Facts | None:
    needs_court = AUTHORITY_OF[case.record.category] == "court"
    return fails_if(needs_court and case.record.court_doc_no == "", category=case.record.category)


def _duplicate(case: _Case) -> Facts | None:
    return None if case.earlier is None else {"freeze_no": case.earlier.number}


def _total_insufficient(case: _Case) -> Facts | None:
    """The whole position counts: unconfirmed, restricted and pledged shares can be frozen."""
    position = case.target.position
    total = 0 if position is None else position.total
    return fails_if(position is None or total < case.shares, total=total, shares=case.shares)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    ("AMOUNT_NOT_POSITIVE", target.not_positive),
    ("EVIDENCE_MISSING", target.evidence_missing),
    ("COURT_DOCUMENT_MISSING", _court_document_missing),
    ("PRODUCT_UNKNOWN", target.product_unknown),
    ("ACCOUNT_UNKNOWN", target.account_unknown),
    ("ACCOUNT_NOT_OPEN", target.account_not_open),
    ("FREEZE_DUPLICATE", _duplicate),
    ("SHARES_INSUFFICIENT", _total_insufficient),
)
