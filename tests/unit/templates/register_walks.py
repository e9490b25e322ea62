"""Ways through the contracts of the register: subjects, accounts, holdings and transfers."""

from __future__ import annotations

from typing import Final

from tests.unit.templates.walk_steps import DIGEST, USCC, Spoiled, Step, Walk, step


def _company(subject_id: str) -> Step:
    return step(
        "register", subject_id=subject_id, kind="ENTERPRISE", uscc=USCC, registered_name="演示公司",
        scale="SMALL", region="370100",
    )  # fmt: skip


def _person(subject_id: str) -> Step:
    return step(
        "register_person", subject_id=subject_id, region="370100", identity_digest=DIGEST,
        identity_reference="vault:1",
    )  # fmt: skip


def _amend(subject_id: str) -> Step:
    return step(
        "amend", subject_id=subject_id, registered_name="演示股份", scale="MEDIUM", region="370200"
    )


def _open(account_id: str, subject_id: str, kind: str = "SECURITIES") -> Step:
    return step(
        "open_account", account_id=account_id, kind=kind, opened_on="2026-01-05",
        subject_id=subject_id, holder_material_digest=DIGEST, holder_material_reference="vault:2",
    )  # fmt: skip


def _begin(total: int) -> Step:
    return step("begin", registration_id="R1", product="P1", issuer=USCC, total_shares=total)


def _enter(holder: str, shares: int) -> Step:
    return step("enter", registration_id="R1", holder=holder, shares=shares)


def _holding(holding_id: str) -> Step:
    return step("enter", holding_id=holding_id, product="P1", holder="A1", shares=50)


def _confirm(holding_id: str, shares: int = 50) -> Step:
    return step(
        "confirm", holding_id=holding_id, shares=shares, material_digest=DIGEST,
        material_reference="vault:3",
    )  # fmt: skip


_CREDIT: Final = step("credit", transfer_id="T0", product="P1", buyer="A1", shares=10)


def _apply(transfer_id: str, shares: int) -> Step:
    return step(
        "apply", transfer_id=transfer_id, product="P1", seller="A1", buyer="A2", shares=shares,
        price=100,
    )  # fmt: skip


REGISTER_WALKS: Final[dict[str, list[Walk]]] = {
    "subject": [
        [
            _company("S1"), _amend("S1"), step("suspend", subject_id="S1"),
            step("resume", subject_id="S1"), step("deregister", subject_id="S1"),
        ],
        [_person("S2"), step("suspend", subject_id="S2"), step("deregister", subject_id="S2")],
    ],
    "account": [
        [
            _open("A1", "S1"), step("freeze_account", account_id="A1"),
            step("thaw_account", account_id="A1"), step("close_account", account_id="A1"),
            _open("A2", "S1"), _open("A3", "S1", "FUNDS"),
        ],
    ],
    "registration": [
        [
            _begin(100), _enter("A1", 60), _enter("A2", 40),
            step("submit", registration_id="R1"), step("give_back", registration_id="R1"),
            _enter("A1", 100), step("submit", registration_id="R1"),
            step("complete", registration_id="R1"),
        ],
    ],
    "confirmation": [
        [_holding("H1"), _confirm("H1")],
        [
            _holding("H1"), step("dispute", holding_id="H1"),
            step("settle_dispute", holding_id="H1", shares=40), _confirm("H1", 40),
        ],
    ],
    "transfer": [
        [
            _CREDIT, _apply("T1", 4), step("complete", transfer_id="T1"), _apply("T2", 6),
            step("reject", transfer_id="T2"), _apply("T3", 6),
        ],
    ],
}  # fmt: skip

