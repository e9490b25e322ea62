"""Who signed two histories of one chain: two certified headers that exclude each other, judged.

They exclude each other as two blocks of one height, or as a block and the next one that names
another parent. An honest replica certifies one of them at most, so every key under both is at
fault, in whichever epochs it signed (G2-16-4, reliability G7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify, verify_certificate
from guqiao_sdk.proof.quorum import Member, ReplicaSet

_UNVERIFIED: Final = "HEADER_UNVERIFIED"


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header, the certificate over it, and the set whose quorum that has to be."""

    header: BlockHeader
    certificate: FinalityCertificate
    replica_set: ReplicaSet


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two certified headers that exclude each other, the lower one first, and who signed both: the
    members of the first one's set whose keys stand under both certificates.
    """

    first: CertifiedHeader
    second: CertifiedHeader
    signers: tuple[Member, ...]

    @property
    def height(self) -> int:
        """The height of which two blocks were certified."""
        return self.first.header.height

    @property
    def other_hash(self) -> bytes:
        """The hash of the other block of that height, 32 bytes."""
        return other_hash(self.height, self.second.header)


def other_hash(height: int, header: BlockHeader) -> bytes:
    """Which block of `height` a header says: itself, or the parent that it names."""
    return header.hash() if header.height == height else header.parent


def judge_conflict(one: CertifiedHeader, other: CertifiedHeader, verify: Verify) -> Conflict:
    """Return what two headers show; raises `ProofError` where they show nothing."""
    first, second = sorted((one, other), key=lambda each: each.header.height)
    height = first.header.height
    piece = f"misbehaviour evidence of {first.header.chain_id} height {height}"
    if second.header.height > height + 1:
        raise ProofError(piece, "the two headers are of heights that do not touch", _UNVERIFIED)
    if other_hash(height, second.header) == first.header.hash():
        raise ProofError(piece, "the two headers are of one history", _UNVERIFIED)
    for each in (first, second):
        verify_certificate(each.header, each.certificate, each.replica_set, verify)
    return conflict_of(first, second)


def conflict_of(first: CertifiedHeader, second: CertifiedHeader) -> Conflict:
    """The same for headers that were found certified, and to exclude each other, before."""
    keys = {member.public_key for member in _signers(second)}
    both = tuple(member for member in _signers(first) if member.public_key in keys)
    return Conflict(first, second, both)


def _signers(certified: CertifiedHeader) -> list[Member]:
    members = certified.replica_set.members
    return [members[replica] for replica, _ in certified.certificate.signatures]
