"""The replica set and its quorum: the one rule that consensus, light clients and verifiers share.

q = ceil(2n/3), which equals ceil((n+f+1)/2) for every n with f = floor((n-1)/3): any two quorums
share an honest replica, and a quorum forms without the faulty (design section 5, G2-07-1).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest

REPLICAS_MIN: Final = 4
REPLICAS_MAX: Final = 100
PUBLIC_KEY_BYTES: Final = 65
CHAIN_ID_BYTES_MAX: Final = 64
LINEAGE_BYTES: Final = 32
ENTITY_ID_BYTES_MAX: Final = 64
ENTITY_NAME_BYTES_MAX: Final = 512


class ReplicaSetError(ValueError):
    """A replica set that the rules refuse; `code` names the rule."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def faulty_max(size: int) -> int:
    """f: how many replicas of `size` may lie, stall or crash with safety and liveness intact."""
    return (size - 1) // 3


def quorum(size: int) -> int:
    """q: the fewest replicas such that any two quorums share an honest one."""
    return -(-2 * size // 3)


@dataclass(frozen=True, slots=True)
class Member:
    """One replica:

    its index, the key its votes are checked with, and the legal entity behind it (G2-10-2d).
    """

    replica: int
    public_key: bytes
    entity_id: str
    entity_name: str


@dataclass(frozen=True)
class ReplicaSet:
    """The members of one chain in one epoch, in the order of their indices.

    `jailed` are the members whose votes do not count, ascending: n and q stay as they are, and the
    chain is degraded until governance replaces their keys (G2-16-4). `lineage` names the restart
    that this set or one before it began by (empty: none did): epochs that were lost with a quorum
    have the same numbers as those that follow the restart, and nothing signed in them holds here.
    """

    chain_id: str
    epoch: int
    members: tuple[Member, ...]
    jailed: tuple[int, ...] = ()
    lineage: bytes = b""

    @property
    def size(self) -> int:
        """n."""
        return len(self.members)

    @property
    def faulty_max(self) -> int:
        """f."""
        return faulty_max(len(self.members))

    @property
    def quorum(self) -> int:
        """q."""
        return quorum(len(self.members))

    def primary(self, view: int) -> int:
        """The replica that proposes in `view`: PBFT's view mod n, over those that may vote."""
        if not self.jailed:
            return view % len(self.members)
        voting = [member.replica for member in self.members if member.replica not in self.jailed]
        return voting[view % len(voting)]

    def check(self) -> None:
        """Refuse a set with n < 4, malformed or repeated keys, or one entity holding a quorum
        (G2-07-2, G2-16-3).
        """
        if self.size < REPLICAS_MIN:
            raise ReplicaSetError(
                "REPLICAS_TOO_FEW", f"{self.size} replicas, at least {REPLICAS_MIN} needed"
            )
        if self.size > REPLICAS_MAX:
            raise ReplicaSetError(
                "GENESIS_INVALID", f"{self.size} replicas, at most {REPLICAS_MAX} allowed"
            )
        if len(self.lineage) not in (0, LINEAGE_BYTES):
            raise ReplicaSetError("GENESIS_INVALID", "a lineage is a hash of 32 bytes")
        self._check_members()
        self._check_entities()
        self._check_jailed()

    def _check_members(self) -> None:
        if [member.replica for member in self.members] != list(range(self.size)):
            raise ReplicaSetError(
                "GENESIS_INVALID", "replicas are not numbered 0, 1, 2 ... in order"
            )
        keys = [member.public_key for member in self.members]
        if any(len(key) != PUBLIC_KEY_BYTES or key[0] != 4 or not any(key[1:]) for key in keys):
            raise ReplicaSetError(
                "GENESIS_INVALID", "a vote key is not an uncompressed SM2 point of 65 bytes"
            )
        if len(set(keys)) != len(keys):
            raise ReplicaSetError("GENESIS_INVALID", "two replicas share a vote key")
        if not all(map(_fits, self.members)):
            raise ReplicaSetError(
                "GENESIS_INVALID", "an entity's id or name is empty or longer than is encoded"
            )

    def _check_entities(self) -> None:
        held = Counter(member.entity_id for member in self.members)
        if len(held) < 2:
            raise ReplicaSetError(
                "SINGLE_ENTITY_VALIDATORS", "all replicas belong to one legal entity"
            )
        entity, count = held.most_common(1)[0]
        if count >= self.quorum:
            raise ReplicaSetError(
                "ENTITY_HOLDS_QUORUM",
                f"{entity} holds {count} of {self.size} keys, the quorum is {self.quorum}",
            )

    def _check_jailed(self) -> None:
        known = set(self.jailed) <= set(range(self.size))
        if not known or list(self.jailed) != sorted(set(self.jailed)):
            raise ReplicaSetError(
                "GENESIS_INVALID", "jailed replicas are not distinct, ascending members"
            )
        if len(self.jailed) > self.faulty_max:
            raise ReplicaSetError(
                "JAILED_TOO_MANY",
                f"{len(self.jailed)} replicas are jailed, at most {self.faulty_max} may be",
            )

    def entities_above_faulty_max(self) -> list[str]:
        """Entities with more than f keys: allowed, but the regulator is warned (G2-16-3)."""
        held = Counter(member.entity_id for member in self.members)
        return sorted(entity for entity, count in held.items() if count > self.faulty_max)

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().text(self.chain_id).u64(self.epoch).u32(self.size)
        for member in self.members:
            writer.u32(member.replica).blob(member.public_key).text(member.entity_id).text(
                member.entity_name
            )
        if self.jailed or self.lineage:
            writer.u32(len(self.jailed))
            for replica in self.jailed:
                writer.u32(replica)
        if self.lineage:
            writer.raw(self.lineage)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> ReplicaSet:
        """Read `encode`'s bytes; raises `MalformedError`. The rules of `check` are not asked."""
        reader = Reader(data)
        chain_id, epoch = reader.text(CHAIN_ID_BYTES_MAX), reader.u64()
        members = tuple(
            Member(
                reader.u32(),
                reader.blob(PUBLIC_KEY_BYTES),
                reader.text(ENTITY_ID_BYTES_MAX),
                reader.text(ENTITY_NAME_BYTES_MAX),
            )
            for _ in range(reader.count(REPLICAS_MAX))
        )
        jailed = _read_jailed(reader) if reader.has_more else ()
        lineage = reader.raw(LINEAGE_BYTES) if reader.has_more else b""
        reader.end()
        return ReplicaSet(chain_id, epoch, members, jailed, lineage)

    def hash(self) -> bytes:
        """What headers and trust files name the set by, 32 bytes; computed once."""
        return self._hash

    @cached_property
    def _hash(self) -> bytes:
        return digest("guqiao/replica-set/1", self.encode())


def _read_jailed(reader: Reader) -> tuple[int, ...]:
    """The list is left out where it is empty and no lineage follows, so that a set has one
    encoding.
    """
    jailed = tuple(reader.u32() for _ in range(reader.count(REPLICAS_MAX)))
    if not jailed and not reader.has_more:
        raise MalformedError("an empty list of jailed replicas is not written")
    return jailed


def _fits(member: Member) -> bool:
    """Whether `decode` reads back what `encode` writes: lengths are bounded in bytes there."""
    return (
        1 <= len(member.entity_id.encode()) <= ENTITY_ID_BYTES_MAX
        and 1 <= len(member.entity_name.encode()) <= ENTITY_NAME_BYTES_MAX
    )
