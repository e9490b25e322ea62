"""No way into the regulatory chain but the registration of SM-1: every way round it is refused.

From version 4 of `light_client` on, where the contract `chains` keeps registrations. Chains without
that contract, and what earlier versions did, stay as they were.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from guqiao_sdk import rules
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.identity_record import IdentityRecord
from services.consensus.domain.ledger.genesis import ContractActivation
from tests.unit.proof.proof_keys import FakeKeys
from tests.unit.xchain.frozen_client import evidence, made
from tests.unit.xchain.ledger_chain import LedgerChain
from tests.unit.xchain.registered_chains import (
    BOTH_SIDES,
    BY_OPERATOR,
    CSRC,
    GENESIS_HASH,
    MAKER,
    MARKET_SIDE,
    REGULATOR,
    TECH_SIDE,
    Registry,
    detail,
    identity,
    nodes,
)

TRUST: Final = "light_client/trust/shandong"
CLIENT: Final = "light_client/client/shandong"
REQUIRED: Final = "CHAIN_REGISTRATION_REQUIRED"
NOBODY: Final = "ROLE_MISSING"
ADMINISTRATOR: Final = identity("market", CSRC, "chain_admin", "csrc_market", "csrc_tech")
"""With the key of the CSRC's market side, and every role that could be meant."""

pytestmark = pytest.mark.req("G2-10-1")


def trust(**changes: Json) -> dict[str, Json]:
    """What an administrator says of the market's chain."""
    members: list[Json] = [
        {
            "entity_id": each.entity_id,
            "entity_name": each.entity_name,
            "vote_key": each.public_key.hex(),
        }
        for each in nodes().set.members
    ]
    body: dict[str, Json] = {
        "chain_id": "shandong",
        "genesis_hash": GENESIS_HASH,
        "epoch": 0,
        "replicas": members,
    }
    return body | changes


def regulatory(version: int = 4, **changes: Any) -> Registry:
    return Registry.make(client_version=version, **changes)


def told(registry: Registry) -> tuple[str, object]:
    """Code and stated status of a refused header."""
    receipt = registry.advance()
    return receipt.code, detail(receipt).get("status") if receipt.code else None


# --- From outside ---------------------------------------------------------------------------------


def test_an_administrator_of_chains_makes_none_known_where_registrations_are_kept() -> None:
    registry = regulatory()
    receipt = registry.csrc.call("light_client", "register_chain", trust())
    facts = {"chain": "shandong", "status": "NONE"}
    assert (receipt.code, detail(receipt)) == (REQUIRED, facts)
    assert (registry.csrc.value(TRUST), receipt.events) == (None, ())
    assert registry.advance().code == "CLIENT_UNKNOWN"
    texts = rules.messages(REQUIRED, **facts)
    assert "guqiao chain register" in texts.remedy_en
    assert "guqiao chain register" in texts.remedy_zh


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ((MARKET_SIDE,), NOBODY),
        ((TECH_SIDE,), NOBODY),
        (BOTH_SIDES, NOBODY),
        (BY_OPERATOR, NOBODY),
        ((MAKER,), NOBODY),
        ((REGULATOR,), NOBODY),
        ((ADMINISTRATOR,), REQUIRED),
        ((ADMINISTRATOR, TECH_SIDE), REQUIRED),
        ((ADMINISTRATOR, REGULATOR), REQUIRED),
    ],
)
def test_nobody_else_does_alone_or_together(who: tuple[IdentityRecord, ...], code: str) -> None:
    registry = regulatory()
    if ADMINISTRATOR in who:
        place = f"identity/did/{ADMINISTRATOR.did}".encode()
        registry.csrc.state.values[place] = canonical_json(ADMINISTRATOR.to_json())
    transaction = registry.csrc.transaction("light_client", "register_chain", trust(), signers=who)
    [receipt] = registry.csrc.execute(transaction).receipts
    assert (receipt.code, registry.csrc.value(TRUST)) == (code, None)


@pytest.mark.parametrize("chain", [None, 7, "", "s" * 65])
def test_a_name_that_is_none_is_refused_for_its_form(chain: Json) -> None:
    receipt = regulatory().csrc.call("light_client", "register_chain", trust(chain_id=chain))
    assert (receipt.code, detail(receipt)["field"]) == ("BODY_MALFORMED", "chain_id")


