"""A light client that misbehaviour froze gets another trust: by four persons, and safely (SM-1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk import rules
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.chain_registry.replacing import proposal_digest
from services.consensus.domain.contracts.identity_record import IdentityRecord
from tests.unit.xchain.frozen_client import (
    AFTER,
    BUSY_REGULATOR,
    BUSY_TECH,
    FORK,
    TECH_OF_PROVINCE,
    bring,
    client,
    consented,
    evidence,
    frozen,
    half,
    known_heights,
    made,
    named,
    proposal,
    replaced,
    told,
)
from tests.unit.xchain.ledger_chain import events
from tests.unit.xchain.registered_chains import (
    BEIJING_REGULATOR,
    BOTH_SIDES,
    BY_OPERATOR,
    MARKET_SIDE,
    ON_DUTY,
    OWN_REGULATOR,
    REGULATOR,
    TECH_SIDE,
    Registry,
    detail,
    nodes,
    registration,
    with_keys_of,
)


@pytest.fixture
def registry() -> Registry:
    return frozen()


# --- The good way -----------------------------------------------------------------------------


@pytest.mark.req("G2-16-4", "G2-10-3")
def test_four_persons_put_another_trust_in_force_and_the_client_goes_on(
    registry: Registry,
) -> None:
    before = list(registry.csrc.state.scan(b"light_client/misbehaviour/"))
    value = proposal()
    receipt = replaced(registry, value)
    assert client(registry)["status"] == "ACTIVE"
    assert bring(registry, AFTER.header(24), of=AFTER).code == "REGISTRATION_STALE"
    event = told(receipt, "light_client.replaced")
    assert event["header_hash"] == AFTER.header(20).hash().hex()
    assert event["digest"] == proposal_digest(value)
    assert list(registry.csrc.state.scan(b"light_client/misbehaviour/")) == before != []
    kept: Any = registry.csrc.value(f"chains/replaced/shandong/{0:020d}")
    assert kept["proposal"] == value
    assert registry.act("replace_client", BOTH_SIDES, **named(value)).code == (
        "CLIENT_PROPOSAL_OTHER"
    )
    signers = [kept["proposed"]["by"], kept["consented"]["by"],
               kept["approved"]["by"], kept["approved"]["checker"]]  # fmt: skip
    assert signers == [each.did for each in (ON_DUTY, REGULATOR, MARKET_SIDE, TECH_SIDE)]


@pytest.mark.req("G2-16-4")
def test_what_was_believed_from_the_fork_on_is_told_as_suspect_and_proves_nothing(
    registry: Registry,
) -> None:
    assert known_heights(registry) == [3, FORK, 9]
    recorded = {
        height: registry.csrc.value(f"light_client/state/shandong/{height:020d}")
        for height in (FORK, 9)
    }
    event = told(replaced(registry, proposal()), "light_client.replaced")
    suspect = [
        {"height": height, "header_hash": kept["header_hash"], "recorded_height": at}
        for height, kept in recorded.items()
        if isinstance(kept, dict) and (at := kept["recorded_height"])
    ]
    assert event["suspect"] == suspect
    assert len(suspect) == 2
    assert event["frozen_height"] > suspect[-1]["recorded_height"]
    assert (event["fork_height"], event["known_height"]) == (FORK, 9)
    assert known_heights(registry) == known_heights(registry, "certified") == [3, 20]
    assert client(registry)["states"] == 2


@pytest.mark.req("G2-10-3")
def test_other_keys_than_the_registered_ones_are_a_drift_until_they_are_registered(
    registry: Registry,
) -> None:
    receipt = replaced(registry, proposal())
    assert events(receipt, "chain.registration_stale")
    assert registry.status() == "STALE"
    stated = with_keys_of(registration(), 1)
    registry.must("update", BY_OPERATOR, chain_id="shandong", registration=stated)
    registry.must("accept_update", (TECH_SIDE,), **registry.report(stated))
    assert registry.status() == "ACTIVE"
    assert bring(registry, AFTER.header(24), of=AFTER).accepted


@pytest.mark.req("G2-10-3")
def test_a_stale_chain_whose_registered_keys_sign_again_is_in_force_again() -> None:
    """A forged set change made it stale; the fork that showed the forgery is by these keys."""
    found = made()
    forged = replace(nodes(), epoch=1)
    end = nodes().header(11, next_set=forged.set)
    change: Json = {**half(end), "replica_set": forged.set.encode().hex()}
    header = forged.header(13)
    body: dict[str, Json] = {
        "chain": "shandong", "set_changes": [change], **half(header, of=forged),
    }  # fmt: skip
    assert found.csrc.call("light_client", "update", body).accepted
    assert found.status() == "STALE"
    other = {**half(forged.header(13, tag="other"), of=forged)}
    shown: dict[str, Json] = {
        "chain": "shandong",
        "first": half(header, of=forged),
        "second": other,
    }
    assert found.csrc.call("light_client", "submit_misbehaviour", shown).accepted
    replaced(found, proposal(of=nodes(), fork_height=13))
    assert found.status() == "ACTIVE"
    task = found.csrc.value("chains/stale/shandong")
    assert isinstance(task, dict)
    assert task["closed_height"] == found.csrc.header.height
    assert bring(found, nodes().header(24)).accepted


# --- Attacks ----------------------------------------------------------------------------------


@pytest.mark.req("G2-16-4")
def test_old_keys_cannot_freeze_the_client_again(registry: Registry) -> None:
    replaced(registry, proposal())
    tried = [
        evidence(registry, FORK),
        evidence(registry, 5),
        evidence(registry, 30),
        bring(registry, nodes().header(30, tag="other")),
        bring(registry, nodes().header(3, tag="other")),
        bring(registry, nodes().header(20, tag="other")),
    ]
    assert {receipt.code for receipt in tried} == {"HEADER_UNVERIFIED"}
    assert client(registry)["status"] == "ACTIVE"


def test_nothing_below_the_beginning_of_the_new_trust_is_judged_by_its_keys(
    registry: Registry,
) -> None:
    replaced(registry, proposal())
    shown: dict[str, Json] = {
        "chain": "shandong",
        "first": half(AFTER.header(19), of=AFTER),
        "second": half(AFTER.header(19, tag="other"), of=AFTER),
    }
    tried = [
        registry.csrc.call("light_client", "submit_misbehaviour", shown),
        bring(registry, AFTER.header(3), of=AFTER),
    ]
    for receipt in tried:
        assert (receipt.code, "replaced above it" in str(detail(receipt))) == (
            "HEADER_UNVERIFIED",
            True,
        )


def test_a_client_that_an_earlier_version_froze_is_replaced_once_evidence_names_somebody() -> None:
    found = made(client_version=2)
    assert bring(found, found.market.header(FORK, tag="other"), (1, 2, 3)).accepted
    found.csrc.genesis = replace(
        found.csrc.genesis,
        contracts=tuple(
            replace(each, version=3) if each.name == "light_client" else each
            for each in found.csrc.genesis.contracts
        ),
    )
    receipt = found.act("propose_client", (ON_DUTY,), **proposal())
    assert receipt.code == "CLIENT_EVIDENCE_MISSING"
    assert evidence(found, FORK).accepted
    replaced(found, proposal())
    assert client(found)["status"] == "ACTIVE"


@pytest.mark.req("G2-16-4")
def test_the_new_keys_freeze_it_where_they_contradict_themselves(registry: Registry) -> None:
    replaced(registry, proposal())
    receipt = bring(registry, AFTER.header(20, tag="other"), (1, 2, 3), AFTER)
    event = told(receipt, "light_client.frozen")
    assert [row["replica"] for row in event["replicas"]] == [1, 2]
    again = proposal(30, nodes(epoch=2), generation=1, fork_height=20)
    receipt = replaced(registry, again)
    assert client(registry)["generation"] == 2
    assert registry.csrc.value(f"chains/replaced/shandong/{1:020d}") is not None


def test_a_client_that_is_not_frozen_keeps_its_trust() -> None:
    found = made()
    value = proposal()
    assert found.act("propose_client", (ON_DUTY,), **value).code == "CLIENT_NOT_FROZEN"
    assert found.act("consent_client", (REGULATOR,), **named(value)).code == "CLIENT_PROPOSAL_OTHER"
    assert found.act("replace_client", BOTH_SIDES, **named(value)).code == "CLIENT_PROPOSAL_OTHER"


@pytest.mark.parametrize("height", [FORK, FORK - 1])
def test_a_header_that_is_not_above_the_fork_is_refused(registry: Registry, height: int) -> None:
    receipt = registry.act("propose_client", (ON_DUTY,), **proposal(height))
    assert receipt.code == "CLIENT_TRUST_TOO_LOW"
    assert detail(receipt)["fork"] == FORK
    assert registry.act("propose_client", (ON_DUTY,), **proposal(FORK + 1)).accepted


@pytest.mark.req("G2-16-4")
def test_a_set_with_a_key_that_signed_both_is_refused_though_it_is_jailed_there(
    registry: Registry,
) -> None:
    keys = nodes().set.members
    members = tuple(keys[2] if each.replica == 2 else each for each in AFTER.set.members)
    for jailed in ((), (2,)):
        held = replace(AFTER.set, members=members, jailed=jailed)
        value = proposal()
        value["trust"]["replica_set"] = held.encode().hex()
        receipt = registry.act("propose_client", (ON_DUTY,), **value)
        assert receipt.code == "CLIENT_KEY_AT_FAULT"
        assert detail(receipt)["keys"] == [keys[2].public_key.hex()]


def test_evidence_that_comes_after_the_consent_counts(registry: Registry) -> None:
    """Replica 0 is named late: the set that was consented to holds its key."""
    keys = nodes().set.members
    members = tuple(keys[0] if each.replica == 3 else each for each in AFTER.set.members)
    mixed = replace(AFTER.set, members=tuple(replace(e, replica=n) for n, e in enumerate(members)))
    value = proposal()
    value["trust"]["replica_set"] = mixed.encode().hex()
    consented(registry, value)
    assert evidence(registry, FORK).accepted
    receipt = registry.act("replace_client", BOTH_SIDES, **named(value))
    assert receipt.code == "CLIENT_KEY_AT_FAULT"
    assert client(registry)["status"] == "FROZEN"


def test_an_earlier_fork_that_is_shown_meanwhile_needs_another_proposal(
    registry: Registry,
) -> None:
    value = proposal()
    consented(registry, value)
    assert evidence(registry, 5).accepted
    receipt = registry.act("replace_client", BOTH_SIDES, **named(value))
    assert (receipt.code, detail(receipt)["fork_height"]) == ("CLIENT_PROPOSAL_OUTDATED", 5)


@pytest.mark.req("G2-16-4")
def test_a_consent_to_another_digest_is_none(registry: Registry) -> None:
    first, second = proposal(20), proposal(22)
    registry.must("propose_client", (ON_DUTY,), **first)
    receipt = registry.act("consent_client", (REGULATOR,), **named(second))
    assert receipt.code == "CLIENT_PROPOSAL_OTHER"
    assert detail(receipt)["expected"] == proposal_digest(first)
    receipt = registry.act("replace_client", BOTH_SIDES, **named(first))
    assert receipt.code == "CLIENT_CONSENT_MISSING"
    assert client(registry)["status"] == "FROZEN"


@pytest.mark.req("G2-16-4")
def test_a_consent_is_for_one_proposal_and_does_not_come_back_with_it(registry: Registry) -> None:
    """The same is proposed again after something else: the province is asked anew."""
    value = proposal()
    consented(registry, value)
    old = registry.csrc.blocks[registry.csrc.header.height].transactions[0]
    registry.must("propose_client", (ON_DUTY,), **proposal(22))
    assert registry.act("replace_client", BOTH_SIDES, **named(value)).code == (
        "CLIENT_PROPOSAL_OTHER"
    )
    registry.must("propose_client", (ON_DUTY,), **value)
    [replayed] = registry.csrc.execute(old).receipts
    assert not events(replayed, "chain.client_consented")
    receipt = registry.act("replace_client", BOTH_SIDES, **named(value))
    assert receipt.code == "CLIENT_CONSENT_MISSING"


def test_a_proposal_of_an_earlier_freeze_is_refused(registry: Registry) -> None:
    replaced(registry, proposal())
    assert bring(registry, AFTER.header(20, tag="other"), (1, 2, 3), AFTER).accepted
    later = nodes(epoch=2)
    for generation, fork in ((0, 20), (1, FORK)):
        value = proposal(30, later, generation=generation, fork_height=fork)
        receipt = registry.act("propose_client", (ON_DUTY,), **value)
        assert receipt.code == "CLIENT_PROPOSAL_OUTDATED"


@pytest.mark.req("G2-16-4")
def test_nobody_signs_two_of_the_steps(registry: Registry) -> None:
    value = proposal()
    registry.must("propose_client", (BUSY_REGULATOR,), **value)
    receipt = registry.act("consent_client", (BUSY_REGULATOR,), **named(value))
    assert receipt.code == "CLIENT_SIGNER_REPEATED"
    assert detail(receipt)["did"] == BUSY_REGULATOR.did
    registry.must("propose_client", (TECH_SIDE,), **value)
    registry.must("consent_client", (REGULATOR,), **named(value))
    receipt = registry.act("replace_client", BOTH_SIDES, **named(value))
    assert (receipt.code, detail(receipt)["did"]) == ("CLIENT_SIGNER_REPEATED", TECH_SIDE.did)
    registry.must("consent_client", (BUSY_REGULATOR,), **named(value))
    both = (BUSY_REGULATOR, TECH_OF_PROVINCE)
    receipt = registry.act("replace_client", both, **named(value))
    assert (receipt.code, detail(receipt)["did"]) == ("CLIENT_SIGNER_REPEATED", BUSY_REGULATOR.did)
    registry.must("replace_client", (MARKET_SIDE, ON_DUTY), **named(value))


@pytest.mark.parametrize(
    ("method", "who", "code"),
    [
        ("propose_client", (MARKET_SIDE,), "ROLE_MISSING"),
        ("propose_client", BY_OPERATOR, "ROLE_MISSING"),
        ("propose_client", (REGULATOR,), "ROLE_MISSING"),
        ("consent_client", (BEIJING_REGULATOR,), "CHAIN_PROVINCE_OTHER"),
        ("consent_client", (OWN_REGULATOR,), "CHAIN_PROVINCE_OTHER"),
        ("consent_client", BOTH_SIDES, "ROLE_MISSING"),
        ("replace_client", (MARKET_SIDE,), "CHECKER_MISSING"),
        ("replace_client", (TECH_SIDE, MARKET_SIDE), "ROLE_MISSING"),
        ("replace_client", (MARKET_SIDE, REGULATOR), "ROLE_MISSING"),
        ("replace_client", (BUSY_TECH, BUSY_TECH), "CHECKER_IS_MAKER"),
    ],
)
def test_each_step_is_signed_by_whose_it_is(
    registry: Registry, method: str, who: tuple[IdentityRecord, ...], code: str
) -> None:
    value = proposal()
    consented(registry, value)
    body = value if method == "propose_client" else named(value)
    assert registry.act(method, who, **body).code == code
    assert client(registry)["status"] == "FROZEN"


SPOILED = {
    "uncertified": (proposal(signers=(0, 1)), "HEADER_UNVERIFIED"),
    "another chain": (proposal(of=nodes("beijing", 1)), "HEADER_UNVERIFIED"),
    "from the future": (proposal(1 << 20), "HEADER_UNVERIFIED"),
    "no reason": (proposal(reason=""), "BODY_MALFORMED"),
    "an identity number": (proposal(reason="联系人 13800138000"), "TIER_NONPUBLIC_ONCHAIN"),
    "another member": (proposal(note="x"), "BODY_MALFORMED"),
    "no trust": (proposal(trust=[]), "BODY_MALFORMED"),
    "no set": (proposal(trust={**proposal()["trust"], "replica_set": "00"}), "BODY_MALFORMED"),
    "a text for a number": (proposal(generation="0"), "CLIENT_PROPOSAL_OUTDATED"),
    "unknown": (proposal(chain_id="beijing"), "CHAIN_UNKNOWN"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_proposal_that_does_not_hold_is_refused(registry: Registry, case: str) -> None:
    value, code = SPOILED[case]
    assert registry.act("propose_client", (ON_DUTY,), **value).code == code
    assert registry.csrc.value("chains/replacement/shandong") is None


JUNK: tuple[Any, ...] = (None, True, False, -1, "", "x", [], [7], {}, {"a": [1]}, "1" * 64)


@pytest.mark.parametrize("method", ["propose_client", "consent_client", "replace_client"])
def test_whatever_stands_in_a_body_is_refused_by_a_code_of_the_catalogue(
    registry: Registry, method: str
) -> None:
    """Any other failure of a contract would stop every replica."""
    value = proposal()
    consented(registry, value)
    who = {"propose_client": (ON_DUTY,), "consent_client": (REGULATOR,)}.get(method, BOTH_SIDES)
    good = value if method == "propose_client" else named(value)
    bodies = [{**good, member: junk} for member in good for junk in JUNK]
    if method == "propose_client":
        trust = value["trust"]
        bodies += [{**good, "trust": {**trust, part: junk}} for part in trust for junk in JUNK]
    for body in bodies:
        if body.get("reason") not in ("x", "1" * 64):  # Those are reasons.
            receipt = registry.act(method, who, **body)
            assert rules.rule(receipt.code).severity == "reject", body
    assert client(registry)["status"] == "FROZEN"
    registry.must(method, who, **good)


def test_a_set_of_one_entity_is_refused_as_everywhere(registry: Registry) -> None:
    held = replace(
        AFTER.set,
        members=tuple(replace(e, entity_id=AFTER.set.members[0].entity_id)
                      for e in AFTER.set.members),
    )  # fmt: skip
    value = proposal()
    value["trust"]["replica_set"] = held.encode().hex()
    receipt = registry.act("propose_client", (ON_DUTY,), **value)
    assert receipt.code == "SINGLE_ENTITY_VALIDATORS"


def test_version_3_of_the_register_does_not_have_these_steps() -> None:
    found = Registry.make(version=3, client_version=3)
    assert found.act("propose_client", (ON_DUTY,), **proposal()).code == "METHOD_UNKNOWN"
