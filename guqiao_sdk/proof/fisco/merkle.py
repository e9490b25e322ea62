"""Merkle trees of that chain: two hashes a node, the last one alone where their number is odd.

A proof is a flat list: for each level the number of its hashes, then these. The place of a leaf
follows from where its hash stands in each level. Leaves and nodes are hashed alike, so a proof says
something only of a leaf whose own bytes are known: nobody may prove a bare hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import HASH_BYTES, MALFORMED, unhex
from guqiao_sdk.proof.json_values import Json

WIDTH: Final = 2
LEVELS_MAX: Final = 32
ITEMS_MAX: Final = LEVELS_MAX * (WIDTH + 1)
_COUNT_BYTES: Final = 4

Hash = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class FiscoPath:
    """The hashes of each level from the leaf upwards; of a tree with one leaf, that one `alone`."""

    levels: tuple[tuple[bytes, ...], ...]
    alone: bytes = b""

    @property
    def widths(self) -> tuple[int, ...]:
        """How many hashes each level has: alike for two trees with as many leaves each."""
        return tuple(len(level) for level in self.levels)


def parse_path(piece: str, rows: Sequence[Json]) -> FiscoPath:
    """A proof as the node writes it; raises `ProofError`."""
    items = [unhex(piece, "proof", row) for row in rows[: ITEMS_MAX + 1]]
    if len(items) > ITEMS_MAX:
        raise ProofError(piece, "the proof has too many levels", MALFORMED)
    if len(items) == 1 and len(items[0]) == HASH_BYTES:
        return FiscoPath((), items[0])
    levels, rest = [], items
    while rest:
        count = _read_count(piece, rest[0])
        level, rest = tuple(rest[1 : 1 + count]), rest[1 + count :]
        if len(level) != count or any(len(node) != HASH_BYTES for node in level):
            raise ProofError(piece, "the proof is cut off or has a hash of another size", MALFORMED)
        levels.append(level)
    if not levels:
        raise ProofError(piece, "the proof is empty", MALFORMED)
    return FiscoPath(tuple(levels))


def path_index(piece: str, root: bytes, leaf: bytes, path: FiscoPath, hash_of: Hash = sm3) -> int:
    """The place of `leaf` under `root`, or `ProofError`. A level of two equal hashes gives the
    first place: `check_path_at` asks for a certain one.
    """
    index, node = 0, leaf
    if not path.levels and path.alone != leaf:
        raise ProofError(piece, "the Merkle path does not hold the leaf")
    for depth, level in enumerate(path.levels):
        if node not in level:
            raise ProofError(piece, "the Merkle path does not hold the leaf")
        index |= level.index(node) << depth
        node = hash_of(b"".join(level))
    if node != root:
        raise ProofError(piece, "the Merkle path leads to another root")
    return index


def check_path_at(piece: str, root: bytes, leaf: bytes, path: FiscoPath, index: int) -> None:
    """Raise `ProofError` unless `leaf` stands at place `index` under `root`."""
    path_index(piece, root, leaf, path)
    node = leaf
    for depth, level in enumerate(path.levels):
        place = index >> depth & 1
        if place >= len(level) or level[place] != node:
            raise ProofError(piece, f"the Merkle path does not lead to place {index}")
        node = sm3(b"".join(level))
    if index >> len(path.levels):
        raise ProofError(piece, f"the Merkle path does not lead to place {index}")


def list_root(hashes: Sequence[bytes]) -> bytes:
    """The root over all hashes of a block; 32 zero bytes where there are none."""
    if not hashes:
        return bytes(HASH_BYTES)
    level = list(hashes)
    while len(level) > 1:
        level = [sm3(b"".join(level[at : at + WIDTH])) for at in range(0, len(level), WIDTH)]
    return level[0]


def _read_count(piece: str, item: bytes) -> int:
    """A number of 4 bytes, in older versions with zeros behind it up to the size of a hash."""
    count = int.from_bytes(item[:_COUNT_BYTES], "big")
    if len(item) not in (_COUNT_BYTES, HASH_BYTES) or any(item[_COUNT_BYTES:]):
        raise ProofError(piece, "the proof has no number where one is due", MALFORMED)
    if not 1 <= count <= WIDTH:
        raise ProofError(piece, f"a level of {count} hashes, at most {WIDTH} are believed")
    return count
