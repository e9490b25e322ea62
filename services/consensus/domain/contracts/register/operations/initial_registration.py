"""initial_registration: a product enters the register with the whole roster of its holders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import checks, data_objects, state
from services.consensus.domain.contracts.register.changes import Changes
from services.consensus.domain.contracts.register.checks import Check, Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import (
    Account,
    Company,
    Position,
    Product,
    integer,
    text,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the roster."""

    account: str
    nature: str
    shares: int
    confirmed: bool
    restricted_until: str | None


def initial_registration(host: Host, body: Mapping[str, Json]) -> None:
    """Register a product with its roster."""
    operation = open_operation(host, "initial_registration")
    members = Members(body)
    case = _read_case(operation, members)
    try_checks(case, CHECKS)
    checks.require_room(entries=len(case.roster))
    assert case.row is not None
    assert case.company is not None
    product = Product(
        code=case.product_code,
        company_ref=case.company.company_ref,
        registered_total=case.total_shares,
        positions_total=0,
        holder_count=0,
        object_id=data_objects.object_id(operation, "registration"),
    )
    changes = Changes(operation, product, case.accounts)
    for entry in case.roster:
        position = Position(
            total=entry.shares, confirmed=entry.confirmed, restricted_until=entry.restricted_until
        )
        changes.set_position(entry.account, entry.nature, position)
    registered = {**case.row, "registered_total": case.total_shares, "time": operation.time}
    host.emit("register.product_registered", registered)
    touched = changes.write()
    data_objects.send(
        operation,
        "registration",
        {
            "product_information": data_objects.product_information(
                case.row, case.company, product, operation
            ),
            "registration_information": data_objects.roster(
                product, case.accounts, touched, operation
            ),
            "documents": data_objects.documents(case.evidence),
        },
    )


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    product_code: str
    total_shares: int
    roster: tuple[Entry, ...]
    row: dict[str, Json] | None
    company: Company | None
    product: Product | None
    accounts: dict[str, Account | None]


def _read_case(operation: Operation, members: Members) -> _Case:
    host, product_code = operation.host, members.text("product_code")
    total_shares = members.integer("total_shares")
    roster = members.rows("roster", _read_entry)
    evidence = read_evidence(members)
    members.finish()
    row = state.find_row(host, "product_row", product_code)
    return _Case(
        operation=operation,
        evidence=evidence,
        product_code=product_code,
        total_shares=total_shares,
        roster=roster,
        row=row,
        company=None if row is None else state.find_company(host, text(row["company_ref"])),
        product=state.find_product(host, product_code),
        accounts={entry.account: state.find_account(host, entry.account) for entry in roster},
    )


def _read_entry(entry: Members) -> Entry:
    return Entry(
        account=entry.text("account"),
        nature=entry.text("nature"),
        shares=entry.integer("shares"),
        confirmed=entry.boolean("confirmed"),
        restricted_until=entry.date_or_none("restricted_until"),
    )


def _amount_not_positive(case: _Case) -> Facts | None:
    shares = min(entry.shares for entry in case.roster)
    return checks.not_positive(total_shares=case.total_shares, shares=shares)


def _nature_invalid(case: _Case) -> Facts | None:
    assert case.company is not None
    natures = (entry.nature for entry in case.roster)
    return checks.nature_invalid(case.operation, natures, case.company.form)


def _total_mismatch(case: _Case) -> Facts | None:
    """The sum may need more than 64 bits; it is exact, and shown as text."""
    assert case.row is not None
    roster_total = sum(entry.shares for entry in case.roster)
    documented = integer(case.row["registered_shares"])
    return fails_if(
        not roster_total == case.total_shares == documented,
        roster_total=str(roster_total),
        total_shares=case.total_shares,
        registered_shares=documented,
    )


def _cap_exceeded(case: _Case) -> Facts | None:
    after = sum(account.counted_holders for account in case.accounts.values() if account)
    return checks.cap_exceeded(case.operation, before=0, after=after)


CHECKS: Final[tuple[Check[_Case], ...]] = (
    ("AMOUNT_NOT_POSITIVE", _amount_not_positive),
    (
        "EVIDENCE_MISSING",
        lambda case: checks.evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    ("PRODUCT_UNKNOWN", lambda case: fails_if(case.row is None, product_code=case.product_code)),
    (
        "COMPANY_UNKNOWN",
        lambda case: fails_if(case.company is None, product_code=case.product_code),
    ),
    (
        "PRODUCT_ALREADY_REGISTERED",
        lambda case: fails_if(case.product is not None, product_code=case.product_code),
    ),
    (
        "ROSTER_ENTRY_DUPLICATE",
        lambda case: checks.entries_duplicate(
            (entry.account, entry.nature) for entry in case.roster
        ),
    ),
    ("ACCOUNT_UNKNOWN", lambda case: checks.account_unknown(case.accounts)),
    ("ACCOUNT_NOT_OPEN", lambda case: checks.account_not_open(case.accounts)),
    ("SHARE_NATURE_INVALID", _nature_invalid),
    ("REGISTER_TOTAL_MISMATCH", _total_mismatch),
    ("HOLDER_CAP_EXCEEDED", _cap_exceeded),
)
