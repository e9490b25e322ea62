"""What a client knows of a chain before it asks anybody: its id and the replica set that signs it.

It comes from the genesis file or from a signed TRUST file, never from a replica.
"""

from __future__ import annotations

from dataclasses import dataclass

from guqiao_sdk.proof.quorum import ReplicaSet


@dataclass(frozen=True, slots=True)
class ChainTrust:
    """Chain id, genesis hash (32 bytes) and the set whose quorum makes a block final."""

    chain_id: str
    genesis_hash: bytes
    replica_set: ReplicaSet
