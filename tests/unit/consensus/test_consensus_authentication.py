"""Every field of every message type is under a signature or a rule: alter one, and it is refused.

The mutations are made from the dataclasses themselves, so a new field is covered by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Hello,
    PeerMessage,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.statements import sign_bytes
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.keys import public_key, replica_set, sign_with, verify
from tests.unit.consensus.protocol import (
    a_batch,
    finality_certificate,
    prepared_certificate,
    signer,
    view_change,
)

SET = replica_set(4)
WINDOW = 4
PLACE = (View(4), SequenceNumber(3), Digest(b"d" * 32))


def refusal(message: PeerMessage, sender: int, base: int = 0) -> str | None:
    """Why `message` is refused in an epoch above `base`, or None."""
    reject = authenticate(message, ReplicaId(sender), SET, verify, WINDOW, base)
    return None if reject is None else reject.reason


def a_new_view() -> Any:
    prepared = prepared_certificate(4, 3, b"d" * 32)
    view_changes = (
        view_change(0, 5, certified=1),
        view_change(1, 5, certified=1, prepared=(prepared,)),
        view_change(2, 5, certified=2, prepared=(prepared,)),
    )
    return signer(1).new_view(View(5), view_changes, chosen_batches(view_changes))


MESSAGES: dict[str, tuple[PeerMessage, int]] = {
    "pre-prepare": (signer(0).pre_prepare(PLACE[0], PLACE[1], a_batch("pay")), 0),
    "prepare": (signer(1).prepare(*PLACE), 1),
    "commit": (signer(1).commit(*PLACE), 1),
    "checkpoint": (signer(1).checkpoint(PLACE[1], PLACE[2]), 1),
    "view-change": (
        view_change(2, 5, certified=2, prepared=(prepared_certificate(4, 3, b"d" * 32),)),
        2,
    ),
    "new-view": (a_new_view(), 1),
}


def mutations(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """`value` with one thing changed at a time, at any depth."""
    if isinstance(value, bytes):
        yield path, bytes([value[0] ^ 1]) + value[1:]
    elif isinstance(value, int):
        yield f"{path}+1", value + 1
        if value:
            yield f"{path}-1", value - 1
    elif isinstance(value, tuple):
        yield from _of_tuple(value, path)
    elif value is not None:
        for each in dataclasses.fields(value):
            for name, other in mutations(getattr(value, each.name), f"{path}.{each.name}"):
                yield name, dataclasses.replace(value, **{each.name: other})


def _of_tuple(value: tuple[Any, ...], path: str) -> Iterator[tuple[str, Any]]:
    if value and not isinstance(value[0], int):  # A list; a pair keeps its length.
        yield f"{path} one less", value[:-1]
        yield f"{path} one twice", (*value, value[-1])
    for index, item in enumerate(value):
        for name, other in mutations(item, f"{path}[{index}]"):
            yield name, (*value[:index], other, *value[index + 1 :])


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("name", MESSAGES)
def test_a_properly_signed_message_is_accepted_from_its_signer(name: str) -> None:
    """D1: the good one beside all that is spoilt here."""
    message, sender = MESSAGES[name]
    assert refusal(message, sender) is None


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("name", MESSAGES)
def test_p03_row08_every_altered_field_of_a_message_is_refused(name: str) -> None:
    """The batch inside a pre-prepare is bound by its digest, which decoding recomputes."""
    message, sender = MESSAGES[name]
    altered = [each for each in mutations(message) if not each[0].startswith(".batch")]
    assert len(altered) >= 4
    accepted = [path for path, other in altered if refusal(other, sender) is None]
    assert accepted == []


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("name", ["pre-prepare", "prepare", "commit", "checkpoint"])
def test_nobody_proposes_genesis_or_votes_for_it(name: str) -> None:
    """A refused batch at height 0 was kept as evidence that the contract does not take (E2)."""
    genesis = SequenceNumber(0)
    messages: dict[str, PeerMessage] = {
        "pre-prepare": signer(0).pre_prepare(PLACE[0], genesis, a_batch("pay")),
        "prepare": signer(1).prepare(PLACE[0], genesis, PLACE[2]),
        "commit": signer(1).commit(PLACE[0], genesis, PLACE[2]),
        "checkpoint": signer(1).checkpoint(genesis, PLACE[2]),
    }
    assert "genesis" in (refusal(messages[name], MESSAGES[name][1]) or "it is taken")


@pytest.mark.req("G2-09-3")
def test_row08_a_certificate_in_a_view_change_cannot_be_exchanged_for_another_valid_one() -> None:
    """Each certificate holds by itself: only the view-change's own signature binds them to it."""
    first, other = (prepared_certificate(0, 1, digest) for digest in (b"d" * 32, b"e" * 32))
    message = view_change(2, 5, prepared=(first,))
    exchanged = dataclasses.replace(message, prepared=(other,))
    assert refusal(message, 2) is None
    assert refusal(view_change(2, 5, prepared=(other,)), 2) is None
    assert refusal(exchanged, 2) is not None
    changes = (view_change(0, 5), view_change(1, 5), message)
    honest = signer(1).new_view(View(5), changes, chosen_batches(changes))
    lie = dataclasses.replace(honest, view_changes=(*changes[:2], exchanged))
    assert refusal(honest, 1) is None
    assert refusal(lie, 1) is not None


