"""Who signed what, noted when correct replicas sign it: what counts as said by one of them was said
by it, on this chain, in this epoch, view and place, and as this kind of statement.

It is held against every message that authentication lets pass, down to the signatures nested in
certificates, and knows nothing of the bytes under a signature: a replay that is accepted shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.messages import (
    Hello,
    NewView,
    PeerMessage,
    PreparedCertificate,
    View,
    ViewChange,
)
from services.consensus.domain.statements import statement_of

Place = tuple[VoteType, int, int, bytes]
"""Kind, view, sequence number and digest of a statement."""


class Authorship:
    """The statements of correct replicas by their signatures."""

    def __init__(self) -> None:
        self._signed: dict[bytes, set[tuple[str, int, Place]]] = {}

    def has_signed(self, signature: bytes) -> bool:
        """Whether exactly this was said before: whoever says it again says nothing new."""
        return signature in self._signed

    def note(self, message: PeerMessage, present: ReplicaSet) -> None:
        """A correct replica signs this as a member of the set."""
        for place, signature in _own(message, present):
            self._signed.setdefault(signature, set()).add((present.chain_id, present.epoch, place))

    def fault(self, message: PeerMessage, present: ReplicaSet) -> str | None:
        """What a message that passed authentication shows as said that was said elsewhere."""
        for place, signature in _all(message, present):
            known = self._signed.get(signature)
            if known is not None and (present.chain_id, present.epoch, place) not in known:
                chain_id, epoch, said = min(known)
                there = f"on {chain_id} in epoch {epoch} as {_text(said)}"
                return f"signed {there}, counts in epoch {present.epoch} as {_text(place)}"
        return None


def _own(message: PeerMessage, present: ReplicaSet) -> Iterator[tuple[Place, bytes]]:
    if isinstance(message, Hello):
        return
    said = statement_of(message, present)
    yield (said.vote_type, said.view, said.sequence, said.digest), message.signature
    if isinstance(message, NewView):
        for each in message.reproposals:
            place = (VoteType.PRE_PREPARE, message.view, each.sequence, each.digest)
            yield place, each.signature


def _all(message: PeerMessage, present: ReplicaSet) -> Iterator[tuple[Place, bytes]]:
    yield from _own(message, present)
    nested: Sequence[ViewChange] = ()
    match message:
        case ViewChange():
            nested = (message,)
        case NewView():
            nested = message.view_changes
            for each in nested:
                yield from _own(each, present)
    for view_change in nested:
        yield from _certificates(view_change)


def _certificates(view_change: ViewChange) -> Iterator[tuple[Place, bytes]]:
    certificate = view_change.certificate
    if certificate is not None:
        digest = certificate.header_hash
        for _, signature in certificate.signatures:
            yield (VoteType.CHECKPOINT, View(0), view_change.certified, digest), signature
    for each in view_change.prepared:
        yield from _prepared(each)


def _prepared(each: PreparedCertificate) -> Iterator[tuple[Place, bytes]]:
    place = (each.view, each.sequence, each.digest)
    yield (VoteType.PRE_PREPARE, *place), each.pre_prepare_signature
    for _, signature in each.prepares:
        yield (VoteType.PREPARE, *place), signature


def _text(place: Place) -> str:
    kind, view, sequence, digest = place
    return f"{kind.name} {view}/{sequence} of {digest.hex()[:8]}"
