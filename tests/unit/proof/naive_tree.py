"""The state tree by its definition: slow, small, and written apart from the ledger's."""

from __future__ import annotations

from collections.abc import Mapping

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.state_proof import StateProof

Leaves = list[tuple[bytes, bytes]]


def leaves_of(state: Mapping[bytes, bytes]) -> Leaves:
    """(place, value hash) of every entry."""
    return [
        (digest("guqiao/state-key/1", key), digest("guqiao/state-value/1", value))
        for key, value in state.items()
    ]


def goes_right(place: bytes, depth: int) -> bool:
    return bool(int.from_bytes(place, "big") >> (255 - depth) & 1)


def naive_root(leaves: Leaves, depth: int = 0) -> bytes:
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return sm3(b"\x00" + leaves[0][0] + leaves[0][1])
    left = [leaf for leaf in leaves if not goes_right(leaf[0], depth)]
    right = [leaf for leaf in leaves if goes_right(leaf[0], depth)]
    return sm3(b"\x01" + naive_root(left, depth + 1) + naive_root(right, depth + 1))


def naive_proof(state: Mapping[bytes, bytes], key: bytes) -> StateProof:
    """The siblings on the way to where the search for `key` ends, and the leaf found there."""
    leaves, place = leaves_of(state), digest("guqiao/state-key/1", key)
    siblings: list[bytes] = []
    while len(leaves) > 1:
        depth = len(siblings)
        side = goes_right(place, depth)
        siblings.append(
            naive_root([leaf for leaf in leaves if goes_right(leaf[0], depth) != side], depth + 1)
        )
        leaves = [leaf for leaf in leaves if goes_right(leaf[0], depth) == side]
    return StateProof(tuple(siblings), leaves[0] if leaves else None)
