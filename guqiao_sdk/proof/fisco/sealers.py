"""The sealers of a chain, their weights, and the weight that makes a block final.

A sealer is known by its SM2 key; its place in the list is the index that signatures name. The
quorum is the total weight less what may be faulty, (total - 1) // 3 of it, as that chain counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm2 import UNCOMPRESSED, is_public_key
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.quorum import REPLICAS_MAX, REPLICAS_MIN

NODE_ID_BYTES: Final = 64
WEIGHT_BOUND: Final = 1 << 32

_UNVERIFIED: Final = "HEADER_UNVERIFIED"
_NOT_BFT: Final = "CONSENSUS_NOT_BFT"


@dataclass(frozen=True, slots=True)
class Sealer:
    """One sealer: its SM2 key without the leading byte, and its weight."""

    node_id: bytes
    weight: int

    @property
    def public_key(self) -> bytes:
        """The key as `Verify` takes it."""
        return bytes((UNCOMPRESSED,)) + self.node_id


@dataclass(frozen=True, slots=True)
class SealerSet:
    """The sealers in the order of their indices."""

    sealers: tuple[Sealer, ...]

    @property
    def total(self) -> int:
        """The weight of all."""
        return sum(sealer.weight for sealer in self.sealers)

    @property
    def quorum(self) -> int:
        """The weight that a final block needs."""
        return self.total - (self.total - 1) // 3

    def weight_of(self, node_id: bytes) -> int:
        """The weight of a key; 0 for whoever is none of them."""
        return next((each.weight for each in self.sealers if each.node_id == node_id), 0)

    def check(self, piece: str) -> None:
        """Raise `ProofError` for a set on which no finality can rest: fewer than four sealers, a
        key twice or off the curve of SM2, or one sealer with the weight of a quorum.
        """
        if not REPLICAS_MIN <= len(self.sealers) <= REPLICAS_MAX:
            raise ProofError(
                piece,
                f"{len(self.sealers)} sealers, from {REPLICAS_MIN} to {REPLICAS_MAX} are believed",
                "REPLICAS_TOO_FEW" if len(self.sealers) < REPLICAS_MIN else _UNVERIFIED,
            )
        if len({sealer.node_id for sealer in self.sealers}) != len(self.sealers):
            raise ProofError(piece, "a sealer stands in it twice", _UNVERIFIED)
        for sealer in self.sealers:
            if not is_public_key(sealer.public_key):
                raise ProofError(piece, "the key of a sealer is no SM2 key", "ALG_NOT_GM")
            if not 0 < sealer.weight < WEIGHT_BOUND:
                raise ProofError(piece, "the weight of a sealer is out of range", _UNVERIFIED)
        if any(sealer.weight >= self.quorum for sealer in self.sealers):
            raise ProofError(piece, "one sealer alone has the weight of a quorum", _NOT_BFT)
