"""The sparse Merkle tree over the state, kept in pages and updated once a block.

Its root is a function of the keys and values alone, as guqiao_sdk.proof.state_proof defines it. A
page (`tree_page`) holds four levels; a page is never changed but written anew under the block's
height, so that old roots stay provable until their pages are pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from guqiao_sdk.proof.state_proof import EMPTY, StateProof, bit, key_hash, value_hash
from services.consensus.domain.ledger.tree_page import (
    BUCKET_LEAVES_MAX,
    LEVELS,
    SLOTS,
    Leaf,
    Page,
    nibble,
    page_key,
    split,
    subtree_hash,
)

PageReader: TypeAlias = Callable[[bytes], bytes]
"""Returns the page stored under a key; only keys that an update wrote are asked for."""

Changes: TypeAlias = list[tuple[bytes, bytes | None]]
"""(place, value hash or None to remove), by place, each place once."""


@dataclass(slots=True)
class TreeUpdate:
    """The outcome of `apply`; `version` is None for a tree without leaves.

    `pages` are the new ones by key, `stale` the keys that the new version no longer uses.
    """

    root: bytes
    version: int | None
    pages: dict[bytes, bytes] = field(default_factory=dict)
    stale: list[bytes] = field(default_factory=list)


def changes_of(writes: Mapping[bytes, bytes | None]) -> Changes:
    """Return what a write set changes in the tree."""
    return sorted(
        [(key_hash(k), None if v is None else value_hash(v)) for k, v in writes.items()],
        key=lambda change: change[0],
    )


def apply(read: PageReader, version: int | None, changes: Changes, new_version: int) -> TreeUpdate:
    """Return the tree of `version` (None: without leaves) with `changes` made."""
    if not changes:
        root = EMPTY if version is None else Page.decode(read(page_key(version, 0, b""))).root
        return TreeUpdate(root, version)
    update = _Update(read, new_version)
    page = Page() if version is None else update.open(version, 0, b"")
    update.change(page, 0, changes)
    if page.all_leaves() == []:
        return TreeUpdate(EMPTY, None, update.pages, update.stale)
    update.write(page, 0, b"")
    return TreeUpdate(page.root, new_version, update.pages, update.stale)


def prove(read: PageReader, version: int | None, key: bytes) -> StateProof:
    """Return the proof of what the tree of `version` holds at `key`, or that it holds nothing."""
    place, siblings = key_hash(key), list[bytes]()
    depth = 0
    while version is not None:
        page = Page.decode(read(page_key(version, depth, place)))
        leaves = _descend(page, place, depth, siblings)
        if leaves is not None:
            return StateProof(tuple(siblings), leaves[0] if leaves else None)
        version = page.child(nibble(place, depth))
        depth += LEVELS
    return StateProof((), None)


class _Update:
    """One `apply`: reads pages of older versions, collects those of the new one."""

    def __init__(self, read: PageReader, version: int) -> None:
        self._read = read
        self._version = version
        self.pages: dict[bytes, bytes] = {}
        self.stale: list[bytes] = []

    def open(self, version: int, depth: int, place: bytes) -> Page:
        """Read a page that is going to be replaced."""
        key = page_key(version, depth, place)
        self.stale.append(key)
        return Page.decode(self._read(key))

    def write(self, page: Page, depth: int, place: bytes) -> None:
        """Keep a page of the new version."""
        self.pages[page_key(self._version, depth, place)] = page.encode()

    def change(self, page: Page, depth: int, changes: Changes) -> None:
        """Make `changes` in the page at `depth` and below."""
        touched, begin = set[int](), 0
        while begin < len(changes):
            slot, end = nibble(changes[begin][0], depth), begin + 1
            while end < len(changes) and nibble(changes[end][0], depth) == slot:
                end += 1
            self._change_slot(page, slot, depth, changes[begin:end])
            touched.add(slot)
            begin = end
        page.rehash(touched)

    def _change_slot(self, page: Page, slot: int, depth: int, changes: Changes) -> None:
        version = page.child(slot)
        if version is None:
            leaves = _merge(page.leaves(slot), changes)
            if len(leaves) <= BUCKET_LEAVES_MAX:
                page.set_leaves(slot, leaves, depth)
                return
            below, changes = Page(), list[tuple[bytes, bytes | None]](leaves)
        else:
            below = self.open(version, depth + LEVELS, changes[0][0])
        self.change(below, depth + LEVELS, changes)
        few = below.all_leaves()
        if few is not None:
            page.set_leaves(slot, few, depth)
            return
        self.write(below, depth + LEVELS, changes[0][0])
        page.set_child(slot, self._version, below.root)


def _merge(leaves: list[Leaf], changes: Changes) -> list[Leaf]:
    if len(leaves) == len(changes) == 1 and leaves[0][0] == changes[0][0]:
        leaves = []
    merged: dict[bytes, bytes | None] = dict(leaves)
    merged.update(changes)
    return [(place, value) for place, value in sorted(merged.items()) if value is not None]


def _descend(page: Page, place: bytes, depth: int, siblings: list[bytes]) -> list[Leaf] | None:
    """Walk down one page and add the siblings passed.

    Return the leaf where the walk ends, none where it ends at nothing, None where it goes on in
    the page below.
    """
    index = 1
    for level in range(LEVELS):
        if page.node(index) == EMPTY:
            return []
        if page.is_single(index):
            return [_lone_leaf(page, index)]
        index = 2 * index + bit(place, depth + level)
        siblings.append(page.node(index ^ 1))
    slot = index - SLOTS
    if page.child(slot) is not None:
        return None
    return _descend_bucket(page.leaves(slot), place, depth + LEVELS, siblings)


def _lone_leaf(page: Page, index: int) -> Leaf:
    while index < SLOTS:
        index = 2 * index + (page.node(2 * index) == EMPTY)
    return page.leaves(index - SLOTS)[0]


def _descend_bucket(
    leaves: list[Leaf], place: bytes, depth: int, siblings: list[bytes]
) -> list[Leaf]:
    while len(leaves) > 1:
        cut = split(leaves, depth)
        halves = (leaves[:cut], leaves[cut:])
        side = bit(place, depth)
        siblings.append(subtree_hash(halves[1 - side], depth + 1))
        leaves = halves[side]
        depth += 1
    return leaves
