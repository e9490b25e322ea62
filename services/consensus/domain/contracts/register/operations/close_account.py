"""close_account: an account without shares and without waiting freezes is closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import checks, data_objects, records, state
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import Account


def close_account(host: Host, body: Mapping[str, Json]) -> None:
    """Close an account; its code and its last deals are kept."""
    operation = open_operation(host, "close_account")
    members = Members(body)
    code, evidence = members.text("account"), read_evidence(members)
    members.finish()
    case = _Case(operation, evidence, code, {code: state.find_account(host, code)})
    try_checks(case, CHECKS)
    account = case.accounts[code]
    assert account is not None
    state.put_account(host, replace(account, status=records.CLOSED))
    host.emit("register.account_closed", {"account": code, "time": operation.time})
    information: dict[str, Json] = {
        "basic_account_information": {
            "account_ref": data_objects.reference(account.object_id),
            "account_number": code,
            "account_status": records.CLOSED,
        },
        "account_cycle_information": {
            "account_cancellation_information": {
                "account_closing_date": operation.day,
                "account_closing_doc": data_objects.documents(evidence),
            }
        },
    }
    data_objects.send(operation, "account", {"account_information": information})


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    code: str
    accounts: dict[str, Account | None]


def _not_empty(case: _Case) -> Facts | None:
    host = case.operation.host
    held = host.scan(state.key("held", case.code) + "/", 1)
    waiting = host.scan(state.key("waiting", case.code) + "/", 1)
    return fails_if(bool(held or waiting), account=case.code)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    (
        "EVIDENCE_MISSING",
        lambda case: checks.evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    ("ACCOUNT_UNKNOWN", lambda case: checks.account_unknown(case.accounts)),
    ("ACCOUNT_NOT_OPEN", lambda case: checks.account_not_open(case.accounts)),
    ("ACCOUNT_NOT_EMPTY", _not_empty),
)
