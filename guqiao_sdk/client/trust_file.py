"""Reads what a client starts from: the trust in one chain, as the operator was given it.

The file is strict JSON, `{chain_id, genesis_hash, epoch, replicas: [{entity_id, entity_name,
vote_key}]}`, and `restart_authorities` where there are some: the form in which a genesis names
another chain. A set that stands behind a restart has its `lineage` beside it. The file comes from
the network's own folder or from a signed TRUST file, never from a replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guqiao_sdk.client.trust import ChainTrust, authorities_in
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.quorum import Member, ReplicaSet

SIZE_MAX: Final = 262_144
DEPTH_MAX: Final = 6


def load_chain_trust(path: Path) -> ChainTrust:
    """Read and check the file; raises `MalformedError`, `ReplicaSetError` or `OSError`."""
    try:
        value = parse_json_strict(path.read_bytes(), depth_max=DEPTH_MAX, size_max=SIZE_MAX)
    except JsonError as error:
        raise MalformedError(f"{path.name} is not strict JSON: {error}") from error
    names = {"chain_id", "genesis_hash", "epoch", "replicas"}
    given = value.keys() if isinstance(value, dict) else set()
    members = _members(value, names | {"restart_authorities", "lineage"} & given)
    rows = members["replicas"]
    if not isinstance(rows, list):
        raise MalformedError("replicas is not a list")
    replica_set = ReplicaSet(
        _text(members["chain_id"]),
        _number(members["epoch"]),
        tuple(_member(number, row) for number, row in enumerate(rows)),
        lineage=_hex(members["lineage"]) if "lineage" in members else b"",
    )
    replica_set.check()
    try:
        authorities = authorities_in(members)
    except ValueError as error:
        raise MalformedError(str(error)) from error
    genesis_hash = _hex(members["genesis_hash"])
    return ChainTrust(replica_set.chain_id, genesis_hash, replica_set, authorities)


def _member(number: int, value: Json) -> Member:
    row = _members(value, {"entity_id", "entity_name", "vote_key"})
    return Member(number, _hex(row["vote_key"]), _text(row["entity_id"]), _text(row["entity_name"]))


def _members(value: Json, names: set[str]) -> Mapping[str, Json]:
    if not isinstance(value, dict) or set(value) != names:
        raise MalformedError(f"an object with exactly {', '.join(sorted(names))} is expected")
    return value


def _text(value: Json) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedError("a text is expected")
    return value


def _number(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedError("a natural number is expected")
    return value


def _hex(value: Json) -> bytes:
    try:
        return bytes.fromhex(_text(value))
    except ValueError as error:
        raise MalformedError("hex digits are expected") from error
