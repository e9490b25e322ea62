"""Contracts in star/1 on a chain: what a transaction's call does to the state, and what never."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Outcome
from services.consensus.domain.contracts.deployed import FIRST_GAS
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.ledger.star_programs import StarPrograms
from tests.unit.contracts.star_chain import (
    call,
    call_payload,
    decide,
    deploy,
    facts,
    star_chain,
    stored,
    told,
    upgrade,
)
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CLERK,
    GENESIS_TIME_MS,
    MARKET,
    MemoryChain,
    signed,
)

TRANSFER = (Path(__file__).parents[3] / "data/contracts/transfer.star").read_text()
BANK = """
ACCESS = {"read": [], "write": ["held/"]}

def pay(to, amount):
    require(amount > 0, "AMOUNT_INVALID", amount=amount)
    put("held/" + to, (get("held/" + to) or 0) + amount)
    emit("paid", {"to": to, "amount": amount, "by": sender()["did"]})
    return get("held/" + to)

def held(of):
    return get("held/" + of)
"""
SHOP = """
ACCESS = {"read": [], "write": ["sold/"], "call": ["bank.pay", "bank.held", "shop.buy", "nobody.m"]}

def buy(item, price):
    put("sold/" + item, price)
    emit("sold", {"item": item})
    held = call("bank", "pay", to="shop", amount=price)
    require(held < 100, "TOO_RICH", held=held)
    return held

def other(contract, method):
    return call(contract, method)

def spy():
    return get("held/shop")
"""
SEED = (
    TRANSFER
    + """
def issue(product, holder, shares):
    put("free/" + product + "/" + holder, shares)
"""
)


def transfer(chain: MemoryChain, **changes: Any) -> Any:
    body = {"product": "P", "seller": "A", "buyer": "B", "shares": 3, **changes}
    return call(chain, "transfer", "transfer", **body)


@pytest.mark.req("G2-08-1")
def test_a_deployed_contract_moves_shares_and_tells_result_gas_and_event() -> None:
    chain = star_chain()
    deploy(chain, "transfer", SEED)
    assert call(chain, "transfer", "issue", product="P", holder="A", shares=10).accepted
    receipt = transfer(chain)
    assert receipt.outcome is Outcome.APPLIED
    assert facts(receipt)["result"] == 7
    assert 0 < facts(receipt)["gas"] < 2_000
    body = {"product": "P", "seller": "A", "buyer": "B", "shares": 3}
    assert told(receipt) == {"contract.transfer.shares.transferred": body}
    assert [stored(chain, "transfer", f"free/P/{who}") for who in "AB"] == [7, 3]


@pytest.mark.req("G2-08-1")
def test_what_a_contract_refuses_leaves_the_receipt_and_the_binding_alone() -> None:
    chain = star_chain()
    deploy(chain, "transfer", SEED)
    body = {"product": "P", "seller": "A", "buyer": "B", "shares": 3}
    payload = call_payload(chain, "transfer", "transfer", body)
    before = dict(chain.state.entries)
    receipt = chain.receipt(payload)
    assert (receipt.outcome, receipt.code, receipt.events) == (
        Outcome.REFUSED,
        "CONTRACT_REFUSED",
        (),
    )
    line = 1 + SEED.split("\n").index(
        '    require(shares <= available, "SHARES_INSUFFICIENT", available=available, asked=shares)'
    )
    assert facts(receipt) == {
        "at": f"transfer:{line}",
        "reason": "SHARES_INSUFFICIENT",
        "facts": {"available": 0, "asked": 3},
    }
    changed = {key for key, value in chain.state.entries.items() if before.get(key) != value}
    assert {key.split(b"/")[0] for key in changed} == {b"ledger"}
    again = chain.receipt(
        call_payload(chain, "transfer", "transfer", body, request_id=payload.request_id)
    )
    assert (again.outcome, again.code) == (Outcome.REPLAYED, "CONTRACT_REFUSED")
    assert facts(again) == facts(receipt)
    other = {**body, "shares": 4}
    reused = chain.receipt(
        call_payload(chain, "transfer", "transfer", other, request_id=payload.request_id)
    )
    assert reused.code == "REQUEST_ID_REUSED"


def test_a_contract_cannot_speak_the_codes_of_the_chain() -> None:
    chain = star_chain()
    deploy(chain, "liar", 'def f(code):\n    require(False, code, code="x", self=1)\n')
    for code in ("BLOCK_FULL", "TRANSACTION_DUPLICATE", "KEY_MISMATCH"):
        payload = call_payload(chain, "liar", "f", {"code": code})
        receipt = chain.receipt(payload)
        assert receipt.code == "CONTRACT_REFUSED"
        assert facts(receipt)["facts"] == {"code": "x", "self": 1}
        assert chain.receipt(payload).code == "TRANSACTION_DUPLICATE"


def test_an_announcement_stands_under_the_name_of_its_contract() -> None:
    chain = star_chain()
    deploy(chain, "object", 'def f(topic):\n    emit(topic, {"object_id": "x"})\n')
    for topic in ("object.recorded", "recorded", "identity.registered"):
        assert set(told(call(chain, "object", "f", topic=topic))) == {f"contract.object.{topic}"}
    refused = call(chain, "object", "f", topic="packet.sent")
    assert refused.code == "CONTRACT_TOPIC_WRONG"
    longest = "t" * (128 - len("contract.object."))
    assert call(chain, "object", "f", topic=longest).accepted
    assert call(chain, "object", "f", topic=longest + "t").code == "LIMIT_EXCEEDED"


# --- Gas --------------------------------------------------------------------------------------

LOOP = """
ACCESS = {"read": [], "write": ["n"]}

