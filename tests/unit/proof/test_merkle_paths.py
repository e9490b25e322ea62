"""Merkle paths over lists: every leaf is provable at its place and at no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.merkle import (
    LEAVES_MAX,
    leaf_hash,
    merkle_path,
    merkle_path_root,
    merkle_root,
    verify_merkle_path,
)

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def holds(
    root: bytes, leaf: bytes, index: int, count: int, path: tuple[bytes, ...] | list[bytes]
) -> bool:
    try:
        verify_merkle_path(piece="x", root=root, leaf=leaf, index=index, count=count, path=path)
    except ProofError:
        return False
    return True


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 by its recursive definition, with our root over the count."""

    def tree(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return sm3(b"\x00" + part[0])
        split = 1 << ((len(part) - 1).bit_length() - 1)
        return sm3(b"\x01" + tree(part[:split]) + tree(part[split:]))

    return sm3(b"\x02" + len(leaves).to_bytes(8, "big") + tree(leaves))


@given(LEAVES)
def test_the_root_is_that_of_the_recursive_definition(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == naive_root(leaves)


@given(LEAVES, st.data())
def test_a_leaf_is_proven_at_its_index_and_count_only(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle_root(leaves), merkle_path(leaves, index)
    assert holds(root, leaves[index], index, len(leaves), path)
    for other in range(len(leaves)):
        if leaves[other] != leaves[index] or merkle_path(leaves, other) != path:
            assert not holds(root, leaves[index], other, len(leaves), path) or other == index
    for count in range(len(leaves) + 3):
        assert holds(root, leaves[index], index, count, path) == (count == len(leaves))


@given(LEAVES, st.data())
def test_g17_g19_a_changed_path_leaf_or_root_is_refused(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle_root(leaves), list(merkle_path(leaves, index))
    leaf, count = leaves[index], len(leaves)
    assert not holds(root, leaf + b"\x00", index, count, path)
    assert not holds(root, leaf, index, count, [*path, bytes(32)])
    assert not holds(root, leaf, index, count, [bytes(32), *path])
    for at in range(len(path)):
        flipped = bytes([path[at][0] ^ 1]) + path[at][1:]
        assert not holds(root, leaf, index, count, [*path[:at], flipped, *path[at + 1 :]])
        assert not holds(root, leaf, index, count, path[:at] + path[at + 1 :])
        assert not holds(root, leaf, index, count, [*path[:at], path[at][:31], *path[at + 1 :]])


@given(LEAVES.filter(lambda leaves: len(leaves) > 1), st.data())
def test_a_sibling_is_a_digest_and_nothing_of_another_length(
    leaves: list[bytes], data: st.DataObject
) -> None:
    """Otherwise bytes could move between it and the node beside it."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = list(merkle_path(leaves, index))
    at = data.draw(st.integers(0, len(path) - 1))
    path[at] = data.draw(st.binary(max_size=64).filter(lambda sibling: len(sibling) != 32))
    with pytest.raises(ProofError, match="no SM3 digest"):
        merkle_path_root(piece="x", leaf=leaves[index], index=index, count=len(leaves), path=path)


def test_g16_a_node_is_no_leaf_and_a_leaf_no_node() -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    root = merkle_root(leaves)
    left = leaf_hash(b"a") + leaf_hash(b"b")
    right = sm3(b"\x01" + leaf_hash(b"c") + leaf_hash(b"d"))
    assert not holds(root, left, 0, 2, [right])
    assert not holds(root, b"\x01" + left, 0, 2, [right])
    assert not holds(root, left[1:], 0, 2, [right])


def test_g18_a_doubled_odd_leaf_gives_another_root() -> None:
    """CVE-2012-2459: a list and the list with its odd tail doubled must differ."""
    assert merkle_root([b"a", b"b", b"c"]) != merkle_root([b"a", b"b", b"c", b"c"])
    assert merkle_root([b"a"]) != merkle_root([b"a", b"a"])


@pytest.mark.parametrize(
    ("index", "count"), [(0, 0), (-1, 1), (1, 1), (0, LEAVES_MAX + 1), (0, 1 << 70), (5, 2)]
)
def test_g18_an_index_or_count_out_of_range_is_refused_and_not_an_error_of_ours(
    index: int, count: int
) -> None:
    assert not holds(merkle_root([b"a"]), b"a", index, count, [])


def test_g14_an_empty_list_proves_no_leaf() -> None:
    assert not holds(merkle_root([]), b"", 0, 0, [])
    assert not holds(merkle_root([]), b"", 0, 1, [])
    assert not holds(bytes(32), b"", 0, 1, [])
