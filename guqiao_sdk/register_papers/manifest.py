"""The manifest of an export package: of which chain, height and product it is, and which files are
in it, under the registration institution's signature. Canonical JSON, read strictly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import tagged
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import SIGNATURE_BYTES
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader
from guqiao_sdk.register_papers.institution import Seal, Signer

FORMAT: Final = "guqiao-register-export/1"
NAME: Final = "manifest.json"
BYTES_MAX: Final = 1024 * 1024
FILES_MAX: Final = 4_096
_TEXT_BYTES_MAX: Final = 4_096
_DIGEST_BYTES: Final = 32
_DEPTH_MAX: Final = 4
_PIECE: Final = "export manifest"
_FILE: Final = re.compile(r"[a-z][a-z0-9-]{0,39}\.(?:csv|gqx)")
_MEMBERS: Final = "format chain height block_time_ms product_code files signer signature"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files` are digests (SM3) by name; `block_time_ms` is Unix milliseconds, of the height."""

    chain_id: str
    height: int
    block_time_ms: int
    product: str
    files: Mapping[str, bytes]
    signer: Signer
    signature: bytes

    @staticmethod
    def build(
        *,
        chain_id: str,
        height: int,
        block_time_ms: int,
        product: str,
        files: Mapping[str, bytes],
        seal: Seal,
    ) -> Manifest:
        """The signed manifest of files by name."""
        digests = {name: sm3(content) for name, content in files.items()}
        unsigned = Manifest(
            chain_id, height, block_time_ms, product, digests, seal.signer, bytes(SIGNATURE_BYTES)
        )
        signature = seal.sign(unsigned.sign_bytes())
        return Manifest(chain_id, height, block_time_ms, product, digests, seal.signer, signature)

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical_json({**self._members(), "signature": self.signature.hex()})

    def sign_bytes(self) -> bytes:
        """What the institution signs: every member but the signature."""
        return tagged("guqiao/register-export/1", canonical_json(self._members()))

    @staticmethod
    def decode(data: bytes) -> Manifest:
        """Read `encode`'s bytes; raises `ProofError`. Whether the signature holds is not asked."""
        try:
            value = parse_json_strict(data, depth_max=_DEPTH_MAX, size_max=BYTES_MAX)
        except JsonError as error:
            raise _refusal(f"not strict JSON: {error}") from None
        members = _READ.members(value, "it", _MEMBERS)
        if members["format"] != FORMAT:
            raise _refusal(f"its format is not {FORMAT}")
        found = Manifest(
            chain_id=_READ.text(members["chain"], "chain", _TEXT_BYTES_MAX),
            height=_READ.natural(members["height"], "height"),
            block_time_ms=_READ.natural(members["block_time_ms"], "block_time_ms"),
            product=_READ.text(members["product_code"], "product_code", _TEXT_BYTES_MAX),
            files=_files(members["files"]),
            signer=Signer.read(members["signer"], _READ),
            signature=_READ.hex(members["signature"], "signature", SIGNATURE_BYTES),
        )
        if found.encode() != data:
            raise _refusal("it is not written as a manifest is")
        return found

    def _members(self) -> dict[str, Json]:
        return {
            "format": FORMAT,
            "chain": self.chain_id,
            "height": self.height,
            "block_time_ms": self.block_time_ms,
            "product_code": self.product,
            "files": {name: digest.hex() for name, digest in self.files.items()},
            "signer": self.signer.to_json(),
        }


def _files(value: Json) -> dict[str, bytes]:
    if not isinstance(value, dict) or not 1 <= len(value) <= FILES_MAX:
        raise _refusal(f"it does not list 1 to {FILES_MAX} files")
    return {
        _READ.match(_FILE, name, "the name of a file"): _READ.hex(digest, name, _DIGEST_BYTES)
        for name, digest in value.items()
    }


def _refusal(detail: str) -> ProofError:
    return ProofError(_PIECE, detail)


_READ: Final = MemberReader(_refusal)
