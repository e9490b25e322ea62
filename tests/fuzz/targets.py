"""The decoders that strangers' bytes meet, and those that read our own files after a disk changed
them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Final

from google.protobuf.message import DecodeError, Message

from guqiao.consensus.v1 import ledger_pb2, node_service_pb2
from guqiao_sdk.archive.manifest import parse_manifest
from guqiao_sdk.archive.records import ArchivedBlock, RecordType, records_of
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.client.transactions import parse_detail
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.bundle import Bundle
from guqiao_sdk.proof.canonical import Reader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.extract import Extract
from guqiao_sdk.proof.framing import NotABundleError
from guqiao_sdk.proof.json_values import JsonError, canonical_json
from guqiao_sdk.proof.light_client import decode_set_changes, encode_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload
from guqiao_sdk.proof.trust import parse_trust
from guqiao_sdk.proof.votes import VoteType
from services.chassis.strict_protobuf import NotStrictError, parse_strict
from services.consensus import wire
from services.consensus.domain.codec import (
    Kind,
    decode_log_record,
    decode_message,
    decode_record,
    encode_log_record,
    encode_message,
    encode_record,
    read_proposal_ends,
)
from services.consensus.domain.faults import BatchProof
from services.consensus.domain.ledger.admission import (
    AdmittedTransaction,
    Refused,
    check_stateless,
    read_transaction,
)
from services.consensus.domain.ledger.genesis import GenesisError
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.domain.ledger.state_parts import StatePart
from services.consensus.domain.messages import (
    Digest,
    EpochStarted,
    Hello,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
)
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.state_intake import Snapshot
from tests.fuzz import (
    conformance_targets,
    contract_targets,
    corpus,
    document_targets,
    file_targets,
    fisco_targets,
    link_targets,
    mutations,
    network_targets,
    paper_targets,
    program_targets,
    star_targets,
    template_targets,
)
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, any_signature, json_value
from tests.unit.ledger.chain_builder import CHAIN, GENESIS_TIME_MS
from tests.unit.proof.test_canonical_decoders import CHANGE, PAYLOAD, SAMPLES


class NotAdmittedError(Exception):
    """The admission's answer, as a refusal."""


@cache
def targets() -> tuple[Target, ...]:
    """Every decoder with its samples."""
    return (
        *(*_canonical(), *_consensus(), *_proofs(), *_json()),
        *contract_targets.targets(),
        *document_targets.targets(),
        *star_targets.targets(),
        *program_targets.targets(),
        *template_targets.targets(),
        *file_targets.targets(),
        *fisco_targets.targets(),
        *link_targets.targets(),
        *network_targets.targets(),
        *paper_targets.targets(),
        *conformance_targets.targets(),
    )


def _canonical() -> list[Target]:
    changes = [encode_set_changes((CHANGE, CHANGE)), encode_set_changes(())]
    members = SAMPLES["replica set"][0]
    assert isinstance(members, ReplicaSet)
    jailed = replace(members, jailed=(1, 3)).encode()
    return [
        *(
            Target(
                name, decode, MALFORMED, [value.encode()], mutations.of_fields, lambda v: v.encode()
            )
            for name, (value, decode) in SAMPLES.items()
        ),
        Target(
            "replica set with jailed ones", ReplicaSet.decode, MALFORMED, [jailed],
            mutations.of_fields, lambda v: v.encode(),
        ),
        Target(
            "set changes", decode_set_changes, MALFORMED, changes, mutations.of_fields,
            encode_set_changes,
        ),
    ]  # fmt: skip


def _consensus() -> list[Target]:
    messages = corpus.messages()
    records = [each for each in messages if not isinstance(decode_message(each), Hello)]
    header, receipt = SAMPLES["header"][0], SAMPLES["receipt"][0]
    stored = StoredBlock(
        header, Batch(5, (b"one",)), (receipt.encode(),), {b"k": b"v", b"gone": None}
    )
    between = encode_log_record(EpochStarted(3, View(4)))
    return [
        Target(
            "log record", decode_log_record, MALFORMED, [between, *records[:3]],
            mutations.of_fields, encode_log_record,
        ),
        Target(
            "consensus message", decode_message, MALFORMED, messages, mutations.of_fields,
            encode_message,
        ),
        Target(
            "core record", decode_record, MALFORMED, records, mutations.of_fields, encode_record
        ),
        Target(
            "ends of a pre-prepare", read_proposal_ends, MALFORMED,
            [each for each in messages if each[0] == Kind.PRE_PREPARE], mutations.of_fields,
        ),
        Target(
            "proof of an invalid batch", _batch_proof, MALFORMED, [_PROOF.encode()],
            mutations.of_fields, lambda v: v.encode(),
        ),
        Target(
            "peer frame", wire.read_frame, MALFORMED, corpus.frames(), mutations.of_wire,
            native=True,
        ),
        Target(
            "strict request", _strict_request, (NotStrictError,), [_REQUEST, *corpus.blocks()[:1]],
            mutations.of_wire, native=True,
        ),
        Target(
            "block of a peer", _block, (ProofError, DecodeError), corpus.blocks(), mutations.of_wire
        ),
        Target(
            "stored block", StoredBlock.decode, MALFORMED, [stored.encode()], mutations.of_fields,
            lambda v: v.encode(),
        ),
        Target(
            "state part", StatePart.decode, MALFORMED, corpus.state_parts(), mutations.of_fields,
            lambda v: v.encode(),
        ),
        Target(
            "snapshot record", Snapshot.decode, MALFORMED, [corpus.snapshot()], mutations.of_fields,
            lambda v: v.encode(),
        ),
    ]  # fmt: skip


