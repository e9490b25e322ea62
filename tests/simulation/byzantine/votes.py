"""Strategies on proposals and votes: silence, equivocation, withholding, delay, wrong contents."""

from __future__ import annotations

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.domain.messages import (
    NULL_DIGEST,
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
from tests.simulation.byzantine.liar import IDLE, OUTGOING, Late, Liar, Out


def silent(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B1."""
    return []


def equivocate(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B3: half of the replicas (or one victim) get another batch, and at once the commit for it;
    now and then the victim gets both.
    """
    if not isinstance(message, PrePrepare):
        return None
    first, halves = message, message.sequence % 3 != 0
    if to % 2 if halves else to == liar.victim:
        batch = message.batch
        other = Batch(batch.block_time_ms, tuple(reversed(batch.transactions)))
        if other == batch:
            other = Batch(batch.block_time_ms + 1, batch.transactions)
        message = liar.signer.pre_prepare(message.view, message.sequence, other)
    prepare = liar.signer.prepare(message.view, message.sequence, message.digest)
    commit = liar.signer.commit(message.view, message.sequence, message.digest)
    outs: list[Out] = [message, prepare, commit] if message.sequence % 2 else [message, commit]
    both = to == liar.victim and message != first and message.sequence % 2 == 0
    return [first, *outs] if both else outs


def double_vote(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B4. In every other view the second view-change is one that starts from genesis."""
    match message:
        case Prepare():
            other: PeerMessage = liar.signer.prepare(
                message.view, message.sequence, liar.any_digest()
            )
        case Commit():
            other = liar.signer.commit(message.view, message.sequence, liar.any_digest())
        case Checkpoint():
            other = liar.signer.checkpoint(message.sequence, liar.any_digest())
        case ViewChange() if message.view % 2:
            return _stuffed(liar, message)
        case ViewChange():
            other = liar.signer.view_change(message.view, SequenceNumber(0), None, ())
        case _:
            return None
    return [message, other] if to % 2 else [other, message]


def _stuffed(liar: Liar, message: ViewChange) -> list[Out] | None:
    """Certificates in which the same few signatures stand again and again."""
    signer = liar.signer
    # The last one of its own is among so many: a view can be huge (B14).
    last = range(max(0, message.view - signer.replica_set.size), message.view)
    views = [each for each in last if signer.is_primary(View(each))]
    quorum = signer.replica_set.quorum
    if not views or liar.random.random() < 0.5:
        higher = SequenceNumber(message.certified + 1)
        digest = liar.any_digest()
        vote = (int(signer.me), signer.checkpoint(higher, digest).signature)
        forged = FinalityCertificate(digest, (vote,) * quorum)
        return [signer.view_change(message.view, higher, forged, ())]
    place = (View(views[-1]), SequenceNumber(message.certified + 1), liar.any_digest())
    reproposed = signer.new_view(place[0], (), (place[1:],)).reproposals[0].signature
    prepare = (signer.me, signer.prepare(*place).signature)
    stuffed = PreparedCertificate(*place, reproposed, (prepare,) * quorum)
    return [signer.view_change(message.view, message.certified, message.certificate, (stuffed,))]


def withhold_commits(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B6: one victim must not see a quorum; in some rounds only one replica may."""
    if not isinstance(message, Commit):
        return None
    only = message.sequence % 3 == 0
    return [] if (to != liar.victim if only else to == liar.victim) else None


def just_in_time(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B7."""
    if not isinstance(message, PrePrepare | NewView):
        return None
    return [Late(liar.timeout_ms * 8 // 10, message)]


def wrong_digest(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B11: votes for what nobody proposed, checkpoints of a state that nobody has."""
    match message:
        case Prepare():
            return [liar.signer.prepare(message.view, message.sequence, liar.any_digest())]
        case Commit():
            return [liar.signer.commit(message.view, message.sequence, NULL_DIGEST)]
        case Checkpoint():
            return [liar.signer.checkpoint(message.sequence, liar.any_digest())]
    return None


def wrong_checkpoint(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B12: another header, the right one at another height, or votes far ahead."""
    if not isinstance(message, Checkpoint):
        return None
    match liar.random.randrange(3):
        case 0:
            return [liar.signer.checkpoint(message.sequence, liar.any_digest())]
        case 1:
            later = SequenceNumber(message.sequence + 1)
            return [liar.signer.checkpoint(later, message.header_hash), message]
        case _:
            ahead = range(message.sequence + 1, message.sequence + 2 * liar.window)
            digest = liar.any_digest()
            return [liar.signer.checkpoint(SequenceNumber(each), digest) for each in ahead]


def sequence_jump(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B13: past the predecessor, to the high watermark, beyond it, or far away."""
    if not isinstance(message, PrePrepare) or liar.random.random() < 0.3:
        return None
    jump = liar.random.choice([1, 2, liar.window - 1, liar.window, liar.window + 1, 10**6])
    later = SequenceNumber(message.sequence + jump)
    return [liar.signer.pre_prepare(message.view, later, message.batch)]


def withhold_finality(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B29: those that are left in the dark are just so many that the others decide and execute with
    the liars, and certify nothing without them. Nobody hears how far the liars are.
    """
    replica_set = liar.signer.replica_set
    honest = replica_set.size - replica_set.faulty_max
    in_the_dark = to > replica_set.size - 1 - (honest - (replica_set.quorum - 1))
    hidden = isinstance(message, Checkpoint | Hello)
    hidden |= in_the_dark and isinstance(message, PrePrepare | Commit)
    return [] if hidden else None


def flood(liar: Liar, core: Replica) -> list[Out]:
    """B23: what was said before, what does not verify, what lies in the future; a lot of it. As the
    primary it also `fills` the chain.
    """
    outs: list[Out] = []
    outs += list(liar.remembered)[-20:]
    digest = liar.any_digest()
    for number in range(20):
        sequence = SequenceNumber(core.low_watermark + 1 + number)
        outs.append(liar.signer.commit(core.view, sequence, digest))
        outs.append(Prepare(core.view, sequence, digest, liar.signer.me, bytes(64)))
        outs.append(liar.signer.prepare(type(core.view)(core.view + 1 + number), sequence, digest))
    return outs


def selective(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B24: some phases to some replicas only."""
    kinds: tuple[type, ...] = (PrePrepare, Prepare, Commit, Checkpoint, NewView, Hello, ViewChange)
    kind = kinds[(liar.signer.me + liar.victim) % len(kinds)]
    hidden = isinstance(message, kind) and to % 2 == liar.victim % 2
    return [] if hidden or (isinstance(message, Hello) and to == liar.victim) else None


OUTGOING.update(
    B1=silent,
    B3=equivocate,
    B4=double_vote,
    B6=withhold_commits,
    B7=just_in_time,
    B11=wrong_digest,
    B12=wrong_checkpoint,
    B13=sequence_jump,
    B24=selective,
    B29=withhold_finality,
)
IDLE["B23"] = flood
