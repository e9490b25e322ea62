"""Transactions: what people sign, and how a chain names it.

A transaction is raw payload bytes and one or two signatures. The payload is strict JSON with
exactly the members below, so that what was signed can be read by a person and reaches the chain
unchanged. Each signature covers the raw bytes as sent; the id is SM3 of the tagged payload, without
signatures (design section 5).

Up to 1,000 transactions of one sender may be signed at once, in an envelope: each signature then
covers the Merkle root over their ids, and each transaction carries its own path to that root. It is
a transaction like any other, with its own id, receipt and proof, and needs no other one to be
verified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer, digest, tagged
from guqiao_sdk.proof.header import SIGNATURE_BYTES
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.proof.merkle import DIGEST_BYTES, MerklePath, merkle_path_root, path_length
from guqiao_sdk.proof.quorum import PUBLIC_KEY_BYTES

PAYLOAD_BYTES_MAX: Final = 1_048_576
BODY_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - 2_048
"""Of a body that fits a payload, whatever else the payload says."""

PAYLOAD_DEPTH_MAX: Final = 16
SIGNATURES_MAX: Final = 2
ENVELOPE_TRANSACTIONS_MAX: Final = 1_000
EXPIRY_HEIGHTS_MAX: Final = 1_000
EXPIRY_MS_MAX: Final = 600_000

_IN_ENVELOPE: Final = 0x80
"""Beside the number of signatures: they cover the root of an envelope, and the path follows."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CHAIN = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DID = re.compile(r"did:rem:[a-z]{2,20}:[A-Za-z0-9._-]{1,64}")
_KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\+08:00"
)

Signer: TypeAlias = tuple[str, str]
"""A DID and the id of one of its keys."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What is asked.

    Expiry is the last height and the last block time (ms) at which it may execute.
    """

    chain: str
    maker: Signer
    checker: Signer | None
    organisation: str
    request_id: str
    expires_height: int
    expires_time_ms: int
    after: bytes | None
    contract: str
    method: str
    business_time: str | None
    body: Mapping[str, Json]

    def to_bytes(self) -> bytes:
        """The bytes to sign:

        canonical JSON. Any other spelling of the same JSON is valid too, with another id.
        """
        members: dict[str, Json] = {
            "chain": self.chain,
            "maker": _signer_to_json(self.maker),
            "checker": None if self.checker is None else _signer_to_json(self.checker),
            "organisation": self.organisation,
            "request_id": self.request_id,
            "expires": {"height": self.expires_height, "time_ms": self.expires_time_ms},
            "after": None if self.after is None else self.after.hex(),
            "contract": self.contract,
            "method": self.method,
            "business_time": self.business_time,
            "body": dict(self.body),
        }
        return canonical_json(members)

    def body_digest(self) -> bytes:
        """What a request id is bound to: contract, method and body as JSON values, 32 bytes."""
        body = canonical_json(dict(self.body))
        return digest("guqiao/request-body/1", self.contract.encode(), self.method.encode(), body)


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Payload bytes as sent, and (public key, signature) of the maker and, where one signs, the
    checker; `envelope` is the path to the root that they signed, where they signed many at once.
    """

    payload: bytes
    signatures: tuple[tuple[bytes, bytes], ...]
    envelope: MerklePath | None = None

    def encode(self) -> bytes:
        """The canonical encoding: the leaf under the transactions root, and the form in batches."""
        path, count = self.envelope, len(self.signatures)
        writer = Writer().blob(self.payload).u8(count if path is None else count | _IN_ENVELOPE)
        for public_key, signature in self.signatures:
            writer.raw(public_key).raw(signature)
        if path is not None:
            writer.u32(path.index).u32(path.count)
            for sibling in path.siblings:
                writer.raw(sibling)
        return bytes(writer)

    @staticmethod
    def decode(data: bytes) -> SignedTransaction:
        """Read `encode`'s bytes; raises `MalformedError`. The payload itself is not looked into."""
        reader = Reader(data)
        payload, form = reader.blob(PAYLOAD_BYTES_MAX), reader.u8()
        count = form & ~_IN_ENVELOPE
        if not 1 <= count <= SIGNATURES_MAX:
            raise MalformedError(f"{count} signatures, 1 or {SIGNATURES_MAX} allowed")
        signatures = tuple(
            (reader.raw(PUBLIC_KEY_BYTES), reader.raw(SIGNATURE_BYTES)) for _ in range(count)
        )
        envelope = _read_path(reader) if form & _IN_ENVELOPE else None
        reader.end()
        return SignedTransaction(payload, signatures, envelope)

    def id(self) -> bytes:
        """The transaction's id, 32 bytes: its signatures are no part of it (reliability P18)."""
        return transaction_id(self.payload)

    def sign_bytes(self, known: dict[bytes, bytes] | None = None) -> bytes:
        """What its signatures cover. For `known` see `merkle_path_root`."""
        path = self.envelope
        if path is None:
            return transaction_sign_bytes(self.payload)
        root = merkle_path_root(
            piece="envelope",
            leaf=self.id(),
            index=path.index,
            count=path.count,
            path=path.siblings,
            known=known,
        )
        return envelope_sign_bytes(root)