def spin():
    put("n", 1)
    emit("began", 1)
    for a in range(10000):
        for b in range(10000):
            pass

def cheap():
    return 1
"""


@pytest.mark.req("G2-08-1")
def test_gas_ends_what_never_ends_and_rolls_it_back() -> None:
    chain = star_chain(transaction_limit=5_000, block_limit=20_000)
    deploy(chain, "loop", LOOP)
    receipt = call(chain, "loop", "spin")
    assert (receipt.code, receipt.events) == ("CONTRACT_OUT_OF_GAS", ())
    assert facts(receipt) == {"gas": 5_000, "at": "loop:8"}
    assert stored(chain, "loop", "n") is None
    assert chain.receipt(call_payload(chain, "loop", "cheap", {})).accepted


def test_a_block_ends_with_its_gas_and_the_rest_comes_again() -> None:
    chain = star_chain(transaction_limit=5_000, block_limit=12_000)
    deploy(chain, "loop", LOOP)
    payloads = [call_payload(chain, "loop", "spin", {}) for _ in range(4)]
    codes = [receipt.code for receipt in chain.execute(*payloads).receipts]
    assert codes == ["CONTRACT_OUT_OF_GAS"] * 2 + ["BLOCK_FULL"] * 2
    codes = [receipt.code for receipt in chain.execute(*payloads[2:]).receipts]
    assert codes == ["CONTRACT_OUT_OF_GAS"] * 2


def test_gas_rules_stand_on_the_chain_by_their_version() -> None:
    chain = star_chain()
    assert stored(chain, "contracts", "gas/latest") == 1
    assert stored(chain, "contracts", f"gas/{1:020d}") == FIRST_GAS.to_json()
    dear = FIRST_GAS.to_json()["prices"]
    assert isinstance(dear, dict)
    other = star_chain(version=2, prices={**dear, "node": 7})  # type: ignore[arg-type]
    assert stored(other, "contracts", "gas/latest") == 2
    used = []
    for each in (chain, other):
        deploy(each, "loop", LOOP)
        used.append(facts(call(each, "loop", "cheap"))["gas"])
    assert used[0] < used[1]


# --- Calls between contracts ------------------------------------------------------------------


def two_contracts() -> MemoryChain:
    chain = star_chain()
    deploy(chain, "bank", BANK)
    deploy(chain, "shop", SHOP)
    return chain


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
ACCESS = {"read": [], "write": [], "call": ["identity.grant_role", "contracts.deploy"]}

def f(contract, method):
    return call(contract, method, did="x", role="y")
"""
    deploy(chain, "climber", source)
    for contract, method in (("identity", "grant_role"), ("contracts", "deploy")):
        receipt = call(chain, "climber", "f", contract=contract, method=method)
        assert (receipt.code, facts(receipt)["at"]) == ("CONTRACT_UNKNOWN", "climber:5")


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


# --- What anybody may send --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("nothing", {}, "METHOD_UNKNOWN"),
        ("transfer", {}, "CONTRACT_ARGUMENT_WRONG"),
        ("transfer", {"product": "P", "seller": "A", "buyer": "B", "shares": 1, "x": 1}, None),
        ("transfer", {"product": 1, "seller": "A", "buyer": "B", "shares": 1}, None),
        ("transfer", {"product": "P", "seller": [], "buyer": {}, "shares": 1}, None),
        ("transfer", {"product": "P", "seller": "A", "buyer": "B", "shares": None}, None),
        ("transfer", {"product": "P", "seller": "A" * 300, "buyer": "B", "shares": 1}, None),
        ("transfer", {"product": "P", "seller": "A", "buyer": "股", "shares": 1}, None),
        ("transfer", {"product": "P", "seller": "A", "buyer": "B", "shares": True}, None),
        ("free_shares", {"product": [0] * 20_000, "holder": "A"}, "LIMIT_EXCEEDED"),
        ("free_shares", {"product": "x" * 70_000, "holder": "A"}, "LIMIT_EXCEEDED"),
    ],
)
def test_any_arguments_end_in_a_refusal_that_says_where(
    method: str, body: dict[str, Any], code: str | None
) -> None:
    chain = star_chain()
    deploy(chain, "transfer", TRANSFER)
    receipt = chain.receipt(call_payload(chain, "transfer", method, body))
    assert receipt.outcome is Outcome.REFUSED
    assert code in (None, receipt.code)
    assert facts(receipt)["at"].startswith("transfer:")


