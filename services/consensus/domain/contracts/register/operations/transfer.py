"""transfer: shares pass from one account to another, for one of four reasons.

All reasons share one table of checks in order; a row names the reasons to which it applies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.register import (
    checks,
    data_objects,
    state,
    trading_days,
    waiting_queue,
)
from services.consensus.domain.contracts.register.changes import Changes, PositionChange
from services.consensus.domain.contracts.register.checks import Facts, fails_if, try_checks
from services.consensus.domain.contracts.register.members import Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import (
    Account,
    Holding,
    Position,
    Product,
)

AGREEMENT: Final = "agreement"
GIFT: Final = "gift"
INHERITANCE: Final = "inheritance"
JUDICIAL: Final = "judicial"
REASONS: Final = (AGREEMENT, GIFT, INHERITANCE, JUDICIAL)


def transfer(host: Host, body: Mapping[str, Json]) -> None:
    """Move shares from the seller's position to the buyer's."""
    members = Members(body)
    reason = members.choice("reason", REASONS)
    operation = open_operation(host, "transfer", event_key=f"transfer.{reason}")
    request = _read_request(members, reason)
    case = _find_case(operation, request)
    try_checks(case, [(code, check) for code, reasons, check in CHECKS if reason in reasons])
    assert case.product is not None
    touched = _move(case)
    deal = _deal(request, case.product, operation)
    host.emit("register.transfer_recorded", {**deal, "time": operation.time})
    data_objects.send(
        operation,
        "registration",
        {
            "transfer_report_information": _report(request, case, deal),
            "registration_information": data_objects.rights(
                case.product, case.accounts, touched, operation
            ),
        },
    )


@dataclass(frozen=True, slots=True)
class _Request:
    reason: str
    product_code: str
    nature: str
    seller: str
    buyer: str
    shares: int
    price_fen: int
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    request: _Request
    product: Product | None
    accounts: dict[str, Account | None]
    sellers: Holding
    """What the seller has in the product, in any nature."""
    buyers: Holding

    @property
    def position(self) -> Position | None:
        """The seller's position, where there is one."""
        return self.sellers.positions.get(self.request.nature)

    def account(self, code: str) -> Account:
        """An account of which an earlier check knows that it was opened."""
        account = self.accounts[code]
        assert account is not None
        return account


def _read_request(members: Members, reason: str) -> _Request:
    request = _Request(
        reason=reason,
        product_code=members.text("product_code"),
        nature=members.text("nature"),
        seller=members.text("seller"),
        buyer=members.text("buyer"),
        shares=members.integer("shares"),
        price_fen=members.integer("price_fen"),
        evidence=read_evidence(members),
    )
    members.finish()
    return request


def _find_case(operation: Operation, request: _Request) -> _Case:
    host, code = operation.host, request.product_code
    return _Case(
        operation=operation,
        request=request,
        product=state.find_product(host, code),
        accounts={
            request.seller: state.find_account(host, request.seller),
            request.buyer: state.find_account(host, request.buyer),
        },
        sellers=state.get_holding(host, code, request.seller),
        buyers=state.get_holding(host, code, request.buyer),
    )


def _move(case: _Case) -> tuple[PositionChange, ...]:
    request, operation, position = case.request, case.operation, case.position
    assert case.product is not None
    assert position is not None
    changes = Changes(
        operation,
        case.product,
        case.accounts,
        holdings={request.seller: case.sellers, request.buyer: case.buyers},
    )
    changes.remove_shares(request.seller, request.nature, request.shares)
    restricted = position.is_restricted_on(operation.day)
    changes.add_shares(
        request.buyer,
        request.nature,
        request.shares,
        restricted_until=position.restricted_until if restricted else None,
    )
    if request.reason == AGREEMENT:
        changes.set_last_sides(request.seller, sale=operation.day)
        changes.set_last_sides(request.buyer, purchase=operation.day)
    for account in (request.seller, request.buyer):
        waiting_queue.run_where_shares_wait(operation.host, changes, account, request.nature)
    return changes.write()


def _deal(request: _Request, product: Product, operation: Operation) -> dict[str, Json]:
    return {
        "product_code": product.code,
        "nature": request.nature,
        "seller": request.seller,
        "buyer": request.buyer,
        "shares": request.shares,
        "price_fen": request.price_fen,
        "reason": request.reason,
        "transaction": operation.host.transaction_id(),
    }


