"""Strategies that change what a message says, or how: small and any scope, replays, broken bytes,
other encodings of signatures, other epochs and keys.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.gm.sm2 import N
from guqiao_sdk.proof.canonical import MalformedError
from services.consensus.domain.codec import decode_message, encode_message
from services.consensus.domain.messages import (
    NUMBER_MAX,
    Checkpoint,
    Commit,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import sign_bytes
from tests.simulation.byzantine.liar import OUTGOING, Liar, Out, Raw

SIGNATURE_BYTES = 64
NESTED_BYTES = 40_000
OVERSIZED_BYTES = 100_000


def signed_anew(message: PeerMessage, signer: Signer) -> PeerMessage:
    """The message with a signature that holds for what it says now."""
    if isinstance(message, Hello):
        return message
    signature = signer.sign(sign_bytes(message, signer.replica_set))
    return replace(message, signature=signature)


def small_mutation(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B18: one more or one less of one integer, or the value of an older message of its own."""
    if liar.random.random() < 0.5:
        return None
    names = [each.name for each in fields(message) if _is_number(getattr(message, each.name))]
    name = liar.random.choice(names)
    older = [each for each in liar.remembered if type(each) is type(message)]
    if older and liar.random.random() < 0.4:
        value = getattr(liar.random.choice(older), name)
    else:
        value = max(0, getattr(message, name) + liar.random.choice([-1, 1]))
    return _said(liar, _with(message, **{name: value}))