def transaction_id(payload: bytes) -> bytes:
    """The id of the transaction with these payload bytes, 32 bytes."""
    return digest("guqiao/transaction-id/1", payload)


def transaction_sign_bytes(payload: bytes) -> bytes:
    """What maker and checker sign."""
    return tagged("guqiao/transaction/1", payload)


def envelope_sign_bytes(root: bytes) -> bytes:
    """What maker and checker sign for all transactions of an envelope: `root` is `merkle_root` of
    their ids.
    """
    return tagged("guqiao/envelope/1", root)


def _read_path(reader: Reader) -> MerklePath:
    index, count = reader.u32(), reader.u32()
    if not index < count <= ENVELOPE_TRANSACTIONS_MAX:
        raise MalformedError(
            f"transaction {index} of {count} in an envelope, at most {ENVELOPE_TRANSACTIONS_MAX}"
        )
    length = path_length(index, count)
    return MerklePath(index, count, tuple(reader.raw(DIGEST_BYTES) for _ in range(length)))


def parse_payload(data: bytes) -> Payload:
    """Read a payload strictly; raises `MalformedError` naming the member at fault."""
    try:
        value = parse_json_strict(data, depth_max=PAYLOAD_DEPTH_MAX, size_max=PAYLOAD_BYTES_MAX)
    except JsonError as error:
        raise MalformedError(f"the payload is not strict JSON: {error}") from error
    members = _members(
        value,
        "payload",
        "chain maker checker organisation request_id expires after contract method"
        " business_time body",
    )
    expires = _members(members["expires"], "expires", "height time_ms")
    body, checker, after = members["body"], members["checker"], members["after"]
    if not isinstance(body, dict):
        raise MalformedError("body is not an object")
    return Payload(
        chain=_match(_CHAIN, members["chain"], "chain"),
        maker=_signer_from_json(members["maker"], "maker"),
        checker=None if checker is None else _signer_from_json(checker, "checker"),
        organisation=_match(_DID, members["organisation"], "organisation"),
        request_id=_match(REQUEST_ID, members["request_id"], "request_id"),
        expires_height=_natural(expires["height"], "expires.height"),
        expires_time_ms=_natural(expires["time_ms"], "expires.time_ms"),
        after=None if after is None else bytes.fromhex(_match(_HASH, after, "after")),
        contract=_match(_NAME, members["contract"], "contract"),
        method=_match(_NAME, members["method"], "method"),
        business_time=_optional_time(members["business_time"]),
        body=body,
    )


def _signer_to_json(signer: Signer) -> Json:
    return {"did": signer[0], "key": signer[1]}


def _signer_from_json(value: Json, name: str) -> Signer:
    members = _members(value, name, "did key")
    return _match(_DID, members["did"], f"{name}.did"), _match(
        _KEY_ID, members["key"], f"{name}.key"
    )


def _members(value: Json, name: str, wanted: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not an object")
    names = wanted.split()
    if len(value) != len(names) or any(member not in value for member in names):
        odd = sorted(set(value) ^ set(names))
        raise MalformedError(f"{name} has missing or unknown members: {', '.join(odd)[:200]}")
    return value


def _match(pattern: re.Pattern[str], value: Json, name: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise MalformedError(f"{name} is not of the form {pattern.pattern}")
    return value


def _natural(value: Json, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedError(f"{name} is not a natural number")
    return value


def _optional_time(value: Json) -> str | None:
    return None if value is None else _match(_TIME, value, "business_time")
