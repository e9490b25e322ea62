"""What every signature must cover, written down a second time and not by the code under test.

If the production left the type, view, sequence, epoch or chain out of what is signed, or the parts
of a view-change out of its digest, signatures would not hold over these bytes.
"""

from __future__ import annotations

import struct

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
)

PRE_PREPARE, PREPARE, COMMIT, CHECKPOINT, VIEW_CHANGE, NEW_VIEW = range(1, 7)

Signed = PrePrepare | Prepare | Commit | Checkpoint | ViewChange | NewView


def vote_bytes(
    replica_set: ReplicaSet, kind: int, view: int, sequence: int, digest: bytes
) -> bytes:
    """The bytes under one vote."""
    tag = b"guqiao/vote/2" if replica_set.lineage else b"guqiao/vote/1"
    head = _blob(tag) + replica_set.lineage + _blob(replica_set.chain_id.encode())
    place = struct.pack(">QBQQ", replica_set.epoch, kind, view, sequence)
    return head + place + _blob(digest)


def signed_bytes(message: Signed, replica_set: ReplicaSet) -> bytes:
    """The bytes under a message's signature."""
    place: tuple[int, int, int, bytes]
    match message:
        case PrePrepare():
            place = (PRE_PREPARE, message.view, message.sequence, message.batch.digest())
        case Prepare():
            place = (PREPARE, message.view, message.sequence, message.digest)
        case Commit():
            place = (COMMIT, message.view, message.sequence, message.digest)
        case Checkpoint():
            place = (CHECKPOINT, 0, message.sequence, message.header_hash)
        case ViewChange():
            digest = content_digest(message)
            place = (VIEW_CHANGE, message.view, message.certified, digest)
        case NewView():
            digest = _tagged(b"guqiao/new-view/1", _new_view(message))
            place = (NEW_VIEW, message.view, 0, digest)
    return vote_bytes(replica_set, *place)


def content_digest(message: ViewChange) -> bytes:
    """What a view-change is signed through: it covers the certified height, too."""
    return _tagged(b"guqiao/view-change/1", _view_change(message))


def _view_change(message: ViewChange) -> bytes:
    parts = [struct.pack(">QIQ", message.view, message.replica, message.certified)]
    certificate = message.certificate
    parts.append(_blob(b"" if certificate is None else _certificate(certificate)))
    parts.append(struct.pack(">I", len(message.prepared)))
    return b"".join([*parts, *map(_prepared, message.prepared)])


def _new_view(message: NewView) -> bytes:
    parts = [struct.pack(">QI", message.view, len(message.view_changes))]
    parts += [_blob(_view_change(each)) + each.signature for each in message.view_changes]
    parts.append(struct.pack(">I", len(message.reproposals)))
    for each in message.reproposals:
        parts.append(struct.pack(">Q", each.sequence) + each.digest + each.signature)
    return b"".join(parts)


def _prepared(each: PreparedCertificate) -> bytes:
    head = struct.pack(">QQ", each.view, each.sequence) + each.digest + each.pre_prepare_signature
    return head + _signatures(each.prepares)


def _certificate(certificate: FinalityCertificate) -> bytes:
    return certificate.header_hash + _signatures(certificate.signatures)


def _signatures(signatures: tuple[tuple[int, bytes], ...]) -> bytes:
    each = b"".join(struct.pack(">I", replica) + sign for replica, sign in signatures)
    return struct.pack(">I", len(signatures)) + each


def _blob(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _tagged(tag: bytes, part: bytes) -> bytes:
    return sm3(_blob(tag) + _blob(part))
