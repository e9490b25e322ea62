"""The proof bundle: what it proves, and that no byte of it can be changed, with SM2 signatures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.batch import batch_digest
from guqiao_sdk.proof.bundle import (
    ANCHOR_SECTIONS,
    BUNDLE_BYTES_MAX,
    BUSINESS_SECTIONS,
    CONTAINER,
    END_MAGIC,
    START_MAGIC,
    Anchor,
    Bundle,
    CertifiedHeader,
)
from guqiao_sdk.proof.canonical import Reader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.header import FinalityCertificate
from guqiao_sdk.proof.merkle import MerklePath, merkle_root
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import Checkpoint, Trust
from guqiao_sdk.verify import (
    EXIT_NOT_A_BUNDLE,
    EXIT_VERIFICATION_FAILED,
    Verdict,
    exit_code_of,
    verify_bundle,
)
from tests.unit.proof.bundle_case import Case, make_case
from tests.unit.proof.proof_keys import Replicas, Sm2Keys

KEYS = Sm2Keys(open_provider())
NOW_MS = 1_756_000_000_000 + 86_400_000


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(KEYS, set_changes=True)


@cache
def verify_once(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """SM2, asked once for each triple: most flips leave most signatures as they were."""
    return KEYS.verify(public_key, message, signature)


def verify(data: bytes, trust: Trust) -> Verdict:
    return verify_bundle(data, trust, verify_once, now_ms=NOW_MS)


def refusal(data: bytes, trust: Trust) -> str:
    with pytest.raises(ProofError) as caught:
        verify(data, trust)
    assert exit_code_of(caught.value) == EXIT_VERIFICATION_FAILED
    return str(caught.value)


def with_right_checksum(data: bytes) -> bytes:
    """What an attacker does who knows the format: make the checksum agree."""
    content = data[: -len(END_MAGIC) - 32]
    return content + sm3(content) + data[-len(END_MAGIC) :]


@pytest.mark.req("G2-08-5", "N0-07")
def test_a_bundle_proves_the_operation_its_outcome_and_its_regulatory_anchor(case: Case) -> None:
    verdict = verify(case.bundle.encode(), case.trust)
    assert (verdict.block.chain_id, verdict.block.height, verdict.block.epoch) == ("shandong", 2, 1)
    assert verdict.block.signers == ("机构0", "机构1", "机构2")
    assert verdict.transaction_id == case.sent.transaction_id
    assert verdict.maker == (case.shandong.did, "key-1")
    assert (verdict.contract, verdict.method) == ("reports", "report")
    assert verdict.body == {"count": 1, "broken": False}
    assert verdict.accepted
    assert verdict.outcome is Outcome.APPLIED
    assert verdict.object_id == f"shandong:subject:{case.sent.transaction_id.hex()}"
    anchor = verdict.anchor
    assert anchor is not None
    assert (anchor.block.chain_id, anchor.block.height) == ("csrc", case.csrc.header.height)
    assert anchor.code == ""
    assert anchor.age_ms == NOW_MS - case.csrc.header.block_time_ms
    assert verdict.block.checkpoint.epoch == 0
    assert anchor.block.checkpoint.replica_set == Replicas(KEYS, "csrc").set


@pytest.mark.req("G2-08-5")
def test_an_attempt_that_had_no_effect_is_no_outcome(case: Case) -> None:
    """An accepted operation that is sent again gets a certified receipt, too: of a duplicate."""
    again = make_case(KEYS, set_changes=False)
    block = again.shandong.execute(again.bundle.transaction.encode())
    (receipt,) = block.receipts
    assert receipt.code == "TRANSACTION_DUPLICATE"
    attempt = replace(
        again.bundle,
        transaction_path=block.transaction_path(0),
        receipt=receipt,
        receipt_path=block.receipt_path(0),
        certified=CertifiedHeader.build(
            again.trust.chain("shandong").checkpoints[0].replica_set,
            block.header,
            block.certificate,
            (),
        ),
        packets=(),
        anchors=(),
    )
    message = refusal(attempt.encode(), again.trust)
    assert "it is of an attempt, not of the outcome" in message


def test_a_bundle_is_read_back_as_it_was_written(case: Case) -> None:
    data = case.bundle.encode()
    assert Bundle.decode(data) == case.bundle
    assert Bundle.decode(data).encode() == data


@pytest.mark.req("G2-08-5")
def test_every_byte_changed_fails_the_verification_checksum_recomputed_or_not(case: Case) -> None:
    """Goal: any single byte anywhere, framing included. Method: flip each byte of the file, as it
    is and with the checksum made to agree; neither file may verify, and both exit with 7."""
    data = case.bundle.encode()
    verify(data, case.trust)
    checksum_at = len(data) - len(END_MAGIC) - 32
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        refusal(bytes(changed), case.trust)
        if at < checksum_at:
            message = refusal(with_right_checksum(bytes(changed)), case.trust)
            assert "checksum" not in message, at


def test_a_file_cut_off_anywhere_fails(case: Case) -> None:
    data = case.bundle.encode()
    for cut in range(len(START_MAGIC), len(data)):
        assert refusal(data[:cut], case.trust).startswith("framing: ")
    for cut in range(1, len(data) - len(END_MAGIC)):
        assert refusal(data[cut:], case.trust).startswith("framing: ")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip file", b"{}", bytes(100)])
def test_another_kind_of_file_is_no_bundle_and_exits_with_2(case: Case, data: bytes) -> None:
    with pytest.raises(NotABundleError) as caught:
        verify(data, case.trust)
    assert exit_code_of(caught.value) == EXIT_NOT_A_BUNDLE


def sections_of(data: bytes) -> list[tuple[str, bytes]]:
    reader = Reader(data[len(START_MAGIC) :])
    return [(reader.text(), reader.blob()) for _ in range(reader.u32())]


def where(data: bytes, name: str) -> int:
    """The position of a section's content."""
    content = dict(sections_of(data))[name]
    return data.index(content)


