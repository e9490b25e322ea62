"""The ledger of the simulated set changes: which set certifies which height, from the blocks alone.

As in production, a change that block h decides takes effect at h + window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from services.consensus.domain.messages import CertifiedHead, Digest, SequenceNumber
from tests.simulation.keys import public_key, replica_set

WINDOW = 4
GENESIS = CertifiedHead(SequenceNumber(0), Digest(digest("sim/genesis")), 1_000_000, None)
CHANGES = (b"replace 1", b"add", b"jail 2", b"replace 2", b"remove", b"replace 0")
"""In this order; each waits until the one before is in force."""


def key_of(number: int, generation: int) -> bytes:
    """A node's vote key: it holds those of all generations."""
    return public_key(number + 100 * generation)


@dataclass(frozen=True)
class Block:
    header_hash: Digest
    batch: Batch
    epoch: int


@dataclass(frozen=True)
class Epoch:
    first: int
    members: ReplicaSet


def changed(members: ReplicaSet, request: bytes) -> ReplicaSet:
    """The next set that a request decides."""
    words = request.split()
    held, jailed = list(members.members), members.jailed
    if words[0] == b"replace":
        seat = int(words[1])
        held[seat] = replace(held[seat], public_key=key_of(seat, members.epoch + 1))
        jailed = tuple(each for each in jailed if each != seat)
    elif words[0] == b"add":
        seat = len(held)
        held.append(Member(seat, key_of(seat, 0), f"entity-{seat}", f"Entity {seat}"))
    elif words[0] == b"remove":
        held.pop()
    else:
        jailed = (int(words[1]),)
    following = ReplicaSet(members.chain_id, members.epoch + 1, tuple(held), jailed)
    following.check()
    return following


_KNOWN: dict[Digest, tuple[list[Epoch], frozenset[bytes]]] = {
    GENESIS.header_hash: ([Epoch(1, replica_set(4))], frozenset())
}
"""What the state has after a block, which its hash names; never changed once it is here."""


def epochs_of(blocks: Sequence[Block]) -> list[Epoch]:
    """The sets as the state has them after these blocks."""
    last = blocks[-1].header_hash if blocks else GENESIS.header_hash
    if last not in _KNOWN:
        epochs_of(blocks[:-1])
        found, done = _KNOWN[blocks[-2].header_hash if len(blocks) > 1 else GENESIS.header_hash]
        for request in blocks[-1].batch.transactions:
            if request in CHANGES and request not in done and len(blocks) >= found[-1].first:
                done = done | {request}
                found = [*found, Epoch(len(blocks) + WINDOW, changed(found[-1].members, request))]
        _KNOWN[last] = found, done
    return _KNOWN[last][0]
