"""Strategies that carry what was said elsewhere: in another epoch, on another chain, or by one who
was a member once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
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
from services.consensus.domain.signer import Sign, Signer
from services.consensus.domain.statements import primary_of
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.byzantine.liar import IDLE, LATE, OUTSIDE, Framed, Liar, Out
from tests.simulation.byzantine.mutations import replay, signed_anew

OTHER_CHAIN = "sim-chain-2"
CARRIED_AT_ONCE = 5
T = TypeVar("T")
Note = Callable[[PeerMessage, ReplicaSet], None]


class OtherChain:
    """Another chain with the same replicas and keys, where nobody lies: what they sign there can be
    heard by anybody. It stands at the height that is asked for, one batch is prepared, and its
    primary does not go on.
    """

    def __init__(self, sign: Callable[[bytes], Sign], note: Note) -> None:
        self._sign = sign
        self._note = note
        self._heard: dict[tuple[bytes, int, int], NewView] = {}

    def new_view(self, present: ReplicaSet, view: View, height: int) -> NewView:
        """The new-view of `view` there, above `height`."""
        place = (present.hash(), view, height)
        if place not in self._heard:
            self._heard[place] = self._made(present, view, SequenceNumber(height))
        return self._heard[place]

    def _made(self, present: ReplicaSet, view: View, height: SequenceNumber) -> NewView:
        there = replace(present, chain_id=OTHER_CHAIN)
        members = [each for each in range(present.size) if each not in present.jailed]
        signers = {
            ReplicaId(each): Signer(
                ReplicaId(each), there, self._sign(present.members[each].public_key)
            )
            for each in members
        }
        first, digest = SequenceNumber(height + 1), Digest(bytes(31) + b"\1")
        primary = primary_of(there, View(0))
        # A new-view proposes again under the same bytes as a first proposal.
        opening = signers[primary].new_view(View(0), (), ((first, digest),))
        prepares = [
            signers[each].prepare(View(0), first, digest) for each in signers if each != primary
        ][: present.quorum - 1]
        prepared = PreparedCertificate(
            View(0),
            first,
            digest,
            opening.reproposals[0].signature,
            tuple((each.replica, each.signature) for each in prepares),
        )
        view_changes = tuple(
            each.view_change(view, height, None, (prepared,)) for each in signers.values()
        )
        leader = signers[primary_of(there, view)]
        new_view = leader.new_view(view, view_changes, chosen_batches(view_changes))
        heard: list[PeerMessage] = [opening, *prepares, *view_changes, new_view]
        for said in heard:
            self._note(said, there)
        return new_view


def carry(liar: Liar, core: Core) -> list[Out]:
    """B17: what was recorded, now and earlier, here and on another chain, as it was; and new
    certificates in a view-change of the old epoch.
    """
    outs: list[Out] = list(replay(liar, core)) if isinstance(core, Replica) else []
    if liar.other_chain is not None and liar.random.random() < 0.3:
        new_view = liar.other_chain(core.replica_set, View(core.view + 1), core.base)
        outs.append(Framed(new_view, core.epoch))
        liar.fired["B17.chain"] += 1
    for epoch, message in _some(liar, list(liar.recorded)):
        if epoch != core.epoch:
            outs.append(Framed(message, core.epoch))
            liar.fired["B17.epoch"] += 1
    if liar.former:
        before = liar.former[-1]
        outs += _carried_back(liar, before)
        liar.fired["B17.epoch"] += 1
    return outs


def carry_back(liar: Liar, core: Core, epoch: int) -> list[Out]:
    """B17: to one who still is in an earlier epoch, as if what was said since were of that one."""
    outs: list[Out] = []
    for before in liar.former:
        if before.replica_set.epoch == epoch:
            outs += [*_carried_back(liar, before), *_shown_back(before, core)]
            liar.fired["B17.epoch"] += 1
    return outs


def _shown_back(before: Signer, core: Core) -> list[Out]:
    """What the present set certified last, in a view-change of an earlier epoch."""
    head = core._checkpoints.head if isinstance(core, Replica) else None
    if head is None or head.certificate is None:
        return []
    own = before.view_change(View(core.view + 1), head.sequence, head.certificate, ())
    return [Framed(own, before.replica_set.epoch)]


def _carried_back(liar: Liar, before: Signer) -> list[Out]:
    """For those who lag: messages of the present epoch as if they were of the one before."""
    here = [each for each in (*liar.heard, *liar.remembered) if not isinstance(each, Hello)]
    chosen = [each for each in here if isinstance(each, ViewChange | NewView)][-4:]
    epoch, outs = before.replica_set.epoch, list[Out]()
    for message in [*_some(liar, here), *chosen]:
        outs.append(Framed(message, epoch))
        view_changes = message.view_changes if isinstance(message, NewView) else [message]
        for each in view_changes:
            if isinstance(each, ViewChange):
                own = signed_anew(replace(each, replica=before.me), before)
                outs.append(Framed(own, epoch))
    return outs


def go_on(liar: Liar, core: Core) -> list[Out]:
    """B26: one that was removed, or whose key was replaced, votes on with the key and the epoch
    number that it had; or with that key in the present epoch.
    """
    past = liar.former if liar.is_member else [*liar.former, liar.signer]
    if not past or past[-1].replica_set.epoch >= core.epoch:
        return []
    before, outs = past[-1], list[Out]()
    now = replace(before, replica_set=core.replica_set)
    for message in _some(liar, list(liar.heard)):
        said = _as_own(before, message)
        if said is not None:
            outs.append(Framed(said, before.replica_set.epoch))
            outs.append(Framed(said, core.epoch))
            outs.append(Framed(signed_anew(said, now), core.epoch))
    if outs:
        liar.fired["B26.removed" if not liar.is_member else "B26.rotated"] += 1
    return outs


def _as_own(signer: Signer, message: PeerMessage) -> PeerMessage | None:
    """The same, said by itself."""
    match message:
        case PrePrepare():
            return signer.prepare(message.view, message.sequence, message.digest)
        case Prepare() | Commit() | Checkpoint() | ViewChange():
            return signed_anew(replace(message, replica=signer.me), signer)
    return None


def _some(liar: Liar, found: list[T]) -> list[T]:
    return liar.random.sample(found, k=min(CARRIED_AT_ONCE, len(found)))


IDLE.update(B17=carry, B26=go_on)
LATE.update(B17=carry_back)
OUTSIDE.update(B17=carry, B26=go_on)
