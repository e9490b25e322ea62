"""dividend: the payable list of a product, a line a position, on the register as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import checks, data_objects, records, state
from services.consensus.domain.contracts.register.checks import Check, fails_if, try_checks
from services.consensus.domain.contracts.register.members import VALUE_BOUND, Members
from services.consensus.domain.contracts.register.operation import (
    Evidence,
    Operation,
    open_operation,
    read_evidence,
)
from services.consensus.domain.contracts.register.records import Position, Product

HOLDERS_MAX: Final = 20_000
"""Holdings of one product that a payable list may go through."""

LI_PER_FEN: Final = 10


def dividend(host: Host, body: Mapping[str, Json]) -> None:
    """Record the payable list; positions do not change."""
    operation = open_operation(host, "dividend")
    members = Members(body)
    number, code = members.text("dividend_no"), members.text("product_code")
    per_share_li, pay_date = members.integer("per_share_li"), members.date("pay_date")
    evidence = read_evidence(members)
    members.finish()
    product = state.find_product(host, code)
    is_duplicate = host.get(state.key("dividend", number)) is not None
    case = _Case(operation, evidence, number, code, per_share_li, product, is_duplicate)
    try_checks(case, CHECKS)
    assert product is not None
    lines, rounding = payable_lines(host, product, per_share_li)
    detail: dict[str, Json] = {
        "dividend_no": number,
        "product_code": code,
        "per_share_li": per_share_li,
        "pay_date": pay_date,
        "declared_fen": _amount_fen(product.registered_total, per_share_li),
        "rounding_fen": rounding,
    }
    host.put(state.key("dividend", number), detail)
    host.emit("register.dividend_recorded", {**detail, "lines": lines, "time": operation.time})
    information: dict[str, Json] = {
        "basic_information_capital_settlement": {
            "settlement_product_ref": data_objects.reference(product.object_id),
            "settlement_currency": operation.market.currency,
            "settlement_value": detail["declared_fen"],
            "settlement_time": operation.time,
        },
        "operation_detail": detail,
        "payable_lines": lines,
        "documents": data_objects.documents(evidence),
    }
    data_objects.send(operation, "settlement", {"capital_settlement_information": information})


def payable_lines(host: Host, product: Product, per_share_li: int) -> tuple[list[Json], int]:
    """Return the lines by account and nature, and what rounding leaves of the declared amount."""
    held = host.scan(state.key("holding", product.code) + "/", HOLDERS_MAX + 1)
    if len(held) > HOLDERS_MAX:
        raise Refusal("VALUE_OUT_OF_RANGE", field="holders", value=str(len(held)))
    lines: list[Json] = []
    rest = _amount_fen(product.registered_total, per_share_li)
    accounts = {state.unkey(key)[2]: records.holding_from_json(value) for key, value in held}
    for account in sorted(accounts):
        for nature, position in sorted(accounts[account].positions.items()):
            amount = _amount_fen(position.total, per_share_li)
            rest -= amount
            lines.append(
                {
                    "account": account,
                    "nature": nature,
                    "shares": position.total,
                    "amount_fen": amount,
                    "status": _status(position),
                }
            )
    return lines, rest


@dataclass(frozen=True, slots=True)
class _Case:
    operation: Operation
    evidence: tuple[Evidence, ...]
    number: str
    product_code: str
    per_share_li: int
    product: Product | None
    is_duplicate: bool


def _amount_fen(shares: int, per_share_li: int) -> int:
    """Return the amount in fen, rounded half up. The product may need more than 64 bits."""
    amount = (shares * per_share_li + LI_PER_FEN // 2) // LI_PER_FEN
    if amount >= VALUE_BOUND:
        raise Refusal("VALUE_OUT_OF_RANGE", field="amount_fen", value=str(amount))
    return amount


def _status(position: Position) -> str:
    if not position.confirmed:
        return "HELD_UNCONFIRMED"
    return "HELD_FROZEN" if position.fruit_freezes else "PAYABLE"


CHECKS: Final[tuple[Check[_Case], ...]] = (
    ("AMOUNT_NOT_POSITIVE", lambda case: checks.not_positive(per_share_li=case.per_share_li)),
    (
        "EVIDENCE_MISSING",
        lambda case: checks.evidence_missing(case.operation, (item.kind for item in case.evidence)),
    ),
    (
        "PRODUCT_UNKNOWN",
        lambda case: checks.product_unregistered(case.product_code, case.product),
    ),
    ("DIVIDEND_DUPLICATE", lambda case: fails_if(case.is_duplicate, dividend_no=case.number)),
)
