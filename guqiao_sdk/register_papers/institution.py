"""The registration institution's signature under a paper of the register.

That the key is the institution's is proven by the same state as the paper's content: no list of
keys has to be carried beside the TRUST file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import SIGNATURE_BYTES, Verify
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.proof.quorum import PUBLIC_KEY_BYTES
from guqiao_sdk.register_papers.proven import Facts, identity_key, read_fact

ROLE: Final = "registration_institution"
PIECE: Final = "signature of the registration institution"
_TEXT_BYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a paper: an identity of the chain and one of its keys."""

    did: str
    key_id: str
    public_key: bytes

    def to_json(self) -> dict[str, Json]:
        """As papers name their signer."""
        return {"did": self.did, "key_id": self.key_id, "public_key": self.public_key.hex()}

    @staticmethod
    def read(value: Json, reader: MemberReader) -> Signer:
        """Read `to_json`'s value; raises what the reader refuses with."""
        members = reader.members(value, "signer", "did key_id public_key")
        return Signer(
            reader.text(members["did"], "signer.did", _TEXT_BYTES_MAX),
            reader.text(members["key_id"], "signer.key_id", _TEXT_BYTES_MAX),
            reader.hex(members["public_key"], "signer.public_key", PUBLIC_KEY_BYTES),
        )

    def check(
        self, facts: Facts, time_ms: int, message: bytes, signature: bytes, verify: Verify
    ) -> None:
        """Raise `ProofError` unless the state proves that this key was the institution's at a block
        time (Unix milliseconds), and it signed the message.
        """
        if not read_fact(
            facts, identity_key(self.did), lambda it: self._is_institution(it, time_ms)
        ):
            raise ProofError(PIECE, "the state knows no such key of a registration institution")
        if len(signature) != SIGNATURE_BYTES or not verify(self.public_key, message, signature):
            raise ProofError(PIECE, "its signature does not hold")

    def _is_institution(self, identity: Any, time_ms: int) -> bool:
        key = identity["keys"].get(self.key_id)
        return (
            key is not None
            and identity["did"] == self.did
            and bool(identity["active"])
            and ROLE in identity["roles"]
            and key["public_key"] == self.public_key.hex()
            and not key["revoked"]
            and bool(key["not_before_ms"] <= time_ms <= key["not_after_ms"])
        )


@dataclass(frozen=True, slots=True)
class Seal:
    """A signer with the means to sign: bytes to 64 bytes of SM2 signature."""

    signer: Signer
    sign: Callable[[bytes], bytes]
