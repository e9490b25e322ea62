"""The checkpoint file: from which height on, and by which sealers, a chain is believed.

Whoever hands it over vouches for it; this reader only holds it to its form. Every member is needed
and no other is taken.
"""

from __future__ import annotations

from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.fields import HASH_BYTES, Fields, unhex
from guqiao_sdk.proof.fisco.sealers import NODE_ID_BYTES, WEIGHT_BOUND, Sealer, SealerSet
from guqiao_sdk.proof.fisco.transaction import ID_CHARACTERS_MAX
from guqiao_sdk.proof.fisco.trusted import TrustedFisco
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.quorum import REPLICAS_MAX

FORMAT: Final = "guqiao-fisco-checkpoint/1"
CHECKPOINT_BYTES_MAX: Final = 64 * 1024

_PIECE: Final = "checkpoint"
_CODE: Final = "TRUST_INVALID"
_MEMBERS: Final = frozenset(
    {"format", "chain_id", "group_id", "genesis_hash", "height", "header_hash", "sealers"}
)


def encode_checkpoint(trusted: TrustedFisco) -> bytes:
    """The file, canonical JSON."""
    return canonical_json(checkpoint_value(trusted))


def checkpoint_value(trusted: TrustedFisco) -> Json:
    """What the file says, as it also stands in a TRUST file."""
    sealers: list[Json] = [
        {"node_id": each.node_id.hex(), "weight": each.weight} for each in trusted.sealers.sealers
    ]
    return {
        "format": FORMAT,
        "chain_id": trusted.chain_id,
        "group_id": trusted.group_id,
        "genesis_hash": trusted.genesis_hash.hex(),
        "height": trusted.number,
        "header_hash": trusted.header_hash.hex(),
        "sealers": sealers,
    }


def parse_checkpoint(data: bytes) -> TrustedFisco:
    """Read `encode_checkpoint`'s bytes, in any spacing; raises `ProofError`."""
    try:
        value = parse_json_strict(data, depth_max=3, size_max=CHECKPOINT_BYTES_MAX)
    except JsonError as error:
        raise ProofError(_PIECE, "it is not JSON", _CODE) from error
    return checkpoint_of(value)


def checkpoint_of(value: Json) -> TrustedFisco:
    """Read `checkpoint_value`'s value; raises `ProofError`."""
    fields = Fields.of(_PIECE, value)
    if fields.values.keys() != _MEMBERS or fields.values["format"] != FORMAT:
        raise ProofError(_PIECE, f"its members are not those of {FORMAT}", _CODE)
    sealers = SealerSet(tuple(_sealer(row) for row in fields.rows("sealers", REPLICAS_MAX)))
    sealers.check(_PIECE)
    return TrustedFisco(
        chain_id=_name(fields, "chain_id"),
        group_id=_name(fields, "group_id"),
        genesis_hash=_hash(fields, "genesis_hash"),
        number=fields.integer("height"),
        header_hash=_hash(fields, "header_hash"),
        sealers=sealers,
    )


def _name(fields: Fields, name: str) -> str:
    text = fields.text(name, ID_CHARACTERS_MAX)
    if not text or not text.isascii() or not text.isprintable():
        raise ProofError(_PIECE, f"{name} is empty or not printable", _CODE)
    return text


def _hash(fields: Fields, name: str) -> bytes:
    value = unhex(_PIECE, name, fields.values[name])
    if len(value) != HASH_BYTES or not any(value):
        raise ProofError(_PIECE, f"{name} is not of the right size", _CODE)
    return value


def _sealer(row: Json) -> Sealer:
    fields = Fields.of(_PIECE, row)
    if fields.values.keys() != {"node_id", "weight"}:
        raise ProofError(_PIECE, f"its members are not those of {FORMAT}", _CODE)
    node_id = unhex(_PIECE, "node_id", fields.values["node_id"])
    if len(node_id) != NODE_ID_BYTES:
        raise ProofError(_PIECE, "node_id is not of the right size", _CODE)
    return Sealer(node_id, fields.integer("weight", WEIGHT_BOUND))
