"""Data objects (JR/T 0314) as proofs name them."""

from __future__ import annotations

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json


def data_object_digest(value: Json) -> bytes:
    """The digest of a data object: SM3 of its tagged canonical JSON, 32 bytes."""
    return digest("guqiao/data-object/1", canonical_json(value))
