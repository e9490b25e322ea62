"""Tiers on the chain: each contract keeps to its own template, whoever calls, and pays for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.receipt import Outcome, Receipt
from services.consensus.domain.contracts.deployed import contract_record_key, deployed
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.tiers import TierField, TierGroup, TierMap
from services.consensus.domain.contracts.template.vocabulary import Tier
from services.consensus.domain.ledger.admission import Refused, read_transaction
from services.consensus.domain.ledger.authorisation import check_stateful
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.ledger.star_calls import DeploymentsState
from tests.unit.contracts.star_chain import (
    call,
    call_payload,
    deploy,
    facts,
    star_chain,
    stored,
    told,
)
from tests.unit.ledger.chain_builder import MemoryChain, signed
from tests.unit.templates.orders import SOURCE, line, sealed, tiers

PUBLIC: Final = "TIER_PUBLIC_NOT_ONCHAIN"
RESTRICTED: Final = "TIER_RESTRICTED_NOT_ONCHAIN"
NONPUBLIC: Final = "TIER_NONPUBLIC_ONCHAIN"
UNCLASSIFIED: Final = "TIER_UNCLASSIFIED"
DIGEST: Final = "5a" * 32
MOBILE: Final = "13800138000"
REQUEST: Final = "00000000-0000-4000-8000-000000000001"

KEEPER: Final = """
ACCESS = {"read": [], "write": ["company/", "terms/", "person/", "other/", "trace/"]}

def keep(key, value):
    put(key, value)

def split(key, first, second):
    put(key, {"price": 1, "note": first + second})

def say(body):
    emit("said", body)

def drop(key):
    delete(key)
"""
CALLER: Final = """
ACCESS = {"read": [], "write": ["note/"], "call": ["keeper.keep"]}

def through(key, value):
    put("note/before", {"anything": "a"})
    call("keeper", "keep", key=key, value=value)
    put("note/after", "anything")
"""
TIERS: Final = TierMap(
    (
        TierGroup("company", Tier.PUBLIC, "company/", (TierField("name", "name", False),), True),
        TierGroup(
            "person", Tier.NONPUBLIC, "person/", (TierField("phone", "phone", False),), False
        ),
        TierGroup(
            "terms",
            Tier.RESTRICTED,
            "terms/",
            (TierField("note", "text", True), TierField("price", "amount", False)),
            False,
        ),
    ),
    "trace/",
)
ORDERING: Final = """
ACCESS = {"read": [], "write": [], "call": ["orders.place"]}

def order(order_id, lines, terms_sealed):
    call("orders", "place", order_id=order_id, lines=lines, terms_sealed=terms_sealed)
"""
DESCRIBED: Final[dict[str, Json]] = {"digest": DIGEST, "reference": "vault:1", "owner": "did:x:y"}


def keep_tiers(
    chain: MemoryChain, name: str, tiers: TierMap, life_cycle: LifeCycle | None = None
) -> None:
    """What a deployment under a template leaves in the contract's record."""
    record = deployed(DeploymentsState(chain.state), name)
    assert record is not None
    value = canonical_json(replace(record, tiers=tiers, life_cycle=life_cycle).to_json())
    chain.state.change({contract_key("contracts", contract_record_key(name)): value})


def guarded_chain(**limits: Json) -> MemoryChain:
    """A keeper with tiers, and a caller of it without."""
    chain = star_chain(**limits)
    deploy(chain, "keeper", KEEPER)
    deploy(chain, "caller", CALLER)
    keep_tiers(chain, "keeper", TIERS)
    return chain


def keep(chain: MemoryChain, key: str, value: Json) -> Receipt:
    return call(chain, "keeper", "keep", key=key, value=value)


