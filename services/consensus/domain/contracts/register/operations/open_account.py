"""open_account: an investor of the catalogue gets, or gets back, the account of its code.

The identity number never reaches the chain: the row carries its keyed digest, and the date from
which the registration institution stated it to be valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import data_objects, records, state
from services.consensus.domain.contracts.register.checks import (
    Check,
    Facts,
    evidence_missing,
    fails_if,
    try_checks,
)
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import Account, integer, text


def open_account(host: Host, body: Mapping[str, Json]) -> None:
    """Open the account of a row's investor code."""
    operation = open_operation(host, "open_account")
    members = Members(body)
    investor_ref, evidence = members.text("investor_ref"), read_evidence(members)
    members.finish()
    row = state.find_row(host, "investor_row", investor_ref)
    try_checks(_Case(operation, evidence, investor_ref, row), CHECKS)
    assert row is not None
    account = Account(
        code=text(row["investor_code"]),
        investor_ref=investor_ref,
        status=records.OPEN,
        suitability=text(row["suitability"]),
        suitability_valid_to=records.text_or_none(row["suitability_valid_to"]),
        counted_holders=integer(row["counted_holders"]),
        object_id=data_objects.object_id(operation, "account"),
    )
    state.put_account(host, account)
    state.put_identity(host, text(row["id_type"]), text(row["identity_digest"]), account.code)
    host.emit(
        "register.account_opened",
        {
            "account": account.code,
            "investor_ref": investor_ref,
            "kind": row["kind"],
            "status": account.status,
            "suitability": account.suitability,
            "suitability_valid_to": account.suitability_valid_to,
            "counted_holders": account.counted_holders,
            "time": operation.time,
        },
    )
    described = data_objects.account_information(account, operation, evidence)
    data_objects.send(operation, "account", {"account_information": described})


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    investor_ref: str
    row: dict[str, Json] | None

    def member(self, name: str) -> str:
        assert self.row is not None
        return text(self.row[name])


def _identity_invalid(case: _Case, id_type: str) -> Facts | None:
    """Fail for an identity of this type that was never valid, or not yet valid on D."""
    assert case.row is not None
    if case.member("id_type") != id_type:
        return None
    valid_from = records.text_or_none(case.row["identity_valid_from"])
    invalid = valid_from is None or case.operation.day < valid_from
    return fails_if(invalid, investor_ref=case.investor_ref, valid_from=valid_from)


def _duplicate_identity(case: _Case) -> Facts | None:
    host, code = case.operation.host, case.member("investor_code")
    earlier = state.find_account_of_identity(
        host, case.member("id_type"), case.member("identity_digest")
    )
    if earlier is None:
        return None
    account = state.find_account(host, earlier)
    assert account is not None
    is_taken = earlier != code or account.status == records.OPEN
    return fails_if(is_taken, account=earlier, investor_code=code)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    (
        "EVIDENCE_MISSING",
        lambda case: evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    ("INVESTOR_UNKNOWN", lambda case: fails_if(case.row is None, investor_ref=case.investor_ref)),
    ("ID_NUMBER_INVALID", lambda case: _identity_invalid(case, "resident_id")),
    ("USCC_INVALID", lambda case: _identity_invalid(case, "uscc")),
    ("ACCOUNT_DUPLICATE_IDENTITY", _duplicate_identity),
)