def any_mutation(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B19: any value in any field; or one bit turned under the signature, as bad memory does."""
    if liar.random.random() < 0.5:
        return None
    if liar.random.random() < 0.5:
        return _turned_under_signature(liar, message)
    names = [each.name for each in fields(message) if _is_number(getattr(message, each.name))]
    value = liar.random.choice([0, 1, 7, 2**31, 2**53, NUMBER_MAX])
    changed = _with(message, **{liar.random.choice(names): value})
    match changed:
        case Prepare() | Commit():
            changed = replace(changed, digest=liar.any_digest())
        case Checkpoint():
            changed = replace(changed, header_hash=liar.any_digest())
    return _said(liar, changed)


def replay(liar: Liar, core: Replica) -> list[Out]:
    """B17: old messages of its own and of others, as they were or moved to another place with the
    signature that they had.
    """
    outs: list[Out] = []
    pool = [*liar.remembered, *liar.heard]
    for message in liar.random.sample(pool, k=min(6, len(pool))):
        outs.append(_moved(liar, message, core))
    return outs


def replayed_certificates(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B17: certificates of old views are shown as if they were of the last one, or commits as if
    they were prepares.
    """
    if not isinstance(message, ViewChange):
        return None
    from_commits = _certificates_from_commits(liar, message)
    if from_commits and (not message.prepared or liar.random.random() < 0.5):
        place = (message.view, message.certified, message.certificate)
        return [liar.signer.view_change(*place, from_commits)]
    if not message.prepared:
        return None
    last = View(max(message.view - 1, 0))
    moved = tuple(replace(each, view=last) for each in message.prepared)
    return [liar.signer.view_change(message.view, message.certified, message.certificate, moved)]


def _certificates_from_commits(liar: Liar, message: ViewChange) -> tuple[PreparedCertificate, ...]:
    """A certificate whose prepares are the commits for the proposal of a place, its own too."""
    known = [*liar.remembered, *liar.heard]
    proposals = [each for each in known if isinstance(each, PrePrepare)]
    for proposal in proposals:
        place = (proposal.view, proposal.sequence, proposal.digest)
        primary = liar.signer.primary(proposal.view)
        commits = {
            each.replica: each.signature
            for each in known
            if isinstance(each, Commit)
            and (each.view, each.sequence, each.digest) == place
            and each.replica != primary
        }
        above = message.certified < proposal.sequence <= message.certified + liar.window
        if above and proposal.view < message.view:
            prepares = tuple(sorted(commits.items()))
            if len(prepares) + 1 >= liar.signer.replica_set.quorum:
                return (PreparedCertificate(*place, proposal.signature, prepares),)
    return ()


def broken_bytes(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B20: truncated, extended, oversized, deeply nested, of an unknown kind, or no frame."""
    if liar.random.random() < 0.6:
        return None
    random, data = liar.random, encode_message(message)
    match random.randrange(7):
        case 0:
            broken = data[: random.randrange(len(data))]
        case 1:
            broken = data + random.randbytes(3)
        case 2:
            broken = data + bytes(OVERSIZED_BYTES)
        case 3:
            broken = bytes([random.randrange(9, 256)]) + data[1:]
        case 4:
            broken = random.randbytes(random.randrange(1, 200))
        case 5:
            return [Raw(random.randbytes(random.randrange(0, 60)))]
        case _:
            return [Raw(b"\x1b" * NESTED_BYTES)]  # Groups that open and never close.
    return [Raw(peer_pb2.PeerFrame(message=broken).SerializeToString())]


def other_signature(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B21: other spellings of a signature that holds, and forms that must never hold."""
    if isinstance(message, Hello) or liar.random.random() < 0.5:
        return None
    r, s = (int.from_bytes(message.signature[at : at + 32], "big") for at in (0, 32))
    pairs = [(r, N - s), (r + N, s), (r, s + N), (0, s), (r, 0), (N, s), (r, N - r), (s, r)]
    r, s = (value % 2**256 for value in liar.random.choice(pairs))
    spelled = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if spelled == message.signature:
        return None
    if liar.random.random() < 0.3:
        data = encode_message(message)
        der = encode_dss_signature(r + 1, s + 1)
        longer = data[: len(data) - SIGNATURE_BYTES] + der
        return [Raw(peer_pb2.PeerFrame(message=longer).SerializeToString())]
    return [replace(message, signature=spelled)]


def stranger(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B26: well-formed votes of another epoch, or under a key that is not in the set."""
    if isinstance(message, Hello) or liar.random.random() < 0.4:
        return None
    if liar.former and liar.random.random() < 0.5:
        before = liar.former[-1]  # With the key that it had, in the present epoch or in that one.
        here = replace(before, replica_set=liar.signer.replica_set)
        return [signed_anew(message, liar.random.choice([before, here]))]
    key = liar.random.choice([None, 1])
    present = liar.signer.replica_set.epoch
    epoch = present + liar.random.choice([1, 7]) if key is None else present
    return [signed_anew(message, liar.stranger(epoch, key))]


def _said(liar: Liar, changed: PeerMessage) -> list[Out] | None:
    if liar.random.random() < 0.7:
        changed = signed_anew(changed, liar.signer)
    return [changed]


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _with(message: PeerMessage, **values: Any) -> PeerMessage:
    bounded = {name: min(value, NUMBER_MAX) for name, value in values.items()}
    if "replica" in bounded:
        bounded["replica"] %= 2**32
    return replace(message, **bounded)


def _turned_under_signature(liar: Liar, message: PeerMessage) -> list[Out] | None:
    data = bytearray(encode_message(message))
    data[liar.random.randrange(1, len(data))] ^= 1 << liar.random.randrange(8)
    try:
        turned = decode_message(bytes(data))
    except MalformedError:
        return None
    liar.fired["corrupt_under"] += 1
    return [signed_anew(turned, liar.signer)]


def _moved(liar: Liar, message: PeerMessage, core: Replica) -> PeerMessage:
    view, sequence = core.view, SequenceNumber(core.low_watermark + 1)
    match liar.random.randrange(4), message:
        case 0, Prepare():
            return Commit(view, sequence, message.digest, message.replica, message.signature)
        case 0, Commit():
            return Prepare(view, sequence, message.digest, message.replica, message.signature)
        case 1, PrePrepare() | Prepare() | Commit():
            return replace(message, view=view, sequence=sequence)
        case 1, Checkpoint():
            return replace(message, sequence=sequence)
        case 1, ViewChange() | NewView():
            return replace(message, view=View(view + 1))
        case 2, Prepare() | Commit():
            return replace(message, replica=liar.signer.me)
    return message


OUTGOING.update(
    B17=replayed_certificates,
    B18=small_mutation,
    B19=any_mutation,
    B20=broken_bytes,
    B21=other_signature,
    B26=stranger,
)
