"""The paged tree against a naive one that follows the definition word by word."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.state_proof import (
    EMPTY,
    bit,
    key_hash,
    leaf_hash,
    node_hash,
    value_hash,
    verify_state_proof,
)
from services.consensus.domain.ledger.state_tree import Changes, apply, changes_of, prove
from services.consensus.domain.ledger.tree_page import BUCKET_LEAVES_MAX, LEVELS, Page, page_key


class Tree:
    """Pages in a dictionary; every version stays."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.versions: list[int | None] = [None]
        self.roots: list[bytes] = [EMPTY]
        self.stale: set[bytes] = set()

    def change(self, changes: Changes) -> bytes:
        update = apply(self.pages.__getitem__, self.versions[-1], changes, len(self.versions))
        assert not update.pages.keys() & self.pages.keys(), "a page is never changed"
        assert not self.stale & set(update.stale), "a page becomes stale once"
        self.pages.update(update.pages)
        self.stale.update(update.stale)
        self.versions.append(update.version)
        self.roots.append(update.root)
        return update.root

    def put(self, writes: dict[bytes, bytes | None]) -> bytes:
        return self.change(changes_of(writes))


def naive_root(leaves: dict[bytes, bytes], depth: int = 0) -> bytes:
    """Straight from the definition in guqiao_sdk.proof.state_proof."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        ((place, value),) = leaves.items()
        return leaf_hash(place, value)
    left = {place: value for place, value in leaves.items() if not bit(place, depth)}
    right = {place: value for place, value in leaves.items() if bit(place, depth)}
    return node_hash(naive_root(left, depth + 1), naive_root(right, depth + 1))


def naive_state_root(state: dict[bytes, bytes]) -> bytes:
    return naive_root({key_hash(key): value_hash(value) for key, value in state.items()})


KEYS = st.integers(0, 60).map(lambda number: b"key/%d" % number)
WRITES = st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=25)


@settings(max_examples=60)
@given(st.lists(WRITES, max_size=8))
def test_the_root_is_that_of_the_naive_tree_after_every_block(
    blocks: list[dict[bytes, bytes | None]],
) -> None:
    tree, state = Tree(), dict[bytes, bytes]()
    for writes in blocks:
        root = tree.put(writes)
        for key, value in writes.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        assert root == naive_state_root(state)


@settings(max_examples=40)
@given(st.lists(WRITES, min_size=1, max_size=6), st.data())
def test_every_version_proves_presence_and_absence(
    blocks: list[dict[bytes, bytes | None]], data: st.DataObject
) -> None:
    tree, states = Tree(), [dict[bytes, bytes]()]
    for writes in blocks:
        tree.put(writes)
        following = {**states[-1], **writes}
        states.append({key: value for key, value in following.items() if value is not None})
    version = data.draw(st.integers(1, len(blocks)))
    root, state = tree.roots[version], states[version]
    for key in [b"key/%d" % number for number in range(61)]:
        proof = prove(tree.pages.__getitem__, tree.versions[version], key)
        if root == EMPTY:
            assert proof.siblings == ()
            continue
        verify_state_proof(piece="test", root=root, key=key, value=state.get(key), proof=proof)
        wrong = b"other" if key in state else b"forged"
        with pytest.raises(ProofError):
            verify_state_proof(piece="test", root=root, key=key, value=wrong, proof=proof)


@settings(max_examples=40)
@given(st.dictionaries(KEYS, st.binary(max_size=4), max_size=30), st.randoms(use_true_random=False))
def test_equal_states_have_equal_roots_whatever_the_history(
    state: dict[bytes, bytes], chance: random.Random
) -> None:
    tree = Tree()
    tree.put({b"gone/%d" % number: b"x" for number in range(chance.randint(0, 40))})
    for key in chance.sample(sorted(state), len(state)):
        tree.put({key: b"earlier"})
        tree.put({key: state[key]})
    root = tree.put({b"gone/%d" % number: None for number in range(40)})
    assert root == naive_state_root(state)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 7)), min_size=1, max_size=14, unique=True
    ),
    st.data(),
)
def test_places_that_share_long_prefixes_are_told_apart(
    bits: list[tuple[int, int]], data: st.DataObject
) -> None:
    """No two hashes share 200 bits; the tree must hold even so."""
    places = sorted({_flip(_flip(bytes(32), first), second) for first, second in bits})
    leaves = {place: bytes([index]) * 32 for index, place in enumerate(places)}
    tree = Tree()
    assert tree.change(sorted(leaves.items())) == naive_root(leaves)
    gone = data.draw(st.sets(st.sampled_from(places)))
    rest = {place: value for place, value in leaves.items() if place not in gone}
    assert tree.change([(place, None) for place in sorted(gone)]) == naive_root(rest)


def _flip(place: bytes, position: int) -> bytes:
    changed = bytearray(place)
    changed[position >> 3] ^= 0x80 >> (position & 7)
    return bytes(changed)


def test_an_emptied_tree_is_the_empty_tree() -> None:
    tree = Tree()
    tree.put({b"key/%d" % number: b"x" for number in range(100)})
    assert tree.put({b"key/%d" % number: None for number in range(100)}) == EMPTY
    assert tree.versions[-1] is None


def test_without_changes_the_version_stays() -> None:
    tree = Tree()
    root = tree.put({b"key": b"x"})
    assert tree.change([]) == root
    assert tree.versions[-1] == tree.versions[-2]


def test_the_pages_of_the_last_version_are_those_that_are_not_stale() -> None:
    """What pruning removes is exactly what no later version reads."""
    tree = Tree()
    chance = random.Random(7)
    for _ in range(30):
        keys = [b"key/%d" % chance.randint(0, 400) for _ in range(60)]
        tree.put({key: chance.choice([None, b"a", b"b"]) for key in keys})
    assert tree.stale <= tree.pages.keys()
    last = tree.versions[-1]
    assert last is not None
    assert _reachable(tree, last, 0, b"") == tree.pages.keys() - tree.stale


def _reachable(tree: Tree, version: int, depth: int, prefix: bytes) -> set[bytes]:
    key = page_key(version, depth, prefix.ljust(32, b"\0"))
    page, found = Page.decode(tree.pages[key]), {key}
    for slot in range(16):
        below = page.child(slot)
        if below is not None:
            odd = depth % 8 != 0
            longer = (
                prefix[:-1] + bytes([prefix[-1] | slot]) if odd else prefix + bytes([slot << 4])
            )
            found |= _reachable(tree, below, depth + LEVELS, longer)
    return found


def test_a_page_reads_back_as_it_was_written() -> None:
    page = Page()
    page.set_leaves(3, [(b"\x31" + bytes(31), b"v" * 32)], 0)
    page.set_child(9, 77, b"h" * 32)
    page.rehash({3, 9})
    again = Page.decode(page.encode())
    assert (again.root, again.child(9), again.leaves(3)) == (
        page.root,
        77,
        [(b"\x31" + bytes(31), b"v" * 32)],
    )
    assert again.encode() == page.encode()
    assert BUCKET_LEAVES_MAX >= 1


def test_a_page_that_is_not_as_it_was_written_is_malformed() -> None:
    tree = Tree()
    tree.change(changes_of({b"key/%d" % each: b"value" for each in range(40)}))
    for data in tree.pages.values():
        assert Page.decode(data).encode() == data
        spoilt = [b"", data[:40], data[:-1], data + b"\x00", bytes([data[0] ^ 1]) + data[1:]]
        for each in [*spoilt, data[:31] + b"\x01" + data[32:]]:
            with pytest.raises(MalformedError):
                Page.decode(each)
