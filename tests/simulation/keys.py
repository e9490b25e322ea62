"""Keyed hashes in the place of SM2: fast, and nobody but the holder of the key can sign."""

from __future__ import annotations

import hashlib
from functools import cache

from guqiao_sdk.proof.quorum import Member, ReplicaSet
from services.consensus.domain.signer import Sign


def public_key(replica: int) -> bytes:
    """A key of the right form; the simulator's `verify` derives the secret from it."""
    return b"\x04" + hashlib.blake2b(b"replica %d" % replica, digest_size=64).digest()


def sign_with(key: bytes) -> Sign:
    """The signing function that belongs to a public key."""
    secret = _secret(key)

    def sign(message: bytes) -> bytes:
        return hashlib.blake2b(message, digest_size=64, key=secret).digest()

    return sign


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is what the holder of `key` makes of `message`."""
    return hashlib.blake2b(message, digest_size=64, key=_secret(key)).digest() == signature


@cache
def replica_set(size: int) -> ReplicaSet:
    """A set of `size` replicas, each of its own entity."""
    members = tuple(
        Member(replica, public_key(replica), f"entity-{replica}", f"Entity {replica}")
        for replica in range(size)
    )
    members_set = ReplicaSet("sim-chain", 0, members)
    members_set.check()
    return members_set


@cache
def _secret(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=32, person=b"sim-secret").digest()
