"""Ways through the contracts of issuing, disclosing, listing, authorising and reporting."""

from __future__ import annotations

from typing import Final

from tests.unit.templates.walk_steps import DIGEST, USCC, Spoiled, Step, Walk, step

_DECLARE: Final = step(
    "declare", dividend_id="V1", product="P1", record_date="2026-01-05", per_share=3
)


def _entitle(holder: str, held: int) -> Step:
    return step("entitle", dividend_id="V1", holder=holder, held=held)


def _dividend(method: str, **more: str) -> Step:
    return step(method, dividend_id="V1", **more)


def _offer(placement_id: str = "O1") -> Step:
    return step(
        "open_offer", placement_id=placement_id, issuer=USCC, product="P1", price=100,
        planned_shares=1000,
    )  # fmt: skip


def _subscribe(investor: str, shares: int, placement_id: str = "O1") -> Step:
    return step(
        "subscribe", placement_id=placement_id, investor=investor, shares=shares, is_qualified=True
    )


_ISSUE: Final = step(
    "issue", bond_id="B1", issuer=USCC, face_value=10000, coupon=500, conversion_price=300,
    bonds=10,
)  # fmt: skip


def _bond(method: str, **more: str | int) -> Step:
    return step(method, bond_id="B1", **more)


_TERM: Final = [_ISSUE, _bond("allot", holder="A1", bonds=10), _bond("begin_term")]

_SUBMIT: Final = step(
    "submit", disclosure_id="N1", issuer=USCC, kind="NOTICE", headline="公告", content="全文"
)
_CORRECT: Final = step("correct", disclosure_id="N1", headline="更正公告", content="更正后的全文")


def _notice(method: str) -> Step:
    return step(method, disclosure_id="N1")


_APPLY: Final = step("apply", listing_id="L1", issuer=USCC, product="P1")


def _listing(method: str, **more: str) -> Step:
    return step(method, listing_id="L1", **more)


def _ask(valid_until: str) -> Step:
    return step(
        "ask", authorisation_id="G1", agency="AMR", purpose="CREDIT_CHECK",
        valid_until=valid_until, grantor="S1", items="登记状态",
    )  # fmt: skip


_GRANT: Final = step(
    "grant", authorisation_id="G1", consent_digest=DIGEST, consent_reference="vault:6"
)
_REPLY: Final = step(
    "reply", authorisation_id="G1", answer_digest=DIGEST, answer_reference="vault:7"
)
_REVOKE: Final = step("revoke", authorisation_id="G1")
_EXPIRE: Final = step("expire", authorisation_id="G1")

_FIGURES: Final = {
    "listed": 12, "displayed": 34, "holders": 560, "transfers": 7, "transfer_amount": 8000,
    "financing_amount": 0,
}  # fmt: skip
_DRAFT: Final = step("draft", report_id="SD-2026-01", market="SD", month="2026-01", **_FIGURES)
_REVISE: Final = step("revise", report_id="SD-2026-01", **_FIGURES)


def _report(method: str) -> Step:
    return step(method, report_id="SD-2026-01")


BUSINESS_WALKS: Final[dict[str, list[Walk]]] = {
    "dividend": [
        [
            _DECLARE, _entitle("A1", 10), _entitle("A2", 5), _dividend("close_roster"),
            _dividend("pay", holder="A1"), _dividend("pay", holder="A2"), _dividend("complete"),
        ],
        [_DECLARE, _dividend("cancel")],
    ],
    "placement": [
        [
            _offer(), _subscribe("I1", 600), _subscribe("I2", 400),
            step("succeed", placement_id="O1"), _offer("O2"), _subscribe("I1", 699, "O2"),
            step("fail", placement_id="O2"),
        ],
    ],
    "convertible_bond": [
        [
            *_TERM, _bond("pay_interest", month="2026-06"),
            _bond("convert", holder="A1", bonds=4), _bond("pay_interest", month="2026-12"),
            _bond("redeem"),
        ],
    ],
    "disclosure": [
        [
            _SUBMIT, _notice("give_back"), _CORRECT, _notice("publish"), _CORRECT,
            _notice("publish"), _notice("withdraw"),
        ],
    ],
    "listing": [
        [
            _APPLY, _listing("display", since="2026-01-05"),
            _listing("enlist", since="2026-02-05"), _listing("suspend", reason="重大事项"),
            _listing("resume", reason="事项已公告"), _listing("delist", reason="转板"),
        ],
        [_APPLY, _listing("refuse", reason="材料不全")],
        [_APPLY, _listing("enlist", since="2026-02-05")],
    ],
    "data_authorisation": [
        [_ask("2026-01-08"), _GRANT, _REPLY, _REPLY, _EXPIRE],
        [_ask("2026-01-08"), _GRANT, _REVOKE],
        [_ask("2026-01-05"), _EXPIRE],
    ],
    "monthly_report": [
        [
            _DRAFT, _REVISE, _report("submit"), _report("give_back"), _REVISE, _report("submit"),
            _report("accept"),
        ],
    ],
}  # fmt: skip

