"""Evidence of what a primary signs alone: an invalid batch, and a new-view that does not follow
(pbft.md E7 to E9).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX
from services.consensus.domain.codec import encode_message
from services.consensus.domain.contracts.evidence import Offence
from services.consensus.domain.faults import PROOF_BYTES_MAX, BatchProof, batch_proof
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    NewView,
    PreparedCertificate,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.signer import Signer
from services.consensus.domain.view_change import chosen_batches
from tests.unit.contracts.governed_chain import (
    WINDOW,
    convict,
    governed_chain,
    latest,
    replica_set,
)
from tests.unit.ledger.chain_builder import (
    ADMIN,
    GENESIS_TIME_MS,
    MARKET,
    MemoryChain,
    payload_of,
    sign,
    signed,
)

SEQUENCE = 7
GOOD = signed(payload_of("write")).encode()


def signer(chain: MemoryChain, number: int) -> Signer:
    members = replica_set(chain, 1)
    key = members.members[number].public_key
    return Signer(ReplicaId(number), members, lambda message: sign(key, message))


def proposal(chain: MemoryChain, *transactions: bytes, view: int = 1) -> PrePrepare:
    """What the primary of `view` signed."""
    batch = Batch(GENESIS_TIME_MS, transactions)
    return signer(chain, view % 4).pre_prepare(View(view), SequenceNumber(SEQUENCE), batch)


def refused_transactions() -> dict[str, bytes]:
    """Each is refused by stateless admission for another reason."""
    good = signed(payload_of("write"))
    key, _ = good.signatures[0]
    expires_too_far = SEQUENCE - 1 + EXPIRY_HEIGHTS_MAX + 1
    return {
        "TRANSACTION_MALFORMED": b"no transaction",
        "TRANSACTION_SIGNATURE_INVALID|ALG_NOT_GM": replace(
            good, signatures=((key, bytes(64)),)
        ).encode(),
        "CHAIN_MISMATCH": signed(payload_of("write", chain="another")).encode(),
        "TRANSACTION_EXPIRED": signed(payload_of("write", expires_height=SEQUENCE - 1)).encode(),
        "TRANSACTION_EXPIRY_TOO_FAR": signed(
            payload_of("write", expires_height=expires_too_far)
        ).encode(),
    }


def accuse(
    chain: MemoryChain, offence: Offence, replica: int, proof: bytes, *, epoch: int = 0
) -> Receipt:
    body: dict[str, Any] = {"epoch": epoch, "replica": replica, "proof": proof.hex()}
    payload = payload_of(
        offence.value,
        body,
        maker=(ADMIN, "k1"),
        organisation=MARKET,
        contract="evidence",
        expires_height=chain.header.height + 100,
        expires_time_ms=chain.header.block_time_ms + 300_000,
    )
    return chain.receipt(payload)


def proof_of(chain: MemoryChain, message: PrePrepare, index: int) -> BatchProof:
    return batch_proof(message, index, replica_set(chain, 1))


def refused(receipt: Receipt) -> bool:
    return (receipt.outcome, receipt.code) == (Outcome.REFUSED, "EVIDENCE_INVALID")


# --- Invalid batches ------------------------------------------------------------------------


@pytest.mark.req("G2-16-4", "G2-07-1")
@pytest.mark.parametrize("codes", refused_transactions())
@pytest.mark.parametrize("place", [0, 1, 2])
def test_e7_a_proposal_with_a_transaction_that_admission_refuses_names_its_primary(
    codes: str, place: int
) -> None:
    chain = governed_chain()
    batch = [GOOD, GOOD]
    batch.insert(place, refused_transactions()[codes])
    message = proposal(chain, *batch)
    receipt = accuse(chain, Offence.INVALID_BATCH, 1, proof_of(chain, message, place).encode())
    assert receipt.outcome is Outcome.APPLIED, receipt.detail
    (event,) = receipt.events
    facts = json.loads(event.body)
    assert event.topic == "evidence.recorded"
    assert (facts["entity_id"], facts["type"]) == ("B", "INVALID_BATCH")
    assert facts["fault"] in codes.split("|")
    assert (facts["view"], facts["sequences"]) == ("1", [str(SEQUENCE)])
    assert facts["digests"] == [message.digest.hex()]


@pytest.mark.req("G2-16-4")
def test_e7_a_valid_batch_accuses_nobody() -> None:
    """The false accusation: everything is really signed, but nothing is wrong with it."""
    chain = governed_chain()
    message = proposal(chain, GOOD, GOOD)
    for index in (0, 1):
        proof = proof_of(chain, message, index)
        assert refused(accuse(chain, Offence.INVALID_BATCH, 1, proof.encode()))
    empty = proposal(chain)
    bare = BatchProof(
        proof_of(chain, message, 0).statement,
        GENESIS_TIME_MS,
        empty.batch.transactions_root(),
        0,
        1,
        (),
        b"x",
    )
    assert refused(accuse(chain, Offence.INVALID_BATCH, 1, bare.encode()))


def spoiled_proofs() -> dict[str, Callable[[BatchProof], BatchProof]]:
    """A valid proof with one thing spoiled."""

    def said(proof: BatchProof, **changes: Any) -> BatchProof:
        return replace(proof, statement=replace(proof.statement, **changes))

    return {
        "signature": lambda p: said(p, signature=bytes(64)),
        "view": lambda p: said(p, view=View(5)),
        "sequence": lambda p: said(p, sequence=SequenceNumber(SEQUENCE + 1)),
        "sequence 0": lambda p: said(p, sequence=SequenceNumber(0)),
        "digest": lambda p: said(p, digest=Digest(bytes(32))),
        "block time": lambda p: replace(p, block_time_ms=p.block_time_ms + 1),
        "root": lambda p: replace(p, root=bytes(32)),
        "index": lambda p: replace(p, index=0),
        "count": lambda p: replace(p, count=p.count + 1),
        "path": lambda p: replace(p, path=(bytes(32), *p.path[1:])),
        "longer path": lambda p: replace(p, path=(*p.path, bytes(32))),
        "transaction": lambda p: replace(p, transaction=p.transaction + b"x"),
        "another's": lambda p: replace(p, transaction=b"never in this batch"),
    }


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("name", spoiled_proofs())
def test_e7_a_proof_with_one_thing_spoiled_is_refused(name: str) -> None:
    chain = governed_chain()
    message = proposal(chain, GOOD, b"no transaction", GOOD)
    proof = proof_of(chain, message, 1)
    spoiled = spoiled_proofs()[name](proof)
    assert refused(accuse(chain, Offence.INVALID_BATCH, 1, spoiled.encode()))
    for other in (0, 2, 3):
        assert refused(accuse(chain, Offence.INVALID_BATCH, other, proof.encode()))
    assert accuse(chain, Offence.INVALID_BATCH, 9, proof.encode()).code == "EVIDENCE_INVALID"
    assert accuse(chain, Offence.INVALID_BATCH, 1, proof.encode(), epoch=1).code != ""
    for data in (proof.encode()[:-1], proof.encode() + b"\x00", b"\x01"):
        assert refused(accuse(chain, Offence.INVALID_BATCH, 1, data))
    assert accuse(chain, Offence.INVALID_BATCH, 1, proof.encode()).code == ""


def test_e7_another_vote_than_a_proposal_is_no_proof() -> None:
    chain = governed_chain()
    message = proposal(chain, b"no transaction")
    vote = signer(chain, 1).commit(message.view, message.sequence, message.digest)
    proof = proof_of(chain, message, 0)
    said = replace(proof.statement, signature=vote.signature)
    assert refused(accuse(chain, Offence.INVALID_BATCH, 1, replace(proof, statement=said).encode()))


def test_e7_a_proof_above_the_largest_size_is_refused_unread() -> None:
    receipt = accuse(governed_chain(), Offence.INVALID_BATCH, 1, bytes(PROOF_BYTES_MAX + 1))
    assert receipt.code == "BODY_MALFORMED"


# --- Invalid new-views ----------------------------------------------------------------------


def view_changes(chain: MemoryChain) -> tuple[ViewChange, ...]:
    """A quorum asks for view 1; one of them holds a batch prepared at 2."""
    place = (View(0), SequenceNumber(2), Digest(b"d" * 32))
    proposed = signer(chain, 0).new_view(View(0), (), ((place[1], place[2]),)).reproposals[0]
    prepares = tuple(
        (ReplicaId(each), signer(chain, each).prepare(*place).signature) for each in (1, 2)
    )
    held = (PreparedCertificate(*place, proposed.signature, prepares),)
    return tuple(
        signer(chain, each).view_change(View(1), SequenceNumber(0), None, held if each == 2 else ())
        for each in (0, 1, 2)
    )


def new_view(chain: MemoryChain, *chosen: tuple[int, bytes], number: int = 1) -> NewView:
    typed = tuple((SequenceNumber(each), Digest(digest)) for each, digest in chosen)
    return signer(chain, number).new_view(View(1), view_changes(chain), typed)


FORGED: dict[str, tuple[tuple[int, bytes], ...]] = {
    "omitted": (),
    "gap left out": ((2, b"d" * 32),),
    "altered": ((1, NULL_DIGEST), (2, b"e" * 32)),
    "added": ((1, NULL_DIGEST), (2, b"d" * 32), (3, NULL_DIGEST)),
    "permuted": ((2, b"d" * 32), (1, NULL_DIGEST)),
}


@pytest.mark.req("G2-16-4", "G2-07-1")
@pytest.mark.parametrize("name", FORGED)
def test_e8_a_new_view_that_does_not_follow_from_its_parts_names_its_primary(name: str) -> None:
    chain = governed_chain()
    proof = encode_message(new_view(chain, *FORGED[name]))
    receipt = accuse(chain, Offence.INVALID_NEW_VIEW, 1, proof)
    assert receipt.outcome is Outcome.APPLIED, receipt.detail
    facts = json.loads(receipt.events[0].body)
    assert (facts["entity_id"], facts["type"], facts["view"]) == ("B", "INVALID_NEW_VIEW", "1")


@pytest.mark.req("G2-16-4")
def test_e8_an_honest_new_view_accuses_nobody() -> None:
    chain = governed_chain()
    chosen = chosen_batches(view_changes(chain))
    honest = new_view(chain, *((int(number), digest) for number, digest in chosen))
    assert refused(accuse(chain, Offence.INVALID_NEW_VIEW, 1, encode_message(honest)))


@pytest.mark.req("G2-16-4")
def test_e8_a_new_view_that_its_primary_did_not_sign_with_all_its_parts_proves_nothing() -> None:
    chain = governed_chain()
    forged = new_view(chain)
    changed = replace(forged.view_changes[2], prepared=())
    lies = [
        replace(forged, signature=bytes(64)),
        replace(forged, view=View(5)),
        replace(forged, view_changes=forged.view_changes[:2]),
        replace(forged, view_changes=(*forged.view_changes[:2], changed)),
        new_view(chain, number=2),
        signer(chain, 1).new_view(View(1), (*forged.view_changes[:2], changed), ()),
        signer(chain, 1).new_view(View(1), forged.view_changes[:2], ()),
    ]
    for lie in lies:
        assert refused(accuse(chain, Offence.INVALID_NEW_VIEW, 1, encode_message(lie)))
    for other in (0, 2, 3):
        data = encode_message(forged)
        assert refused(accuse(chain, Offence.INVALID_NEW_VIEW, other, data))
    for data in (b"\x07", encode_message(forged)[:-1], encode_message(forged.view_changes[0])):
        assert refused(accuse(chain, Offence.INVALID_NEW_VIEW, 1, data))
    assert accuse(chain, Offence.INVALID_NEW_VIEW, 1, encode_message(forged)).code == ""


@pytest.mark.req("G2-16-4")
def test_e8_in_a_later_epoch_view_changes_start_above_the_last_height_of_the_one_before() -> None:
    chain = governed_chain()
    convict(chain, 3)
    found = latest(chain)
    members = found.replica_set
    chain.skip_to(found.from_height)
    assert (members.epoch, members.primary(1)) == (1, 1)

    def voice(number: int) -> Signer:
        key = members.members[number].public_key
        return Signer(ReplicaId(number), members, lambda message: sign(key, message))

    def opened(certified: int) -> bytes:
        asked = tuple(
            voice(each).view_change(View(1), SequenceNumber(certified), None, ())
            for each in (0, 1, 2)
        )
        chosen = ((SequenceNumber(certified + 1), NULL_DIGEST),)
        return encode_message(voice(1).new_view(View(1), asked, chosen))

    base = found.from_height - 1
    for certified in (0, base - 1, base + 1):
        receipt = accuse(chain, Offence.INVALID_NEW_VIEW, 1, opened(certified), epoch=1)
        assert refused(receipt)
    assert accuse(chain, Offence.INVALID_NEW_VIEW, 1, opened(base), epoch=1).code == ""


# --- What follows ---------------------------------------------------------------------------


@pytest.mark.req("G2-16-4")
def test_e9_a_fault_of_a_primary_is_recorded_once_and_jails_nobody() -> None:
    chain = governed_chain()
    before = latest(chain)
    for number, text in enumerate((b"first", b"second")):
        message = proposal(chain, text)
        receipt = accuse(chain, Offence.INVALID_BATCH, 1, proof_of(chain, message, 0).encode())
        assert (receipt.outcome, len(receipt.events)) == (Outcome.APPLIED, 1 - number)
    assert accuse(chain, Offence.INVALID_NEW_VIEW, 1, encode_message(new_view(chain))).events
    assert latest(chain) == before


@pytest.mark.req("G2-16-4")
def test_e9_who_equivocates_later_is_jailed_all_the_same() -> None:
    chain = governed_chain()
    message = proposal(chain, b"no transaction")
    accuse(chain, Offence.INVALID_BATCH, 1, proof_of(chain, message, 0).encode())
    convict(chain, 1)
    assert replica_set(chain, chain.header.height + WINDOW).jailed == (1,)


@pytest.mark.req("G2-16-4")
def test_a_chain_that_began_with_version_1_knows_equivocation_only() -> None:
    chain = governed_chain(evidence_version=1)
    message = proposal(chain, b"no transaction")
    receipt = accuse(chain, Offence.INVALID_BATCH, 1, proof_of(chain, message, 0).encode())
    assert receipt.code == "METHOD_UNKNOWN"
    assert convict(chain, 1).outcome is Outcome.APPLIED
