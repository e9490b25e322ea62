"""Checks: each names its code, and they are tried in the order of a table.

A check returns None when it passes, and the facts of the refusal when it fails. The first that
fails decides; a check over several things looks at all of them before the next is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from guqiao_sdk.market_identifiers import is_uscc
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.register import records, state
from services.consensus.domain.contracts.register.operation import Operation
from services.consensus.domain.contracts.register.records import Account, Holding, Product

ENTRIES_MAX: Final = 4_000
"""Entries of a roster or an issue that one operation can bring into the register: each is an event,
which has room in the receipt, and the block is made within seconds.
"""

Facts = dict[str, Json]
Case = TypeVar("Case")
Check = tuple[str, Callable[[Case], Facts | None]]


def try_checks(case: Case, checks: Sequence[Check[Case]]) -> None:
    """Refuse with the code of the first check that fails."""
    for code, check in checks:
        facts = check(case)
        if facts is not None:
            raise Refusal(code, **facts)


def require_room(*, entries: int) -> None:
    """Refuse what the rules allow and the register cannot take in one operation; asked last."""
    if entries > ENTRIES_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="register_entries", maximum=ENTRIES_MAX)


def fails_if(failed: bool, **facts: Json) -> Facts | None:
    """Return the facts when the check failed."""
    return facts if failed else None


def not_positive(**amounts: int) -> Facts | None:
    """Fail for amounts of zero or less."""
    wrong: Facts = {name: amount for name, amount in amounts.items() if amount <= 0}
    return wrong or None


def evidence_missing(operation: Operation, kinds: Iterable[str]) -> Facts | None:
    """Fail when a required kind of evidence does not occur."""
    required = state.evidence_required(operation.host, operation.event_key)
    missing: list[Json] = [*sorted(set(required) - set(kinds))]
    return fails_if(bool(missing), event=operation.event_key, missing=missing)


def uscc_invalid(uscc: str) -> Facts | None:
    """Fail for what is no unified social credit code."""
    return fails_if(not is_uscc(uscc), uscc=uscc)


def product_unregistered(code: str, product: Product | None) -> Facts | None:
    """Fail when the product is not registered."""
    return fails_if(product is None, product_code=code)


def account_unknown(accounts: dict[str, Account | None]) -> Facts | None:
    """Fail when an account was never opened."""
    unknown: list[Json] = [code for code, account in accounts.items() if account is None]
    return fails_if(bool(unknown), accounts=unknown)


def account_not_open(accounts: dict[str, Account | None]) -> Facts | None:
    """Fail when an account is closed. All of them were opened: an earlier check saw to it."""
    closed: list[Json] = [
        code
        for code, account in accounts.items()
        if account is not None and account.status == records.CLOSED
    ]
    return fails_if(bool(closed), accounts=closed)


def is_qualified(account: Account, holding: Holding, day: str) -> bool:
    """Tell whether the account may buy on `day`, given what it has in the product before."""
    match account.suitability:
        case "QUALIFIED":
            return account.suitability_valid_to is None or day <= account.suitability_valid_to
        case "EXEMPT":
            return bool(holding.positions)
        case _:
            return False


def cap_exceeded(operation: Operation, *, before: int, after: int) -> Facts | None:
    """Fail when the holder count rises and ends above the cap."""
    cap = operation.market.holder_cap
    exceeded = after > cap and after > before
    return fails_if(exceeded, holders=records.exact(after), holder_cap=cap)


def nature_invalid(operation: Operation, natures: Iterable[str], form: str) -> Facts | None:
    """Fail for a nature that the market does not know or that the company's form cannot carry."""
    forms = state.nature_forms(operation.host)
    wrong: list[Json] = [
        *sorted({nature for nature in natures if form not in forms.get(nature, ())})
    ]
    return fails_if(bool(wrong), natures=wrong, form=form)


def entries_duplicate(entries: Iterable[tuple[str, str]]) -> Facts | None:
    """Fail when two entries name the same account and nature."""
    seen: set[tuple[str, str]] = set()
    for account, nature in entries:
        if (account, nature) in seen:
            return {"account": account, "nature": nature}
        seen.add((account, nature))
    return None