# --- The way in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["SUBMITTED", "PROVINCIAL_REVIEWED", "CONFORMANCE", "CONFORMANCE_PASSED"]
)
def test_no_step_before_the_approval_opens_the_way(status: str) -> None:
    registry = regulatory().bring(status)
    receipt = registry.csrc.call("light_client", "register_chain", trust())
    assert (receipt.code, detail(receipt)["status"]) == (REQUIRED, status)
    assert registry.advance().code == "CLIENT_UNKNOWN"


def test_the_approval_begins_the_client_and_closes_the_other_way_for_good() -> None:
    registry = regulatory().active()
    assert registry.csrc.value(TRUST) is not None
    assert registry.advance().accepted
    receipt = registry.csrc.call("light_client", "register_chain", trust())
    assert (receipt.code, detail(receipt)["status"]) == (REQUIRED, "ACTIVE")


# --- What is trusted already ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [("NONE", REQUIRED), ("CONFORMANCE_PASSED", REQUIRED), ("ACTIVE", "REGISTRATION_STALE")],
)
def test_a_chain_that_genesis_trusts_begins_by_its_registration_alone(
    status: str, code: str
) -> None:
    """Its genesis names other entities than the registration: that is told once it is in force."""
    remotes = {"shandong": bytes.fromhex(GENESIS_HASH)}
    registry = regulatory(remotes=remotes)
    if status != "NONE":
        registry.bring(status)
    assert registry.advance().code == code
    assert registry.csrc.value(CLIENT) is None
    assert regulatory(3, remotes=remotes).advance().accepted


def activate(registry: Registry) -> None:
    """Version 4 from the next block on, as a release activates it on a chain that runs."""
    chain = registry.csrc
    activation = ContractActivation("light_client", 4, chain.header.height + 1)
    chain.genesis = replace(chain.genesis, contracts=(*chain.genesis.contracts, activation))


def test_a_client_that_an_earlier_version_began_goes_on() -> None:
    registry = regulatory(3)
    assert registry.csrc.call("light_client", "register_chain", trust()).accepted
    assert registry.advance().accepted
    activate(registry)
    assert registry.advance().accepted
    assert registry.csrc.call("light_client", "register_chain", trust()).code == REQUIRED


def test_a_trust_of_an_earlier_version_without_a_client_waits_for_the_registration() -> None:
    registry = regulatory(3)
    assert registry.csrc.call("light_client", "register_chain", trust()).accepted
    activate(registry)
    assert told(registry) == (REQUIRED, "NONE")
    registry.bring("CONFORMANCE_PASSED")
    assert told(registry) == (REQUIRED, "CONFORMANCE_PASSED")
    named = {"chain_id": "shandong", "digest": registry.digest()}
    registry.must("approve", BOTH_SIDES, **named)
    assert registry.advance().accepted


@pytest.mark.req("G2-16-4")
def test_evidence_does_not_begin_a_client_either() -> None:
    registry = regulatory(3)
    assert registry.csrc.call("light_client", "register_chain", trust()).accepted
    activate(registry)
    assert evidence(registry, 7).code == REQUIRED
    assert registry.csrc.value(CLIENT) is None
    in_force = made(client_version=4)
    assert evidence(in_force, 7).accepted
    assert in_force.csrc.value(CLIENT) is not None


# --- Chains without `chains` ----------------------------------------------------------------------


def test_a_chain_that_keeps_no_registrations_goes_by_its_administrator() -> None:
    """As the chain of a market has it, which knows the regulatory one."""
    roles = frozenset({"chain_admin", "relayer"})
    chain = LedgerChain(
        "beijing", FakeKeys(), destination="csrc", remotes={}, roles=roles, client_version=4
    )
    receipt = chain.call("light_client", "register_chain", trust())
    assert (receipt.code, chain.value(TRUST)) == ("", trust())
    other = LedgerChain("beijing", FakeKeys(), destination="csrc", remotes={}, client_version=4)
    assert other.call("light_client", "register_chain", trust()).code == NOBODY


@pytest.mark.parametrize("version", [1, 2, 3])
def test_earlier_versions_do_what_they_did(version: int) -> None:
    registry = regulatory(version)
    assert registry.csrc.call("light_client", "register_chain", trust()).accepted
    assert registry.advance().accepted
