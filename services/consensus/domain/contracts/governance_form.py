"""Reads a proposal of the governance contract: the whole next set, its governors, its height."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import (
    ENTITY_ID_BYTES_MAX,
    PUBLIC_KEY_BYTES,
    REPLICAS_MAX,
    Member,
    ReplicaSet,
    ReplicaSetError,
)
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    RecordError,
    parse_identity,
)
from services.consensus.domain.contracts.packets_host import (
    NUMBER_BOUND,
    hex_bytes,
    require_members,
    rows,
    text,
)

ENTITY_NAME_LENGTH_MAX: Final = 128
_ENTITY_ID = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed. The set's epoch is not known before it is scheduled."""

    replica_set: ReplicaSet
    governors: tuple[IdentityRecord, ...]
    not_before: int


def parse_proposal(body: Mapping[str, Json], chain_id: str) -> Proposal:
    """Read a proposal: `members` in the order of their numbers, `governors` to set with it, and
    the height `not_before` which it does not take effect (0: as soon as can be).
    """
    require_members(body, "", "members governors not_before")
    members = tuple(
        _member(row, number)
        for number, row in enumerate(
            rows(body["members"], "members", "entity_id entity_name vote_key", REPLICAS_MAX)
        )
    )
    return Proposal(
        _checked(ReplicaSet(chain_id, 0, members)),
        _governors(body["governors"]),
        _height(body["not_before"]),
    )


def _member(row: Mapping[str, Json], number: int) -> Member:
    path = f"members[{number}]"
    entity_id = text(row["entity_id"], f"{path}.entity_id", ENTITY_ID_BYTES_MAX)
    if _ENTITY_ID.fullmatch(entity_id) is None:
        raise _malformed(f"{path}.entity_id", "not of printable ASCII characters")
    return Member(
        number,
        hex_bytes(row["vote_key"], f"{path}.vote_key", PUBLIC_KEY_BYTES),
        entity_id,
        text(row["entity_name"], f"{path}.entity_name", ENTITY_NAME_LENGTH_MAX),
    )


def _checked(replica_set: ReplicaSet) -> ReplicaSet:
    try:
        replica_set.check()
    except ReplicaSetError as error:
        code = "REPLICA_SET_INVALID" if error.code == "GENESIS_INVALID" else error.code
        raise Refusal(code, detail=error.detail) from error
    return replica_set


def _governors(value: Json) -> tuple[IdentityRecord, ...]:
    if not isinstance(value, list) or len(value) > REPLICAS_MAX:
        raise _malformed("governors", f"not an array of at most {REPLICAS_MAX} identities")
    records: list[IdentityRecord] = []
    for index, entry in enumerate(value):
        path = f"governors[{index}]"
        try:
            record = parse_identity(entry, field=path)
        except RecordError as error:
            raise Refusal("BODY_MALFORMED", field=error.field, detail=error.detail) from error
        if record.roles != {roles.GOVERNOR}:
            raise _malformed(f"{path}.roles", f"not {roles.GOVERNOR} alone")
        if record.did in {other.did for other in records}:
            raise _malformed(f"{path}.did", "named twice")
        records.append(record)
    return tuple(records)


def _height(value: Json) -> int:
    if type(value) is not int or not 0 <= value < NUMBER_BOUND:
        raise _malformed("not_before", "not an integer from 0 to 2^53 - 1")
    return value


def _malformed(field: str, fault: str) -> Refusal:
    return Refusal("BODY_MALFORMED", field=field, fault=fault)
