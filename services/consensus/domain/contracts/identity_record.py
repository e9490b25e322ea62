"""What the chain knows of an identity: organisation, roles, and keys with their validity.

Genesis and the identity contract write these records; the stateful part of admission reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json

KEYS_MAX: Final = 16
ROLES_MAX: Final = 32
PUBLIC_KEY_BYTES: Final = 65

DID = re.compile(r"did:rem:[a-z]{2,20}:[A-Za-z0-9._-]{1,64}")
KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
ROLE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PUBLIC_KEY = re.compile(r"04[0-9a-f]{128}")


class RecordError(ValueError):
    """A description of an identity or key that is not well formed. `field` names the member."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One SM2 key (uncompressed point) and the block times (ms) at which it may sign."""

    public_key: bytes
    not_before_ms: int
    not_after_ms: int
    revoked: bool

    def to_json(self) -> dict[str, Json]:
        """The record as the state keeps it."""
        return {
            "public_key": self.public_key.hex(),
            "not_before_ms": self.not_before_ms,
            "not_after_ms": self.not_after_ms,
            "revoked": self.revoked,
        }


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """One identity. A deactivated one signs nothing more."""

    did: str
    organisation: str
    roles: frozenset[str]
    active: bool
    keys: Mapping[str, KeyRecord]

    def to_json(self) -> dict[str, Json]:
        """The record as the state keeps it."""
        return {
            "did": self.did,
            "organisation": self.organisation,
            "roles": list[Json](sorted(self.roles)),
            "active": self.active,
            "keys": {key_id: key.to_json() for key_id, key in sorted(self.keys.items())},
        }


def identity_key(did: str) -> str:
    """The key of an identity's record within the identity contract."""
    return f"did/{did}"


def identity_from_state(value: Json) -> IdentityRecord:
    """Read a record that `to_json` wrote; another shape is our own bug."""
    assert isinstance(value, dict)
    match value:
        case {
            "did": str(did),
            "organisation": str(organisation),
            "roles": list(roles),
            "active": bool(active),
            "keys": dict(keys),
        }:
            names = frozenset(str(role) for role in roles)
            records = {key_id: _key_from_state(key) for key_id, key in keys.items()}
            return IdentityRecord(did, organisation, names, active, records)
    raise AssertionError("an identity record of another shape")


def parse_identity(value: Json, *, field: str) -> IdentityRecord:
    """Read a new identity from outside: did, organisation, roles and keys, no other member."""
    members = _members(value, field, ("did", "organisation", "roles", "keys"))
    keys = _list(members["keys"], f"{field}.keys", KEYS_MAX)
    records: dict[str, KeyRecord] = {}
    for index, key in enumerate(keys):
        key_id, record = parse_key(key, field=f"{field}.keys[{index}]")
        if key_id in records:
            raise RecordError(f"{field}.keys[{index}].id", "named twice")
        records[key_id] = record
    roles = _list(members["roles"], f"{field}.roles", ROLES_MAX)
    names = [_match(ROLE, role, f"{field}.roles[{i}]") for i, role in enumerate(roles)]
    return IdentityRecord(
        did=_match(DID, members["did"], f"{field}.did"),
        organisation=_match(DID, members["organisation"], f"{field}.organisation"),
        roles=frozenset(names),
        active=True,
        keys=records,
    )


def parse_key(value: Json, *, field: str) -> tuple[str, KeyRecord]:
    """Read a new key from outside: id, public_key, not_before_ms and not_after_ms."""
    members = _members(value, field, ("id", "public_key", "not_before_ms", "not_after_ms"))
    not_before = _natural(members["not_before_ms"], f"{field}.not_before_ms")
    not_after = _natural(members["not_after_ms"], f"{field}.not_after_ms")
    if not_after < not_before:
        raise RecordError(f"{field}.not_after_ms", "before not_before_ms")
    key_id = _match(KEY_ID, members["id"], f"{field}.id")
    public_key = bytes.fromhex(_match(_PUBLIC_KEY, members["public_key"], f"{field}.public_key"))
    return key_id, KeyRecord(public_key, not_before, not_after, revoked=False)


def _key_from_state(value: Json) -> KeyRecord:
    match value:
        case {
            "public_key": str(public_key),
            "not_before_ms": int(not_before),
            "not_after_ms": int(not_after),
            "revoked": bool(revoked),
        }:
            return KeyRecord(bytes.fromhex(public_key), not_before, not_after, revoked)
    raise AssertionError("a key record of another shape")


def _members(value: Json, field: str, names: tuple[str, ...]) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise RecordError(field, "not an object")
    odd = sorted(set(value) ^ set(names))
    if odd:
        raise RecordError(f"{field}.{odd[0][:64]}", "missing or unknown")
    return value


def _list(value: Json, field: str, count_max: int) -> list[Json]:
    if not isinstance(value, list) or len(value) > count_max:
        raise RecordError(field, f"not a list of at most {count_max} entries")
    return value


def _match(pattern: re.Pattern[str], value: Json, field: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise RecordError(field, f"not of the form {pattern.pattern}")
    return value


def _natural(value: Json, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RecordError(field, "not a natural number")
    return value