REGISTER_SPOILED: Final[dict[str, list[Spoiled]]] = {
    "subject": [
        ([], _company("S1").spoiled(uscc=USCC[:-1] + "B"), "USCC_INVALID"),
        ([], _company("S1").spoiled(uscc=USCC[:-1]), "USCC_INVALID"),
        ([], _company("S1").spoiled(uscc="91370199MA990000I2"), "USCC_INVALID"),
        ([], _company("S1").spoiled(kind="PERSON"), "BODY_MALFORMED"),
        ([], _company("S1").spoiled(scale="HUGE"), "BODY_MALFORMED"),
        ([], _company("a/b"), "BODY_MALFORMED"),
        ([], _company("S" * 65), "BODY_MALFORMED"),
        ([], _person("S1").spoiled(identity_digest=DIGEST.upper()), "BODY_MALFORMED"),
        ([], _person("S1").spoiled(identity_digest=DIGEST[2:]), "BODY_MALFORMED"),
        ([], _person("S1").spoiled(identity_reference=""), "BODY_MALFORMED"),
        ([_person("S1")], _amend("S1"), "UNSUPPORTED_OPERATION"),
        ([_company("S1")], _amend("S1").spoiled(registered_name=""), "BODY_MALFORMED"),
    ],
    "account": [
        ([_open("A1", "S1")], _open("A2", "S1"), "ACCOUNT_DUPLICATE_IDENTITY"),
        ([], _open("A1", "S1").spoiled(kind="OTHER"), "BODY_MALFORMED"),
        ([], _open("A1", "S1").spoiled(opened_on="2026-13-05"), "BODY_MALFORMED"),
        ([], _open("A1", "S1").spoiled(opened_on="05.01.2026"), "BODY_MALFORMED"),
        ([], _open("A1", "S1").spoiled(holder_material_digest="x"), "BODY_MALFORMED"),
        ([], _open("A1", ""), "BODY_MALFORMED"),
    ],
    "registration": [
        ([], _begin(0), "VALUE_OUT_OF_RANGE"),
        ([], _begin(1).spoiled(issuer="1"), "USCC_INVALID"),
        ([_begin(100), _enter("A1", 60)], _enter("A1", 40), "ROSTER_ENTRY_DUPLICATE"),
        ([_begin(100)], _enter("A1", 0), "VALUE_OUT_OF_RANGE"),
        (
            [_begin(100), _enter("A1", 99)],
            step("submit", registration_id="R1"),
            "REGISTER_TOTAL_MISMATCH",
        ),
        (
            [_begin(201), *(_enter(f"A{number}", 1) for number in range(200))],
            _enter("A200", 1),
            "HOLDER_CAP_EXCEEDED",
        ),
    ],
    "confirmation": [
        ([_holding("H1")], _confirm("H1", 51), "REGISTER_TOTAL_MISMATCH"),
        ([_holding("H1")], _confirm("H1").spoiled(material_digest=""), "BODY_MALFORMED"),
        ([_holding("H1")], _confirm("H1").spoiled(material_reference=7), "BODY_MALFORMED"),
        ([], _holding("H1").spoiled(shares=-1), "VALUE_OUT_OF_RANGE"),
        (
            [_holding("H1"), step("dispute", holding_id="H1")],
            step("settle_dispute", holding_id="H1", shares=0),
            "VALUE_OUT_OF_RANGE",
        ),
    ],
    "transfer": [
        ([_CREDIT], _apply("T1", 11), "SHARES_INSUFFICIENT"),
        ([_CREDIT, _apply("T1", 4)], _apply("T2", 7), "SHARES_INSUFFICIENT"),
        ([_CREDIT], _apply("T1", 1).spoiled(buyer="A1"), "SELF_TRANSFER"),
        ([_CREDIT], _apply("T1", 0), "VALUE_OUT_OF_RANGE"),
        ([_CREDIT], _apply("T1", 1).spoiled(price=-1), "VALUE_OUT_OF_RANGE"),
        ([_CREDIT], _apply("T1", 1).spoiled(shares="1"), "VALUE_OUT_OF_RANGE"),
        ([_CREDIT], _apply("T1", 1).spoiled(product=""), "BODY_MALFORMED"),
    ],
}
