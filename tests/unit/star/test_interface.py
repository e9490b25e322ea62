"""What an upgrade changes for those who rely on a contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.consensus.domain.contracts.star.interface import compare, interface_of
from services.consensus.domain.contracts.star.syntax import compile_source

BEFORE = """
ACCESS = {"read": ["r/"], "write": ["a/", "b/"], "call": ["bank.pay"]}
FEE = 3

def pay(to, amount, memo="none"):
    put("a/" + to, amount + FEE)
    _tell(to, amount)
    emit(body=[to], topic="raw")

def paid(to):
    return get("a/" + to)

def _tell(to, amount):
    emit("paid", {"to": to, "amount": amount})
"""


def changes(before: str, after: str) -> list[tuple[str, str, bool]]:
    one, other = (interface_of(compile_source(each.encode())) for each in (before, after))
    return [(each.rule, each.what, each.is_breaking) for each in compare(one, other)]


CASES = [
    (
        "def paid(to):",
        "def paid_to(to):",
        {("METHOD_REMOVED", "paid", True), ("METHOD_ADDED", "paid_to", False)},
    ),
    (
        "(to, amount, memo=",
        "(to, amount, note=",
        {("PARAMETER_REMOVED", "pay.memo", True), ("PARAMETER_ADDED", "pay.note", False)},
    ),
    ("def paid(to):", "def paid(to, since):", {("PARAMETER_ADDED", "paid.since", True)}),
    ("def paid(to):", "def paid(to, since=0):", {("PARAMETER_ADDED", "paid.since", False)}),
    ("def paid(to):", 'def paid(to="x"):', {("PARAMETER_DEFAULT_CHANGED", "paid.to", False)}),
    ('memo="none"', 'memo="some"', {("PARAMETER_DEFAULT_CHANGED", "pay.memo", True)}),
    (
        'to, amount, memo="none"',
        "to, amount, memo",
        {("PARAMETER_DEFAULT_CHANGED", "pay.memo", True)},
    ),
    ('emit("paid", {"to": to, "amount": amount})', "pass", {("EVENT_REMOVED", "paid", True)}),
    (
        '"amount": amount})',
        '"value": amount})',
        {
            ("EVENT_MEMBER_REMOVED", "paid.amount", True),
            ("EVENT_MEMBER_ADDED", "paid.value", False),
        },
    ),
    (
        'emit("paid", {"to": to, "amount": amount})',
        'emit("paid", to)',
        {("EVENT_BODY_CHANGED", "paid", True)},
    ),
    ("emit(body=[to]", 'emit(body={"to": to}', {("EVENT_BODY_CHANGED", "raw", False)}),
    ('topic="raw"', "topic=to", {("EVENT_REMOVED", "raw", True), ("EVENT_ADDED", "?", False)}),
    (
        '"a/", "b/"]',
        '"a/", "c/"]',
        {("ACCESS_REMOVED", "write b/", True), ("ACCESS_ADDED", "write c/", False)},
    ),
    ('["r/"]', "[]", {("ACCESS_REMOVED", "read r/", False)}),
    ('["bank.pay"]', '["bank.pay", "bank.held"]', {("ACCESS_ADDED", "call bank.held", False)}),
    ("_tell(to", "_told(to", set()),
    ("FEE = 3", "FEE = 4", set()),
    ("amount + FEE", "FEE + amount", set()),
    ("def pay(to, amount,", "\n\ndef pay(amount, to,", set()),
]


@pytest.mark.req("G2-14-4")
@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_each_difference_has_its_rule_and_breaks_or_not(
    old: str, new: str, expected: set[tuple[str, str, bool]]
) -> None:
    after = BEFORE.replace(old, new)
    assert after != BEFORE
    found = changes(BEFORE, after)
    assert set(found) == expected
    assert [each[2] for each in found] == sorted((each[2] for each in found), reverse=True)


def test_an_event_has_the_members_that_all_its_bodies_have() -> None:
    source = 'def f():\n    emit("t", {"a": 1, "b": 2})\n    emit("t", {"a": 1, "c": 3})\n'
    told = interface_of(compile_source(source.encode())).events
    assert told == {"t": frozenset({"a"})}


def test_names_of_facts_are_not_taken_for_a_call() -> None:
    source = 'def f():\n    require(False, "NO_SUCH", call=1, a=2, emit=3, d=4)\n'
    assert interface_of(compile_source(source.encode())).events == {}


def test_the_shipped_transfer_has_an_interface() -> None:
    path = Path(__file__).parents[3] / "data/contracts/transfer.star"
    found = interface_of(compile_source(path.read_bytes()))
    assert set(found.methods) == {"transfer", "free_shares"}
    assert set(found.events) == {"shares.transferred"}
    assert found.access.write == ("free/",)