@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7")
def test_what_is_of_its_tier_is_written_and_announced() -> None:
    chain = guarded_chain()
    company: dict[str, Json] = {"name": "齐鲁示例", "state": "OPEN"}
    values: dict[str, Json] = {
        "company/1": company,
        "terms/1": {"price": 3},
        "person/1": DESCRIBED,
        "trace/1": 1,
    }
    for key, value in values.items():
        receipt = keep(chain, key, value)
        assert receipt.outcome is Outcome.APPLIED, facts(receipt)
        assert stored(chain, "keeper", key) == value
    assert told(call(chain, "keeper", "say", body=company)) == {"contract.keeper.said": company}
    assert call(chain, "keeper", "drop", key="company/1").outcome is Outcome.APPLIED
    assert stored(chain, "keeper", "company/1") is None


@pytest.mark.req("G2-17-4", "G2-17-5", "G2-17-7")
@pytest.mark.parametrize(
    ("key", "value", "code", "why"),
    [
        ("company/1", DIGEST, PUBLIC, "not_object"),
        ("company/1", {"name": "齐鲁示例"}, PUBLIC, "missing"),
        ("terms/1", {"note": "a"}, RESTRICTED, "missing"),
        ("terms/1", "SM4:5a5a", RESTRICTED, "not_object"),
        ("person/1", {"phone": "x"}, NONPUBLIC, "not_described"),
        ("company/1", {"name": "a", "state": "OPEN", "phone": "x"}, NONPUBLIC, "elsewhere"),
        ("other/1", 1, UNCLASSIFIED, "unknown"),
    ],
)
def test_a_write_in_the_wrong_tier_is_refused_with_its_line(
    key: str, value: Json, code: str, why: str
) -> None:
    chain = guarded_chain()
    receipt = keep(chain, key, value)
    assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, code)
    assert (facts(receipt)["at"], facts(receipt)["why"]) == ("keeper:5", why)
    assert stored(chain, "keeper", key) is None
    keep_tiers(chain, "keeper", TierMap((), "trace/"))
    assert keep(chain, key, value).code == UNCLASSIFIED


def test_without_a_template_all_is_as_it_was() -> None:
    chain = star_chain()
    deploy(chain, "keeper", KEEPER)
    assert keep(chain, "other/1", {"phone": MOBILE}).outcome is Outcome.APPLIED
    assert call(chain, "keeper", "say", body=[MOBILE]).outcome is Outcome.APPLIED


@pytest.mark.req("G2-17-4", "G2-17-7")
@pytest.mark.parametrize(
    ("body", "code"),
    [({"name": "a", "price": 1}, RESTRICTED), ({"phone": "x"}, NONPUBLIC), (1, UNCLASSIFIED)],
)
def test_an_event_that_not_everybody_may_read_is_refused(body: Json, code: str) -> None:
    receipt = call(guarded_chain(), "keeper", "say", body=body)
    assert (receipt.code, facts(receipt)["at"], receipt.events) == (code, "keeper:11", ())


@pytest.mark.req("G2-17-7", "G2-19-1")
def test_a_number_of_a_person_is_found_that_only_the_contract_puts_together() -> None:
    chain = guarded_chain()
    receipt = call(chain, "keeper", "split", key="terms/1", first="138 0013 ", second="8000")
    assert (receipt.code, facts(receipt)["kind"]) == (NONPUBLIC, "PHONE")
    assert (facts(receipt)["field"], facts(receipt)["at"]) == ("note", "keeper:8")
    assert b"8000" not in receipt.detail
    assert stored(chain, "keeper", "terms/1") is None


