"""The identity contract: administrators only, well-formed records only, nothing comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.consensus.domain.contracts.identity_record import ROLES_MAX
from tests.unit.ledger.chain_builder import (
    ADMIN,
    CLERK,
    MemoryChain,
    identity_json,
    key_json,
    payload_of,
)

NEW = "did:rem:testing:new"

CALLS: dict[str, dict[str, Any]] = {
    "register_identity": {"identity": identity_json(NEW, "clerk")},
    "add_key": {"did": CLERK, "key": key_json(CLERK, "k2")},
    "revoke_key": {"did": CLERK, "key_id": "k1"},
    "grant_role": {"did": CLERK, "role": "relayer"},
    "withdraw_role": {"did": CLERK, "role": "clerk"},
    "deactivate": {"did": CLERK},
}


def admin(chain: MemoryChain, method: str, body: dict[str, Any]) -> str:
    return chain.receipt(payload_of(method, body, maker=(ADMIN, "k1"), contract="identity")).code


def record(chain: MemoryChain, did: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(chain.state.entries[f"identity/did/{did}".encode()])
    return value


@pytest.mark.parametrize("method", CALLS)
def test_only_administrators_change_identities(method: str) -> None:
    chain = MemoryChain()
    refused = payload_of(method, CALLS[method], contract="identity")
    assert chain.receipt(refused).code == "ROLE_MISSING"
    assert admin(chain, method, CALLS[method]) == ""


@pytest.mark.parametrize("method", CALLS)
def test_missing_and_unknown_members_are_refused(method: str) -> None:
    chain = MemoryChain()
    assert admin(chain, method, {**CALLS[method], "surprise": 1}) == "BODY_MALFORMED"
    assert admin(chain, method, {}) == "BODY_MALFORMED"


@pytest.mark.parametrize("method", [name for name in CALLS if name != "register_identity"])
def test_an_unknown_identity_is_named(method: str) -> None:
    for did in (NEW, 5, "x" * 200):
        assert admin(MemoryChain(), method, {**CALLS[method], "did": did}) == "IDENTITY_UNKNOWN"


def test_a_registered_identity_acts_at_once() -> None:
    chain = MemoryChain()
    assert admin(chain, "register_identity", CALLS["register_identity"]) == ""
    assert chain.receipt(payload_of("count", maker=(NEW, "k1"))).accepted
    assert admin(chain, "register_identity", CALLS["register_identity"]) == "IDENTITY_EXISTS"


@pytest.mark.parametrize(
    "changes",
    [
        {"did": "did:other:x:y"},
        {"roles": ["Clerk"]},
        {"roles": "clerk"},
        {"keys": [{"id": "k1"}]},
        {"keys": [key_json(NEW), key_json(NEW)]},
        {"keys": [key_json(NEW, f"k{n}") for n in range(17)]},
    ],
)
def test_a_malformed_identity_is_refused(changes: dict[str, Any]) -> None:
    body = {"identity": {**identity_json(NEW), **changes}}
    assert admin(MemoryChain(), "register_identity", body) == "BODY_MALFORMED"


def test_a_key_id_is_never_used_again() -> None:
    chain = MemoryChain()
    assert admin(chain, "revoke_key", CALLS["revoke_key"]) == ""
    again = {"did": CLERK, "key": key_json(CLERK, "k1")}
    assert admin(chain, "add_key", again) == "KEY_EXISTS"
    assert record(chain, CLERK)["keys"]["k1"]["revoked"] is True


def test_keys_are_bounded_and_unknown_keys_cannot_be_revoked() -> None:
    chain = MemoryChain()
    for number in range(2, 17):
        body = {"did": CLERK, "key": key_json(CLERK, f"k{number}")}
        assert admin(chain, "add_key", body) == ""
    extra = {"did": CLERK, "key": key_json(CLERK, "k17")}
    assert admin(chain, "add_key", extra) == "LIMIT_EXCEEDED"
    assert admin(chain, "revoke_key", {"did": CLERK, "key_id": "k99"}) == "KEY_UNKNOWN"


def test_roles_come_and_go() -> None:
    chain = MemoryChain()
    assert admin(chain, "grant_role", {"did": CLERK, "role": "relayer"}) == ""
    assert record(chain, CLERK)["roles"] == ["clerk", "relayer"]
    assert admin(chain, "withdraw_role", {"did": CLERK, "role": "clerk"}) == ""
    assert record(chain, CLERK)["roles"] == ["relayer"]
    assert admin(chain, "grant_role", {"did": CLERK, "role": "No"}) == "BODY_MALFORMED"


def test_an_identity_has_at_most_so_many_roles() -> None:
    chain = MemoryChain()
    for number in range(1, ROLES_MAX):
        assert admin(chain, "grant_role", {"did": CLERK, "role": f"role_{number}"}) == ""
    assert len(record(chain, CLERK)["roles"]) == ROLES_MAX
    one_more = {"did": CLERK, "role": "one_more"}
    assert admin(chain, "grant_role", one_more) == "LIMIT_EXCEEDED"
    assert admin(chain, "grant_role", {"did": CLERK, "role": "clerk"}) == "", "it has that one"


def test_an_administrator_cannot_remove_himself() -> None:
    chain = MemoryChain()
    own = {"did": ADMIN, "role": "identity_admin"}
    assert admin(chain, "withdraw_role", own) == "OWN_ADMINISTRATION"
    assert admin(chain, "deactivate", {"did": ADMIN}) == "OWN_ADMINISTRATION"
