"""20,000 mutated valid proofs, of every kind that a gateway, a contract or `guqiao verify` judges;
none is accepted (rows G1 to G22 of the reliability plan at once; its figure T-17).

What is changed is structure: fields swapped, repeated, cut, grafted from another valid proof of the
same kind, or bits of them. The proof itself holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest

from guqiao_sdk.proof.bundle import END_MAGIC, Bundle
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance
from guqiao_sdk.proof.packet import Packet, commitment_key
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from guqiao_sdk.verify import verify_bundle
from services.consensus.domain.contracts import packets
from services.consensus.domain.contracts.host import Refusal
from tests.fuzz.harness import Target, inputs
from tests.fuzz.mutations import of_bytes, of_fields
from tests.unit.proof.bundle_case import Case, make_case
from tests.unit.proof.proof_keys import FakeKeys, Replicas
from tests.unit.proof.test_proof_bundle import NOW_MS, with_right_checksum
from tests.unit.xchain.ledger_chain import LedgerChain, make_pair, sent_packets

KEYS = FakeKeys()
OLD = Replicas(KEYS)
NEW = OLD.next_epoch()
START = TrustedChain.from_genesis(b"g" * 32, OLD.set)
MUTATED = 2_000
"""Of each kind, by each of two ways to change it."""
REFUSALS = (ProofError, MalformedError, Refusal, NotABundleError)


@dataclass(frozen=True)
class Kind:
    """`accept` judges a proof of one statement, which `decode` reads; `valid` proves it, `other` is
    a valid proof of another.
    """

    decode: Callable[[bytes], object]
    accept: Callable[[bytes], object]
    valid: bytes
    other: bytes


@cache
def reported() -> tuple[LedgerChain, Sequence[Packet]]:
    """A market's chain that sent two packets."""
    shandong, _ = make_pair(KEYS)
    for _ in range(3):
        shandong.call("reports", "report", {"count": 3, "broken": False})
    sent = shandong.call("reports", "report", {"count": 2, "broken": False})
    return shandong, sent_packets(sent)


@cache
def bundled() -> tuple[Case, Case]:
    """An operation with its anchor, over a set change, and another chain's."""
    return make_case(KEYS, set_changes=True), make_case(KEYS, set_changes=False)


def commitment() -> Kind:
    shandong, (packet, beside) = reported()
    height, root = shandong.header.height, shandong.header.state_root

    def proof(of: Packet) -> bytes:
        key = commitment_key(of.destination, of.port, of.sequence)
        return shandong.prove_at(key.encode(), height).encode()

    def accept(data: bytes) -> None:
        packets.check_commitment(packet, packets.proof_of(data.hex(), "proof"), root)

    return Kind(StateProof.decode, accept, proof(packet), proof(beside))


def absence() -> Kind:
    shandong, sent = reported()
    height, root = shandong.header.height, shandong.header.state_root
    absent = b"packets/receipt/csrc/data_object/1"

    def accept(data: bytes) -> None:
        verify_state_proof(
            piece="receipt", root=root, key=absent, value=None, proof=StateProof.decode(data)
        )

    present, _ = sent
    key = commitment_key(present.destination, present.port, present.sequence).encode()
    return Kind(
        StateProof.decode,
        accept,
        shandong.prove_at(absent, height).encode(),
        shandong.prove_at(key, height).encode(),
    )


def header() -> Kind:
    valid, other = OLD.header(7), OLD.header(9)
    certificate = OLD.certify(valid)

    def accept(data: bytes) -> None:
        advance(START, BlockHeader.decode(data), certificate, KEYS.verify)

    return Kind(BlockHeader.decode, accept, valid.encode(), other.encode())


def certificate() -> Kind:
    valid, other = OLD.header(7), OLD.header(9)

    def accept(data: bytes) -> None:
        advance(START, valid, FinalityCertificate.decode(data), KEYS.verify)

    decode = FinalityCertificate.decode
    return Kind(decode, accept, OLD.certify(valid).encode(), OLD.certify(other).encode())


def set_change() -> Kind:
    def change(height: int) -> SetChange:
        last = OLD.header(height, next_set=NEW.set)
        return SetChange(last, OLD.certify(last), NEW.set)

    first = NEW.header(7)
    known = advance(START, change(5).header, change(5).certificate, KEYS.verify)

    def accept(data: bytes) -> None:
        advance(known, first, NEW.certify(first), KEYS.verify, [SetChange.decode(data)])

    return Kind(SetChange.decode, accept, change(5).encode(), change(4).encode())


def bundle() -> Kind:
    case, other = bundled()

    def accept(data: bytes) -> None:
        verify_bundle(data, case.trust, KEYS.verify, now_ms=NOW_MS)

    return Kind(Bundle.decode, accept, case.bundle.encode(), other.bundle.encode())


KINDS: dict[str, Callable[[], Kind]] = {
    "commitment of a packet": commitment,
    "absence of a receipt": absence,
    "header": header,
    "finality certificate": certificate,
    "change of a replica set": set_change,
    "bundle": bundle,
}


def test_there_are_twenty_thousand() -> None:
    assert len(KINDS) * 2 * MUTATED >= 20_000


def judged(name: str, kind: Kind) -> Counter[str]:
    """How many mutated proofs were accepted, and how many refused."""
    found: Counter[str] = Counter()
    for mutation in (of_fields, of_bytes):
        target = Target(name, kind.decode, REFUSALS, [kind.valid, kind.other], mutation)
        for data in inputs(target, 17, MUTATED):
            ended = data.endswith(END_MAGIC)
            for tried in {data, with_right_checksum(data)} if ended else {data}:
                if tried not in (kind.valid, kind.other):
                    found[verdict(kind, tried)] += 1
    return found


def verdict(kind: Kind, data: bytes) -> str:
    try:
        kind.accept(data)
    except REFUSALS:
        return "refused"
    return "accepted"


@pytest.mark.req("G2-19-4", "T2-14")
@pytest.mark.parametrize("name", KINDS)
def test_no_mutated_proof_is_accepted(name: str) -> None:
    kind = KINDS[name]()
    kind.accept(kind.valid)
    found = judged(name, kind)
    assert found["accepted"] == 0
    assert found["refused"] > 1.9 * MUTATED
    kind.accept(kind.valid)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "bundle"])
def test_a_reader_that_overlooks_what_comes_behind_is_found(name: str) -> None:
    kind = KINDS[name]()
    lenient = replace(kind, accept=lambda data: kind.accept(data[: len(kind.valid)]))
    assert judged(name, lenient)["accepted"] > 0


def test_a_verifier_that_believes_every_signature_is_found() -> None:
    trust = bundled()[0].trust

    def accept(data: bytes) -> None:
        verify_bundle(data, trust, lambda *_: True, now_ms=NOW_MS)

    assert judged("bundle", replace(bundle(), accept=accept))["accepted"] > 0


@pytest.mark.parametrize("name", [name for name in KINDS if name != "bundle"])
def test_a_valid_proof_of_something_else_is_not_accepted(name: str) -> None:
    kind = KINDS[name]()
    with pytest.raises(REFUSALS):
        kind.accept(kind.other)