@pytest.mark.req("G2-09-3")
def test_p03_certificates_inside_a_view_change_are_judged_though_it_is_signed_anew() -> None:
    """A liar signs its view-change properly, but not the votes that it quotes."""
    honest, _ = MESSAGES["view-change"]
    assert isinstance(honest, ViewChange)
    altered = [
        (path, signer(2).view_change(honest.view, honest.certified, certificate, honest.prepared))
        for path, certificate in mutations(honest.certificate)
    ] + [
        (path, signer(2).view_change(honest.view, honest.certified, honest.certificate, (each,)))
        for path, each in mutations(honest.prepared[0])
    ]
    assert len(altered) > 20
    assert [path for path, other in altered if refusal(other, 2) is None] == []


@pytest.mark.req("G2-09-3")
def test_p03_row08_view_changes_inside_a_new_view_are_judged_though_it_is_signed_anew() -> None:
    honest = a_new_view()
    chosen = chosen_batches(honest.view_changes)
    altered = [
        (path, signer(1).new_view(honest.view, view_changes, chosen))
        for path, view_changes in mutations(honest.view_changes)
    ]
    assert len(altered) > 50
    assert [path for path, other in altered if refusal(other, 1) is None] == []


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("spoiled", [0, -1])
def test_p03_v5_pre_prepares_inside_a_new_view_are_judged_though_it_is_signed_anew(
    spoiled: int,
) -> None:
    """Backups would make prepared certificates of them that nobody believes."""
    honest = a_new_view()
    proposals = list(honest.reproposals)
    proposals[spoiled] = dataclasses.replace(proposals[spoiled], signature=bytes(64))
    lie = dataclasses.replace(honest, reproposals=tuple(proposals))
    signed = dataclasses.replace(lie, signature=signer(1).sign(sign_bytes(lie, SET)))
    assert refusal(honest, 1) is None
    assert refusal(signed, 1) == (
        f"the signature of the pre-prepare for {proposals[spoiled].sequence} does not hold"
    )


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("other", [4, 6, 9])
def test_v6_a_new_view_counts_no_view_change_to_another_view(other: int) -> None:
    """Each is signed by who asked for it, but for a view that this primary was not given."""
    changes = tuple(view_change(replica, 5) for replica in range(3))
    honest = signer(1).new_view(View(5), changes, chosen_batches(changes))
    assert refusal(honest, 1) is None
    for strangers in (range(3), range(2, 3)):
        mixed = tuple(
            view_change(each.replica, other) if each.replica in strangers else each
            for each in changes
        )
        assert [refusal(each, each.replica) for each in mixed] == [None] * 3
        lie = signer(1).new_view(View(5), mixed, chosen_batches(mixed))
        assert refusal(lie, 1) == "a new-view with a view-change to another view"


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "new-view"])
def test_nobody_speaks_for_another_replica(name: str) -> None:
    """D1: the sender of a message is its signer."""
    message, sender = MESSAGES[name]
    for other in range(SET.size):
        if other != sender:
            assert refusal(message, other) is not None


def test_a_new_view_may_be_passed_on_by_anyone() -> None:
    """V9: whoever is in the view shows it."""
    message, _ = MESSAGES["new-view"]
    assert refusal(message, 3) is None


