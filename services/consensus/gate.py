"""Which messages of peers are of no use to the core, and why: what the core, being pure, ignores
without a word is counted by this judgement. It decides nothing that the core would not.

At arrival only what cannot become useful meanwhile is turned away, so that a flood of it costs no
signature; when the core steps, what it ignores then is named.
"""

from __future__ import annotations

from services.consensus.domain.codec import ProposalEnds
from services.consensus.domain.epochs import Core
from services.consensus.domain.learner import Learner
from services.consensus.domain.log import digest_of
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
)
from services.consensus.refusals import Reason

Ordered = PrePrepare | ProposalEnds | Prepare | Commit | Checkpoint
Arrived = PeerMessage | ProposalEnds


def useless_on_arrival(
    core: Core, sender: int, message: Arrived, *, window: int, said: int
) -> Reason | None:
    """Why a message of this epoch can never be of use; None where it can. `said` is the height that
    the sender last told to have certified: it told so before it sent this.
    """
    if isinstance(message, Hello):
        return None
    present = core.replica_set
    if sender >= present.size or sender in present.jailed:
        return Reason.NOT_MEMBER
    if isinstance(core, Learner):
        return Reason.UNREADY
    if isinstance(message, Ordered) and message.sequence <= min(said, core.low_watermark):
        return Reason.STALE
    return _useless(core, message, beyond=core.low_watermark + 2 * window)


def useless_now(core: Core, message: Arrived, *, window: int) -> Reason | None:
    """Why the core does nothing with a message at this moment; None where it does. What it knows
    of equivocation is not asked: that is an offence, and the core says so.
    """
    if isinstance(core, Learner):
        return None if isinstance(message, Hello) else Reason.UNREADY
    if isinstance(message, PrePrepare | ProposalEnds) and message.view != core.view:
        return Reason.OTHER_VIEW
    return _useless(core, message, beyond=core.low_watermark + window)


def adds_nothing(core: Core, sender: int, message: PeerMessage) -> bool:
    """Whether a vote, authentic or not, is none that the core would count now: it is for a view to
    come, or its sender said something else in its place. Honest replicas send few of these.
    """
    if isinstance(core, Learner) or not isinstance(message, Prepare | Commit | Checkpoint):
        return False
    said, digest = core.held_votes.signers(message), digest_of(message)
    return said is None or said.get(ReplicaId(sender), digest) != digest


def _useless(core: Core, message: Arrived, *, beyond: int) -> Reason | None:
    if isinstance(message, Ordered):
        if message.sequence <= core.low_watermark:
            return Reason.LATE
        if message.sequence > beyond:
            return Reason.FUTURE
    if isinstance(message, NewView):
        return Reason.LATE if message.view < core.view else None
    if isinstance(message, Prepare | Commit):
        # While it waits for a view it still counts the votes of the one before.
        if message.view < core.view and core.active:
            return Reason.LATE
        if message.view > core.view + core.replica_set.size:
            return Reason.FUTURE
    return None
