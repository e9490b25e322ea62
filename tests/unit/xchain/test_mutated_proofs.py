"""20,000 mutated valid proofs, of every kind that a gateway, a contract or `guqiao verify` judges;
none is accepted (rows G1 to G22 of the reliability plan at once; its figure T-17).

What is changed is structure: fields swapped, repeated, cut, grafted from another valid proof of the
same kind, or bits of them. The proof itself holds. Proofs of a foreign chain are the JSON that its
nodes answer, which has many spellings: of them none may say anything but what the valid one says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest

from guqiao_sdk.proof.bundle import END_MAGIC, Bundle
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import END_MAGIC as EXTRACT_END
from guqiao_sdk.proof.extract import Extract, Fact
from guqiao_sdk.proof.fisco import execution
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.trusted import advance as advance_foreign
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, Verify
from guqiao_sdk.proof.json_values import Json, JsonError, parse_json_strict
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance
from guqiao_sdk.proof.packet import Packet, commitment_key
from guqiao_sdk.proof.state_proof import StateProof, verify_state_proof
from guqiao_sdk.verify import verify_bundle
from guqiao_sdk.verify_extract import verify_extract
from services.consensus.domain.contracts import packets
from services.consensus.domain.contracts.host import Refusal
from tests.fuzz.harness import Target, inputs
from tests.fuzz.mutations import Mutation, of_bytes, of_fields, of_json
from tests.plugins.fisco_chain import (
    FiscoChain,
    Row,
    header_hash,
    hexed,
    provider,
    receipt_hash,
    transaction_hash,
)
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
REFUSALS = (ProofError, MalformedError, Refusal, NotABundleError, JsonError)
ENDS = (END_MAGIC, EXTRACT_END)
HERE = b"identity/did/"
NOWHERE = b"register/holding/P1/nobody"


def with_right_end(data: bytes) -> bytes:
    """What is framed, with a checksum that agrees."""
    return with_right_checksum(data) if data.endswith(ENDS) else data


def with_right_hash(data: bytes) -> bytes:
    """What a foreign chain answers with hashes that agree, as far as its fields can be hashed."""
    try:
        value = json.loads(data)
        if isinstance(value, dict):
            return spelled({**value, "hash": hexed(header_hash(value))})
        sent, done = value
        sent = {**sent, "hash": hexed(transaction_hash(sent))}
        return spelled([sent, {**done, "hash": hexed(receipt_hash(done))}])
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return data


@dataclass(frozen=True)
class Kind:
    """`accept` judges a proof of one statement, which `decode` reads; `valid` proves it, `other` is
    a valid proof of another. `fitted` makes digests without a key agree, as an attacker does who
    knows the format. Where proofs have many spellings, `accept` answers with what it believes, and
    `truth` is what the valid one says.
    """

    decode: Callable[[bytes], object]
    accept: Callable[[bytes], object]
    valid: bytes
    other: bytes
    mutations: Sequence[Mutation] = (of_fields, of_bytes)
    truth: object = None
    fitted: Callable[[bytes], bytes] = with_right_end


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


def extract(verify: Verify = KEYS.verify) -> Kind:
    """Of one key that is there and one that is not. That another key is not there either may be
    proven by the same path: it is true and another statement.
    """

    def of(case: Case) -> bytes:
        height, did = case.bundle.certified.header.height, case.shandong.did.encode()
        keys = (HERE + did, NOWHERE)
        state = case.shandong.state
        facts = (Fact(key, state.get(key), case.shandong.prove_at(key, height)) for key in keys)
        return Extract(case.bundle.certified, tuple(facts)).encode()

    case, other = bundled()
    state, asked = case.shandong.state, {HERE + case.shandong.did.encode(), NOWHERE}

    def accept(data: bytes) -> None:
        facts = verify_extract(data, case.trust, verify).facts
        if facts.keys() != asked and all(state.get(key) == facts[key] for key in facts):
            raise ProofError("extract", "it is true and about other keys")

    return Kind(Extract.decode, accept, of(case), of(other))


@cache
def verify_once(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """SM2, asked once for each triple: most changes leave most signatures as they were."""
    return provider().verify(public_key, message, signature)


@cache
def foreign() -> FiscoChain:
    chain = FiscoChain()
    for _ in range(2):
        chain.add_block(5, signers=(0, 1, 2))
    return chain


def spelled(value: object) -> bytes:
    return json.dumps(value).encode()


def read_json(data: bytes) -> Json:
    return parse_json_strict(data, depth_max=32, size_max=1 << 20)


def foreign_header(verify: Verify = verify_once) -> Kind:
    chain = foreign()
    elsewhere = FiscoChain(names=("m0", "m1", "m2", "m3"))
    elsewhere.add_block(5)

    def accept(data: bytes) -> object:
        return advance_foreign(chain.trusted(), parse_header(read_json(data)), verify)

    valid, other = spelled(chain.block(1)), spelled(elsewhere.block(1))
    mutations, truth = (of_json, of_bytes), accept(valid)
    return Kind(read_json, accept, valid, other, mutations, truth, with_right_hash)


def foreign_execution() -> Kind:
    """A transaction of the foreign chain with its receipt, under a header that is believed."""
    chain = foreign()
    believed = parse_header(chain.block(1)).header

    def of(block: Row) -> bytes:
        name = block["transactions"][2]
        return spelled([chain.transactions[name], chain.receipts[name]])

    def accept(data: bytes) -> object:
        match read_json(data):
            case [transaction, receipt]:
                return execution.verify_execution(
                    chain.trusted(), believed, transaction, receipt, verify_once
                )
        raise ProofError("execution", "it is not a transaction and a receipt")

    valid, other = of(chain.block(1)), of(chain.block(2))
    mutations, truth = (of_json, of_bytes), accept(valid)
    return Kind(read_json, accept, valid, other, mutations, truth, with_right_hash)


KINDS: dict[str, Callable[[], Kind]] = {
    "commitment of a packet": commitment,
    "absence of a receipt": absence,
    "header": header,
    "finality certificate": certificate,
    "change of a replica set": set_change,
    "bundle": bundle,
    "extract": extract,
    "header of a foreign chain": foreign_header,
    "execution on a foreign chain": foreign_execution,
}
FRAMED = ("bundle", "extract")
"""Kinds whose checksum covers what comes behind."""
FOREIGN = ("header of a foreign chain", "execution on a foreign chain")


def test_there_are_twenty_thousand() -> None:
    assert len(KINDS) * 2 * MUTATED >= 20_000


def judged(name: str, kind: Kind) -> Counter[str]:
    """How many mutated proofs were accepted, how many refused, and how many of a foreign chain said
    the same in other words.
    """
    found: Counter[str] = Counter()
    for mutation in kind.mutations:
        target = Target(name, kind.decode, REFUSALS, [kind.valid, kind.other], mutation)
        for data in inputs(target, 17, MUTATED):
            for tried in {data, kind.fitted(data)}:
                if tried not in (kind.valid, kind.other):
                    found[verdict(kind, tried)] += 1
    return found


def verdict(kind: Kind, data: bytes) -> str:
    try:
        believed = kind.accept(data)
    except REFUSALS:
        return "refused"
    return "same" if kind.truth is not None and believed == kind.truth else "accepted"


@pytest.mark.req("G2-19-4", "T2-14")
@pytest.mark.parametrize("name", KINDS)
def test_no_mutated_proof_is_accepted(name: str) -> None:
    kind = KINDS[name]()
    kind.accept(kind.valid)
    found = judged(name, kind)
    assert found["accepted"] == 0
    assert (found["same"] > 0) is (name in FOREIGN)
    assert found["refused"] > (1.5 if name in FOREIGN else 1.9) * MUTATED
    kind.accept(kind.valid)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in (*FRAMED, *FOREIGN)])
def test_a_reader_that_overlooks_what_comes_behind_is_found(name: str) -> None:
    kind = KINDS[name]()
    lenient = replace(kind, accept=lambda data: kind.accept(data[: len(kind.valid)]))
    assert judged(name, lenient)["accepted"] > 0


@pytest.mark.parametrize("kind", [extract, foreign_header])
def test_a_verifier_of_these_that_believes_every_signature_is_found(
    kind: Callable[[Verify], Kind],
) -> None:
    assert judged(kind.__name__, kind(lambda *_: True))["accepted"] > 0


def test_a_verifier_that_follows_no_path_of_a_foreign_receipt_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "check_path_at", lambda *_: None)
    assert judged("execution", foreign_execution())["accepted"] > 0


def test_a_verifier_that_believes_every_signature_is_found() -> None:
    trust = bundled()[0].trust

    def accept(data: bytes) -> None:
        verify_bundle(data, trust, lambda *_: True, now_ms=NOW_MS)

    assert judged("bundle", replace(bundle(), accept=accept))["accepted"] > 0


@pytest.mark.parametrize("name", [name for name in KINDS if name not in FRAMED])
def test_a_valid_proof_of_something_else_is_not_accepted(name: str) -> None:
    kind = KINDS[name]()
    with pytest.raises(REFUSALS):
        kind.accept(kind.other)
