"""Contracts in star/1 that call one another: under permissions, without circles, all or nothing."""

from __future__ import annotations

import sys
import threading

import pytest

from tests.unit.contracts.star_chain import (
    BANK,
    LOOP,
    call,
    decide,
    deploy,
    facts,
    star_chain,
    stored,
    told,
    two_contracts,
)
from tests.unit.ledger.chain_builder import CLERK, MemoryChain

LOOK = """
def look():
    return scan("held/", 9)
"""


@pytest.mark.req("G2-08-2")
def test_a_contract_calls_another_one_each_in_its_own_state() -> None:
    chain = two_contracts()
    receipt = call(chain, "shop", "buy", item="tea", price=40)
    assert facts(receipt)["result"] == 40
    assert told(receipt) == {
        "contract.shop.sold": {"item": "tea"},
        "contract.bank.paid": {"to": "shop", "amount": 40, "by": CLERK},
    }
    assert stored(chain, "bank", "held/shop") == 40
    assert stored(chain, "shop", "sold/tea") == 40
    spied = call(chain, "shop", "spy")
    assert (spied.code, facts(spied)["at"]) == ("CONTRACT_ACCESS_UNDECLARED", "shop:15")


def test_what_comes_after_a_call_is_the_callers_own_again() -> None:
    """One contract is called again and again, and the caller goes on in its own name and state."""
    chain = star_chain()
    deploy(chain, "bank", BANK + LOOK)
    source = """
ACCESS = {"read": [], "write": ["held/"], "call": ["bank.pay", "bank.look"]}

def often(count):
    for number in range(count):
        call("bank", "pay", to="x", amount=1)
    put("held/own", count)
    emit("done", {"count": count})
    return [call("bank", "look"), scan("held/", 9)]
"""
    deploy(chain, "often", source)
    receipt = call(chain, "often", "often", count=30)
    assert facts(receipt)["result"] == [[["held/x", 30]], [["held/own", 30]]]
    assert told(receipt)["contract.often.done"] == {"count": 30}
    assert [event.topic for event in receipt.events].count("contract.bank.paid") == 30
    assert stored(chain, "often", "held/own") == 30
    assert stored(chain, "bank", "held/own") is None


def test_a_scan_of_the_called_contract_does_not_pay_for_the_callers_keys() -> None:
    chain = star_chain()
    deploy(chain, "bank", BANK + LOOK)
    source = """
ACCESS = {"read": [], "write": ["held/", "kept/"], "call": ["bank.look"]}

def f(prefix):
    for number in range(100):
        put(prefix + str(number), 1)
    return call("bank", "look")
"""
    deploy(chain, "outer", source)
    gas = [facts(call(chain, "outer", "f", prefix=each))["gas"] for each in ("held/", "kept/")]
    assert gas[0] == gas[1]


@pytest.mark.parametrize(
    ("price", "code", "at"),
    [(0, "CONTRACT_REFUSED", "bank:5"), (100, "CONTRACT_REFUSED", "shop:8")],
)
def test_a_failure_on_either_side_of_a_call_rolls_all_of_it_back(
    price: int, code: str, at: str
) -> None:
    chain = two_contracts()
    receipt = call(chain, "shop", "buy", item="tea", price=price)
    assert (receipt.code, receipt.events, facts(receipt)["at"]) == (code, (), at)
    assert stored(chain, "bank", "held/shop") is None
    assert stored(chain, "shop", "sold/tea") is None


def test_what_is_not_declared_not_there_or_paused_is_not_called() -> None:
    chain = two_contracts()

    def other(contract: str, method: str) -> tuple[str, str]:
        receipt = call(chain, "shop", "other", contract=contract, method=method)
        return receipt.code, facts(receipt)["at"]

    assert other("bank", "drain") == ("CONTRACT_CALL_UNDECLARED", "shop:12")
    assert other("identity", "register_identity") == ("CONTRACT_CALL_UNDECLARED", "shop:12")
    assert other("nobody", "m") == ("CONTRACT_UNKNOWN", "shop:12")
    assert other("bank", "held") == ("CONTRACT_ARGUMENT_WRONG", "shop:12")
    decide(chain, "pause", {"name": "bank", "reason": "audit"}, "B")
    assert other("bank", "held") == ("CONTRACT_PAUSED", "shop:12")
    decide(chain, "resume", {"name": "bank", "reason": "done"}, "B", "C")
    assert call(chain, "shop", "buy", item="tea", price=1).accepted


def test_a_system_contract_is_nobodys_to_call() -> None:
    chain = star_chain()
    source = """
ACCESS = {
    "read": [], "write": [],
    "call": ["identity.grant_role", "contracts.deploy", "light_client.register_chain"],
}

def f(contract, method):
    return call(contract, method, did="x", role="y")
"""
    deploy(chain, "climber", source)
    for contract, method in (
        ("identity", "grant_role"),
        ("contracts", "deploy"),
        ("light_client", "register_chain"),
    ):
        receipt = call(chain, "climber", "f", contract=contract, method=method)
        assert (receipt.code, facts(receipt)["at"]) == ("CONTRACT_UNKNOWN", "climber:8")


CIRCLE = """
ACCESS = {"read": [], "write": ["n"], "call": ["%s"]}

def go(left):
    put("n", left)
    return 0 if left == 0 else call(%s, left=left - 1)
"""