@pytest.mark.req("G2-17-7", "G2-19-1")
def test_a_call_whose_arguments_hold_a_number_of_a_person_is_refused_before_it_runs() -> None:
    chain = guarded_chain()
    for method, body in (("drop", {"key": f"x/{MOBILE}"}), ("nothing", {"a": [{"b": MOBILE}]})):
        payload = call_payload(chain, "keeper", method, body)
        transaction = read_transaction(signed(payload).encode())
        time_ms = chain.header.block_time_ms
        courtesy = check_stateful(chain.state, transaction, block_time_ms=time_ms)
        receipt = chain.receipt(payload)
        assert isinstance(courtesy, Refused)
        assert (courtesy.code, courtesy.fields) == (receipt.code, facts(receipt))
        assert (receipt.code, facts(receipt)["at"]) == (NONPUBLIC, "keeper:0")
        assert MOBILE not in str(facts(receipt))
    payload = call_payload(chain, "keeper", "drop", {"key": "company/9"})
    transaction = read_transaction(signed(payload).encode())
    assert check_stateful(chain.state, transaction, block_time_ms=time_ms) is None


def test_a_request_that_was_executed_once_is_answered_again() -> None:
    """Its contract had no template then."""
    chain = star_chain()
    deploy(chain, "keeper", KEEPER)
    body = {"key": "other/1", "value": MOBILE}
    payload = call_payload(chain, "keeper", "keep", body, request_id=REQUEST)
    assert chain.receipt(payload).outcome is Outcome.APPLIED
    keep_tiers(chain, "keeper", TIERS)
    again = call_payload(chain, "keeper", "keep", body, request_id=REQUEST)
    transaction = read_transaction(signed(again).encode())
    time_ms = chain.header.block_time_ms
    assert check_stateful(chain.state, transaction, block_time_ms=time_ms) is None
    assert chain.receipt(again).outcome is Outcome.REPLAYED


@pytest.mark.req("G2-17-5", "G2-19-1")
def test_a_contract_that_is_called_keeps_to_its_own_tiers_and_so_does_its_caller() -> None:
    chain = guarded_chain()
    assert call(chain, "caller", "through", key="terms/1", value={"price": 1}).code == ""
    refused = call(chain, "caller", "through", key="terms/2", value=DIGEST)
    assert (refused.code, facts(refused)["at"]) == (RESTRICTED, "keeper:5")
    assert stored(chain, "caller", "note/after") == "anything"
    fields = (TierField("anything", "text", False), TierField("more", "text", True))
    group = TierGroup("note", Tier.RESTRICTED, "note/", fields, False)
    keep_tiers(chain, "caller", TierMap((group,), "trace/"))
    own = call(chain, "caller", "through", key="terms/3", value={"price": 1})
    assert (own.code, facts(own)["at"]) == (RESTRICTED, "caller:7")
    assert stored(chain, "keeper", "terms/3") is None


def test_what_a_check_looks_at_is_paid_for() -> None:
    chain = guarded_chain()
    with_tiers = facts(keep(chain, "terms/1", {"price": 3}))["gas"]
    free = star_chain()
    deploy(free, "keeper", KEEPER)
    without = facts(keep(free, "terms/1", {"price": 3}))["gas"]
    arguments, key, member, name = 4, 1, 1, 1
    assert with_tiers == without + arguments + key + member + name
    long: dict[str, Any] = {"price": 3, "note": "4111 " * 5_000}
    receipt = keep(guarded_chain(transaction_limit=200_000), "terms/1", long)
    assert receipt.code == "CONTRACT_OUT_OF_GAS"
    assert keep(free, "terms/1", long).outcome is Outcome.APPLIED


@pytest.mark.req("G2-08-4")
def test_a_list_that_is_not_what_format_2_says_is_refused_at_the_call_and_between_contracts() -> (
    None
):
    chain = star_chain()
    deploy(chain, "orders", SOURCE.read_text(encoding="utf-8"))
    deploy(chain, "caller", ORDERING)
    keep_tiers(chain, "orders", tiers())
    right: dict[str, Any] = {"order_id": "O1", "lines": [line()], "terms_sealed": sealed()}
    wrong = right | {"lines": [line(), line(quantity="3")]}
    for name, method, at in (("orders", "place", "orders:0"), ("caller", "order", "caller:5")):
        refused = call(chain, name, method, **wrong)
        assert (refused.outcome, refused.code) == (Outcome.REFUSED, "CONTRACT_ARGUMENT_WRONG")
        told_of = {member: facts(refused)[member] for member in ("argument", "why", "at")}
        assert told_of == {"argument": "lines[1].quantity", "why": "type", "at": at}
        taken = call(chain, name, method, **right)
        assert facts(taken)["reason"] == "ROLE_MISSING", "the contract itself was asked"


