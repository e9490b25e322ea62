"""A chain without disk on which entities decide on contracts in star/1."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import Payload
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.deployed import FIRST_GAS
from services.consensus.domain.contracts.deployments import DeploymentsContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.star.package import package
from tests.unit.contracts.governed_chain import governor, governor_json, organisation
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CLERK,
    MemoryChain,
    genesis_json,
    genesis_of,
    identity_json,
    payload_of,
)

CATALOGUE = Catalogue([IdentityContract(), GovernanceContract(), DeploymentsContract()])
ENTITIES = ("A", "B", "C", "D")
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


def star_genesis(gas: Any = None) -> dict[str, Any]:
    """The genesis file; `gas` are other first rules."""
    value = genesis_json()
    names = ("identity", "governance", "contracts")
    value["contracts"] = [{"name": name, "version": 1, "from_height": 0} for name in names]
    if gas is not None:
        value["contracts"][2]["parameters"] = {"gas": gas}
    value["identities"] = [
        identity_json(ADMIN, "identity_admin"),
        identity_json(CLERK, "clerk"),
        *map(governor_json, ENTITIES),
    ]
    return value


def star_chain(**limits: Json) -> MemoryChain:
    """A chain whose gas rules differ from the first ones in `limits`."""
    gas = {**FIRST_GAS.to_json(), **limits} if limits else None
    return MemoryChain(genesis_of(star_genesis(gas)), CATALOGUE)


def in_time(chain: MemoryChain, payload: Payload, **changes: Any) -> Payload:
    """The payload with an expiry ahead of the chain."""
    return replace(
        payload,
        expires_height=chain.header.height + 100,
        expires_time_ms=chain.header.block_time_ms + 300_000,
        **changes,
    )


def ask(chain: MemoryChain, entity: str, method: str, body: dict[str, Any]) -> Receipt:
    """One transaction of the entity's governor in a block of its own."""
    signer = {"maker": (governor(entity), "k1"), "organisation": organisation(entity)}
    payload = payload_of(method, body, contract="contracts", **signer)
    return chain.receipt(in_time(chain, payload))


def decide(
    chain: MemoryChain, method: str, body: dict[str, Any], *entities: str, by: str = "A"
) -> Receipt:
    """Propose and let these entities approve; returns the last receipt."""
    receipt = proposed = ask(chain, by, method, body)
    assert proposed.outcome is Outcome.APPLIED, (proposed.code, proposed.detail)
    named = {"name": body["name"], "proposal": proposed.transaction_id.hex()}
    for entity in entities:
        receipt = ask(chain, entity, "approve", named)
        assert receipt.outcome is Outcome.APPLIED, (receipt.code, receipt.detail)
    return receipt


def deploy(chain: MemoryChain, name: str, source: str) -> Receipt:
    """Three of four entities let a contract run."""
    return decide(chain, "deploy", {"name": name, **package(source.encode())}, "B", "C")


def upgrade(chain: MemoryChain, name: str, source: str, *, compatible: bool = False) -> Receipt:
    """Three of four entities let its next version run."""
    body = {"name": name, "compatible": compatible, **package(source.encode())}
    return decide(chain, "upgrade", body, "B", "C")


def call_payload(
    chain: MemoryChain, contract: str, method: str, body: Any, **changes: Any
) -> Payload:
    """An operation of the clerk on a contract."""
    return in_time(chain, payload_of(method, body, contract=contract, **changes))


def call(chain: MemoryChain, contract: str, method: str, /, **body: Json) -> Receipt:
    """The clerk calls a contract, in a block of its own."""
    return chain.receipt(call_payload(chain, contract, method, body))


def facts(receipt: Receipt) -> Any:
    """The receipt's detail."""
    return json.loads(receipt.detail)


def told(receipt: Receipt) -> dict[str, Any]:
    """Bodies of the receipt's events by topic."""
    return {event.topic: json.loads(event.body) for event in receipt.events}


def stored(chain: MemoryChain, contract: str, key: str) -> Any:
    """What a contract keeps under a key."""
    value = chain.state.get(f"{contract}/{key}".encode())
    return None if value is None else json.loads(value)


def two_contracts() -> MemoryChain:
    """A chain with a bank, and a shop that calls it."""
    chain = star_chain()
    deploy(chain, "bank", BANK)
    deploy(chain, "shop", SHOP)
    return chain