@pytest.mark.parametrize(
    ("section", "offset", "message"),
    [
        ("certificate", 32 + 4 + 4 + 10, "shandong height 2: the signature of replica 0"),
        ("certificate", 32 + 4 + 68 + 4 + 63, "shandong height 2: the signature of replica 1"),
        ("anchor_certificate", 32 + 4 + 136 + 4, "csrc height 3: the signature of replica 2"),
        ("transaction", 10, "transaction in shandong height 2: the maker's signature"),
        ("transaction_path", 3, "transaction in shandong height 2: "),
        ("receipt", 5, "receipt in shandong height 2: the Merkle path leads to another root"),
        ("receipt_path", 20, "receipt in shandong height 2: the Merkle path leads to another"),
        ("packet", 60, "packet 3 of shandong port data_object: "),
        ("anchor_receipt", 5, "receipt in csrc height 3: the Merkle path leads to another root"),
        ("header", 20, "finality certificate of shandong height "),
    ],
)
def test_the_piece_that_was_changed_is_named(
    case: Case, section: str, offset: int, message: str
) -> None:
    data = bytearray(case.bundle.encode())
    data[where(bytes(data), section) + offset] ^= 1
    assert message in refusal(bytes(data), case.trust)


def test_a_changed_checksum_or_magic_is_named_as_framing(case: Case) -> None:
    data = case.bundle.encode()
    checksum = bytearray(data)
    checksum[-len(END_MAGIC) - 1] ^= 1
    assert refusal(bytes(checksum), case.trust) == (
        "framing: the checksum is not that of the content"
    )
    assert "start magic" in refusal(b"X" + data[1:], case.trust)
    assert "end magic" in refusal(data[:-1] + b"X", case.trust)


def test_sections_left_away_doubled_renamed_or_reordered_are_refused(case: Case) -> None:
    sections = sections_of(case.bundle.encode())
    assert tuple(name for name, _ in sections) == (
        *BUSINESS_SECTIONS,
        "packet",
        *ANCHOR_SECTIONS,
    )
    assert CONTAINER.pack(sections) == case.bundle.encode()
    for at in range(len(sections)):
        assert "framing" in refusal(CONTAINER.pack(sections[:at] + sections[at + 1 :]), case.trust)
        assert "framing" in refusal(CONTAINER.pack([*sections, sections[at]]), case.trust)
        renamed = [*sections]
        renamed[at] = ("x", sections[at][1])
        assert "framing" in refusal(CONTAINER.pack(renamed), case.trust)
    assert "framing" in refusal(CONTAINER.pack(sections[::-1]), case.trust)


def test_bytes_appended_to_a_section_are_refused(case: Case) -> None:
    sections = sections_of(case.bundle.encode())
    for at, (name, content) in enumerate(sections):
        longer = [*sections]
        longer[at] = (name, content + b"\x00")
        refusal(CONTAINER.pack(longer), case.trust)


def test_a_file_above_the_size_bound_is_refused_unread(case: Case) -> None:
    assert "framing" in refusal(START_MAGIC + bytes(BUNDLE_BYTES_MAX) + END_MAGIC, case.trust)


def test_a_bundle_without_its_anchor_or_packet_proves_less_and_says_so(case: Case) -> None:
    without = verify(replace(case.bundle, anchors=()).encode(), case.trust)
    assert without.anchor is None
    assert without.object_id is not None
    bare = verify(replace(case.bundle, anchors=(), packets=()).encode(), case.trust)
    assert bare.object_id is None


