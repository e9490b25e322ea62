"""P12, the whole matrix: what a replica signed in one place is worth nothing in any other.

A place is chain, epoch, view, sequence number, type and replica. Every type of message is signed in
every place, and shown as if it had been signed in its own; that goes for the votes, certificates
and view-changes inside a message too, though the message around them is signed properly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import pytest

from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.messages import (
    Digest,
    NewView,
    PreparedCertificate,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import Signed, sign_bytes, statement_of
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.keys import public_key, replica_set, sign_with, verify
from tests.unit.consensus.protocol import a_batch

SET: Final = replica_set(4)
OTHER_CHAIN: Final = replace(SET, chain_id="other-chain")
OTHER_EPOCH: Final = replace(SET, epoch=1)
WINDOW: Final = 4
VIEW, SEQUENCE = View(4), SequenceNumber(3)
DIGEST: Final = Digest(b"d" * 32)
HEADER: Final = Digest(b"h" * 32)


def signer(replica: int, members: ReplicaSet = SET) -> Signer:
    return Signer(ReplicaId(replica), members, sign_with(public_key(replica)))


def prepared(members: ReplicaSet = SET) -> PreparedCertificate:
    """Prepared at the place in view 4, whose primary is replica 0."""
    place = (VIEW, SEQUENCE, DIGEST)
    again = signer(0, members).new_view(VIEW, (), ((SEQUENCE, DIGEST),)).reproposals[0]
    prepares = tuple(
        (ReplicaId(each), signer(each, members).prepare(*place).signature) for each in (1, 2)
    )
    return PreparedCertificate(*place, again.signature, prepares)


def certificate(members: ReplicaSet = SET) -> FinalityCertificate:
    """Of height 2."""
    signatures = tuple(
        (each, signer(each, members).checkpoint(SequenceNumber(2), HEADER).signature)
        for each in (0, 1, 2)
    )
    return FinalityCertificate(HEADER, signatures)


def view_change(replica: int, members: ReplicaSet = SET, *, inner: ReplicaSet = SET) -> ViewChange:
    """To view 5; what it holds is signed for `inner`, itself for `members`."""
    return signer(replica, members).view_change(
        View(5), SequenceNumber(2), certificate(inner), (prepared(inner),)
    )


def new_view(
    members: ReplicaSet = SET, *, changes: ReplicaSet = SET, inner: ReplicaSet = SET
) -> NewView:
    found = tuple(view_change(each, changes, inner=inner) for each in (0, 1, 2))
    return signer(1, members).new_view(View(5), found, chosen_batches(found))


def messages(members: ReplicaSet = SET) -> dict[str, tuple[Signed, int]]:
    """One of every type and who signs it; what is inside of them is signed for our set."""
    return {
        "pre-prepare": (signer(0, members).pre_prepare(VIEW, SEQUENCE, a_batch("pay")), 0),
        "prepare": (signer(1, members).prepare(VIEW, SEQUENCE, DIGEST), 1),
        "commit": (signer(1, members).commit(VIEW, SEQUENCE, DIGEST), 1),
        "checkpoint": (signer(1, members).checkpoint(SEQUENCE, HEADER), 1),
        "view-change": (view_change(2, members), 2),
        "new-view": (new_view(members), 1),
    }


def is_refused(message: Signed, sender: int) -> bool:
    return authenticate(message, ReplicaId(sender), SET, verify, WINDOW) is not None


@dataclass(frozen=True)
class Place:
    """Where something is signed, and by whom."""

    chain: str
    epoch: int
    view: int
    sequence: int
    type: VoteType
    replica: int

    def sign(self, digest: bytes) -> bytes:
        signed = vote_sign_bytes(
            self.chain, self.epoch, self.type, self.view, self.sequence, digest
        )
        return sign_with(public_key(self.replica))(signed)


def place_of(message: Signed) -> tuple[Place, Digest]:
    said = statement_of(message, SET)
    place = Place(SET.chain_id, SET.epoch, said.view, said.sequence, said.vote_type, said.replica)
    return place, said.digest


def places(own: Place) -> Iterator[Place]:
    """The full product: its own, and all that differ in one field or in several."""
    yield from itertools.starmap(
        Place,
        itertools.product(
            (own.chain, "other-chain", own.chain[:-1], ""),
            (own.epoch, own.epoch + 1, 2**63),
            (own.view, own.view + 1, own.view + SET.size),
            (own.sequence, own.sequence + 1, 0 if own.sequence else 2**32),
            VoteType,
            range(SET.size),
        ),
    )


def resigned(message: Signed, signature: bytes) -> Signed:
    return replace(message, signature=signature)


def test_the_types_are_all_that_replicas_sign() -> None:
    """P12: a new type would be missing in the matrix, D1."""
    assert {type(message) for message, _ in messages().values()} == set(Signed.__args__)
    assert {statement_of(message, SET).vote_type for message, _ in messages().values()} == {
        each for each in VoteType if each is not VoteType.PEER
    }


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("name", messages())
def test_p12_row03_a_signature_of_any_other_place_is_refused(name: str) -> None:
    """Types x chains, epochs, views, sequence numbers, types and replicas, in all combinations."""
    message, sender = messages()[name]
    own, digest = place_of(message)
    accepted = [
        place
        for place in places(own)
        if not is_refused(resigned(message, place.sign(digest)), sender)
    ]
    assert accepted == [own]
    assert len(set(places(own))) == 4 * 3 * 3 * 3 * len(VoteType) * SET.size


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("name", messages())
@pytest.mark.parametrize("field", [each.name for each in fields(Place)])
def test_p12_row03_each_field_alone_is_in_the_signed_bytes(name: str, field: str) -> None:
    """Whichever field a signature forgets, its column of the matrix shows it."""
    message, sender = messages()[name]
    own, digest = place_of(message)
    others = [
        place
        for place in places(own)
        if getattr(place, field) != getattr(own, field)
        and replace(place, **{field: getattr(own, field)}) == own
    ]
    assert len(others) >= 2
    for place in others:
        assert is_refused(resigned(message, place.sign(digest)), sender), place


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("other", [OTHER_CHAIN, OTHER_EPOCH], ids=["chain", "epoch"])
@pytest.mark.parametrize("name", messages())
def test_p12_row03_a_message_of_another_chain_or_epoch_is_refused_as_it_came(
    name: str, other: ReplicaSet
) -> None:
    """The same replicas with the same keys signed it, there."""
    message, sender = messages(other)[name]
    assert authenticate(message, ReplicaId(sender), other, verify, WINDOW) is None or name in (
        "view-change",  # Their parts are of our set.
        "new-view",
    )
    assert is_refused(message, sender)
    assert not is_refused(*messages()[name])


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("other", [OTHER_CHAIN, OTHER_EPOCH], ids=["chain", "epoch"])
def test_p12_row03_parts_of_another_chain_or_epoch_are_refused_in_a_proper_message(
    other: ReplicaSet,
) -> None:
    change = signer(2).view_change
    assert is_refused(change(View(5), SequenceNumber(2), certificate(other), ()), 2)
    assert is_refused(change(View(5), SequenceNumber(2), certificate(), (prepared(other),)), 2)
    assert not is_refused(change(View(5), SequenceNumber(2), certificate(), (prepared(),)), 2)
    assert is_refused(new_view(changes=other), 1)
    assert is_refused(new_view(inner=other), 1)
    assert not is_refused(new_view(), 1)


def moved_votes() -> Iterator[tuple[str, PreparedCertificate]]:
    """Certificates of which one vote was signed elsewhere: another view, number, type or replica,
    and for the proposal another primary.
    """
    whole = prepared()
    base = Place(SET.chain_id, SET.epoch, VIEW, SEQUENCE, VoteType.PREPARE, 1)
    changes: list[dict[str, Any]] = [
        {"view": VIEW - SET.size},
        {"sequence": SEQUENCE + 1},
        *({"type": each} for each in VoteType if each is not VoteType.PREPARE),
        {"replica": 3},
    ]
    for change in changes:
        vote = ReplicaId(1), replace(base, **change).sign(DIGEST)
        yield f"prepare {change}", replace(whole, prepares=(vote, whole.prepares[1]))
    proposal = replace(base, type=VoteType.PRE_PREPARE, replica=0)
    for change in [*changes[:2], {"replica": 1}, {"type": VoteType.PREPARE}]:
        signature = replace(proposal, **change).sign(DIGEST)
        yield f"proposal {change}", replace(whole, pre_prepare_signature=signature)


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize(("what", "moved"), list(moved_votes()))
def test_p12_row03_a_vote_of_another_place_makes_no_prepared_certificate(
    what: str, moved: PreparedCertificate
) -> None:
    lie = signer(2).view_change(View(5), SequenceNumber(2), certificate(), (moved,))
    assert verify(public_key(2), sign_bytes(lie, SET), lie.signature), what
    assert is_refused(lie, 2)


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 3},
        {"view": 1},
        *({"type": each} for each in VoteType if each != 4),
        {"replica": 3},
    ],
    ids=str,
)
def test_p12_row03_a_vote_of_another_place_makes_no_certificate_of_a_height(
    change: dict[str, Any],
) -> None:
    base = Place(SET.chain_id, SET.epoch, 0, 2, VoteType.CHECKPOINT, 1)
    whole = certificate()
    assert whole.signatures[1] == (1, base.sign(HEADER))
    vote = 1, replace(base, **change).sign(HEADER)
    moved = FinalityCertificate(HEADER, (whole.signatures[0], vote, whole.signatures[2]))
    assert is_refused(signer(2).view_change(View(5), SequenceNumber(2), moved, ()), 2)
