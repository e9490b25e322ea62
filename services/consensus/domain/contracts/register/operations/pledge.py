"""pledge and release_pledge: shares bound as security, and freed again in part or whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import checks, records, state
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.operations import target
from services.consensus.domain.contracts.register.operations.target import Target, find_target
from services.consensus.domain.contracts.register.records import Pledge


def pledge(host: Host, body: Mapping[str, Json]) -> None:
    """Bind available shares, restricted ones too."""
    operation = open_operation(host, "pledge")
    members = Members(body)
    number, account = members.text("pledge_no"), members.text("account")
    product_code, nature = members.text("product_code"), members.text("nature")
    shares, pledgee_uscc = members.integer("shares"), members.text("pledgee_uscc")
    evidence = read_evidence(members)
    members.finish()
    found = find_target(
        operation, evidence, account=account, product_code=product_code, nature=nature
    )
    earlier = state.find_pledge(host, number)
    try_checks(_PledgeCase(found, shares, pledgee_uscc, earlier), PLEDGE_CHECKS)
    assert found.position is not None
    record = Pledge(number, account, product_code, nature, pledgee_uscc, shares, shares)
    changes = found.changes()
    changes.set_encumbrance(record)
    pledged = replace(found.position, pledged=found.position.pledged + shares)
    changes.set_position(account, nature, pledged)
    found.finish(changes, records.pledge_to_json(record))


def release_pledge(host: Host, body: Mapping[str, Json]) -> None:
    """Free pledged shares: those that are not frozen first."""
    operation = open_operation(host, "release_pledge")
    members = Members(body)
    number, shares = members.text("pledge_no"), members.integer("shares")
    evidence = read_evidence(members)
    members.finish()
    case = _ReleaseCase(operation, evidence, number, shares, state.find_pledge(host, number))
    try_checks(case, RELEASE_CHECKS)
    assert case.pledge is not None
    record = replace(case.pledge, outstanding=case.pledge.outstanding - shares)
    found = find_target(
        operation,
        evidence,
        account=record.account,
        product_code=record.product_code,
        nature=record.nature,
    )
    assert found.position is not None
    rest = found.position.pledged - shares
    released = replace(found.position, pledged=rest, overlap=min(found.position.overlap, rest))
    changes = found.changes()
    changes.set_encumbrance(record)
    changes.set_position(record.account, record.nature, released)
    found.finish(changes, {**records.pledge_to_json(record), "shares": shares})


@dataclass(frozen=True, slots=True)
class _PledgeCase:
    target: Target
    shares: int
    pledgee_uscc: str
    earlier: Pledge | None


@dataclass(frozen=True, slots=True)
class _ReleaseCase:
    operation: Operation
    evidence: tuple[Evidence, ...]
    number: str
    shares: int
    pledge: Pledge | None


def _duplicate(case: _PledgeCase) -> Facts | None:
    return None if case.earlier is None else {"pledge_no": case.earlier.number}


def _exceeded(case: _ReleaseCase) -> Facts | None:
    assert case.pledge is not None
    outstanding = case.pledge.outstanding
    return fails_if(case.shares > outstanding, shares=case.shares, outstanding=outstanding)


PLEDGE_CHECKS: Final[tuple[Check[_PledgeCase], ...]] = (
    ("AMOUNT_NOT_POSITIVE", target.not_positive),
    ("EVIDENCE_MISSING", target.evidence_missing),
    ("USCC_INVALID", lambda case: checks.uscc_invalid(case.pledgee_uscc)),
    ("PRODUCT_UNKNOWN", target.product_unknown),
    ("ACCOUNT_UNKNOWN", target.account_unknown),
    ("ACCOUNT_NOT_OPEN", target.account_not_open),
    ("PLEDGE_DUPLICATE", _duplicate),
    ("HOLDING_UNCONFIRMED", target.unconfirmed),
    ("SHARES_INSUFFICIENT", target.available_insufficient),
)

RELEASE_CHECKS: Final[tuple[Check[_ReleaseCase], ...]] = (
    ("AMOUNT_NOT_POSITIVE", lambda case: checks.not_positive(shares=case.shares)),
    (
        "EVIDENCE_MISSING",
        lambda case: checks.evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    (
        "PLEDGE_UNKNOWN",
        lambda case: fails_if(
            case.pledge is None or case.pledge.outstanding == 0, pledge_no=case.number
        ),
    ),
    ("PLEDGE_SHARES_EXCEEDED", _exceeded),
)