def test_a_sender_outside_the_set_is_refused() -> None:
    """D1: the set of that epoch only."""
    assert refusal(Hello(View(0), True, False, SequenceNumber(0)), 4) is not None


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("said", list(VoteType))
@pytest.mark.parametrize("meant", [VoteType.PRE_PREPARE, VoteType.PREPARE, VoteType.COMMIT])
def test_p12_row03_a_signature_counts_in_no_other_phase(said: VoteType, meant: VoteType) -> None:
    batch = a_batch("pay")
    digest = Digest(batch.digest())
    sender = 0 if meant == VoteType.PRE_PREPARE else 1
    signed = vote_sign_bytes(SET.chain_id, SET.epoch, said, PLACE[0], PLACE[1], digest)
    signature = sign_with(public_key(sender))(signed)
    me = ReplicaId(sender)
    message: PeerMessage
    if meant == VoteType.PRE_PREPARE:
        message = PrePrepare(PLACE[0], PLACE[1], batch, digest, signature)
    elif meant == VoteType.PREPARE:
        message = Prepare(PLACE[0], PLACE[1], digest, me, signature)
    else:
        message = Commit(PLACE[0], PLACE[1], digest, me, signature)
    assert (refusal(message, sender) is None) == (said == meant)


@pytest.mark.parametrize(("chain_id", "epoch"), [("other-chain", 0), ("sim-chain", 1)])
def test_p12_row03_a_vote_of_another_chain_or_epoch_is_refused(chain_id: str, epoch: int) -> None:
    signed = vote_sign_bytes(chain_id, epoch, VoteType.CHECKPOINT, 0, 3, b"h" * 32)
    signature = sign_with(public_key(1))(signed)
    message = Checkpoint(SequenceNumber(3), Digest(b"h" * 32), ReplicaId(1), signature)
    assert refusal(message, 1) is not None


def test_a_prepare_of_the_primary_is_refused() -> None:
    """N5: its signed pre-prepare is its prepare."""
    assert refusal(signer(0).prepare(*PLACE), 0) == "prepare from the primary of view 4"


def test_a_prepared_certificate_beyond_the_window_is_refused() -> None:
    """N10: nobody voted there."""
    far = prepared_certificate(0, WINDOW + 1, b"d" * 32)
    assert refusal(view_change(1, 1, prepared=(far,)), 1) is not None
    assert (
        refusal(view_change(1, 1, prepared=(prepared_certificate(0, WINDOW, b"d" * 32),)), 1)
        is None
    )


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize(("view", "is_left"), [(3, True), (4, True), (5, False), (6, False)])
def test_v6_what_was_prepared_was_prepared_in_a_view_that_is_left(view: int, is_left: bool) -> None:
    """A quorum that prepared in view 5 cannot speak in a change to view 5, nor in an earlier one:
    chosen as of the latest view, it would take the place of what was prepared before.
    """
    prepared = prepared_certificate(view, 1, b"d" * 32)
    fault = refusal(view_change(1, 5, prepared=(prepared,)), 1)
    expected = "a prepared certificate of a view that the view-change does not leave"
    assert fault == (None if is_left else expected)


def test_row02_a_prepared_certificate_counts_the_primary_once() -> None:
    """Its pre-prepare is its prepare: with its own prepare added, a vote is still missing."""
    whole = prepared_certificate(0, 1, b"d" * 32)
    own = signer(0).prepare(View(0), SequenceNumber(1), Digest(b"d" * 32))
    padded = dataclasses.replace(whole, prepares=((ReplicaId(0), own.signature), whole.prepares[0]))
    assert refusal(view_change(1, 1, prepared=(padded,)), 1) is not None


def test_a_certified_height_needs_its_certificate_and_genesis_has_none() -> None:
    """V3, and G6 for the base."""
    certified = view_change(1, 1, certified=2)
    naked = signer(1).view_change(View(1), SequenceNumber(2), None, ())
    genesis = signer(1).view_change(View(1), SequenceNumber(0), certified.certificate, ())
    assert refusal(certified, 1) is None
    assert refusal(naked, 1) is not None
    assert refusal(genesis, 1) is not None


@pytest.mark.req("G2-09-3")
@pytest.mark.parametrize("base", [0, 5])
def test_g6_no_certificate_is_of_the_base_or_below_though_the_present_set_signed_it(
    base: int,
) -> None:
    """V3, G6: nobody of the set votes there, so such signatures prove nothing; above they do."""
    for height in range(max(base - 1, 0), base + 1):
        shown = signer(1).view_change(
            View(1), SequenceNumber(height), finality_certificate(height, b"h" * 32), ()
        )
        assert "genesis or of an earlier epoch" in (refusal(shown, 1, base) or "it is taken")
    assert refusal(view_change(1, 1, certified=base + 1), 1, base) is None
    at_base = signer(1).view_change(View(1), SequenceNumber(base), None, ())
    assert refusal(at_base, 1, base) is None
