"""Strategies on view changes: absurd views, forged new-views, spam, hidden certificates."""

from __future__ import annotations

from dataclasses import replace

from services.consensus.domain.messages import (
    NULL_DIGEST,
    NUMBER_MAX,
    Digest,
    Hello,
    NewView,
    PeerMessage,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.byzantine.liar import IDLE, OUTGOING, Liar, Out

Chosen = list[tuple[SequenceNumber, Digest]]


def odd_view(liar: Liar, core: Replica) -> list[Out]:
    """B14: far ahead of everybody, or long over."""
    head = core._checkpoints.head
    views = [2**31, 2**40, NUMBER_MAX, max(1, core.view - 1), core.view + 50]
    view = View(liar.random.choice(views))
    vote = liar.signer.view_change(view, head.sequence, head.certificate, ())
    return [vote, Hello(view, False, True, head.sequence)]


def forged_new_view(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B15: omit, add, exchange or permute what the view-changes demand, or prove it by too few or
    the wrong ones; sign it all properly. As a backup: hide what was prepared.
    """
    if isinstance(message, ViewChange):
        return _hide_prepared(liar, to, message)
    if not isinstance(message, NewView) or not liar.signer.is_primary(message.view):
        return None
    if liar.random.random() < 0.3:
        return _another(liar, message)
    return [_spoiled(liar, message)]


def _spoiled(liar: Liar, message: NewView) -> NewView:
    chosen: Chosen = [(each.sequence, each.digest) for each in message.reproposals]
    view_changes = message.view_changes
    match liar.random.randrange(6):
        case 0 if chosen:
            chosen.pop()
        case 1 if chosen:
            position = liar.random.randrange(len(chosen))
            chosen[position] = (chosen[position][0], NULL_DIGEST)
        case 2 if len(chosen) > 1:
            chosen.reverse()
        case 3:
            view_changes = view_changes[:-1]
        case 4:
            view_changes = (*view_changes[:-1], view_changes[0])
        case _:
            last = chosen[-1][0] if chosen else view_changes[0].certified
            chosen.append((SequenceNumber(last + 1), NULL_DIGEST))
    return liar.signer.new_view(message.view, view_changes, tuple(chosen))


def _another(liar: Liar, message: NewView) -> list[Out]:
    """A second new-view, just as valid: from other view-changes that it was sent."""
    own = {each.replica: each for each in message.view_changes}
    heard = {
        each.replica: each
        for each in liar.heard
        if isinstance(each, ViewChange) and each.view == message.view
    }
    spare = [each for number, each in heard.items() if number not in own]
    if not spare:
        return [message]
    dropped = max(number for number in own if number != liar.signer.me)
    kept = [each for number, each in own.items() if number != dropped]
    other = tuple(sorted([*kept, spare[0]], key=lambda each: each.replica))
    second = liar.signer.new_view(message.view, other, chosen_batches(other))
    return [message, second] if liar.random.random() < 0.5 else [second, message]


def spam(liar: Liar, core: Replica) -> list[Out]:
    """B16: always on the way to the next view, and crying wolf about this one."""
    head = core._checkpoints.head
    ahead = SequenceNumber(head.sequence + 1_000)
    votes: list[Out] = [
        liar.signer.view_change(View(core.view + step), head.sequence, head.certificate, ())
        for step in (1, 2)
    ]
    return [*votes, Hello(core.view, True, True, ahead)]


def cry_wolf(liar: Liar, to: ReplicaId, message: PeerMessage) -> list[Out] | None:
    """B16: every status asks for a view change and claims to be far ahead."""
    if not isinstance(message, Hello):
        return None
    return [replace(message, suspects=True, certified=SequenceNumber(message.certified + 1_000))]


def _hide_prepared(liar: Liar, to: ReplicaId, message: ViewChange) -> list[Out] | None:
    if not message.prepared:
        return None
    kept = message.prepared[: to % len(message.prepared)]
    return [liar.signer.view_change(message.view, message.certified, message.certificate, kept)]


OUTGOING.update(B15=forged_new_view, B16=cry_wolf)
IDLE.update(B14=odd_view, B16=spam)