def test_what_a_call_writes_is_bounded_as_for_any_contract() -> None:
    chain = star_chain(transaction_limit=50_000_000, block_limit=50_000_000)
    source = """
ACCESS = {"read": [], "write": ["k"]}

def flood(count):
    text = "x" * 60000
    for number in range(count):
        put("k" + str(number), text)
"""
    deploy(chain, "flood", source)
    receipt = call(chain, "flood", "flood", count=200)
    assert (receipt.code, facts(receipt)["limit"]) == ("LIMIT_EXCEEDED", "output_bytes")
    assert facts(receipt)["at"] == "flood:7"
    assert stored(chain, "flood", "k0") is None


def test_a_long_result_is_told_by_its_size() -> None:
    chain = star_chain()
    deploy(chain, "long", 'def f(n):\n    return "x" * n\n')
    assert facts(call(chain, "long", "f", n=4_000))["result"] == "x" * 4_000
    told_of = facts(call(chain, "long", "f", n=5_000))
    assert told_of["result_omitted_bytes"] == 5_002
    assert set(told_of) == {"gas", "result_omitted_bytes"}


def test_a_contract_sees_who_signed_when_and_for_when() -> None:
    chain = star_chain()
    source = """
def f():
    return [sender(), checker(), height(), block_time(), business_time(), sm3("abc")]
"""
    deploy(chain, "seer", source)
    payload = call_payload(
        chain,
        "seer",
        "f",
        {},
        checker=(ADMIN, "k1"),
        business_time="2026-03-02T10:00:00+08:00",
    )
    result = chain.execute_signed(signed(payload), time_ms=GENESIS_TIME_MS + 5)
    seen = facts(result.receipts[0])["result"]
    assert seen[:2] == [
        {"did": CLERK, "organisation": MARKET, "roles": ["clerk"]},
        {"did": ADMIN, "organisation": MARKET, "roles": ["identity_admin"]},
    ]
    height = chain.header.height
    assert seen[2:5] == [height, GENESIS_TIME_MS + 5, "2026-03-02T10:00:00+08:00"]
    assert seen[5] == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


# --- The same everywhere ----------------------------------------------------------------------


def history(chain: MemoryChain) -> list[bytes]:
    """Deployments, calls that work and calls that do not; the roots after each."""
    roots: list[bytes] = []
    number = iter(range(1_000))

    def one(contract: str, method: str, /, **body: Any) -> None:
        request = f"00000000-0000-4000-8000-{next(number):012d}"
        chain.receipt(call_payload(chain, contract, method, body, request_id=request))
        roots.append(chain.header.state_root)

    one("shop", "buy", item="tea", price=4)
    one("shop", "buy", item="tea", price=0)
    one("shop", "other", contract="shop", method="buy")
    one("shop", "nothing")
    for price in range(1, 4):
        one("shop", "buy", item=f"item{price}", price=price)
    return roots


def test_two_ledgers_and_one_that_forgot_its_programs_come_to_the_same_roots() -> None:
    one, other, restarted = two_contracts(), two_contracts(), two_contracts()
    # Ids of the deployments differ; the calls are on the same state.
    for each in (other, restarted):
        each.state.entries = dict(one.state.entries)
        each.header = one.header
    one.programs = StarPrograms()
    restarted.programs = StarPrograms(count_max=1)
    assert history(one) == history(other) == history(restarted)
    assert one.state.entries == other.state.entries == restarted.state.entries
    assert one.programs.compiled == 2
    assert restarted.programs.compiled == 10


def test_a_program_is_compiled_once_and_again_for_its_next_version() -> None:
    chain = star_chain()
    chain.programs = StarPrograms()
    deploy(chain, "bank", BANK)
    for amount in (1, 2, 3):
        assert call(chain, "bank", "pay", to="x", amount=amount).accepted
    assert chain.programs.compiled == 1
    upgrade(chain, "bank", BANK.replace("amount > 0", "amount > 5"))
    assert call(chain, "bank", "pay", to="x", amount=3).code == "CONTRACT_REFUSED"
    assert facts(call(chain, "bank", "pay", to="x", amount=7))["result"] == 13
    assert chain.programs.compiled == 2


def test_programs_that_were_used_longest_ago_give_way() -> None:
    sources = {f"c{n}": f"def f():\n    return {n}\n" for n in range(4)}
    modules = {name: compile_source(text.encode()) for name, text in sources.items()}
    size = len(modules["c0"].encoded)
    kept = StarPrograms(count_max=10, bytes_max=2 * size)

    def use(name: str) -> None:
        module = modules[name]
        kept.find(module.digest.hex(), FIRST_GAS.prices, lambda: module.encoded)

    for name in ("c0", "c1", "c0", "c2", "c0", "c1"):
        use(name)
    assert kept.compiled == 4
    with pytest.raises(AssertionError):
        kept.find("00" * 32, FIRST_GAS.prices, lambda: modules["c3"].encoded)
    assert json.loads(modules["c0"].encoded)["engine"] == "star/1"
