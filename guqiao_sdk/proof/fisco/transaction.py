"""A transaction of the chain: its JSON, its hash, and who signed it.

The hash covers version, chain, group, block limit, nonce, recipient, input and ABI one behind the
other. So that no border between them can be moved: chain and group are those that the verifier
trusts, the nonce is of lower-case hex digits, a recipient is 0x and 40 digits, and what a
deployment sends begins neither with such a digit nor with x. Input and ABI are one piece, `data`:
the hash does not say where one ends. Version 0 only: later ones hash amounts whose text the node
does not tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.sm2 import SIGNATURE_SIZE, UNCOMPRESSED
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import Fields
from guqiao_sdk.proof.fisco.header import check_signature_form
from guqiao_sdk.proof.fisco.sealers import NODE_ID_BYTES
from guqiao_sdk.proof.header import Verify
from guqiao_sdk.proof.json_values import Json

INPUT_BYTES_MAX: Final = 4 * 1024 * 1024
ABI_CHARACTERS_MAX: Final = 1024 * 1024
NONCE_CHARACTERS_MAX: Final = 128
ID_CHARACTERS_MAX: Final = 64
ADDRESS_BYTES: Final = 20

_PIECE: Final = "transaction"
_NONCE: Final = re.compile(r"[0-9a-f]{1,128}")
_RECIPIENT: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_UNCLEAR: Final = b"0123456789abcdefx"
"""Bytes that could belong to a nonce or to a recipient before them."""


@dataclass(frozen=True, slots=True)
class FiscoTransaction:
    """One transaction; `sender` is the address of the key that signed it, `to` is empty where it
    deploys a contract.
    """

    chain_id: str
    group_id: str
    block_limit: int
    nonce: str
    to: str
    data: bytes
    sender: bytes
    public_key: bytes

    def hash(self) -> bytes:
        """Its id: what is signed and what stands under the transactions root."""
        hashed = (
            bytes(4),
            self.chain_id.encode(),
            self.group_id.encode(),
            self.block_limit.to_bytes(8, "big"),
            self.nonce.encode(),
            self.to.encode(),
            self.data,
        )
        return sm3(b"".join(hashed))


def parse_transaction(value: Json, verify: Verify) -> FiscoTransaction:
    """The transaction in the result of `getTransaction`, its hash and signature checked; raises
    `ProofError`.
    """
    fields = Fields.of(_PIECE, value)
    version = fields.integer("version", 1 << 32)
    if version != 0:
        raise ProofError(
            _PIECE, f"version {version} is not one that can be verified", "OBSERVED_VERSION_UNKNOWN"
        )
    signature = fields.hexed("signature", SIGNATURE_SIZE + NODE_ID_BYTES)
    check_signature_form(_PIECE, signature, SIGNATURE_SIZE + NODE_ID_BYTES)
    node_id = signature[SIGNATURE_SIZE:]
    found = fields.hashed("hash")
    transaction = _with_hash(fields, node_id, found)
    _check_borders(transaction)
    if not verify(transaction.public_key, found, signature[:SIGNATURE_SIZE]):
        raise ProofError(_PIECE, "its signature does not hold")
    if fields.hexed("from", ADDRESS_BYTES) != transaction.sender:
        raise ProofError(_PIECE, "it is signed by another than it names as its sender")
    return transaction


def _with_hash(fields: Fields, node_id: bytes, found: bytes) -> FiscoTransaction:
    """Newer nodes write the nonce's bytes in hex, older ones as they are: the hash says which."""
    for nonce in _readings(fields.text("nonce", 2 * NONCE_CHARACTERS_MAX)):
        transaction = FiscoTransaction(
            chain_id=fields.text("chainID", ID_CHARACTERS_MAX),
            group_id=fields.text("groupID", ID_CHARACTERS_MAX),
            block_limit=fields.integer("blockLimit"),
            nonce=nonce,
            to=fields.text("to", 2 + 2 * ADDRESS_BYTES),
            data=fields.hexed("input", INPUT_BYTES_MAX)
            + fields.text("abi", ABI_CHARACTERS_MAX).encode(),
            sender=sm3(node_id)[-ADDRESS_BYTES:],
            public_key=bytes((UNCOMPRESSED,)) + node_id,
        )
        if transaction.hash() == found:
            return transaction
    raise ProofError(_PIECE, "its hash is not that of its fields")


def _readings(text: str) -> list[str]:
    readings = [text]
    if len(text) % 2 == 0 and re.fullmatch("(?:3[0-9]|6[1-6])+", text):
        readings.append(bytes.fromhex(text).decode("ascii"))
    return [each for each in readings if _NONCE.fullmatch(each)]


def _check_borders(transaction: FiscoTransaction) -> None:
    """Refuse what could be divided otherwise under the same hash."""
    if transaction.to:
        is_clear = _RECIPIENT.fullmatch(transaction.to) is not None
    else:
        is_clear = bool(transaction.data) and transaction.data[0] not in _UNCLEAR
    if not is_clear:
        raise ProofError(_PIECE, "its fields could be divided otherwise under the same hash")