def test_a_signature_cannot_be_left_away_or_added(case: Case) -> None:
    """A bundle carries exactly a quorum: an auditor sees the same signers as everybody else."""
    certified = case.bundle.certified
    header = certified.header
    replicas = case.shandong.replicas
    fewer = FinalityCertificate(header.hash(), certified.certificate.signatures[:2])
    all_four = replicas.certify(header, range(4))
    for certificate, message in ((fewer, "the quorum is 3"), (all_four, "exactly the quorum of 3")):
        changed = replace(case.bundle, certified=replace(certified, certificate=certificate))
        assert message in refusal(changed.encode(), case.trust)
    built = CertifiedHeader.build(
        Replicas(KEYS).set, header, all_four, case.bundle.certified.set_changes
    )
    assert len(built.certificate.signatures) == 3
    verify(replace(case.bundle, certified=built).encode(), case.trust)


def test_another_packet_of_the_same_chain_is_not_the_one_that_was_sent(case: Case) -> None:
    for change in ({"sequence": 1}, {"payload": b"{}"}, {"port": "other"}, {"source": "beijing"}):
        packet = replace(case.bundle.packets[0], **change)
        changed = replace(case.bundle, packets=(packet,))
        assert refusal(changed.encode(), case.trust).startswith("packet ")


def test_an_anchor_of_another_packet_anchors_nothing(case: Case) -> None:
    """The light client's update is a certified receipt of the same chain, about other things."""
    earlier = case.csrc.blocks[2]
    anchor = replace(
        case.bundle.anchors[0],
        receipt=earlier.receipts[0],
        receipt_path=earlier.receipt_path(0),
        certified=CertifiedHeader.build(
            Replicas(KEYS, "csrc").set, earlier.header, earlier.certificate, case.csrc.set_changes
        ),
    )
    message = refusal(replace(case.bundle, anchors=(anchor,)).encode(), case.trust)
    assert message.endswith("the receipt does not say that the packet arrived")


def test_an_anchor_on_a_chain_the_packet_was_not_sent_to_anchors_nothing(case: Case) -> None:
    certified = case.bundle.certified
    anchor = replace(
        case.bundle.anchors[0],
        receipt=case.bundle.receipt,
        receipt_path=case.bundle.receipt_path,
        certified=certified,
    )
    message = refusal(replace(case.bundle, anchors=(anchor,)).encode(), case.trust)
    assert "the packet was sent to csrc" in message


def trusting(case: Case, **changes: tuple[Checkpoint, ...]) -> Trust:
    """The case's trust with other checkpoints for the named chains."""
    chains = tuple(
        replace(trust, checkpoints=changes[trust.chain_id]) if trust.chain_id in changes else trust
        for trust in case.trust.chains
    )
    return replace(case.trust, chains=chains)


def point(case: Case, epoch: int, height: int, replica_set: ReplicaSet) -> Checkpoint:
    return Checkpoint(epoch, height, case.shandong.blocks[height].header.hash(), replica_set)


def test_trust_in_other_chains_only_is_no_trust(case: Case) -> None:
    for name in ("shandong", "csrc"):
        others = tuple(chain for chain in case.trust.chains if chain.chain_id != name)
        message = refusal(case.bundle.encode(), replace(case.trust, chains=others))
        assert message == f"trust file: it does not name the chain {name}"


def test_a_trust_file_without_the_epoch_in_which_the_bundle_starts_says_which_it_has(
    case: Case,
) -> None:
    second = Replicas(KEYS, epoch=1).set
    trust = trusting(case, shandong=(point(case, 1, 2, second),))
    message = refusal(case.bundle.encode(), trust)
    assert "no checkpoint of shandong epoch 0 (it has epochs 1)" in message
    certified = CertifiedHeader(case.bundle.certified.header, case.bundle.certified.certificate, ())
    shorter = replace(case.bundle, certified=certified)
    assert verify(shorter.encode(), trust).block.checkpoint.epoch == 1


@pytest.mark.parametrize("fault", ["hash", "set of the epoch", "epoch below", "epoch above"])
def test_a_certified_header_that_contradicts_any_checkpoint_is_refused(
    case: Case, fault: str
) -> None:
    first = case.trust.chain("shandong").checkpoints[0]
    second = Replicas(KEYS, epoch=1).set
    other = Replicas(KEYS, epoch=1, size=7).set
    checkpoint = {
        "hash": Checkpoint(1, 2, b"h" * 32, second),
        "set of the epoch": Checkpoint(1, 9, b"h" * 32, other),
        "epoch below": Checkpoint(2, 2, b"h" * 32, replace(second, epoch=2)),
        "epoch above": Checkpoint(0, 5, b"h" * 32, first.replica_set),
    }[fault]
    trust = trusting(case, shandong=(first, checkpoint))
    message = refusal(case.bundle.encode(), trust)
    assert message.startswith("header of shandong height ")