# --- The life cycle, from contract to contract ----------------------------------------------------

VAULT: Final = """
ACCESS = {"read": [], "write": ["terms/"]}

def keep(key, value):
    put(key, value)

def price(key):
    return get(key)["price"]

def prices():
    return [each[1]["price"] for each in scan("terms/", 9)]

def others():
    return scan("terms/9", 9)

def lost(key):
    return {}[str(get(key)["price"])]
"""
ASKING: Final = """
ACCESS = {
    "read": [],
    "write": [],
    "call": ["vault.price", "vault.prices", "vault.keep", "vault.lost"],
}

def ask(key):
    return "it is " + str(call("vault", "price", key=key))

def list_all():
    return call("vault", "prices")

def lose(key):
    call("vault", "lost", key=key)

def change(key):
    call("vault", "keep", key=key, value={"price": 4})
"""


def vault(*roles: str) -> MemoryChain:
    """A contract whose template restricts prices to these roles, and one without that asks it."""
    chain = star_chain()
    deploy(chain, "vault", VAULT)
    deploy(chain, "asking", ASKING)
    assert call(chain, "vault", "keep", key="terms/1", value={"price": 37_501}).code == ""
    views = ("lost", "others", "price", "prices")
    keep_tiers(chain, "vault", TIERS, LifeCycle("name", (), views, roles))
    return chain


@pytest.mark.req("G2-17-6", "G2-19-1")
@pytest.mark.parametrize(
    ("contract", "method", "arguments"),
    [
        ("vault", "price", {"key": "terms/1"}),
        ("vault", "prices", {}),
        ("asking", "ask", {"key": "terms/1"}),
        ("asking", "list_all", {}),
    ],
)
def test_what_is_restricted_stands_in_no_receipt_whichever_contract_answers(
    contract: str, method: str, arguments: dict[str, Any]
) -> None:
    receipt = call(vault("clerk"), contract, method, **arguments)
    assert receipt.outcome is Outcome.APPLIED
    assert (facts(receipt)["result_withheld"], "result" in facts(receipt)) == ("RESTRICTED", False)
    refused = call(vault("registrar"), contract, method, **arguments)
    assert (refused.code, facts(refused)["group"]) == ("READ_CONDITION_UNMET", "terms")
    assert b"37501" not in receipt.detail + refused.detail


@pytest.mark.req("G2-17-6", "G2-19-1")
def test_that_nothing_restricted_is_there_is_restricted_too() -> None:
    assert facts(call(vault("clerk"), "vault", "others"))["result_withheld"] == "RESTRICTED"
    assert call(vault("registrar"), "vault", "others").code == "READ_CONDITION_UNMET"


@pytest.mark.req("G2-17-6", "G2-19-1")
def test_an_error_within_a_contract_that_is_called_tells_nothing_of_it_either() -> None:
    receipt = call(vault("clerk"), "asking", "lose", key="terms/1")
    assert (receipt.code, facts(receipt)["at"]) == ("CONTRACT_KEY_MISSING", "vault:17")
    assert set(facts(receipt)) == {"at", "facts_withheld"}


@pytest.mark.req("G2-08-4")
def test_a_contract_that_is_called_takes_no_step_that_its_template_does_not_name() -> None:
    chain = vault("clerk")
    receipt = call(chain, "asking", "change", key="terms/1")
    assert (receipt.code, facts(receipt)["why"]) == ("TEMPLATE_TRANSITION_WRONG", "unnamed")
    assert stored(chain, "vault", "terms/1") == {"price": 37_501}
