"""A key votes, governs, signs operations or approves restarts, and never two of these."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.proof.receipt import Outcome, Receipt
from services.consensus.domain.ledger.genesis import GenesisError
from tests.unit.contracts.governed_chain import (
    decide,
    governed_chain,
    governor,
    governor_json,
    latest,
    members_json,
    propose,
)
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CLERK,
    MARKET,
    MemoryChain,
    genesis_json,
    genesis_of,
    identity_json,
    key_json,
    payload_of,
    public_key,
)

pytestmark = pytest.mark.req("G2-16-3")

MEMBERS = ("A", "B", "C", "D")
VOTE_KEY = public_key("replica-2").hex()
GOVERNANCE_KEY = public_key(governor("B")).hex()
SIGNING_KEY = public_key(ADMIN).hex()
RESTART_KEY = public_key("csrc-restart").hex()
OTHER_USE = "KEY_OF_OTHER_USE"


def key(public: str, key_id: str = "k1") -> dict[str, Any]:
    return {**key_json("x", key_id), "public_key": public}


def with_key(did: str, public: str, *roles: str) -> dict[str, Any]:
    return {**identity_json(did, *roles), "keys": [key_json(did), key(public, "k2")]}


def administer(chain: MemoryChain, method: str, body: dict[str, Any]) -> Receipt:
    options: dict[str, Any] = {
        "maker": (ADMIN, "k1"),
        "organisation": MARKET,
        "contract": "identity",
        "expires_height": chain.header.height + 100,
    }
    return chain.receipt(payload_of(method, body, **options))


@pytest.mark.parametrize(
    "identities",
    [
        [with_key(ADMIN, VOTE_KEY, "identity_admin")],
        [with_key(ADMIN, VOTE_KEY, "governor")],
        [with_key(ADMIN, RESTART_KEY, "identity_admin")],
        [with_key(ADMIN, RESTART_KEY, "governor")],
        [identity_json(ADMIN, "governor"), with_key(CLERK, public_key(ADMIN).hex(), "clerk")],
    ],
)
def test_a_genesis_that_gives_one_key_two_uses_is_refused(identities: list[Any]) -> None:
    """pbft.md G9."""
    value = genesis_json() | {"identities": identities}
    value["contracts"].append({"name": "governance", "version": 1, "from_height": 0})
    value["restart_authorities"] = {
        "csrc": RESTART_KEY,
        "province": public_key("province-restart").hex(),
    }
    with pytest.raises(GenesisError, match="another use") as caught:
        genesis_of(value)
    assert caught.value.code == "GENESIS_INVALID"
    assert caught.value.field == f"identities[{len(identities) - 1}].keys"


@pytest.mark.parametrize("public", [VOTE_KEY, GOVERNANCE_KEY])
def test_no_identity_signs_with_a_key_that_votes_or_governs(public: str) -> None:
    chain = governed_chain()
    new = {**identity_json(CLERK, "clerk"), "keys": [key(public)]}
    assert administer(chain, "register_identity", {"identity": new}).code == OTHER_USE
    added = {"did": ADMIN, "key": key(public, "k2")}
    assert administer(chain, "add_key", added).code == OTHER_USE


@pytest.mark.parametrize("public", [GOVERNANCE_KEY, SIGNING_KEY])
def test_no_set_seats_a_key_that_governs_or_signs(public: str) -> None:
    chain = governed_chain()
    members: list[Any] = members_json(*MEMBERS)
    members[3]["vote_key"] = public
    assert propose(chain, "A", members).code == OTHER_USE


@pytest.mark.parametrize("public", [VOTE_KEY, SIGNING_KEY])
def test_no_governor_holds_a_key_that_votes_or_signs(public: str) -> None:
    chain = governed_chain()
    held = {**governor_json("A"), "keys": [key(public)]}
    members = members_json(*MEMBERS)
    assert propose(chain, "A", members, governors=[held]).code == OTHER_USE


@pytest.mark.parametrize("method", ["add_key", "register_identity"])
def test_a_key_that_was_registered_later_has_its_use_too(method: str) -> None:
    chain = governed_chain()
    fresh = public_key("fresh").hex()
    bodies: dict[str, dict[str, Any]] = {
        "add_key": {"did": ADMIN, "key": key(fresh, "k2")},
        "register_identity": {"identity": {**identity_json(CLERK), "keys": [key(fresh)]}},
    }
    assert administer(chain, method, bodies[method]).outcome is Outcome.APPLIED
    assert propose(chain, "A", members_json(*MEMBERS, keys={3: "fresh"})).code == OTHER_USE


@pytest.mark.parametrize("used", ["replica-3", "fresh", governor("A")])
def test_keys_that_a_set_change_brought_or_replaced_keep_their_use(used: str) -> None:
    """pbft.md G9. The vote key that left, the one that came, and a governance key that was
    replaced.
    """
    chain = governed_chain()
    held = {**governor_json("A"), "keys": [key_json(governor("A"), "k2")]}
    decide(chain, members_json(*MEMBERS, keys={3: "fresh"}), governors=[held])
    chain.skip_to(latest(chain).from_height)
    added = {"did": ADMIN, "key": key(public_key(used).hex(), "k2")}
    assert administer(chain, "add_key", added).code == OTHER_USE
    assert administer(chain, "add_key", {"did": ADMIN, "key": key_json("y", "k3")}).code == ""
