"""Anchors are judged before they are kept as the offline verifier judges them afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from guqiao.gateway.v1 import packet_pb2
from guqiao_sdk.client.anchors import AnchorVerifier, anchor_to_message, verify_anchor
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.batch import batch_digest
from guqiao_sdk.proof.bundle import Anchor, CertifiedHeader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.verify import verify_bundle
from tests.unit.proof.bundle_case import Case, make_case
from tests.unit.proof.proof_keys import Replicas, Sm2Keys

KEYS = Sm2Keys(open_provider())


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(KEYS, set_changes=True)


@cache
def verify_once(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """SM2, asked once for each triple: most changes leave most signatures as they were."""
    return KEYS.verify(public_key, message, signature)


def history(case: Case) -> SetHistory:
    first = Replicas(KEYS, "csrc").set
    return SetHistory(ChainTrust("csrc", case.csrc.genesis.hash(), first), verify_once)


def message_of(case: Case) -> packet_pb2.Anchor:
    return anchor_to_message(case.bundle.anchors[0])


def judged(case: Case, message: packet_pb2.Anchor, transaction_id: bytes | None = None) -> Anchor:
    """What a gateway makes of the message that has just begun to follow the chain."""
    name = transaction_id or case.bundle.anchors[0].receipt.transaction_id
    return verify_anchor(message, case.bundle.packets[0], name, history(case))


@pytest.mark.req("G2-08-5", "N0-07")
def test_an_anchor_that_holds_is_the_one_in_the_bundle(case: Case) -> None:
    message = message_of(case)
    anchor = judged(case, message)
    assert (anchor,) == case.bundle.anchors
    assert anchor_to_message(anchor) == message
    assert len(message.set_changes) == 1


@pytest.mark.req("G2-08-5")
def test_what_comes_with_an_anchor_and_proves_nothing_is_left_away(case: Case) -> None:
    """More signatures than the quorum, and fields that no version of ours knows."""
    message = message_of(case)
    header = case.bundle.anchors[0].certified.header
    all_four = case.csrc.replicas.certify(header, range(4))
    message.certified_header.certificate = all_four.encode()
    unknown = b"\x7a\x03abc"  # Field 15.
    padded = packet_pb2.Anchor.FromString(message.SerializeToString() + unknown)
    assert len(padded.SerializeToString()) > len(message.SerializeToString())
    quorum = FinalityCertificate(all_four.header_hash, all_four.signatures[:3])
    message.certified_header.certificate = quorum.encode()
    kept = anchor_to_message(judged(case, padded))
    assert kept.SerializeToString() == message.SerializeToString()


@pytest.mark.req("G2-08-5")
@pytest.mark.parametrize("piece", ["header", "certificate", "leaf", "set change"])
def test_any_byte_of_an_anchor_changed_is_refused(case: Case, piece: str) -> None:
    true = {
        "header": message_of(case).certified_header.header,
        "certificate": message_of(case).certified_header.certificate,
        "leaf": message_of(case).receipt_proof.leaf,
        "set change": message_of(case).set_changes[0],
    }[piece]
    for at in range(len(true)):
        changed = bytearray(true)
        changed[at] ^= 1 << (at % 8)
        message = message_of(case)
        match piece:
            case "header":
                message.certified_header.header = bytes(changed)
            case "certificate":
                message.certified_header.certificate = bytes(changed)
            case "leaf":
                message.receipt_proof.leaf = bytes(changed)
            case _:
                message.set_changes[0] = bytes(changed)
        with pytest.raises(ProofError):
            judged(case, message)


def test_a_path_to_another_place_is_refused(case: Case) -> None:
    changes: list[Callable[[packet_pb2.Anchor], object]] = [
        lambda anchor: setattr(anchor.receipt_proof, "index", 1),
        lambda anchor: setattr(anchor.receipt_proof, "count", 2),
        lambda anchor: setattr(anchor.receipt_proof, "count", 0),
        lambda anchor: anchor.receipt_proof.path.append(bytes(32)),
        lambda anchor: anchor.receipt_proof.path.append(b"short"),
    ]
    for change in changes:
        message = message_of(case)
        change(message)
        with pytest.raises(ProofError):
            judged(case, message)


def test_an_empty_message_is_no_anchor(case: Case) -> None:
    with pytest.raises(ProofError, match="anchor of packet"):
        judged(case, packet_pb2.Anchor())


def test_an_anchor_is_of_the_transaction_that_it_is_said_to_be_of(case: Case) -> None:
    with pytest.raises(ProofError, match="it is of another transaction"):
        judged(case, message_of(case), b"\x01" * 32)


def test_an_anchor_is_of_exactly_this_packet(case: Case) -> None:
    """A sequence, a content and a destination other than those of the record."""
    packet = case.bundle.packets[0]
    name = case.bundle.anchors[0].receipt.transaction_id
    for other in (
        replace(packet, sequence=packet.sequence + 1),
        replace(packet, payload=b"{}"),
        replace(packet, port="other"),
        replace(packet, source="beijing"),
        replace(packet, destination="beijing"),
    ):
        with pytest.raises(ProofError, match=r"arrived|sent to beijing"):
            verify_anchor(message_of(case), other, name, history(case))


@pytest.mark.req("G2-08-5")
def test_what_packets_of_one_transaction_have_in_common_is_judged_once(case: Case) -> None:
    """And what each has of its own, each time; a changed anchor is judged anew."""
    asked = 0

    def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal asked
        asked += 1
        return KEYS.verify(public_key, message, signature)

    trust = ChainTrust("csrc", case.csrc.genesis.hash(), Replicas(KEYS, "csrc").set)
    verifier = AnchorVerifier(SetHistory(trust, verify))
    packet = case.bundle.packets[0]
    name = case.bundle.anchors[0].receipt.transaction_id
    first = verifier.verify(message_of(case), packet, name)
    known = asked
    assert verifier.verify(message_of(case), packet, name) is first
    with pytest.raises(ProofError, match="arrived"):
        verifier.verify(message_of(case), replace(packet, payload=b"{}"), name)
    with pytest.raises(ProofError, match="another transaction"):
        verifier.verify(message_of(case), packet, b"\x01" * 32)
    assert asked == known
    changed = message_of(case)
    changed.certified_header.certificate = changed.certified_header.certificate[:-1] + b"\x00"
    for _ in range(2):
        with pytest.raises(ProofError):
            verifier.verify(changed, packet, name)
    assert asked > known
    assert verifier.verify(message_of(case), packet, name) is first


def test_the_set_changes_that_lead_to_an_anchor_must_be_known(case: Case) -> None:
    """They come with it, or have been learnt before: between gateways they come once for all."""
    bare = message_of(case)
    del bare.set_changes[:]
    with pytest.raises(ProofError, match="how epoch 1 began is not known"):
        judged(case, bare)
    sets = history(case)
    sets.learn(message_of(case).set_changes)
    anchor = case.bundle.anchors[0]
    packet, name = case.bundle.packets[0], anchor.receipt.transaction_id
    assert verify_anchor(bare, packet, name, sets) == anchor


def test_a_header_that_the_light_client_does_not_take_is_refused_before_and_offline(
    case: Case,
) -> None:
    """A quorum signed what no honest replica signs: a block older than the epoch that it is of."""
    anchor = case.bundle.anchors[0]
    header = case.csrc.replicas.header(anchor.certified.header.height)
    stale = replace(header, block_time_ms=1, batch_digest=batch_digest(1, header.transactions_root))
    certified = CertifiedHeader.build(
        Replicas(KEYS, "csrc").set,
        stale,
        case.csrc.replicas.certify(stale),
        anchor.certified.set_changes,
    )
    false = replace(anchor, certified=certified)
    bundle = replace(case.bundle, anchors=(false,)).encode()
    for judge in (
        lambda: judged(case, anchor_to_message(false)),
        lambda: verify_bundle(bundle, case.trust, verify_once, now_ms=0),
    ):
        with pytest.raises(ProofError, match="its block time is before that of a lower height"):
            judge()
