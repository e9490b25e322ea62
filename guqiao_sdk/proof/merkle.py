"""Merkle trees over lists, with SM3 and separate leaf and node domains (the shape of RFC 6962,
section 2.1).

Used for the transactions and the receipts of a block. The root covers the number of leaves, and a
path is bound to its index, so nothing can be cut off, doubled or shown at another place
(reliability G16-G19).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import Reader, Writer
from guqiao_sdk.proof.errors import ProofError

LEAVES_MAX: Final = 1 << 32
DIGEST_BYTES: Final = 32
PATH_LENGTH_MAX: Final = 32
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
    return _siblings(_levels(leaves), index)


def merkle_paths(leaves: Sequence[bytes]) -> list[MerklePath]:
    """The path of every leaf, in order."""
    levels = _levels(leaves)
    return [
        MerklePath(index, len(leaves), _siblings(levels, index)) for index in range(len(leaves))
    ]


def _siblings(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return tuple(path)


def path_length(index: int, count: int) -> int:
    """How many siblings the path of leaf `index` of `count` leaves has."""
    length, width = 0, count
    while width > 1:
        length += index ^ 1 < width
        index, width = index // 2, (width + 1) // 2
    return length


def merkle_path_root(
    *,
    piece: str,
    leaf: bytes,
    index: int,
    count: int,
    path: Sequence[bytes],
    known: dict[bytes, bytes] | None = None,
) -> bytes:
    """The root that `path` leads to from `leaf`, or `ProofError` where the path cannot be one.

    Whoever follows many paths of one tree passes a `known` of its own: nodes hashed once are not
    hashed again.
    """
    if not 0 <= index < count <= LEAVES_MAX:
        raise ProofError(piece, f"index {index} of {count} leaves, at most {LEAVES_MAX} allowed")
    if len(path) != path_length(index, count):
        raise ProofError(
            piece, f"a Merkle path of {len(path)} siblings for leaf {index} of {count}"
        )
    hashed = {} if known is None else known
    node, siblings, width = leaf_hash(leaf), iter(path), count
    while width > 1:
        if index ^ 1 < width:
            sibling = next(siblings)
            if len(sibling) != DIGEST_BYTES:
                raise ProofError(piece, "a sibling that is no SM3 digest")
            pair = _NODE + sibling + node if index & 1 else _NODE + node + sibling
            above = hashed.get(pair)
            if above is None:
                above = hashed[pair] = sm3(pair)
            node = above
        index, width = index // 2, (width + 1) // 2
    return _root(node, count)


def verify_merkle_path(
    *, piece: str, root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]
) -> None:
    """Raise `ProofError` unless `leaf` is leaf `index` of the `count` leaves under `root`."""
    if merkle_path_root(piece=piece, leaf=leaf, index=index, count=count, path=path) != root:
        raise ProofError(piece, "the Merkle path leads to another root")


@dataclass(frozen=True, slots=True)
class MerklePath:
    """Where a leaf stands among its list's leaves, and its siblings upwards."""

    index: int
    count: int
    siblings: tuple[bytes, ...]

    @staticmethod
    def of(leaves: Sequence[bytes], index: int) -> MerklePath:
        """The path of leaf `index`."""
        return MerklePath(index, len(leaves), merkle_path(leaves, index))

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().u32(self.index).u32(self.count).u32(len(self.siblings))
        return bytes(writer.raw(b"".join(self.siblings)))

    @staticmethod
    def decode(data: bytes) -> MerklePath:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        index, count = reader.u32(), reader.u32()
        siblings = tuple(reader.raw(32) for _ in range(reader.count(PATH_LENGTH_MAX)))
        reader.end()
        return MerklePath(index, count, siblings)
