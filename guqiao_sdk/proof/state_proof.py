"""Membership and absence in the state: a sparse Merkle tree over SM3.

A key's place is the 256 bits of its hash. A subtree without leaves is 32 zero bytes, a subtree with
exactly one leaf is that leaf, so a leaf stands at its shortest unique prefix. Leaf and node hashes
have their own domains. A proof lists the siblings from the root down to the place where the search
ends: at the key's leaf, at another leaf, or at nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest
from guqiao_sdk.proof.errors import ProofError

EMPTY: Final = bytes(32)
DEPTH_MAX: Final = 256
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def key_hash(key: bytes) -> bytes:
    """The place of `key` in the tree, 32 bytes."""
    return digest("guqiao/state-key/1", key)


def value_hash(value: bytes) -> bytes:
    """What a leaf says of its value, 32 bytes."""
    return digest("guqiao/state-value/1", value)


def leaf_hash(place: bytes, value_digest: bytes) -> bytes:
    """The hash of a leaf: its place and the hash of its value."""
    return sm3(_LEAF + place + value_digest)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sm3(_NODE + left + right)


def bit(place: bytes, depth: int) -> int:
    """Bit `depth` of a place, from the most significant; 0 is left, 1 is right."""
    return (place[depth >> 3] >> (7 - (depth & 7))) & 1


@dataclass(frozen=True, slots=True)
class StateProof:
    """`siblings` from the root down;

    `terminal` is the (place, value hash) of the leaf found there, or None.
    """

    siblings: tuple[bytes, ...]
    terminal: tuple[bytes, bytes] | None

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().u32(len(self.siblings))
        for sibling in self.siblings:
            writer.raw(sibling)
        if self.terminal is None:
            return bytes(writer.u8(0))
        return bytes(writer.u8(1).raw(self.terminal[0]).raw(self.terminal[1]))

    @staticmethod
    def decode(data: bytes) -> StateProof:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        siblings = tuple(reader.raw(32) for _ in range(reader.count(DEPTH_MAX)))
        has_terminal = reader.u8()
        if has_terminal > 1:
            raise MalformedError(f"{has_terminal} where 0 or 1 says whether a leaf follows")
        terminal = (reader.raw(32), reader.raw(32)) if has_terminal else None
        reader.end()
        return StateProof(siblings, terminal)


def verify_state_proof(
    *, piece: str, root: bytes, key: bytes, value: bytes | None, proof: StateProof
) -> None:
    """Raise `ProofError` unless the state under `root` holds `value` at `key`, or nothing where
    `value` is None.
    """
    if root == EMPTY or len(root) != len(EMPTY):
        raise ProofError(piece, "an empty state root proves nothing")
    if len(proof.siblings) > DEPTH_MAX:
        raise ProofError(piece, "more siblings than the tree is deep")
    place = key_hash(key)
    _check_terminal(piece, place, value, proof)
    node = EMPTY if proof.terminal is None else leaf_hash(*proof.terminal)
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        node = node_hash(sibling, node) if bit(place, depth) else node_hash(node, sibling)
    if node != root:
        raise ProofError(piece, "the state proof leads to another root")


def _check_terminal(piece: str, place: bytes, value: bytes | None, proof: StateProof) -> None:
    if value is not None:
        if proof.terminal != (place, value_hash(value)):
            raise ProofError(piece, "the leaf found is not this key with this value")
        return
    if proof.terminal is None:
        return
    other = proof.terminal[0]
    if other == place:
        raise ProofError(piece, "the key is present")
    if any(bit(other, depth) != bit(place, depth) for depth in range(len(proof.siblings))):
        raise ProofError(piece, "the leaf found does not stand on the key's path")
