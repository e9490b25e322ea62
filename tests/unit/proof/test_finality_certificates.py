"""Finality certificates: a quorum of the verifier's own set over exactly this header."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import (
    BlockHeader,
    FinalityCertificate,
    checkpoint_sign_bytes,
    verify_certificate,
)
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.votes import VoteType, vote_sign_bytes
from tests.unit.proof.proof_keys import FakeKeys, Replicas, Sm2Keys

KEYS = FakeKeys()
REPLICAS = Replicas(KEYS)
HEADER = REPLICAS.header(12)


def refusal(
    header: BlockHeader, certificate: FinalityCertificate, replica_set: ReplicaSet = REPLICAS.set
) -> ProofError:
    with pytest.raises(ProofError) as caught:
        verify_certificate(header, certificate, replica_set, KEYS.verify)
    return caught.value


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("size", [4, 5, 6, 7, 10, 100])
def test_g1_a_quorum_certifies_and_one_signature_less_does_not(size: int) -> None:
    replicas = Replicas(KEYS, size=size)
    header, q = replicas.header(3), replicas.set.quorum
    verify_certificate(header, replicas.certify(header, range(q)), replicas.set, KEYS.verify)
    verify_certificate(header, replicas.certify(header, range(size)), replicas.set, KEYS.verify)
    error = refusal(header, replicas.certify(header, range(q - 1)), replicas.set)
    assert f"{q - 1} signatures, the quorum is {q}" in error.detail


@pytest.mark.parametrize("signers", [(0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 0), (0, 2, 1)])
def test_g2_signers_are_distinct_and_in_one_order(signers: tuple[int, ...]) -> None:
    error = refusal(HEADER, REPLICAS.certify(HEADER, signers))
    assert "not distinct and ascending" in error.detail


def test_g3_signers_of_a_former_or_future_set_do_not_count() -> None:
    after = REPLICAS.next_epoch()
    assert "epoch" in refusal(HEADER, REPLICAS.certify(HEADER), after.set).detail
    forged = replace(HEADER, epoch=1)
    assert "replica 0" in refusal(forged, REPLICAS.certify(forged), after.set).detail


def test_g10_another_chains_header_under_the_same_keys_is_refused() -> None:
    other = replace(HEADER, chain_id="beijing")
    assert "is of chain shandong" in refusal(other, REPLICAS.certify(other)).detail
    same_keys = replace(REPLICAS.set, chain_id="beijing")
    moved = FinalityCertificate(other.hash(), REPLICAS.certify(HEADER).signatures)
    assert "replica 0 does not hold" in refusal(other, moved, same_keys).detail


def test_g12_the_quorum_is_the_verifiers_own() -> None:
    """A sender that speaks of a smaller set gets nowhere: nothing of a set is taken from it."""
    small = Replicas(KEYS, size=4)
    large = Replicas(KEYS, size=7)
    header = replace(large.header(3), next_set_hash=small.set.hash())
    assert "the quorum is 5" in refusal(header, large.certify(header, range(3)), large.set).detail


def test_a_signature_of_a_replica_outside_the_set_is_refused() -> None:
    larger = Replicas(KEYS, size=7)
    certificate = larger.certify(HEADER, (0, 1, 6))
    assert "replica 6 is not in the set" in refusal(HEADER, certificate).detail


@pytest.mark.parametrize("at", range(3))
def test_the_signature_that_does_not_hold_is_named(at: int) -> None:
    signatures = list(REPLICAS.certify(HEADER).signatures)
    signatures[at] = (at, bytes(64))
    error = refusal(HEADER, FinalityCertificate(HEADER.hash(), tuple(signatures)))
    assert str(error) == (
        f"finality certificate of shandong height 12: the signature of replica {at} does not hold"
    )


@pytest.mark.parametrize("name", [field.name for field in fields(BlockHeader)])
def test_row07_a_header_with_one_field_spoiled_is_certified_by_nothing_of_the_old(
    name: str,
) -> None:
    """Neither the old certificate nor the old signatures under the new hash hold."""
    value = getattr(HEADER, name)
    others: dict[type, Any] = {str: "qingdao", int: 99, bytes: bytes(31) + b"\x01"}
    spoiled = replace(HEADER, **{name: others[type(value)]})
    certificate = REPLICAS.certify(HEADER)
    replica_set = replace(REPLICAS.set, chain_id=spoiled.chain_id, epoch=spoiled.epoch)
    assert "another header" in refusal(spoiled, certificate, replica_set).detail
    moved = FinalityCertificate(spoiled.hash(), certificate.signatures)
    assert "does not hold" in refusal(spoiled, moved, replica_set).detail


def test_a_vote_of_another_phase_is_no_checkpoint_vote() -> None:
    for vote_type in VoteType:
        message = vote_sign_bytes("shandong", 0, vote_type, 0, HEADER.height, HEADER.hash())
        signatures = tuple((at, KEYS.sign(REPLICAS.name(at), message)) for at in range(3))
        certificate = FinalityCertificate(HEADER.hash(), signatures)
        if vote_type is VoteType.CHECKPOINT:
            verify_certificate(HEADER, certificate, REPLICAS.set, KEYS.verify)
        else:
            assert "does not hold" in refusal(HEADER, certificate).detail


def test_p12_row03_every_field_of_a_vote_is_in_its_sign_bytes() -> None:
    base = ("shandong", 0, VoteType.PREPARE, 1, 2, b"d" * 32)
    others = [
        ("beijing", 0, VoteType.PREPARE, 1, 2, b"d" * 32),
        ("shandong", 1, VoteType.PREPARE, 1, 2, b"d" * 32),
        ("shandong", 0, VoteType.COMMIT, 1, 2, b"d" * 32),
        ("shandong", 0, VoteType.PREPARE, 2, 2, b"d" * 32),
        ("shandong", 0, VoteType.PREPARE, 1, 3, b"d" * 32),
        ("shandong", 0, VoteType.PREPARE, 1, 2, b"e" * 32),
    ]
    assert len({vote_sign_bytes(*vote) for vote in (base, *others)}) == len(others) + 1


def test_real_sm2_signatures_certify_and_one_flipped_bit_does_not() -> None:
    keys = Sm2Keys(open_provider())
    replicas = Replicas(keys)
    header = replicas.header(12)
    certificate = replicas.certify(header)
    verify_certificate(header, certificate, replicas.set, keys.verify)
    for at, (replica, signature) in enumerate(certificate.signatures):
        flipped = list(certificate.signatures)
        flipped[at] = (replica, bytes([signature[0] ^ 1]) + signature[1:])
        with pytest.raises(ProofError, match=f"replica {replica} does not hold"):
            verify_certificate(
                header,
                FinalityCertificate(header.hash(), tuple(flipped)),
                replicas.set,
                keys.verify,
            )
    assert checkpoint_sign_bytes(header).startswith(b"\x00\x00\x00\rguqiao/vote/1")
