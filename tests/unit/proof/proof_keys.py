"""Keys and replica sets for tests of proofs: SM2 where signatures matter, a fast fake elsewhere.

The fake signs with SM3 of key and message. It shows what code does with valid and invalid
signatures; that only the key's owner can sign is shown with SM2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.batch import batch_digest
from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.merkle import merkle_root
from guqiao_sdk.proof.quorum import Member, ReplicaSet

START_MS = 1_756_000_000_000


class Keys(Protocol):
    """Makes named keys, signs with them, verifies."""

    def public_key(self, name: str) -> bytes: ...

    def sign(self, name: str, message: bytes) -> bytes: ...

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...


class FakeKeys:
    """No cryptography but SM3."""

    def public_key(self, name: str) -> bytes:
        return b"\x04" + digest("test/x", name.encode()) + digest("test/y", name.encode())

    def sign(self, name: str, message: bytes) -> bytes:
        return self._sign(self.public_key(name), message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return signature == self._sign(public_key, message)

    def _sign(self, public_key: bytes, message: bytes) -> bytes:
        half = digest("test/signature", public_key, message)
        return half + sm3(half)


@dataclass
class Sm2Keys:
    """Real keys of the provider, made on first use."""

    provider: GmProvider
    made: dict[str, PrivateKey] = field(default_factory=dict)

    def public_key(self, name: str) -> bytes:
        return self._key(name).public_key

    def sign(self, name: str, message: bytes) -> bytes:
        return self.provider.sign(self._key(name), message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return self.provider.verify(public_key, message, signature)

    def _key(self, name: str) -> PrivateKey:
        if name not in self.made:
            self.made[name] = self.provider.keygen()
        return self.made[name]


@dataclass(frozen=True)
class Replicas:
    """A keyed replica set: four replicas of four legal entities unless asked otherwise."""

    keys: Keys
    chain_id: str = "shandong"
    epoch: int = 0
    size: int = 4

    @property
    def set(self) -> ReplicaSet:
        return ReplicaSet(
            self.chain_id,
            self.epoch,
            tuple(
                Member(
                    index,
                    self.keys.public_key(self.name(index)),
                    f"entity-{index}",
                    f"机构{index}",
                )
                for index in range(self.size)
            ),
        )

    def name(self, index: int) -> str:
        return f"{self.chain_id}/{self.epoch}/{index}"

    def certify(
        self, header: BlockHeader, signers: Iterable[int] | None = None
    ) -> FinalityCertificate:
        """Sign with the given replicas, else with a quorum."""
        message = checkpoint_sign_bytes(header)
        chosen = range(self.set.quorum) if signers is None else signers
        return FinalityCertificate(
            header.hash(),
            tuple((index, self.keys.sign(self.name(index), message)) for index in chosen),
        )

    def header(
        self, height: int, *, tag: str = "", next_set: ReplicaSet | None = None
    ) -> BlockHeader:
        """A well-formed header; `tag` makes another one of the same height."""
        transactions_root, time = merkle_root([tag.encode()]), START_MS + 1_000 * height
        return BlockHeader(
            chain_id=self.chain_id,
            epoch=self.epoch,
            height=height,
            parent=digest("test/parent", height.to_bytes(8, "big")),
            batch_digest=batch_digest(time, transactions_root),
            block_time_ms=time,
            transactions_root=transactions_root,
            receipts_root=merkle_root([b"receipt"]),
            state_root=digest("test/state", tag.encode()),
            next_set_hash=(next_set or self.set).hash(),
        )

    def next_epoch(self) -> Replicas:
        return replace(self, epoch=self.epoch + 1)