BUSINESS_SPOILED: Final[dict[str, list[Spoiled]]] = {
    "dividend": [
        ([], _DECLARE.spoiled(per_share=0), "VALUE_OUT_OF_RANGE"),
        ([], _DECLARE.spoiled(record_date="2026-1-5"), "BODY_MALFORMED"),
        ([_DECLARE, _entitle("A1", 10)], _entitle("A1", 1), "ROSTER_ENTRY_DUPLICATE"),
        ([_DECLARE], _entitle("A1", 10**15), "VALUE_OUT_OF_RANGE"),
        ([_DECLARE], _dividend("close_roster"), "HOLDING_UNKNOWN"),
        (
            [_DECLARE, *(_entitle(f"A{number}", 1) for number in range(200))],
            _entitle("A200", 1),
            "HOLDER_CAP_EXCEEDED",
        ),
        (
            [_DECLARE, _entitle("A1", 10), _dividend("close_roster")],
            _dividend("pay", holder="A2"),
            "HOLDING_UNKNOWN",
        ),
        (
            [_DECLARE, _entitle("A1", 1), _dividend("close_roster"), _dividend("pay", holder="A1")],
            _dividend("pay", holder="A1"),
            "ALREADY_PAID",
        ),
        (
            [_DECLARE, _entitle("A1", 10), _dividend("close_roster")],
            _dividend("complete"),
            "PAYMENTS_OUTSTANDING",
        ),
    ],
    "placement": [
        ([_offer()], _subscribe("I1", 1).spoiled(is_qualified=False), "BUYER_NOT_QUALIFIED"),
        ([_offer()], _subscribe("I1", 1).spoiled(is_qualified="yes"), "BUYER_NOT_QUALIFIED"),
        ([_offer(), _subscribe("I1", 1)], _subscribe("I1", 1), "ROSTER_ENTRY_DUPLICATE"),
        ([_offer(), _subscribe("I1", 600)], _subscribe("I2", 401), "SHARES_INSUFFICIENT"),
        (
            [_offer(), *(_subscribe(f"I{number}", 1) for number in range(200))],
            _subscribe("I200", 1),
            "HOLDER_CAP_EXCEEDED",
        ),
        (
            [_offer(), _subscribe("I1", 699)],
            step("succeed", placement_id="O1"),
            "SUBSCRIPTION_TOO_SMALL",
        ),
        (
            [_offer(), _subscribe("I1", 700)],
            step("fail", placement_id="O1"),
            "SUBSCRIPTION_SUFFICIENT",
        ),
        ([], _offer().spoiled(issuer=USCC.lower()), "USCC_INVALID"),
    ],
    "convertible_bond": [
        ([], _ISSUE.spoiled(coupon=3601), "VALUE_OUT_OF_RANGE"),
        ([_ISSUE], _bond("allot", holder="A1", bonds=11), "VALUE_OUT_OF_RANGE"),
        ([_ISSUE, _bond("allot", holder="A1", bonds=9)], _bond("begin_term"),
         "REGISTER_TOTAL_MISMATCH"),
        (_TERM, _bond("convert", holder="A1", bonds=11), "SHARES_INSUFFICIENT"),
        (_TERM, _bond("convert", holder="A2", bonds=1), "SHARES_INSUFFICIENT"),
        (_TERM, _bond("pay_interest", month="2026-00"), "BODY_MALFORMED"),
        ([*_TERM, _bond("pay_interest", month="2026-06")], _bond("pay_interest", month="2026-06"),
         "ALREADY_PAID"),
    ],
    "disclosure": [
        ([], _SUBMIT.spoiled(kind="RUMOUR"), "BODY_MALFORMED"),
        ([], _SUBMIT.spoiled(content=""), "BODY_MALFORMED"),
        ([], _SUBMIT.spoiled(content="x" * 20_001), "BODY_MALFORMED"),
        ([_SUBMIT, _notice("give_back")], _CORRECT.spoiled(headline=""), "BODY_MALFORMED"),
        ([_SUBMIT, *([_notice("give_back"), _CORRECT] * 99), _notice("give_back")], _CORRECT,
         "LIMIT_EXCEEDED"),
    ],
    "listing": [
        ([], _APPLY.spoiled(issuer="x"), "USCC_INVALID"),
        ([_APPLY], _listing("display", since="soon"), "BODY_MALFORMED"),
        ([_APPLY, _listing("display", since="2026-02-05")],
         _listing("enlist", since="2026-02-04"), "VALUE_OUT_OF_RANGE"),
        ([_APPLY], _listing("refuse", reason=""), "BODY_MALFORMED"),
    ],
    "data_authorisation": [
        ([], _ask("2026-01-04"), "VALUE_OUT_OF_RANGE"),
        ([], _ask("2026-01-08").spoiled(purpose="CURIOSITY"), "BODY_MALFORMED"),
        ([_ask("2026-01-08")], _GRANT.spoiled(consent_digest=""), "BODY_MALFORMED"),
        ([_ask("2026-01-06"), _GRANT], _REPLY, "AUTHORISATION_EXPIRED"),
        ([_ask("2026-01-06")], _EXPIRE, "AUTHORISATION_VALID"),
    ],
    "monthly_report": [
        ([], _DRAFT.spoiled(report_id="SD-2026-02"), "BODY_MALFORMED"),
        ([], _DRAFT.spoiled(month="2026-13", report_id="SD-2026-13"), "BODY_MALFORMED"),
        ([], _DRAFT.spoiled(listed=-1), "VALUE_OUT_OF_RANGE"),
        ([], _DRAFT.spoiled(transfers=0), "FIGURES_INCONSISTENT"),
        ([_DRAFT], _REVISE.spoiled(transfers=0), "FIGURES_INCONSISTENT"),
    ],
}  # fmt: skip