def _report(request: _Request, case: _Case, deal: dict[str, Json]) -> Json:
    assert case.product is not None
    product_ref = data_objects.reference(case.product.object_id)
    return {
        "basic_transaction_information": {
            "basic_information_remark": {
                "transaction_type": request.reason,
                "transaction_create_time": case.operation.time,
            },
            "trading_asset_information": {
                "custody_asset_transaction": {"transaction_custody_product_ref": product_ref}
            },
        },
        "transaction_information": {
            "transaction_content_information": {
                "transaction_series_number": deal["transaction"],
                "transaction_settlement_currency": case.operation.market.currency,
                "transaction_settlement_price": request.price_fen,
                "transaction_settlement_quantity": request.shares,
                "transaction_settlement_time": case.operation.time,
            },
            "transaction_party_information": {
                "transaction_original_holder_ref": data_objects.reference(
                    case.account(request.seller).object_id
                ),
                "transaction_counterparty_ref": data_objects.reference(
                    case.account(request.buyer).object_id
                ),
            },
            "transaction_verification_doc": data_objects.documents(request.evidence),
        },
    }


def _amount_not_positive(case: _Case) -> Facts | None:
    request = case.request
    price_min = 1 if request.reason == AGREEMENT else 0
    failed = request.shares <= 0 or request.price_fen < price_min
    return fails_if(failed, shares=request.shares, price_fen=request.price_fen)


def _evidence_missing(case: _Case) -> Facts | None:
    kinds = (document.kind for document in case.request.evidence)
    return checks.evidence_missing(case.operation, kinds)


def _unconfirmed(case: _Case) -> Facts | None:
    failed = case.position is not None and not case.position.confirmed
    return fails_if(failed, account=case.request.seller, nature=case.request.nature)


def _restricted(case: _Case) -> Facts | None:
    if case.position is None or not case.position.is_restricted_on(case.operation.day):
        return None
    return {"account": case.request.seller, "restricted_until": case.position.restricted_until}


def _insufficient(case: _Case) -> Facts | None:
    available = 0 if case.position is None else case.position.available
    return fails_if(
        case.position is None or available < case.request.shares,
        available=available,
        shares=case.request.shares,
    )


def _not_qualified(case: _Case) -> Facts | None:
    buyer = case.account(case.request.buyer)
    qualified = checks.is_qualified(buyer, case.buyers, case.operation.day)
    return fails_if(not qualified, account=buyer.code, suitability=buyer.suitability)


def _cap_exceeded(case: _Case) -> Facts | None:
    """The seller leaves when its only position moves whole; a buyer without position joins."""
    assert case.product is not None
    assert case.position is not None
    before = after = case.product.holder_count
    if len(case.sellers.positions) == 1 and case.position.total == case.request.shares:
        after -= case.account(case.request.seller).counted_holders
    if not case.buyers.positions:
        after += case.account(case.request.buyer).counted_holders
    return checks.cap_exceeded(case.operation, before=before, after=after)


def _round_trip(case: _Case) -> Facts | None:
    operation, interval = case.operation, case.operation.market.min_interval_trading_days
    for account, opposite in (
        (case.request.seller, case.sellers.last_purchase),
        (case.request.buyer, case.buyers.last_sale),
    ):
        if opposite is not None and trading_days.are_fewer_between(
            operation.host, opposite, operation.day, count=interval
        ):
            return {"account": account, "opposite_deal_on": opposite, "trading_days_min": interval}
    return None


def _self_transfer(case: _Case) -> Facts | None:
    return fails_if(case.request.seller == case.request.buyer, account=case.request.seller)


def _product_unknown(case: _Case) -> Facts | None:
    return checks.product_unregistered(case.request.product_code, case.product)


_BY_AGREEMENT: Final = (AGREEMENT,)
_BY_WILL: Final = (AGREEMENT, GIFT)
_NOT_JUDICIAL: Final = (AGREEMENT, GIFT, INHERITANCE)

CHECKS: Final[tuple[tuple[str, tuple[str, ...], Callable[[_Case], Facts | None]], ...]] = (
    ("AMOUNT_NOT_POSITIVE", REASONS, _amount_not_positive),
    ("EVIDENCE_MISSING", REASONS, _evidence_missing),
    ("PRODUCT_UNKNOWN", REASONS, _product_unknown),
    ("ACCOUNT_UNKNOWN", REASONS, lambda case: checks.account_unknown(case.accounts)),
    ("ACCOUNT_NOT_OPEN", REASONS, lambda case: checks.account_not_open(case.accounts)),
    ("SELF_TRANSFER", REASONS, _self_transfer),
    ("HOLDING_UNCONFIRMED", _NOT_JUDICIAL, _unconfirmed),
    ("SHARES_RESTRICTED", _BY_WILL, _restricted),
    ("SHARES_INSUFFICIENT", REASONS, _insufficient),
    ("BUYER_NOT_QUALIFIED", _BY_AGREEMENT, _not_qualified),
    ("HOLDER_CAP_EXCEEDED", _BY_WILL, _cap_exceeded),
    ("ROUND_TRIP_TOO_SOON", _BY_AGREEMENT, _round_trip),
)
