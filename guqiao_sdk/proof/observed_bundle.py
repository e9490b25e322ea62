"""The proof bundle of an observed chain: one transaction with what came of it, as that chain has
it.

It holds which chain it is, a certified header, and the transaction and its receipt with their
proofs, in the JSON that the chain's nodes answered. Each section is canonical JSON, so that one
content is one file. The framing is that of every bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import FILE_BYTES_MAX, Container, malformed
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.members import MemberReader

START_MAGIC: Final = b"GUQIAOF1"
END_MAGIC: Final = b"1FOAIQUG"
KIND_FISCO: Final = "fisco-bcos-3"

_SECTIONS: Final = ("chain", "header", "transaction", "receipt")
_DEPTH_MAX: Final = 12
_ID_BYTES_MAX: Final = 64
_HASH_BYTES: Final = 32
_CONTAINER: Final = Container(START_MAGIC, END_MAGIC, len(_SECTIONS))


@dataclass(frozen=True, slots=True)
class ObservedBundle:
    """Which chain it is, and the results of `getBlockByNumber`, `getTransaction` and
    `getTransactionReceipt`, the last two with proof.
    """

    chain_id: str
    group_id: str
    genesis_hash: bytes
    header: Json
    transaction: Json
    receipt: Json

    def encode(self) -> bytes:
        """The file's bytes."""
        chain: Json = {
            "kind": KIND_FISCO,
            "chain_id": self.chain_id,
            "group_id": self.group_id,
            "genesis_hash": self.genesis_hash.hex(),
        }
        contents = (chain, self.header, self.transaction, self.receipt)
        return _CONTAINER.pack(
            [(name, canonical_json(each)) for name, each in zip(_SECTIONS, contents, strict=True)]
        )

    @staticmethod
    def decode(data: bytes) -> ObservedBundle:
        """Read a file's bytes, without the checksum; raises `NotABundleError`, or `ProofError` that
        names the section.
        """
        sections = _CONTAINER.unpack(data)
        names = [name for name, _ in sections]
        if names != list(_SECTIONS):
            raise malformed(f"its sections are {', '.join(names)[:300]}")
        chain, header, transaction, receipt = (_json(name, each) for name, each in sections)
        members = _READ.members(chain, "chain", "kind chain_id group_id genesis_hash")
        if members["kind"] != KIND_FISCO:
            raise _refusal(f"its format is not {KIND_FISCO}")
        return ObservedBundle(
            chain_id=_READ.text(members["chain_id"], "chain_id", _ID_BYTES_MAX),
            group_id=_READ.text(members["group_id"], "group_id", _ID_BYTES_MAX),
            genesis_hash=_READ.hex(members["genesis_hash"], "genesis_hash", _HASH_BYTES),
            header=header,
            transaction=transaction,
            receipt=receipt,
        )


def is_observed_bundle(data: bytes) -> bool:
    """Whether a file is more of a bundle of an observed chain than of any other proof."""
    return data.startswith(START_MAGIC) or data.endswith(END_MAGIC)


def _json(name: str, content: bytes) -> Json:
    piece = f"section {name}"
    try:
        value = parse_json_strict(content, depth_max=_DEPTH_MAX, size_max=FILE_BYTES_MAX)
    except JsonError as error:
        raise ProofError(piece, f"not strict JSON: {error}", "BUNDLE_MALFORMED") from error
    if canonical_json(value) != content:
        raise ProofError(piece, "it is not written as canonical JSON", "BUNDLE_MALFORMED")
    return value


def _refusal(detail: str) -> ProofError:
    return ProofError("section chain", detail, "BUNDLE_MALFORMED")


_READ: Final = MemberReader(_refusal)
