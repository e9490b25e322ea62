"""What a client knows of a chain before it asks anybody: its id and the replica set that signs it.

It comes from the genesis file or from a signed TRUST file, never from a replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, canonical_json, parse_json_strict
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.restart import RestartAuthorities

GENESIS_BYTES_MAX: Final = 4 * 1024 * 1024
GENESIS_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ChainTrust:
    """Chain id, genesis hash (32 bytes) and the set whose quorum makes a block final; who may
    restart the chain, where that is known.
    """

    chain_id: str
    genesis_hash: bytes
    replica_set: ReplicaSet
    authorities: RestartAuthorities | None = None


def trust_from_genesis(data: bytes) -> ChainTrust:
    """Read chain id, hash and replica set from a genesis file; raises `ValueError`.

    The replicas judge the whole file; a client needs to know only whom to believe.
    """
    genesis = parse_json_strict(data, depth_max=GENESIS_DEPTH_MAX, size_max=GENESIS_BYTES_MAX)
    match genesis:
        case {"chain_id": str(chain_id), "epoch": int(epoch), "replicas": list(replicas)}:
            members = tuple(_member(index, entry) for index, entry in enumerate(replicas))
            assert isinstance(genesis, dict)
            authorities = authorities_in(genesis)
        case _:
            raise ValueError("not a genesis file: chain_id, epoch or replicas is missing")
    replica_set = ReplicaSet(chain_id, epoch, members)
    replica_set.check()
    genesis_hash = digest("guqiao/genesis/1", canonical_json(genesis))
    return ChainTrust(chain_id, genesis_hash, replica_set, authorities)


def authorities_in(members: Mapping[str, Json]) -> RestartAuthorities | None:
    """The restart authorities that an object names, if it does; raises `ValueError`."""
    if "restart_authorities" not in members:
        return None
    try:
        return RestartAuthorities.from_json(members["restart_authorities"])
    except ProofError as error:
        raise ValueError(str(error)) from error


def _member(index: int, entry: Json) -> Member:
    match entry:
        case {
            "entity_id": str(entity_id),
            "entity_name": str(entity_name),
            "vote_key": str(vote_key),
        }:
            return Member(index, bytes.fromhex(vote_key), entity_id, entity_name)
    raise ValueError(f"replicas[{index}] of the genesis file is malformed")
