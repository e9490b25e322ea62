"""The identity contract: who may sign, for which organisation, in which roles, with which keys.

Only holders of the role `identity_admin` change it; genesis names the first of them. A revoked key
stays revoked and a deactivated identity stays deactivated (G2-09-6, G2-11-4). Governors, who decide
on the replica set, are for the governance contract alone: no administrator makes or unmakes one.
A key that votes, governs or approves restarts signs nothing here (`key_uses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.identity_record import (
    KEYS_MAX,
    ROLE,
    ROLES_MAX,
    IdentityRecord,
    RecordError,
    identity_from_state,
    identity_key,
    parse_identity,
    parse_key,
)
from services.consensus.domain.contracts.key_uses import KeyUse, claim_uses, public_keys

ADMIN_ROLE: Final = "identity_admin"


class IdentityContract:
    """Version 1."""

    @property
    def name(self) -> str:
        """The namespace of its keys."""
        return "identity"

    @property
    def version(self) -> int:
        """Counted from 1."""
        return 1

    def methods(self) -> Mapping[str, Method]:
        """What administrators may ask."""
        return {
            "register_identity": register_identity,
            "add_key": add_key,
            "revoke_key": revoke_key,
            "grant_role": grant_role,
            "withdraw_role": withdraw_role,
            "deactivate": deactivate,
        }


def register_identity(host: Host, body: Mapping[str, Json]) -> None:
    """Admit a new identity with its first keys; a DID is registered once."""
    _require_admin(host)
    members = _members(body, "identity")
    try:
        record = parse_identity(members["identity"], field="identity")
    except RecordError as error:
        raise Refusal("BODY_MALFORMED", field=error.field, detail=error.detail) from error
    if host.get(identity_key(record.did)) is not None:
        raise Refusal("IDENTITY_EXISTS", did=record.did)
    _require_not_governor(record)
    _write(host, record, "identity.registered")


def add_key(host: Host, body: Mapping[str, Json]) -> None:
    """Give an identity a further key; a key id is never used again."""
    _require_admin(host)
    members = _members(body, "did", "key")
    record = _active(host, members["did"])
    try:
        key_id, key = parse_key(members["key"], field="key")
    except RecordError as error:
        raise Refusal("BODY_MALFORMED", field=error.field, detail=error.detail) from error
    if key_id in record.keys:
        raise Refusal("KEY_EXISTS", did=record.did, key=key_id)
    if len(record.keys) >= KEYS_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="keys", maximum=KEYS_MAX)
    _write(host, replace(record, keys={**record.keys, key_id: key}), "identity.key_added")


def revoke_key(host: Host, body: Mapping[str, Json]) -> None:
    """Refuse what this key signs from the next transaction on."""
    _require_admin(host)
    members = _members(body, "did", "key_id")
    record, key_id = _active(host, members["did"]), members["key_id"]
    key = record.keys.get(key_id) if isinstance(key_id, str) else None
    if key is None or not isinstance(key_id, str):
        raise Refusal("KEY_UNKNOWN", did=record.did, key=key_id)
    revoked = {**record.keys, key_id: replace(key, revoked=True)}
    _write(host, replace(record, keys=revoked), "identity.key_revoked")


def grant_role(host: Host, body: Mapping[str, Json]) -> None:
    """Add a role; granting it twice changes nothing."""
    _require_admin(host)
    members = _members(body, "did", "role")
    record, role = _active(host, members["did"]), _role(members["role"])
    if len(record.roles | {role}) > ROLES_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="roles", maximum=ROLES_MAX)
    _write(host, replace(record, roles=record.roles | {role}), "identity.role_granted")


def withdraw_role(host: Host, body: Mapping[str, Json]) -> None:
    """Take a role away; an administrator cannot take the last step back from himself."""
    _require_admin(host)
    members = _members(body, "did", "role")
    record, role = _active(host, members["did"]), _role(members["role"])
    if role == ADMIN_ROLE and record.did == host.sender().did:
        raise Refusal("OWN_ADMINISTRATION", did=record.did)
    _write(host, replace(record, roles=record.roles - {role}), "identity.role_withdrawn")


def deactivate(host: Host, body: Mapping[str, Json]) -> None:
    """End an identity for good: nothing it signs is executed any more."""
    _require_admin(host)
    record = _active(host, _members(body, "did")["did"])
    if record.did == host.sender().did:
        raise Refusal("OWN_ADMINISTRATION", did=record.did)
    _write(host, replace(record, active=False), "identity.deactivated")


def _require_admin(host: Host) -> None:
    sender = host.sender()
    if ADMIN_ROLE not in sender.roles:
        raise Refusal("ROLE_MISSING", did=sender.did, role=ADMIN_ROLE)


def _members(body: Mapping[str, Json], *names: str) -> Mapping[str, Json]:
    odd = sorted(set(body) ^ set(names))
    if odd:
        raise Refusal("BODY_MALFORMED", field=odd[0][:64], detail="missing or unknown")
    return body


def _active(host: Host, did: Json) -> IdentityRecord:
    value = host.get(identity_key(did)) if isinstance(did, str) and len(did) <= 96 else None
    if value is None:
        raise Refusal("IDENTITY_UNKNOWN", did=did)
    record = identity_from_state(value)
    if not record.active:
        raise Refusal("IDENTITY_DEACTIVATED", did=record.did)
    _require_not_governor(record)
    return record


def _require_not_governor(record: IdentityRecord) -> None:
    if roles.GOVERNOR in record.roles:
        raise Refusal("ROLE_RESERVED", did=record.did, role=roles.GOVERNOR)


def _role(value: Json) -> str:
    if not isinstance(value, str) or ROLE.fullmatch(value) is None:
        raise Refusal("BODY_MALFORMED", field="role", detail=f"not of the form {ROLE.pattern}")
    if value == roles.GOVERNOR:
        raise Refusal("ROLE_RESERVED", role=value)
    return value


def _write(host: Host, record: IdentityRecord, topic: str) -> None:
    claim_uses(host, public_keys(record), KeyUse.SIGNING)
    host.put(identity_key(record.did), record.to_json())
    host.emit(topic, record.to_json())
