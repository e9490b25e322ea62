"""State proofs: membership and absence hold for what the state says, and for nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.state_proof import (
    EMPTY,
    StateProof,
    bit,
    key_hash,
    leaf_hash,
    node_hash,
    value_hash,
    verify_state_proof,
)
from tests.unit.proof.naive_tree import leaves_of, naive_proof, naive_root

STATES = st.dictionaries(st.binary(max_size=4), st.binary(max_size=4), min_size=1, max_size=24)


def holds(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> bool:
    try:
        verify_state_proof(piece="x", root=root, key=key, value=value, proof=proof)
    except ProofError:
        return False
    return True


@given(STATES, st.binary(max_size=4))
def test_a_proof_shows_what_the_state_says_and_nothing_else(
    state: dict[bytes, bytes], key: bytes
) -> None:
    root, proof = naive_root(leaves_of(state)), naive_proof(state, key)
    truth = state.get(key)
    assert holds(root, key, truth, proof)
    assert holds(root, key, None, proof) == (truth is None)
    assert not holds(root, key, (truth or b"") + b"x", proof)
    assert StateProof.decode(proof.encode()) == proof


@given(STATES, st.binary(max_size=4), st.binary(max_size=4))
def test_g19_g21_a_proof_of_one_key_shows_nothing_of_another(
    state: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    """Whatever a foreign proof is taken for, it never contradicts the state."""
    root, proof = naive_root(leaves_of(state)), naive_proof(state, key)
    truth = state.get(other)
    assert not holds(root, other, (truth or b"") + b"x", proof)
    if truth is None:
        return
    assert not holds(root, other, None, proof)
    if other != key:
        assert not holds(root, other, state.get(key, b"") + b"y", proof)


@given(STATES, st.data())
def test_g13_g17_a_mutated_proof_or_root_is_refused(
    state: dict[bytes, bytes], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(state)))
    root, proof = naive_root(leaves_of(state)), naive_proof(state, key)
    encoded = bytearray(proof.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        changed = StateProof.decode(bytes(encoded))
    except MalformedError:
        return
    assert not holds(root, key, state[key], changed)


@given(STATES, st.binary(max_size=4), st.randoms(use_true_random=False))
def test_g21_no_mutated_absence_proof_hides_a_key_that_is_there(
    state: dict[bytes, bytes], absent: bytes, chance: random.Random
) -> None:
    """Take true absence proofs and proofs of neighbours, spoil them, and ask for a present key."""
    key = chance.choice(sorted(state))
    root = naive_root(leaves_of(state))
    base = naive_proof(state, absent if absent not in state else key)
    terminals: list[tuple[bytes, bytes] | None] = [None, base.terminal]
    terminals += [leaf for leaf in leaves_of(state) if leaf[0] != key_hash(key)]
    for terminal in terminals:
        for cut in range(len(base.siblings) + 1):
            assert not holds(root, key, None, StateProof(base.siblings[:cut], terminal))
            extended = (*base.siblings[:cut], EMPTY)
            assert not holds(root, key, None, StateProof(extended, terminal))


def test_g21_an_absence_shown_by_a_leaf_that_stands_off_its_own_path_is_refused() -> None:
    """Even under a root whose tree was built wrongly, a leaf on the wrong side shows nothing."""
    keys = [bytes([number]) for number in range(32)]
    right = next(key for key in keys if bit(key_hash(key), 0) == 1)
    absent = next(key for key in keys if bit(key_hash(key), 0) == 0)
    misplaced = (key_hash(right), value_hash(b"v"))
    sibling = leaf_hash(*misplaced)
    root = node_hash(leaf_hash(*misplaced), sibling)
    assert not holds(root, absent, None, StateProof((sibling,), misplaced))


@pytest.mark.parametrize("root", [EMPTY, b"", bytes(31), bytes(33)])
def test_g14_an_empty_or_short_root_proves_nothing(root: bytes) -> None:
    assert not holds(root, b"k", None, StateProof((), None))
    assert not holds(root, b"k", b"v", StateProof((), (key_hash(b"k"), value_hash(b"v"))))


def test_g16_an_inner_node_is_no_leaf() -> None:
    """The pair (place, value hash) has the length of a node's children; its domain differs."""
    state = {b"a": b"1", b"b": b"2", b"c": b"3"}
    left, right = leaf_hash(*leaves_of(state)[0]), leaf_hash(*leaves_of(state)[1])
    root = node_hash(left, right)
    assert not holds(root, b"a", b"1", StateProof((), (left, right)))
    assert leaf_hash(left, right) != root


def test_g18_a_proof_deeper_than_the_tree_is_refused() -> None:
    leaf = (key_hash(b"k"), value_hash(b"v"))
    assert holds(leaf_hash(*leaf), b"k", b"v", StateProof((), leaf))
    too_deep = StateProof((bytes(32),) * 257, leaf)
    assert not holds(leaf_hash(*leaf), b"k", b"v", too_deep)
    with pytest.raises(MalformedError):
        StateProof.decode(too_deep.encode())


@pytest.mark.parametrize("flag", [2, 3, 128, 255])
def test_a_flag_other_than_0_or_1_is_another_spelling_and_refused(flag: int) -> None:
    encoded = bytearray(StateProof((), (key_hash(b"k"), value_hash(b"v"))).encode())
    assert encoded[4] == 1
    encoded[4] = flag
    with pytest.raises(MalformedError):
        StateProof.decode(bytes(encoded))