def test_a_contract_is_not_entered_again_not_through_another_one_either() -> None:
    chain = star_chain()
    deploy(chain, "ping", CIRCLE % ("pong.go", '"pong", "go"'))
    deploy(chain, "pong", CIRCLE % ("ping.go", '"ping", "go"'))
    deploy(chain, "self", CIRCLE % ("self.go", '"self", "go"'))
    assert call(chain, "ping", "go", left=1).accepted
    before = stored(chain, "ping", "n"), stored(chain, "pong", "n")
    receipt = call(chain, "ping", "go", left=2)
    assert receipt.code == "CONTRACT_REENTERED"
    assert facts(receipt) == {"callee": "ping", "at": "pong:6"}
    assert (stored(chain, "ping", "n"), stored(chain, "pong", "n")) == before
    assert facts(call(chain, "self", "go", left=1)) == {"callee": "self", "at": "self:6"}
    # What was left in a refused call is not taken for being inside still.
    assert call(chain, "ping", "go", left=1).accepted


def test_calls_go_four_contracts_deep_and_no_deeper() -> None:
    chain = star_chain()
    for number in range(5):
        following = f"c{number + 1:02d}"
        deploy(chain, f"c{number:02d}", CIRCLE % (f"{following}.go", f'"{following}", "go"'))
    assert call(chain, "c00", "go", left=3).accepted
    receipt = call(chain, "c00", "go", left=4)
    assert (receipt.code, facts(receipt)["at"]) == ("LIMIT_EXCEEDED", "c03:6")
    assert stored(chain, "c00", "n") == 3


def test_the_deepest_calls_that_the_engine_allows_stay_far_from_pythons_bound() -> None:
    """Three contracts whose functions call one another to the bound that all have together."""
    chain = star_chain()

    def chained(functions: int, deepest: str) -> str:
        parts = [f"def g0(x):\n    return {deepest}\n"]
        nested = "(" * 8 + "g%d(x)" + " + 0)" * 8
        parts += [f"def g{n}(x):\n    return {nested % (n - 1)}\n" for n in range(1, functions)]
        return "\n".join([*parts, f"def go(x):\n    return g{functions - 1}(x)\n"])

    deploy(chain, "one", chained(3, "x"))
    names = [("two", "one"), ("three", "two")]
    for name, called in names:
        access = f'ACCESS = {{"read": [], "write": [], "call": ["{called}.go"]}}\n\n'
        deploy(chain, name, access + chained(3, f'call("{called}", "go", x=x)'))
    limit = sys.getrecursionlimit()
    assert limit >= 1_000
    sys.setrecursionlimit(700)
    try:
        assert facts(call(chain, "three", "go", x=5))["result"] == 5
    finally:
        sys.setrecursionlimit(limit)
    access = 'ACCESS = {"read": [], "write": [], "call": ["one.go"]}\n\n'
    deploy(chain, "tall", access + chained(11, 'call("one", "go", x=x)'))
    receipt = call(chain, "tall", "go", x=5)
    assert (receipt.code, facts(receipt)["limit"]) == ("LIMIT_EXCEEDED", "call_depth")


@pytest.mark.req("G2-08-3")
def test_four_contracts_as_deep_as_they_may_be_end_on_a_servers_thread() -> None:
    """Below 240 frames of a replica, and under CPython's own bound, which is counted by thread."""
    assert sys.getrecursionlimit() == 1_000
    nested = '{}.get("a", ' * 7 + "%s" + ")" * 7
    ended = []
    for functions in range(1, 6):
        chain = star_chain()
        for number in range(4):
            inner = f'call("deep{number - 1}", "go", x=x)' if number else "x"
            parts = [f"def g0(x):\n    return {nested % inner}\n"]
            parts += [
                f"def g{n}(x):\n    return {nested % f'g{n - 1}(x)'}\n" for n in range(1, functions)
            ]
            access = f'ACCESS = {{"read": [], "write": [], "call": ["deep{number - 1}.go"]}}\n'
            last = f"def go(x):\n    return g{functions - 1}(x)\n"
            deploy(chain, f"deep{number}", "\n".join([access if number else "", *parts, last]))
        ended.append(_on_a_thread(chain, 240))
    deepest = ended.index("LIMIT_EXCEEDED")
    assert deepest > 0
    assert set(ended[:deepest]) == {""}
    assert set(ended[deepest:]) == {"LIMIT_EXCEEDED"}


def _on_a_thread(chain: MemoryChain, frames: int) -> str:
    codes: list[str] = []

    def below(left: int) -> None:
        if left:
            below(left - 1)
        else:
            codes.append(call(chain, "deep3", "go", x=5).code)

    thread = threading.Thread(target=below, args=(frames,))
    thread.start()
    thread.join()
    assert codes, "the thread died of something else"
    return codes[0]


def test_out_of_gas_in_the_called_contract_ends_the_calling_one() -> None:
    chain = star_chain(transaction_limit=5_000, block_limit=20_000)
    deploy(chain, "loop", LOOP)
    source = """
ACCESS = {"read": [], "write": ["m"], "call": ["loop.spin"]}

def f():
    put("m", 1)
    return call("loop", "spin")
"""
    deploy(chain, "outer", source)
    receipt = call(chain, "outer", "f")
    assert (receipt.code, facts(receipt)) == ("CONTRACT_OUT_OF_GAS", {"gas": 5_000, "at": "loop:8"})
    assert stored(chain, "outer", "m") is None
