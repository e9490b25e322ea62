"""The simulator's signatures: keyed hashes in the place of SM2 in most seeds, real SM2 in the rest.

The keyed hash is an ideal signature: fast, and nobody but the holder of the key can sign. Both give
64 bytes under keys of 65, so that codec and authentication are the production's in every seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from services.consensus.domain.signer import Sign

CHAIN: Final = "sim-chain"
OUTSIDER: Final = 900
"""From this number on, keys are of nobody in the set: former members and other epochs."""
PEOPLE: Final = range(OUTSIDER + 1_000, OUTSIDER + 6_000)
"""Clients, governors and who may restart a chain: they sign with keyed hashes in every run."""


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


def replica_set(size: int) -> ReplicaSet:
    """A set of `size` replicas, each of its own entity."""
    return IDEAL.replica_set(size)


@dataclass(frozen=True)
class Scheme:
    """How votes are signed in a run. `exact` is False where signing draws on chance of its own."""

    name: str
    key: Callable[[int], bytes]
    signer: Callable[[int], Sign]
    verify: Callable[[bytes, bytes, bytes], bool]
    exact: bool

    def replica_set(self, size: int) -> ReplicaSet:
        """The set of `size` replicas, each of its own entity."""
        return _replica_set(self, size)


@cache
def _replica_set(scheme: Scheme, size: int) -> ReplicaSet:
    members = tuple(
        Member(replica, scheme.key(replica), f"entity-{replica}", f"Entity {replica}")
        for replica in range(size)
    )
    members_set = ReplicaSet(CHAIN, 0, members)
    members_set.check()
    return members_set


@cache
def _secret(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=32, person=b"sim-secret").digest()


IDEAL: Final = Scheme(
    "ideal", public_key, lambda replica: sign_with(public_key(replica)), verify, exact=True
)


@cache
def sm2() -> Scheme:
    """Real SM2 through the production's provider, for votes."""
    verify_once, of_people = cache(_provider().verify), frozenset(map(public_key, PEOPLE))

    def verify_vote(key: bytes, message: bytes, signature: bytes) -> bool:
        judge = verify if key in of_people else verify_once
        return judge(key, message, signature)

    return Scheme(
        "sm2", lambda n: _sm2_key(n)[0], lambda n: _sm2_key(n)[1], verify_vote, exact=False
    )


@cache
def _provider() -> GmProvider:
    return open_provider()


@cache
def _sm2_key(replica: int) -> tuple[bytes, Sign]:
    provider = _provider()
    scalar = bytes(1) + sm3(b"simulated replica %d" % replica)[1:]
    private = provider.load_private_key(scalar)
    return private.public_key, lambda message: provider.sign(private, message)
