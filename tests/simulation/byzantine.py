"""Replicas that lie. Each holds its own key, runs the real core for a state worth lying about, and
alters what leaves it; what it cannot do is sign for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.messages import (
    NULL_DIGEST,
    NUMBER_MAX,
    Checkpoint,
    Commit,
    Digest,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer

REMEMBERED_MAX: Final = 200


@dataclass(slots=True)
class Liar:
    """One lying replica: its strategies, its key, and what it remembers."""

    signer: Signer
    random: Random
    fired: Counter[str]
    strategies: list[str]
    remembered: list[PeerMessage] = field(default_factory=list)

    def outgoing(self, to: ReplicaId, message: PeerMessage) -> list[PeerMessage]:
        """What really goes to `to` in the place of `message`."""
        messages = [message]
        for name in self.strategies:
            alter = OUTGOING.get(name)
            if alter is not None:
                messages = [out for each in messages for out in self._fire(name, alter, to, each)]
        if len(self.remembered) < REMEMBERED_MAX:
            self.remembered.append(message)
        return messages

    def idle(self, core: Replica) -> list[PeerMessage]:
        """What it sends to everybody without being asked, now and then."""
        messages: list[PeerMessage] = []
        for name in self.strategies:
            invent = IDLE.get(name)
            if invent is not None and self.random.random() < 0.05:
                self.fired[name] += 1
                messages += invent(self, core)
        return messages

    def forgets(self) -> bool:
        """Whether it loses its memory now (reliability P14)."""
        if "amnesia" in self.strategies and self.random.random() < 0.02:
            self.fired["amnesia"] += 1
            return True
        return False

    def any_digest(self) -> Digest:
        """Some digest that nothing has."""
        return Digest(self.random.randbytes(32))

    def _fire(
        self, name: str, alter: Alter, to: ReplicaId, message: PeerMessage
    ) -> list[PeerMessage]:
        altered = alter(self, to, message)
        if altered is None:
            return [message]
        self.fired[name] += 1
        return altered


Alter = Callable[[Liar, ReplicaId, PeerMessage], list[PeerMessage] | None]
"""What goes out in the place of a message; None leaves it alone."""


def _silent(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    return []


def _half_silent(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    return [] if to % 2 else None


def _equivocate(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    """Half of the replicas get another batch, and at once the commit that belongs to it."""
    if not isinstance(message, PrePrepare):
        return None
    if to % 2:
        batch = Batch(
            message.batch.block_time_ms, tuple(reversed(message.batch.transactions)) or ()
        )
        if batch == message.batch:
            batch = Batch(message.batch.block_time_ms + 1, batch.transactions)
        message = liar.signer.pre_prepare(message.view, message.sequence, batch)
    return [message, liar.signer.commit(message.view, message.sequence, message.digest)]


def _double_vote(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    match message:
        case Prepare():
            other: PeerMessage = liar.signer.prepare(
                message.view, message.sequence, liar.any_digest()
            )
        case Commit():
            other = liar.signer.commit(message.view, message.sequence, liar.any_digest())
        case Checkpoint():
            other = liar.signer.checkpoint(message.sequence, liar.any_digest())
        case _:
            return None
    return [message, other] if to % 2 else [other, message]


def _withhold_commits(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    return [] if isinstance(message, Commit) and to % 3 else None


def _wrong_digest(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    match message:
        case Prepare():
            return [liar.signer.prepare(message.view, message.sequence, liar.any_digest())]
        case Commit():
            return [liar.signer.commit(message.view, message.sequence, NULL_DIGEST)]
        case Checkpoint():
            return [liar.signer.checkpoint(message.sequence, liar.any_digest())]
    return None


def _forged_new_view(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    """Omit, add or exchange what the view-changes demand; sign it all properly."""
    if (
        not isinstance(message, NewView)
        or message.view % liar.signer.replica_set.size != liar.signer.me
    ):
        return None
    chosen = [(each.sequence, each.digest) for each in message.reproposals]
    last = chosen[-1][0] if chosen else message.view_changes[0].certified
    match liar.random.randrange(3):
        case 0 if chosen:
            chosen.pop()
        case 1 if chosen:
            position = liar.random.randrange(len(chosen))
            chosen[position] = (chosen[position][0], NULL_DIGEST)
        case _:
            chosen.append((SequenceNumber(last + 1), NULL_DIGEST))
    return [liar.signer.new_view(message.view, message.view_changes, tuple(chosen))]


def _lying_view_change(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    """Hide what was prepared, differently towards each replica."""
    if not isinstance(message, ViewChange) or not message.prepared:
        return None
    kept = message.prepared[: to % len(message.prepared)]
    return [liar.signer.view_change(message.view, message.certified, message.certificate, kept)]


def _sequence_jump(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    if not isinstance(message, PrePrepare) or liar.random.random() < 0.5:
        return None
    return [
        liar.signer.pre_prepare(message.view, SequenceNumber(message.sequence + 2), message.batch)
    ]


def _wrong_time(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    if not isinstance(message, PrePrepare) or liar.random.random() < 0.5:
        return None
    time_ms = max(
        0, message.batch.block_time_ms + liar.random.choice([-(10**6), 10**6, -3, 86_400_000])
    )
    batch = Batch(time_ms, message.batch.transactions)
    return [liar.signer.pre_prepare(message.view, message.sequence, batch)]


def _invalid_batch(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    if not isinstance(message, PrePrepare):
        return None
    batch = Batch(message.batch.block_time_ms, (*message.batch.transactions, b"forged"))
    return [liar.signer.pre_prepare(message.view, message.sequence, batch)]


def _mutate(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    """Small changes hurt most: one more or one less (reliability B18), signed properly or not."""
    if liar.random.random() < 0.6:
        return None
    step = liar.random.choice([-1, 1])
    match message:
        case Prepare() | Commit():
            view, sequence = View(max(0, message.view + step)), message.sequence
            if liar.random.random() < 0.5:
                view, sequence = message.view, SequenceNumber(max(1, message.sequence + step))
            if liar.random.random() < 0.3:
                return [replace(message, view=view, sequence=sequence)]
            if isinstance(message, Prepare):
                return [liar.signer.prepare(view, sequence, message.digest)]
            return [liar.signer.commit(view, sequence, message.digest)]
        case Checkpoint():
            later = SequenceNumber(max(1, message.sequence + step))
            return [liar.signer.checkpoint(later, message.header_hash)]
        case ViewChange():
            return [replace(message, view=View(max(1, message.view + step)))]
    return None


def _crying_wolf(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[PeerMessage] | None:
    if not isinstance(message, Hello):
        return None
    return [replace(message, suspects=True, certified=SequenceNumber(message.certified + 1_000))]


def _huge_view(liar: Liar, core: Replica) -> list[PeerMessage]:
    head = core._checkpoints.head
    view = View(liar.random.choice([2**31, 2**40, NUMBER_MAX]))
    vote = liar.signer.view_change(view, head.sequence, head.certificate, ())
    return [vote, Hello(view, False, True, head.sequence)]


def _view_change_spam(liar: Liar, core: Replica) -> list[PeerMessage]:
    head = core._checkpoints.head
    view = View(core.view + 1)
    return [liar.signer.view_change(view, head.sequence, head.certificate, ())]


def _replay(liar: Liar, core: Replica) -> list[PeerMessage]:
    count = min(5, len(liar.remembered))
    return liar.random.sample(liar.remembered, k=count)


OUTGOING: Final[dict[str, Alter]] = {
    "silent": _silent,
    "half_silent": _half_silent,
    "equivocate": _equivocate,
    "double_vote": _double_vote,
    "withhold_commits": _withhold_commits,
    "wrong_digest": _wrong_digest,
    "forged_new_view": _forged_new_view,
    "lying_view_change": _lying_view_change,
    "sequence_jump": _sequence_jump,
    "wrong_time": _wrong_time,
    "invalid_batch": _invalid_batch,
    "mutate": _mutate,
    "crying_wolf": _crying_wolf,
}

IDLE: Final[dict[str, Callable[[Liar, Replica], list[PeerMessage]]]] = {
    "huge_view": _huge_view,
    "view_change_spam": _view_change_spam,
    "replay": _replay,
}

STRATEGIES: Final = (*OUTGOING, *IDLE, "amnesia")