def test_a_transaction_signed_by_another_key_than_it_carries_is_refused(case: Case) -> None:
    key, signature = case.bundle.transaction.signatures[0]
    forged = KEYS.sign("mallory", b"anything")
    for pair in ((key, forged), (KEYS.public_key("mallory"), signature)):
        transaction = replace(case.bundle.transaction, signatures=(pair,))
        message = refusal(replace(case.bundle, transaction=transaction).encode(), case.trust)
        assert "the maker's signature does not hold" in message


def test_a_transaction_of_an_envelope_is_proven_without_the_others(case: Case) -> None:
    together = make_case(KEYS, set_changes=False, in_envelope=True)
    verdict = verify(together.bundle.encode(), together.trust)
    assert verdict.accepted
    assert verdict.maker[0] == verify(case.bundle.encode(), case.trust).maker[0]
    transaction = together.bundle.transaction
    path = transaction.envelope
    assert path is not None
    foreign = replace(path, siblings=(bytes(32), *path.siblings[1:]))
    for wrong in (foreign, None):
        spoilt = replace(together.bundle, transaction=replace(transaction, envelope=wrong))
        assert "the maker's signature" in refusal(spoilt.encode(), together.trust)


def test_the_receipt_of_another_transaction_proves_nothing_of_this_one(case: Case) -> None:
    block = case.shandong.blocks[2]
    other = replace(case.bundle, receipt=block.receipts[0], receipt_path=block.receipt_path(0))
    assert "it is of another transaction" in refusal(other.encode(), case.trust)


def test_a_refused_transaction_is_proven_as_refused() -> None:
    """The bundle of a refusal says so: the proof is of the receipt, whatever it says."""
    case = make_case(KEYS, set_changes=False)
    encoded = case.shandong.transaction("reports", "no_such_method", {})
    block = case.shandong.execute(encoded)
    bundle = Bundle(
        transaction=case.bundle.transaction.decode(encoded),
        transaction_path=block.transaction_path(0),
        receipt=block.receipts[0],
        receipt_path=block.receipt_path(0),
        certified=CertifiedHeader.build(Replicas(KEYS).set, block.header, block.certificate),
        packets=(),
        anchors=(),
    )
    verdict = verify(bundle.encode(), case.trust)
    assert not verdict.accepted
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, "METHOD_UNKNOWN")


def handmade(
    chain_id: str, transaction: bytes, receipt: Receipt
) -> tuple[CertifiedHeader, MerklePath]:
    """A certified block of one transaction, whatever its content: only a quorum could make it."""
    replicas = Replicas(KEYS, chain_id)
    base, root = replicas.header(5), merkle_root([transaction])
    header = replace(
        base,
        transactions_root=root,
        receipts_root=merkle_root([receipt.encode()]),
        batch_digest=batch_digest(base.block_time_ms, root),
    )
    certified = CertifiedHeader.build(replicas.set, header, replicas.certify(header))
    return certified, MerklePath.of([transaction], 0)


def handmade_bundle(transaction: SignedTransaction) -> Bundle:
    receipt = Receipt(transaction.id(), Outcome.APPLIED, "", b"{}", b"", ())
    certified, path = handmade("shandong", transaction.encode(), receipt)
    return Bundle(transaction, path, receipt, path, certified, (), ())


def test_a_transaction_signed_for_another_chain_proves_nothing_here(case: Case) -> None:
    verify(handmade_bundle(case.bundle.transaction).encode(), case.trust)
    foreign = SignedTransaction.decode(case.csrc.transaction("reports", "report", {}))
    message = refusal(handmade_bundle(foreign).encode(), case.trust)
    assert "it was signed for the chain csrc" in message


def test_a_second_signature_where_no_checker_is_named_is_refused(case: Case) -> None:
    transaction = case.bundle.transaction
    doubled = replace(transaction, signatures=transaction.signatures * 2)
    message = refusal(handmade_bundle(doubled).encode(), case.trust)
    assert "not those of the signers it names" in message


def test_a_refused_receipt_anchors_nothing_whatever_it_lists(case: Case) -> None:
    """Events of a call that was rolled back are no facts."""
    (anchor,) = case.bundle.anchors
    for outcome, code, holds in ((Outcome.APPLIED, "", True), (Outcome.REFUSED, "CODE", False)):
        receipt = replace(anchor.receipt, outcome=outcome, code=code)
        certified, path = handmade("csrc", b"transaction", receipt)
        bundle = replace(case.bundle, anchors=(Anchor(receipt, path, certified),)).encode()
        if holds:
            assert verify(bundle, case.trust).anchor is not None
        else:
            assert "does not say that the packet arrived" in refusal(bundle, case.trust)
