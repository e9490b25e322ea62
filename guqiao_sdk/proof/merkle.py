"""Merkle trees over lists, with SM3 and separate leaf and node domains (the shape of RFC 6962,
section 2.1).

Used for the transactions and the receipts of a block. The root covers the number of leaves, and a
path is bound to its index, so nothing can be cut off, doubled or shown at another place
(reliability G16-G19).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError

LEAVES_MAX: Final = 1 << 32
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_ROOT: Final = b"\x02"


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return sm3(_LEAF + leaf)


def _root(top: bytes, count: int) -> bytes:
    return sm3(_ROOT + count.to_bytes(8, "big") + top)


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels bottom-up; an odd last node moves up unchanged, which gives RFC 6962's tree."""
    level = [leaf_hash(leaf) for leaf in leaves]
    levels = [level]
    while len(level) > 1:
        above = [sm3(_NODE + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        levels.append(above)
        level = above
    return levels


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over `leaves` and their number."""
    return _root(_levels(leaves)[-1][0] if leaves else b"", len(leaves))


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The siblings of leaf `index`, from the leaf upwards."""
    path = []
    for level in _levels(leaves)[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return tuple(path)


def verify_merkle_path(
    *, piece: str, root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]
) -> None:
    """Raise `ProofError` unless `leaf` is leaf `index` of the `count` leaves under `root`."""
    if not 0 <= index < count <= LEAVES_MAX:
        raise ProofError(piece, f"index {index} of {count} leaves, at most {LEAVES_MAX} allowed")
    node, remaining, width = leaf_hash(leaf), list(path), count
    while width > 1:
        if index ^ 1 < width:
            if not remaining:
                raise ProofError(piece, "the Merkle path is too short")
            sibling = remaining.pop(0)
            if len(sibling) != len(root):
                raise ProofError(piece, "a sibling that is no SM3 digest")
            node = sm3(_NODE + sibling + node) if index & 1 else sm3(_NODE + node + sibling)
        index, width = index // 2, (width + 1) // 2
    if remaining:
        raise ProofError(piece, "the Merkle path is too long")
    if _root(node, count) != root:
        raise ProofError(piece, "the Merkle path leads to another root")
