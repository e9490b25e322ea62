"""One page of the state tree: a subtree's upper four levels, and what hangs below them.

The 31 hashes stand as in a binary heap: the two children of node i are the 64 bytes at 64 i.
Each of the 16 slots holds nothing, up to `BUCKET_LEAVES_MAX` leaves, or the version of the page
below. How leaves are spread over pages never shows in a hash.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.state_proof import EMPTY, leaf_hash, node_hash

LEVELS: Final = 4
SLOTS: Final = 16
BUCKET_LEAVES_MAX: Final = 4
PLACE_BYTES: Final = 32

Leaf: TypeAlias = tuple[bytes, bytes]
"""(place, value hash)."""

_HEAP_BYTES: Final = 32 * 2 * SLOTS
_LEAF_BYTES: Final = 64
_VERSION_BYTES: Final = 8
_CHILD: Final = 255
_PADDING: Final = bytes(32 - SLOTS - 4)
_NODE: Final = b"\x01"


def page_key(version: int, depth: int, place: bytes) -> bytes:
    """The key of the page at `depth` (a multiple of 4) on the path to `place`.

    Versions come first, so that the pages of a block stand together.
    """
    whole, half = depth >> 3, depth & 7
    prefix = place[:whole] + bytes([place[whole] & 0xF0]) if half else place[:whole]
    return version.to_bytes(8, "big") + bytes([depth // LEVELS]) + prefix


def nibble(place: bytes, depth: int) -> int:
    """The slot of `place` in the page at `depth`."""
    byte = place[depth >> 3]
    return byte & 15 if depth & 7 else byte >> 4


def subtree_hash(leaves: list[Leaf], depth: int) -> bytes:
    """The hash of the subtree at `depth` that holds exactly `leaves`, which are by place."""
    if len(leaves) == 1:
        return leaf_hash(*leaves[0])
    if not leaves:
        return EMPTY
    cut = split(leaves, depth)
    return node_hash(subtree_hash(leaves[:cut], depth + 1), subtree_hash(leaves[cut:], depth + 1))


def split(leaves: list[Leaf], depth: int) -> int:
    """How many of `leaves`, which are by place, go left at `depth`."""
    byte, mask, count = depth >> 3, 0x80 >> (depth & 7), 0
    for place, _ in leaves:
        if place[byte] & mask:
            break
        count += 1
    return count


class Page:
    """A page being read or changed. `nodes[1]` is the subtree's hash, `nodes[16:32]` the slots'."""

    __slots__ = ("_counts", "_nodes", "_single", "_slots")

    def __init__(self) -> None:
        self._nodes = bytearray(_HEAP_BYTES)
        self._counts = bytearray(SLOTS)  # leaves in a slot, or _CHILD
        self._single = 0  # bit i: the subtree of node i is exactly one leaf
        self._slots: list[bytes] = [b""] * SLOTS  # leaves back to back, or a version

    @staticmethod
    def decode(data: bytes) -> Page:
        """Read what `encode` wrote; raises `MalformedError`."""
        if len(data) < _HEAP_BYTES or data[SLOTS + 4 : 32] != _PADDING:
            raise MalformedError("no page of the state tree")
        page = Page()
        page._counts[:] = data[:SLOTS]
        page._single = int.from_bytes(data[SLOTS : SLOTS + 4], "big")
        page._nodes[32:] = data[32:_HEAP_BYTES]
        position = _HEAP_BYTES
        for slot, count in enumerate(page._counts):
            if count:
                length = _VERSION_BYTES if count == _CHILD else count * _LEAF_BYTES
                page._slots[slot] = data[position : position + length]
                position += length
        if position != len(data):
            raise MalformedError("a page of another length")
        return page

    def encode(self) -> bytes:
        """The page as it is stored: slot kinds and flags stand in the heap's unused first node."""
        head = self._counts + self._single.to_bytes(4, "big") + _PADDING
        return b"".join([head, self._nodes[32:], *self._slots])

    @property
    def root(self) -> bytes:
        """The hash of the page's subtree."""
        return bytes(self._nodes[32:64])

    def node(self, index: int) -> bytes:
        """The hash of node `index` of the heap."""
        return bytes(self._nodes[32 * index : 32 * index + 32])

    def is_single(self, index: int) -> bool:
        """Whether the subtree of node `index` is exactly one leaf."""
        return bool(self._single >> index & 1)

    def child(self, slot: int) -> int | None:
        """The version of the page below `slot`, or None where there is none."""
        if self._counts[slot] != _CHILD:
            return None
        return int.from_bytes(self._slots[slot], "big")

    def leaves(self, slot: int) -> list[Leaf]:
        """The leaves kept in `slot`, by place."""
        assert self._counts[slot] != _CHILD
        content = self._slots[slot]
        return [
            (content[i : i + 32], content[i + 32 : i + 64])
            for i in range(0, len(content), _LEAF_BYTES)
        ]

    def set_leaves(self, slot: int, leaves: list[Leaf], depth: int) -> None:
        """Keep `leaves` in `slot` of this page at `depth`; `rehash` must follow."""
        assert len(leaves) <= BUCKET_LEAVES_MAX
        self._counts[slot] = len(leaves)
        self._slots[slot] = b"".join([part for leaf in leaves for part in leaf])
        self._set_node(SLOTS + slot, subtree_hash(leaves, depth + LEVELS), len(leaves) == 1)

    def set_child(self, slot: int, version: int, root: bytes) -> None:
        """Let `slot` lead to the page of `version` below; `rehash` must follow."""
        self._counts[slot] = _CHILD
        self._slots[slot] = version.to_bytes(_VERSION_BYTES, "big")
        self._set_node(SLOTS + slot, root, single=False)

    def all_leaves(self) -> list[Leaf] | None:
        """The page's leaves if a bucket would hold them, else None."""
        if sum(self._counts) > BUCKET_LEAVES_MAX:
            return None
        return [leaf for slot in range(SLOTS) for leaf in self.leaves(slot)]

    def rehash(self, slots: set[int]) -> None:
        """Compute the nodes above the slots that changed."""
        if len(slots) == 1:
            index = SLOTS + next(iter(slots))
            for _ in range(LEVELS):
                index >>= 1
                self._rehash_node(index)
            return
        dirty = {SLOTS + slot for slot in slots}
        for _ in range(LEVELS):
            dirty = {index >> 1 for index in dirty}
            for index in dirty:
                self._rehash_node(index)

    def _rehash_node(self, index: int) -> None:
        begin = 64 * index
        children = self._nodes[begin : begin + 64]
        if children.startswith(EMPTY) or children.endswith(EMPTY):
            node, single = _combine(bytes(children), self._single >> 2 * index & 3)
            self._set_node(index, node, single)
            return
        self._nodes[32 * index : 32 * index + 32] = sm3(_NODE + children)
        self._single &= ~(1 << index)

    def _set_node(self, index: int, node: bytes, single: bool) -> None:
        self._nodes[32 * index : 32 * index + 32] = node
        if single:
            self._single |= 1 << index
        else:
            self._single &= ~(1 << index)


def _combine(children: bytes, singles: int) -> tuple[bytes, bool]:
    """The node above two children, and whether it is one leaf; bit 0 of `singles` is the left's.

    A lone leaf moves up, so that it stands at its shortest unique prefix.
    """
    left, right = children[:32], children[32:]
    if left == EMPTY:
        if right == EMPTY or singles & 2:
            return right, right != EMPTY
    elif right == EMPTY and singles & 1:
        return left, True
    return sm3(_NODE + children), False
