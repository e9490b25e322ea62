"""Contracts in star/1 on a chain: what a transaction's call does to the state, and what never."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from guqiao_sdk.client.transactions import parse_detail
from guqiao_sdk.proof.receipt import Outcome
from services.consensus.domain.contracts.deployed import FIRST_GAS
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.ledger import host
from services.consensus.domain.ledger.star_programs import StarPrograms
from tests.unit.contracts.star_chain import (
    BANK,
    LOOP,
    call,
    call_payload,
    deploy,
    facts,
    star_chain,
    stored,
    told,
    two_contracts,
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
    other = star_chain(version=2, prices={**dear, "node": 7})
    assert stored(other, "contracts", "gas/latest") == 2
    used = []
    for each in (chain, other):
        deploy(each, "loop", LOOP)
        used.append(facts(call(each, "loop", "cheap"))["gas"])
    assert used[0] < used[1]


def test_a_scan_pays_for_what_the_block_has_deleted_under_its_prefix() -> None:
    chain = star_chain()
    source = """
ACCESS = {"read": [], "write": ["k/", "l/"]}

def fill(count):
    for number in range(count):
        put("k/" + str(number), 1)

def clear(count):
    for number in range(count):
        delete("k/" + str(number))

def look(prefix):
    return scan(prefix, 1)
"""
    deploy(chain, "heap", source)
    assert call(chain, "heap", "fill", count=500).accepted
    before = facts(call(chain, "heap", "look", prefix="l/"))["gas"]
    payloads = [
        call_payload(chain, "heap", method, body)
        for method, body in (
            ("clear", {"count": 500}),
            ("look", {"prefix": "k/"}),
            ("look", {"prefix": "l/"}),
        )
    ]
    receipts = chain.execute(*payloads).receipts
    assert [facts(each).get("result") for each in receipts] == [None, [], []]
    assert [facts(each)["gas"] for each in receipts[1:]] == [before + 500, before]
    assert facts(call(chain, "heap", "look", prefix="k/"))["gas"] == before


def test_a_scan_reads_no_further_than_it_can_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica never holds more of a scan than its gas and memory allow, however much is there."""
    chain = star_chain()
    source = (
        'ACCESS = {"read": [], "write": ["k/"]}\ndef look():\n    return len(scan("k/", 1000))\n'
    )
    deploy(chain, "heap", source)
    value = json.dumps(["x" * 4_000] * 200).encode()
    chain.state.entries.update({f"heap/k/{number:03}".encode(): value for number in range(300)})
    read = []

    def counted(data: bytes) -> Any:
        read.append(len(data))
        return json.loads(data)

    monkeypatch.setattr(host, "json", SimpleNamespace(loads=counted))
    receipt = call(chain, "heap", "look")
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "CONTRACT_OUT_OF_GAS")
    whole = [size for size in read if size == len(value)]
    assert 0 < len(whole) < 30


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


def test_a_long_or_deep_result_is_told_by_its_size() -> None:
    chain = star_chain()
    source = """
def long(n):
    return "x" * n

def deep(n):
    value = 1
    for number in range(n):
        value = [value]
    return value

def no(n):
    require(False, "SAID_NO", long=long(n), deep=deep(n % 32))
"""
    deploy(chain, "teller", source)
    assert facts(call(chain, "teller", "long", n=3_798))["result"] == "x" * 3_798
    told_of = facts(call(chain, "teller", "long", n=3_799))
    assert told_of["result_omitted_bytes"] == 3_801
    assert set(told_of) == {"gas", "result_omitted_bytes"}
    assert facts(call(chain, "teller", "deep", n=14))["result"] == json.loads(
        "[" * 14 + "1" + "]" * 14
    )
    deep = call(chain, "teller", "deep", n=15)
    assert facts(deep)["result_omitted_bytes"] == 31
    assert set(facts(call(chain, "teller", "no", n=13))) == {"at", "reason", "facts"}
    for n in (14, 31, 6_000):
        refused = call(chain, "teller", "no", n=n)
        assert facts(refused)["at"] == "teller:12"
        assert facts(refused)["reason"] == "SAID_NO"
        assert facts(refused)["facts_omitted_bytes"] > n
    for receipt in (
        *chain.execute(
            *(call_payload(chain, "teller", "deep", {"n": n}) for n in (14, 15, 31))
        ).receipts,
        call(chain, "teller", "no", n=13),
    ):
        assert parse_detail(receipt.detail) == facts(receipt)


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
