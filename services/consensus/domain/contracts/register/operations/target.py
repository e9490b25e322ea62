"""The position that an operation speaks of, with the checks that several operations share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.register import checks, data_objects, state
from services.consensus.domain.contracts.register.changes import Changes
from services.consensus.domain.contracts.register.checks import Facts, fails_if
from services.consensus.domain.contracts.register.operation import Evidence, Operation
from services.consensus.domain.contracts.register.records import (
    Account,
    Holding,
    Position,
    Product,
)


@dataclass(frozen=True, slots=True)
class Target:
    """One (account, product, nature), with what the state knows of each."""

    operation: Operation
    evidence: tuple[Evidence, ...]
    account_code: str
    product_code: str
    nature: str
    accounts: dict[str, Account | None]
    product: Product | None
    holding: Holding

    @property
    def position(self) -> Position | None:
        """The position, where there is one."""
        return self.holding.positions.get(self.nature)

    def changes(self) -> Changes:
        """Begin to change the position; an earlier check saw that the product is registered."""
        assert self.product is not None
        return Changes(
            self.operation, self.product, self.accounts, holdings={self.account_code: self.holding}
        )

    def finish(self, changes: Changes, detail: dict[str, Json]) -> None:
        """Write and announce the changes, and report them with the operation's own facts."""
        assert self.product is not None
        touched = changes.write()
        method = self.operation.event_key
        self.operation.host.emit(
            f"register.{method}_recorded", {**detail, "time": self.operation.time}
        )
        information = data_objects.rights(self.product, self.accounts, touched, self.operation)
        data_objects.send(
            self.operation,
            "registration",
            {
                "registration_information": information,
                "operation_detail": detail,
                "documents": data_objects.documents(self.evidence),
            },
        )


def find_target(
    operation: Operation,
    evidence: tuple[Evidence, ...],
    *,
    account: str,
    product_code: str,
    nature: str,
    beneficiary: str | None = None,
) -> Target:
    """Look up what the operation speaks of."""
    host = operation.host
    codes = [account] if beneficiary is None else [account, beneficiary]
    return Target(
        operation=operation,
        evidence=evidence,
        account_code=account,
        product_code=product_code,
        nature=nature,
        accounts={code: state.find_account(host, code) for code in codes},
        product=state.find_product(host, product_code),
        holding=state.get_holding(host, product_code, account),
    )


class Case(Protocol):
    """What the shared checks need of an operation's case."""

    @property
    def target(self) -> Target:
        """The position in question."""
        ...


class CaseOfShares(Case, Protocol):
    """The same, for an operation over a number of shares."""

    @property
    def shares(self) -> int:
        """How many shares."""
        ...


def evidence_missing(case: Case) -> Facts | None:
    """Fail when a required kind of evidence does not occur."""
    return checks.evidence_missing(
        case.target.operation, (item.kind for item in case.target.evidence)
    )


def product_unknown(case: Case) -> Facts | None:
    """Fail when the product is not registered."""
    return checks.product_unregistered(case.target.product_code, case.target.product)


def account_unknown(case: Case) -> Facts | None:
    """Fail when the account was never opened."""
    return checks.account_unknown(case.target.accounts)


def account_not_open(case: Case) -> Facts | None:
    """Fail when the account is closed."""
    return checks.account_not_open(case.target.accounts)


def not_positive(case: CaseOfShares) -> Facts | None:
    """Fail for zero shares or less."""
    return checks.not_positive(shares=case.shares)


def unconfirmed(case: Case) -> Facts | None:
    """Fail when the position exists and is not confirmed."""
    position = case.target.position
    failed = position is not None and not position.confirmed
    return fails_if(failed, account=case.target.account_code, nature=case.target.nature)


def available_insufficient(case: CaseOfShares) -> Facts | None:
    """Fail when there is no position, or too few of its shares are available."""
    position = case.target.position
    available = 0 if position is None else position.available
    failed = position is None or available < case.shares
    return fails_if(failed, available=available, shares=case.shares)
