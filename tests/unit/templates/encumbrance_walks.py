"""Ways through pledge, freeze and settlement: what keeps shares from being disposed of."""

from __future__ import annotations

from typing import Final

from tests.unit.templates.walk_steps import DIGEST, Spoiled, Step, Walk, step


def _credit(name: str, holder: str, shares: int) -> Step:
    business: dict[str, str] = {f"{name}_id": "C1"}
    party = {"pledge": "pledgor", "freeze": "holder"}[name]
    return step("credit", **business, **{party: holder}, product="P1", shares=shares)


def _pledge(pledge_id: str, shares: int) -> Step:
    return step(
        "register", pledge_id=pledge_id, product="P1", pledgor="A1", pledgee="B1", shares=shares
    )


def _part(shares: int) -> Step:
    return step("release_part", pledge_id="E1", shares=shares)


def _ordered(method: str, freeze_id: str, shares: int) -> Step:
    return step(
        method, freeze_id=freeze_id, product="P1", holder="A1", shares=shares,
        document_digest=DIGEST, document_reference="vault:4",
    )  # fmt: skip


def _instruct(settlement_id: str = "D1") -> Step:
    return step(
        "instruct", settlement_id=settlement_id, product="P1", seller="A1", buyer="A2", shares=5,
        amount=500, accounts_digest=DIGEST, accounts_reference="vault:5",
    )  # fmt: skip


def _settle(method: str, **more: int) -> Step:
    return step(method, settlement_id="D1", **more)


ENCUMBRANCE_WALKS: Final[dict[str, list[Walk]]] = {
    "pledge": [
        [
            _credit("pledge", "A1", 10), _pledge("E1", 6), _part(2),
            step("release", pledge_id="E1"), _pledge("E2", 10), step("dispose", pledge_id="E2"),
        ],
    ],
    "freeze": [
        [
            _credit("freeze", "A1", 10), _ordered("freeze", "F1", 8), _ordered("wait", "F2", 5),
            step("lift", freeze_id="F1"), step("take_effect", freeze_id="F2"),
            step("deduct", freeze_id="F2", receiver="A2"), _ordered("wait", "F3", 9),
            step("lift", freeze_id="F3"), _ordered("freeze", "F4", 5),
        ],
    ],
    "settlement": [
        [_instruct(), _settle("lock"), _settle("pay", amount=500)],
        [
            _instruct(), _settle("lock"), _settle("time_out"), _settle("void"),
            _settle("pay_late", amount=500),
        ],
        [_instruct(), _settle("lock"), _settle("time_out"), _settle("pay", amount=500)],
    ],
}  # fmt: skip

ENCUMBRANCE_SPOILED: Final[dict[str, list[Spoiled]]] = {
    "pledge": [
        ([_credit("pledge", "A1", 10)], _pledge("E1", 11), "SHARES_INSUFFICIENT"),
        ([_credit("pledge", "A1", 10), _pledge("E1", 6)], _pledge("E2", 5), "SHARES_INSUFFICIENT"),
        ([_credit("pledge", "A1", 10), _pledge("E1", 6)], _part(6), "PLEDGE_SHARES_EXCEEDED"),
        ([_credit("pledge", "A1", 10), _pledge("E1", 6)], _part(0), "PLEDGE_SHARES_EXCEEDED"),
        (
            [_credit("pledge", "A1", 10), _pledge("E1", 6), _part(2)],
            _part(4),
            "PLEDGE_SHARES_EXCEEDED",
        ),
        ([], _pledge("E1", 1).spoiled(pledgee="A1"), "SELF_TRANSFER"),
        ([], _credit("pledge", "A1", 0), "VALUE_OUT_OF_RANGE"),
    ],
    "freeze": [
        ([_credit("freeze", "A1", 10)], _ordered("freeze", "F1", 11), "SHARES_INSUFFICIENT"),
        ([_credit("freeze", "A1", 10)], _ordered("wait", "F1", 10), "FREEZE_NOT_EFFECTIVE"),
        (
            [_credit("freeze", "A1", 10), _ordered("wait", "F1", 11)],
            step("take_effect", freeze_id="F1"),
            "SHARES_INSUFFICIENT",
        ),
        (
            [_credit("freeze", "A1", 10), _ordered("freeze", "F1", 10)],
            step("deduct", freeze_id="F1", receiver="A1"),
            "SELF_TRANSFER",
        ),
        (
            [],
            _ordered("freeze", "F1", 1).spoiled(document_reference=""),
            "COURT_DOCUMENT_MISSING",
        ),
        ([], _ordered("wait", "F1", 1).spoiled(document_digest="0"), "BODY_MALFORMED"),
    ],
    "settlement": [
        ([_instruct(), _settle("lock")], _settle("pay", amount=499), "AMOUNT_MISMATCH"),
        (
            [_instruct(), _settle("lock"), _settle("void")],
            _settle("pay_late", amount=501),
            "AMOUNT_MISMATCH",
        ),
        ([], _instruct().spoiled(buyer="A1"), "SELF_TRANSFER"),
        ([], _instruct().spoiled(amount=0), "VALUE_OUT_OF_RANGE"),
        ([], _instruct().spoiled(accounts_digest="g" * 64), "BODY_MALFORMED"),
    ],
}