def _strict_request(data: bytes) -> Message:
    """Read as both, for the fields of one are unknown or of another type in the other; no field
    that comes twice gets past.
    """
    try:
        message: Message = parse_strict(node_service_pb2.SubmitTransactionsRequest, data)
    except NotStrictError:
        message = parse_strict(ledger_pb2.Block, data)
    numbers = Counter(number for number, _, _ in mutations.wire_fields(data))
    singular = (each.number for each in message.DESCRIPTOR.fields if not each.is_repeated)
    assert all(numbers[number] <= 1 for number in singular), "a field given twice was accepted"
    assert numbers.keys() <= {each.number for each in message.DESCRIPTOR.fields}, "an unknown one"
    return message


_REQUEST: Final = node_service_pb2.SubmitTransactionsRequest(
    transactions=[
        ledger_pb2.Transaction(
            payload=b"payload",
            signatures=[ledger_pb2.TransactionSignature(public_key=b"k", signature=b"s")],
            envelope=ledger_pb2.EnvelopePath(index=1, count=300, siblings=[b"one", b"two"]),
        )
        for _ in range(2)
    ]
).SerializeToString()


def _batch_proof(data: bytes) -> BatchProof:
    return BatchProof.decode(data, _PROOF.statement.replica)


_PROOF: Final = BatchProof(
    Statement(
        VoteType.PRE_PREPARE, View(1), SequenceNumber(7), Digest(b"d" * 32), ReplicaId(1), bytes(64)
    ),
    GENESIS_TIME_MS,
    b"r" * 32,
    1,
    3,
    (b"p" * 32, b"q" * 32),
    b"no transaction",
)


def _proofs() -> list[Target]:
    return [
        Target(
            "bundle", Bundle.decode, (ProofError, NotABundleError),
            [corpus.journey().bundle.encode()], mutations.of_fields,
        ),
        Target(
            "extract", Extract.decode, (ProofError, NotABundleError),
            [corpus.extract().encode()], mutations.of_fields,
        ),
        Target(
            "trust file", lambda data: parse_trust(data, any_signature), (ProofError,),
            corpus.trusts(), mutations.of_json,
        ),
        Target(
            "archive manifest", parse_manifest, (ProofError,), corpus.manifests(),
            mutations.of_json, lambda v: v.encode(),
        ),
        Target(
            "archived segment", _segment, MALFORMED, [corpus.segment()], mutations.of_bytes,
            lambda v: b"".join(data for data, _ in v),
        ),
    ]  # fmt: skip


def _json() -> list[Target]:
    return [
        Target(
            "JSON", json_value, (JsonError,),
            [canonical_json({"a": [1, "二", None, {"b": True}]})], mutations.of_json,
        ),
        Target("payload", parse_payload, MALFORMED, [PAYLOAD.to_bytes()], mutations.of_json),
        Target(
            "transaction of a batch", read_transaction, MALFORMED, corpus.transactions(),
            mutations.of_fields, lambda v: v.signed.encode(),
        ),
        Target(
            "admission", _admitted, (NotAdmittedError,), corpus.transactions(), mutations.of_fields
        ),
        Target(
            "payload in admission", lambda data: _admitted(_signed(data)), (NotAdmittedError,),
            [SignedTransaction.decode(each).payload for each in corpus.transactions()[:1]],
            mutations.of_json,
        ),
        Target("genesis", parse_genesis, (GenesisError,), corpus.genesis(), mutations.of_json),
        Target("detail", parse_detail, MALFORMED, [b'{"field":"x","n":1}'], mutations.of_json),
    ]  # fmt: skip


def _segment(data: bytes) -> list[tuple[bytes, ArchivedBlock | None]]:
    """Every record, and the block that it holds."""
    return [
        (
            data[record.offset : record.end],
            ArchivedBlock.read(Reader(record.payload)) if record.type is RecordType.BLOCK else None,
        )
        for record in records_of(data)
    ]


def _block(data: bytes) -> VerifiedBlock:
    message = ledger_pb2.Block.FromString(data)
    return verify_block(message, corpus.replica_set(), any_signature)


def _signed(payload: bytes) -> bytes:
    """The payload with signatures of the right length."""
    sample = SignedTransaction.decode(corpus.transactions()[0])
    return SignedTransaction(payload, sample.signatures).encode()


def _admitted(encoded: bytes) -> AdmittedTransaction:
    verdict = check_stateless(
        encoded,
        chain_id=CHAIN,
        now_height=10,
        block_time_ms=GENESIS_TIME_MS,
        verify_many=lambda triples: [True] * len(triples),
    )
    if isinstance(verdict, Refused):
        raise NotAdmittedError(verdict.code)
    return verdict
