"""capital_increase: new shares of a registered product for subscribers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import (
    checks,
    data_objects,
    state,
    waiting_queue,
)
from services.consensus.domain.contracts.register.changes import Changes
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import Account, Holding, Product


@dataclass(frozen=True, slots=True)
class Entry:
    """One subscription."""

    account: str
    nature: str
    shares: int
    restricted_until: str | None


def capital_increase(host: Host, body: Mapping[str, Json]) -> None:
    """Issue shares, and raise the registered total by as many."""
    operation = open_operation(host, "capital_increase")
    case = _read_case(operation, Members(body))
    try_checks(case, CHECKS)
    checks.require_room(entries=len(case.entries))
    assert case.product is not None
    product = replace(case.product, registered_total=case.total_after)
    changes = Changes(operation, product, case.accounts, holdings=case.holdings)
    for entry in case.entries:
        changes.add_shares(
            entry.account, entry.nature, entry.shares, restricted_until=entry.restricted_until
        )
    for entry in case.entries:
        waiting_queue.run_where_shares_wait(host, changes, entry.account, entry.nature)
    touched = changes.write()
    detail: dict[str, Json] = {
        "product_code": product.code,
        "total_before": case.total_before,
        "total_after": case.total_after,
    }
    host.emit("register.capital_increase_recorded", {**detail, "time": operation.time})
    information = data_objects.rights(product, case.accounts, touched, operation)
    data_objects.send(
        operation,
        "registration",
        {
            "registration_information": information,
            "operation_detail": detail,
            "documents": data_objects.documents(case.evidence),
        },
    )


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    product_code: str
    total_before: int
    total_after: int
    entries: tuple[Entry, ...]
    product: Product | None
    accounts: dict[str, Account | None]
    holdings: dict[str, Holding]


def _read_case(operation: Operation, members: Members) -> _Case:
    host, code = operation.host, members.text("product_code")
    entries = members.rows("entries", _read_entry)
    case = _Case(
        operation=operation,
        evidence=read_evidence(members),
        product_code=code,
        total_before=members.integer("total_before"),
        total_after=members.integer("total_after"),
        entries=entries,
        product=state.find_product(host, code),
        accounts={entry.account: state.find_account(host, entry.account) for entry in entries},
        holdings={entry.account: state.get_holding(host, code, entry.account) for entry in entries},
    )
    members.finish()
    return case


def _read_entry(entry: Members) -> Entry:
    return Entry(
        account=entry.text("account"),
        nature=entry.text("nature"),
        shares=entry.integer("shares"),
        restricted_until=entry.date_or_none("restricted_until"),
    )


def _nature_invalid(case: _Case) -> Facts | None:
    assert case.product is not None
    company = state.find_company(case.operation.host, case.product.company_ref)
    assert company is not None
    return checks.nature_invalid(
        case.operation, (entry.nature for entry in case.entries), company.form
    )


def _total_mismatch(case: _Case) -> Facts | None:
    assert case.product is not None
    issued = sum(entry.shares for entry in case.entries)
    registered = case.product.registered_total
    failed = case.total_before != registered or issued != case.total_after - case.total_before
    return fails_if(failed, registered_total=registered, issued=str(issued))


def _not_qualified(case: _Case) -> Facts | None:
    wrong: list[Json] = [
        code
        for code, account in case.accounts.items()
        if account is not None
        and not checks.is_qualified(account, case.holdings[code], case.operation.day)
    ]
    return fails_if(bool(wrong), accounts=wrong)


def _cap_exceeded(case: _Case) -> Facts | None:
    assert case.product is not None
    before = case.product.holder_count
    joining = sum(
        account.counted_holders
        for code, account in case.accounts.items()
        if account is not None and not case.holdings[code].positions
    )
    return checks.cap_exceeded(case.operation, before=before, after=before + joining)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    (
        "AMOUNT_NOT_POSITIVE",
        lambda case: checks.not_positive(shares=min(entry.shares for entry in case.entries)),
    ),
    (
        "EVIDENCE_MISSING",
        lambda case: checks.evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    (
        "PRODUCT_UNKNOWN",
        lambda case: checks.product_unregistered(case.product_code, case.product),
    ),
    (
        "ROSTER_ENTRY_DUPLICATE",
        lambda case: checks.entries_duplicate(
            (entry.account, entry.nature) for entry in case.entries
        ),
    ),
    ("ACCOUNT_UNKNOWN", lambda case: checks.account_unknown(case.accounts)),
    ("ACCOUNT_NOT_OPEN", lambda case: checks.account_not_open(case.accounts)),
    ("SHARE_NATURE_INVALID", _nature_invalid),
    ("REGISTER_TOTAL_MISMATCH", _total_mismatch),
    ("BUYER_NOT_QUALIFIED", _not_qualified),
    ("HOLDER_CAP_EXCEEDED", _cap_exceeded),
)
