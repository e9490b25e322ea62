"""A block header of the chain: its JSON, its hash, the signatures beside it.

The hash is SM3 over the fields one behind the other, without lengths between them. Here each border
stands fast: one parent, hashes of 32 bytes, gas in decimal digits before a time below 2^48 ms (so
that it starts with two zero bytes, which end the digits), then sealers of 64 bytes and as many
weights of 8, with no extra data between them, in which a sealer could be hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm2 import SIGNATURE_SIZE
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import MALFORMED, Fields, unhex, whole
from guqiao_sdk.proof.fisco.sealers import NODE_ID_BYTES, WEIGHT_BOUND, Sealer, SealerSet
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import REPLICAS_MAX

EXTRA_DATA_BYTES_MAX: Final = 64 * 1024
TIME_MS_BOUND: Final = 1 << 48
MINOR_VERSION_MAX: Final = 17
"""The last minor version of FISCO BCOS 3 whose header is known to be hashed like this."""

_UNVERIFIED: Final = "HEADER_UNVERIFIED"
_MAJOR_VERSION: Final = 3
_RECOVERABLE_SIGNATURE_BYTES: Final = 65
"""ECDSA on secp256k1 with its recovery byte: what a chain without national cryptography signs."""


@dataclass(frozen=True, slots=True)
class FiscoHeader:
    """One block's header; `gas_used` is the decimal text that is hashed."""

    version: int
    parent_hash: bytes
    transactions_root: bytes
    receipts_root: bytes
    state_root: bytes
    number: int
    gas_used: str
    time_ms: int
    sealer: int
    sealers: SealerSet

    def hash(self) -> bytes:
        """What its sealers sign and what the next block names as its parent."""
        hashed = (
            self.version.to_bytes(4, "big"),
            (self.number - 1).to_bytes(8, "big"),
            self.parent_hash,
            self.transactions_root,
            self.receipts_root,
            self.state_root,
            self.number.to_bytes(8, "big"),
            self.gas_used.encode(),
            self.time_ms.to_bytes(8, "big"),
            self.sealer.to_bytes(8, "big"),
            *(sealer.node_id for sealer in self.sealers.sealers),
            *(sealer.weight.to_bytes(8, "big") for sealer in self.sealers.sealers),
        )
        return sm3(b"".join(hashed))


@dataclass(frozen=True, slots=True)
class CertifiedHeader:
    """A header and the signatures that came with it, each under the index of its sealer."""

    header: FiscoHeader
    signatures: tuple[tuple[int, bytes], ...]


def parse_header(value: Json) -> CertifiedHeader:
    """The header in the result of `getBlockByNumber`; raises `ProofError`. That its signatures hold
    is not said by this: `check_header` says it.
    """
    fields = Fields.of("block header", value)
    signatures = _read_signatures(fields)
    version = _read_version(fields)
    number, parent = fields.integer("number"), _read_parent(fields)
    header = FiscoHeader(
        version=version,
        parent_hash=parent[1],
        transactions_root=fields.hashed("txsRoot"),
        receipts_root=fields.hashed("receiptsRoot"),
        state_root=fields.hashed("stateRoot"),
        number=number,
        gas_used=fields.decimal("gasUsed"),
        time_ms=fields.integer("timestamp", TIME_MS_BOUND),
        sealer=fields.integer("sealer", REPLICAS_MAX),
        sealers=_read_sealers(fields),
    )
    if fields.hexed("extraData", EXTRA_DATA_BYTES_MAX):
        raise ProofError(fields.piece, "extra data could hide a sealer or a weight", _UNVERIFIED)
    if number < 1 or parent[0] != number - 1:
        raise ProofError(fields.piece, "its parent is not the block before it", _UNVERIFIED)
    if fields.hashed("hash") != header.hash():
        raise ProofError(fields.piece, "its hash is not that of its fields", _UNVERIFIED)
    return CertifiedHeader(header, signatures)


def header_value(certified: CertifiedHeader) -> dict[str, Json]:
    """The row that `parse_header` reads to this, with the members that it reads and no other."""
    header = certified.header
    parent: Json = {"blockNumber": header.number - 1, "blockHash": _hexed(header.parent_hash)}
    return {
        "version": header.version,
        "parentInfo": [parent],
        "txsRoot": _hexed(header.transactions_root),
        "receiptsRoot": _hexed(header.receipts_root),
        "stateRoot": _hexed(header.state_root),
        "number": header.number,
        "gasUsed": header.gas_used,
        "timestamp": header.time_ms,
        "sealer": header.sealer,
        "sealerList": [_hexed(each.node_id) for each in header.sealers.sealers],
        "consensusWeights": [each.weight for each in header.sealers.sealers],
        "extraData": _hexed(b""),
        "hash": _hexed(header.hash()),
        "signatureList": [
            {"sealerIndex": index, "signature": _hexed(signature)}
            for index, signature in certified.signatures
        ],
    }


def check_version(piece: str, version: int) -> None:
    """Raise `ProofError` for a version whose hash is not known."""
    major, minor, reserved = version >> 24, version >> 16 & 0xFF, version & 0xFF
    if major != _MAJOR_VERSION or minor > MINOR_VERSION_MAX or reserved:
        raise ProofError(
            piece, f"version {version} is not one that can be verified", "OBSERVED_VERSION_UNKNOWN"
        )


def check_signature_form(piece: str, signature: bytes, size: int) -> None:
    """Raise `ProofError` unless a signature has the size of an SM2 signature in its place."""
    if len(signature) == _RECOVERABLE_SIGNATURE_BYTES:
        raise ProofError(piece, "it is signed with ECDSA instead of SM2", "ALG_NOT_GM")
    if len(signature) != size:
        raise ProofError(piece, "signature is not of the right size", MALFORMED)


def _hexed(data: bytes) -> str:
    return "0x" + data.hex()


def _read_version(fields: Fields) -> int:
    version = fields.integer("version", 1 << 32)
    check_version(fields.piece, version)
    return version


def _read_parent(fields: Fields) -> tuple[int, bytes]:
    parents = fields.rows("parentInfo", 1)
    if not parents:
        raise ProofError(fields.piece, "its parent is not the block before it", _UNVERIFIED)
    parent = Fields.of(fields.piece, parents[0])
    return parent.integer("blockNumber"), parent.hashed("blockHash")


def _read_sealers(fields: Fields) -> SealerSet:
    rows = fields.rows("sealerList", REPLICAS_MAX)
    weights = fields.rows("consensusWeights", REPLICAS_MAX)
    if len(rows) != len(weights):
        raise ProofError(fields.piece, "it has not one weight for each sealer", MALFORMED)
    sealers = []
    for row, weight in zip(rows, weights, strict=True):
        text = row[2:] if isinstance(row, str) and row.startswith("0x") else None
        node_id = unhex(fields.piece, "sealerList", text)
        if len(node_id) != NODE_ID_BYTES:
            raise ProofError(fields.piece, "sealerList is not of the right size", MALFORMED)
        heavy = whole(fields.piece, "consensusWeights", weight, WEIGHT_BOUND)
        sealers.append(Sealer(node_id, heavy))
    return SealerSet(tuple(sealers))


def _read_signatures(fields: Fields) -> tuple[tuple[int, bytes], ...]:
    signatures = []
    for row in fields.rows("signatureList", REPLICAS_MAX):
        each = Fields.of(fields.piece, row)
        signature = each.hexed("signature", 2 * NODE_ID_BYTES)
        check_signature_form(fields.piece, signature, SIGNATURE_SIZE)
        signatures.append((each.integer("sealerIndex"), signature))
    return tuple(signatures)
