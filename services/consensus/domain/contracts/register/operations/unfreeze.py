"""unfreeze and deduct: a freeze gives shares back to the holder, or over to a beneficiary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import checks, records, state, waiting_queue
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.operations.freeze import AUTHORITY_OF
from services.consensus.domain.contracts.register.operations.target import Target, find_target
from services.consensus.domain.contracts.register.records import Freeze, Position

AUTHORITIES: Final = ("court", "aml_authority", "operator")


def unfreeze(host: Host, body: Mapping[str, Json]) -> None:
    """Release a freeze in part or whole: its waiting part gives first."""
    operation = open_operation(host, "unfreeze")
    members = Members(body)
    case = _Case(
        operation=operation,
        freeze=state.find_freeze(host, members.text("freeze_no")),
        shares=members.integer("shares"),
        authority=members.choice("authority", AUTHORITIES),
        court_doc_no=members.text("court_doc_no"),
        evidence=read_evidence(members),
    )
    members.finish()
    try_checks(case, UNFREEZE_CHECKS)
    found = _target(case, case.found)
    waiting_part = min(case.shares, case.found.waiting)
    effective_part = case.shares - waiting_part
    record = replace(
        case.found,
        waiting=case.found.waiting - waiting_part,
        effective=case.found.effective - effective_part,
    )
    changes = found.changes()
    changes.set_encumbrance(record)
    if record.waiting == 0:
        waiting_queue.leave(host, record)
    if effective_part:
        assert found.position is not None
        freed = _thawed(found.position, case.found, effective_part)
        freed = replace(freed, overlap=min(freed.overlap, freed.frozen))
        changes.set_position(record.account, record.nature, freed)
        waiting_queue.run(host, changes, record.account, record.nature)
    detail = {**records.freeze_to_json(record), "shares": case.shares, "authority": case.authority}
    found.finish(changes, detail)


def deduct(host: Host, body: Mapping[str, Json]) -> None:
    """Give frozen shares of the holder to the beneficiary; pledged ones stay."""
    operation = open_operation(host, "deduct")
    members = Members(body)
    beneficiary = members.text("beneficiary")
    case = _Case(
        operation=operation,
        freeze=state.find_freeze(host, members.text("freeze_no")),
        shares=members.integer("shares"),
        authority="court",
        court_doc_no=members.text("court_doc_no"),
        evidence=read_evidence(members),
    )
    members.finish()
    try_checks(case, DEDUCT_CHECKS)
    found = _target(case, case.found, beneficiary=beneficiary)
    try_checks(_DeductCase(found, beneficiary, case.shares), BENEFICIARY_CHECKS)
    position = found.position
    assert position is not None
    record = replace(case.found, effective=case.found.effective - case.shares)
    changes = found.changes()
    changes.set_encumbrance(record)
    rest = _thawed(position, case.found, case.shares)
    changes.set_position(
        record.account, record.nature, replace(rest, total=rest.total - case.shares)
    )
    restricted = position.is_restricted_on(operation.day)
    changes.add_shares(
        beneficiary,
        record.nature,
        case.shares,
        restricted_until=position.restricted_until if restricted else None,
    )
    waiting_queue.run(host, changes, record.account, record.nature)
    waiting_queue.run(host, changes, beneficiary, record.nature)
    detail = {
        **records.freeze_to_json(record),
        "shares": case.shares,
        "beneficiary": beneficiary,
        "deduction_doc_no": case.court_doc_no,
    }
    found.finish(changes, detail)


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    freeze: Freeze | None
    shares: int
    authority: str
    court_doc_no: str
    evidence: tuple[Evidence, ...]

    @property
    def found(self) -> Freeze:
        """The freeze, of which an earlier check knows that it exists."""
        assert self.freeze is not None
        return self.freeze


@dataclass(frozen=True, slots=True)
class _DeductCase:
    target: Target
    beneficiary: str
    shares: int

    @property
    def beneficiaries(self) -> dict[str, records.Account | None]:
        return {self.beneficiary: self.target.accounts[self.beneficiary]}


def _target(case: _Case, freeze: Freeze, beneficiary: str | None = None) -> Target:
    return find_target(
        case.operation,
        case.evidence,
        account=freeze.account,
        product_code=freeze.product_code,
        nature=freeze.nature,
        beneficiary=beneficiary,
    )


def _thawed(position: Position, freeze: Freeze, shares: int) -> Position:
    """Take effective shares of a freeze out of the position's frozen count."""
    has_ended = freeze.effective == shares
    return replace(
        position,
        frozen=position.frozen - shares,
        fruit_freezes=position.fruit_freezes - (has_ended and freeze.fruits),
    )


def _evidence_missing(case: _Case) -> Facts | None:
    return checks.evidence_missing(case.operation, (item.kind for item in case.evidence))


def _court_document_missing(case: _Case) -> Facts | None:
    return fails_if(case.authority == "court" and case.court_doc_no == "", authority=case.authority)


def _freeze_unknown(case: _Case) -> Facts | None:
    return fails_if(case.freeze is None or case.freeze.outstanding == 0)


def _authority_mismatch(case: _Case) -> Facts | None:
    needed = AUTHORITY_OF[case.found.category]
    return fails_if(needed != case.authority, authority=case.authority, needed=needed)


def _not_enforcement(case: _Case) -> Facts | None:
    category = case.found.category
    return fails_if(category != "judicial_enforcement", category=category)


def _exceeded(case: _Case) -> Facts | None:
    outstanding = case.found.outstanding
    return fails_if(case.shares > outstanding, shares=case.shares, outstanding=outstanding)


def _not_effective(case: _Case) -> Facts | None:
    effective = case.found.effective
    return fails_if(case.shares > effective, shares=case.shares, effective=effective)


def _pledged(case: _DeductCase) -> Facts | None:
    position = case.target.position
    assert position is not None
    free = position.frozen - position.overlap
    return fails_if(case.shares > free, shares=case.shares, frozen_and_not_pledged=free)


_COMMON: Final[tuple[Check[_Case], ...]] = (
    ("AMOUNT_NOT_POSITIVE", lambda case: checks.not_positive(shares=case.shares)),
    ("EVIDENCE_MISSING", _evidence_missing),
    ("COURT_DOCUMENT_MISSING", _court_document_missing),
    ("FREEZE_UNKNOWN", _freeze_unknown),
)

UNFREEZE_CHECKS: Final[tuple[Check[_Case], ...]] = (
    *_COMMON,
    ("FREEZE_AUTHORITY_MISMATCH", _authority_mismatch),
    ("FREEZE_SHARES_EXCEEDED", _exceeded),
)

DEDUCT_CHECKS: Final[tuple[Check[_Case], ...]] = (
    *_COMMON,
    ("FREEZE_AUTHORITY_MISMATCH", _not_enforcement),
    ("FREEZE_SHARES_EXCEEDED", _exceeded),
    ("FREEZE_NOT_EFFECTIVE", _not_effective),
)

BENEFICIARY_CHECKS: Final[tuple[Check[_DeductCase], ...]] = (
    ("ACCOUNT_UNKNOWN", lambda case: checks.account_unknown(case.beneficiaries)),
    ("ACCOUNT_NOT_OPEN", lambda case: checks.account_not_open(case.beneficiaries)),
    (
        "SELF_TRANSFER",
        lambda case: fails_if(
            case.beneficiary == case.target.account_code, account=case.beneficiary
        ),
    ),
    ("SHARES_PLEDGED", _pledged),
)
