"""The form of a document sealed to readers: strict JSON with one reading, and what its parts bind.

A body under SM4-GCM, and for each reader an envelope that holds the body's key under the reader's
SM2 key (requirement G2-17-5). Contracts judge the form without any key; sealing and opening are in
`guqiao_sdk.sealing`. This module is pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.gm.errors import GmDecryptError, GmError
from guqiao_sdk.gm.sm2 import PUBLIC_KEY_SIZE, is_public_key
from guqiao_sdk.gm.sm2_cipher import OVERHEAD_BYTES_MAX, decode_cipher
from guqiao_sdk.gm.sm4 import KEY_SIZE, NONCE_SIZE, TAG_SIZE
from guqiao_sdk.proof.canonical import digest, tagged
from guqiao_sdk.proof.json_values import Json

FORMAT: Final = "guqiao-sealed/1"
BODY_BYTES_MAX: Final = 512 * 1024
"""Of a body in the clear; with all envelopes it fits into one transaction."""
READERS_MAX: Final = 256
COMMITMENT_BYTES: Final = 32

_SEALED_KEY_BYTES_MAX: Final = KEY_SIZE + OVERHEAD_BYTES_MAX
_DID: Final = re.compile(r"did:rem:[a-z]{2,20}:[A-Za-z0-9._-]{1,64}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")


class SealedFormError(GmError):
    """What was given is no sealed document. `field` names the place, `fault` what is wrong."""

    code = "SEALED_MALFORMED"

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(
            f"this is no sealed document: {field}: {fault}", f"这不是加密文档：{field}：{fault}"
        )
        self.field = field
        self.fault = fault


@dataclass(frozen=True, slots=True)
class SealContext:
    """Where a sealed document stands; it opens nowhere else. Versions count from 1."""

    chain: str
    contract: str
    document: str
    version: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """The body's key for one reader: SM2Cipher in DER under the key of 65 bytes."""

    reader: str
    public_key: bytes
    sealed_key: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed document. Envelopes are in the order of their readers, one a reader; `body` ends
    with the tag of 16 bytes.
    """

    nonce: bytes
    commitment: bytes
    envelopes: tuple[Envelope, ...]
    body: bytes

    @property
    def readers(self) -> tuple[str, ...]:
        """The DIDs of those who can open it."""
        return tuple(envelope.reader for envelope in self.envelopes)

    def envelope_of(self, did: str) -> Envelope | None:
        """The envelope of a reader, or None."""
        return next((each for each in self.envelopes if each.reader == did), None)

    def associated_data(self, context: SealContext) -> bytes:
        """What the body is bound to beside its key: the place, and every byte of the envelopes."""
        return associated_data(context, self.nonce, self.envelopes)

    def to_json(self) -> dict[str, Json]:
        """Write the form."""
        envelopes: list[Json] = [
            {
                "reader": each.reader,
                "public_key": each.public_key.hex(),
                "sealed_key": each.sealed_key.hex(),
            }
            for each in self.envelopes
        ]
        return {
            "format": FORMAT,
            "nonce": self.nonce.hex(),
            "commitment": self.commitment.hex(),
            "envelopes": envelopes,
            "body": base64.b64encode(self.body).decode(),
        }


def associated_data(context: SealContext, nonce: bytes, envelopes: tuple[Envelope, ...]) -> bytes:
    """See `Sealed.associated_data`."""
    parts = [context.chain.encode(), context.contract.encode(), context.document.encode()]
    parts += [context.version.to_bytes(8, "big"), nonce]
    for each in envelopes:
        parts += [each.reader.encode(), each.public_key, each.sealed_key]
    return tagged("guqiao/sealed-document/1", *parts)


def commitment_to(key: bytes, bound: bytes) -> bytes:
    """What ties all readers to one key: under SM4-GCM alone a body could be made that opens to
    different texts under the keys of different envelopes.
    """
    return digest("guqiao/sealed-key/1", key, bound)


def parse_sealed(value: Json) -> Sealed:
    """Read the form, or raise `SealedFormError`: no other value means the same."""
    members = _members(value, "sealed", "format nonce commitment envelopes body")
    if members["format"] != FORMAT:
        raise SealedFormError("sealed.format", f"not {FORMAT}")
    rows = members["envelopes"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= READERS_MAX:
        raise SealedFormError("sealed.envelopes", f"not a list of 1 to {READERS_MAX} envelopes")
    envelopes = tuple(_envelope(row, number) for number, row in enumerate(rows))
    readers = [each.reader for each in envelopes]
    if readers != sorted(set(readers)):
        raise SealedFormError("sealed.envelopes", "not one a reader, in the order of their DIDs")
    return Sealed(
        _hex(members["nonce"], "sealed.nonce", NONCE_SIZE),
        _hex(members["commitment"], "sealed.commitment", COMMITMENT_BYTES),
        envelopes,
        _body(members["body"]),
    )


def _envelope(row: Json, number: int) -> Envelope:
    path = f"sealed.envelopes[{number}]"
    members = _members(row, path, "reader public_key sealed_key")
    reader = members["reader"]
    if not isinstance(reader, str) or not _DID.fullmatch(reader):
        raise SealedFormError(f"{path}.reader", "not a DID")
    public_key = _hex(members["public_key"], f"{path}.public_key", PUBLIC_KEY_SIZE)
    if not is_public_key(public_key):
        raise SealedFormError(f"{path}.public_key", "not a point of the SM2 curve")
    sealed_key = _hex(members["sealed_key"], f"{path}.sealed_key")
    try:
        cipher = decode_cipher(sealed_key)
    except GmDecryptError:
        raise SealedFormError(f"{path}.sealed_key", "not an SM2Cipher") from None
    if len(cipher.masked) != KEY_SIZE:
        raise SealedFormError(f"{path}.sealed_key", f"not of a key of {KEY_SIZE} bytes")
    return Envelope(reader, public_key, sealed_key)


def _body(value: Json) -> bytes:
    fault = f"not base64 of {TAG_SIZE + 1} to {BODY_BYTES_MAX + TAG_SIZE} bytes"
    if not isinstance(value, str) or len(value) > 4 * (BODY_BYTES_MAX + TAG_SIZE) // 3 + 4:
        raise SealedFormError("sealed.body", fault)
    try:
        body = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SealedFormError("sealed.body", fault) from None
    if not TAG_SIZE < len(body) <= BODY_BYTES_MAX + TAG_SIZE:
        raise SealedFormError("sealed.body", fault)
    if base64.b64encode(body).decode() != value:
        raise SealedFormError("sealed.body", "bits that no byte holds")
    return body


def _hex(value: Json, field: str, size: int = 0) -> bytes:
    """Bytes in lower-case hex, of this size where one is given."""
    digits_max = 2 * (size or _SEALED_KEY_BYTES_MAX)
    if not isinstance(value, str) or len(value) > digits_max or not _HEX.fullmatch(value):
        raise SealedFormError(field, f"not at most {digits_max} digits of lower-case hex")
    if size and len(value) != digits_max:
        raise SealedFormError(field, f"not {size} bytes")
    return bytes.fromhex(value)


def _members(value: Json, field: str, wanted: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise SealedFormError(field, "not an object")
    for name in sorted(value.keys() ^ set(wanted.split())):
        fault = "unknown" if name in value else "missing"
        raise SealedFormError(f"{field}.{name[:64]}", fault)
    return value
