"""What a replica, or whoever holds keys, reads back from its own files: a disk changes any byte."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.archive.records import HEAD, HEAD_BYTES, RecordType
from guqiao_sdk.client.trust import trust_from_genesis
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.certificates import CertificateAuthority
from guqiao_sdk.gm.certificates.chain import _load_crl
from guqiao_sdk.gm.certificates.info import parse_certificate
from guqiao_sdk.gm.errors import GmError
from guqiao_sdk.gm.keyfile import load_private_key, private_key_to_pem
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import ReplicaSetError
from guqiao_sdk.proof.restart import Restart
from services.chassis.grpc_server.nonces_file import _load
from services.consensus.domain.ledger.state_tree import apply, changes_of
from services.consensus.domain.ledger.tree_page import Page
from services.consensus.evidence import checksum_of, decode_body
from services.consensus.store.errors import RestartDamagedError
from services.consensus.store.folder import Identity, Owner, _identity_bytes, _read_identity
from services.consensus.store.promise import Promise
from services.consensus.store.restarts import _checksum as restart_checksum
from services.consensus.store.restarts import _read as read_restart_file
from services.consensus.store.segment import (
    Position,
    Record,
    encode_record,
    parse_record,
)
from services.consensus.store.state_intake import decode_entries, encode_entries
from tests.fuzz import corpus, mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, of_file, or_malformed, spelled_anew
from tests.unit.gm.certificate_world import DAY, REPLICA, START, make_authority
from tests.unit.proof.restart_case import RestartCase

SALT: Final = 7
SALTED: Final = b"g" * 32
_EVIDENCE_NAME: Final = "0-1.json"
_PROMISE: Final = Promise(view=3, sequence=70, reached=Position(2, 4_096), epoch=1)
_PROMISE_BODY: Final = _PROMISE.encode().partition(b"\n")[0]
_IDENTITY: Final = Identity(Owner("shandong", b"g" * 32, 3), SALT)


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    return (*_folder(), *_segments(), *_tree(), *_trust(), *_certificates())


# --- The data folder ----------------------------------------------------------------------------


def _read_restart(data: bytes) -> Restart:
    """Under the right checksum, so that the decoder behind it is reached."""
    return of_file(read_restart_file)(restart_checksum(data) + data)


def _folder() -> list[Target]:
    identity = json.loads(_identity_bytes(_IDENTITY))
    del identity["checksum"]
    body: dict[str, Json] = {"epoch": 0, "replica": 1, "first": "0a", "second": "0b"}
    lines = b"".join(b"%d %s\n" % (expiry, b"%064x" % expiry) for expiry in (1, 1_756_000_000_000))
    return [
        Target(
            "promise", or_malformed(Promise.decode), MALFORMED, [_PROMISE.encode()],
            mutations.of_bytes, lambda v: v.encode(),
        ),
        Target(
            "promise with its checksum",
            lambda data: or_malformed(Promise.decode)(spelled_anew(data, _promise_line)),
            MALFORMED, [_PROMISE_BODY], mutations.of_json,
        ),
        Target(
            "identity of a folder", or_malformed(of_file(_read_identity)), MALFORMED,
            [_identity_bytes(_IDENTITY)], mutations.of_bytes,
        ),
        Target(
            "identity of a folder with its checksum",
            lambda data: or_malformed(of_file(_read_identity))(
                spelled_anew(data, _identity_line)
            ),
            MALFORMED, [json.dumps(identity).encode()], mutations.of_json,
        ),
        Target(
            "restart file", _read_restart, (RestartDamagedError,),
            [RestartCase().restart().encode()], mutations.of_fields,
        ),
        Target(
            "evidence file", lambda data: decode_body(data, _EVIDENCE_NAME, SALTED), MALFORMED,
            [canonical_json({**body, "checksum": checksum_of(body, _EVIDENCE_NAME, SALTED)})],
            mutations.of_json,
        ),
        Target("nonce file", of_file(_whole_nonces), MALFORMED, [lines], mutations.of_bytes),
    ]  # fmt: skip


def _whole_nonces(path: Path) -> dict[bytes, int]:
    nonces, damaged = _load(path)
    if damaged:
        raise MalformedError(f"lines {damaged}")
    return nonces


def _promise_line(value: Any) -> bytes:
    ordered = {name: value[name] for name in json.loads(_PROMISE_BODY) if name in value}
    body = json.dumps({**ordered, **value})
    return f"{body}\n{zlib.crc32(body.encode()):08x}\n".encode()


def _identity_line(value: Any) -> bytes:
    checksum = zlib.crc32(json.dumps(value, sort_keys=True).encode())
    return json.dumps({**value, "checksum": checksum}).encode()


# --- Segments and tree --------------------------------------------------------------------------


def _segments() -> list[Target]:
    record = encode_record(RecordType.BLOCK, 7, b"payload", SALT)
    entries = encode_entries([(b"k", b"v"), (b"key", b"")])
    return [
        Target(
            "record of a segment", _record, MALFORMED, [record], mutations.of_bytes,
            lambda v: encode_record(v.type, v.height, v.payload, SALT),
        ),
        Target(
            "record of a segment with its checksums", lambda data: _record(_sealed(data)),
            MALFORMED, [record], mutations.of_bytes,
        ),
        Target(
            "entries of a state", decode_entries, MALFORMED, [entries], mutations.of_fields,
            encode_entries,
        ),
    ]  # fmt: skip


def _record(data: bytes) -> Record:
    """The record that is all of the data."""
    found = parse_record(data, 0, Position(1, 0), SALT)
    if not isinstance(found, Record) or found.end.offset != len(data):
        raise MalformedError("damaged")
    return found


def _sealed(data: bytes) -> bytes:
    """The bytes with the checksums that whoever wrote them would have given them."""
    if len(data) < HEAD_BYTES:
        return data
    magic, kind, height, length, _ = HEAD.unpack(data[: HEAD.size])
    payload = data[HEAD_BYTES:]
    head = HEAD.pack(magic, kind, height, length, zlib.crc32(payload, SALT))
    return head + zlib.crc32(head, SALT).to_bytes(4, "big") + payload


def _tree() -> list[Target]:
    pages: dict[bytes, bytes] = {}
    state: dict[bytes, bytes | None] = {b"key/%d" % each: b"value" for each in range(60)}
    update = apply(pages.__getitem__, None, changes_of(state), 5)
    few = apply(pages.__getitem__, None, changes_of({b"one": b"1", b"two": b"2"}), 6)
    samples = sorted({*update.pages.values(), *few.pages.values()}, key=len)
    return [
        Target(
            "page of the state tree", Page.decode, MALFORMED, [samples[0], samples[-1]],
            mutations.of_bytes, lambda v: v.encode(),
        ),
    ]  # fmt: skip


# --- Trust, keys and certificates ---------------------------------------------------------------


def _trust() -> list[Target]:
    [genesis] = corpus.genesis()
    parts = json.loads(genesis)
    trusted = {
        "chain_id": parts["chain_id"],
        "genesis_hash": "0a" * 32,
        "epoch": parts["epoch"],
        "replicas": parts["replicas"],
        "restart_authorities": RestartCase().authorities.to_json(),
    }
    return [
        Target(
            "trust in a genesis file", trust_from_genesis, (ValueError,), [genesis],
            mutations.of_json,
        ),
        Target(
            "trust in one chain", of_file(load_chain_trust), (*MALFORMED, ReplicaSetError),
            [canonical_json(trusted)], mutations.of_json,
        ),
    ]  # fmt: skip


@cache
def _authority() -> CertificateAuthority:
    return make_authority(open_provider())


def _certificates() -> list[Target]:
    provider, key = open_provider(), _key()
    certificate = _authority().issue(
        REPLICA,
        key.public_key,
        organisation="示例股权交易中心",
        common_name=REPLICA,
        not_before=START,
        not_after=START + 100 * DAY,
    )
    crl = _authority().issue_crl([], this_update=START, next_update=START + 30 * DAY)
    private = private_key_to_pem(key)
    read_key = of_file(lambda path: load_private_key(path, provider))
    refused = (GmError,)
    return [
        Target(
            "public key", _public_key, MALFORMED, [key.public_key], mutations.of_bytes,
            lambda v: v,
        ),
        Target("key certificate", parse_certificate, refused, [certificate], mutations.of_pem),
        Target("revocation list", _load_crl, refused, [crl], mutations.of_pem),
        Target(
            "revocation list before", _authority()._read_crl, refused, [crl], mutations.of_pem
        ),
        Target("key file", read_key, refused, [private], mutations.of_pem),
    ]  # fmt: skip


_MESSAGE: Final = b"message"


@cache
def _key() -> PrivateKey:
    return open_provider().keygen()


@cache
def _signature() -> bytes:
    return open_provider().sign(_key(), _MESSAGE)


def _public_key(point: bytes) -> bytes:
    """The key of whoever signed; nobody else's makes the signature hold."""
    if not open_provider().verify(point, _MESSAGE, _signature()):
        raise MalformedError("another key")
    return point
