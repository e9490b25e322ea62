"""What contracts and light clients are given: restarts, statements, proofs of guilt and bodies."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Final

from guqiao_sdk.archive.records import read_restarts
from guqiao_sdk.proof.canonical import Reader, Writer
from guqiao_sdk.proof.certificates import (
    Certificate,
    parse_certificate_pem,
)
from guqiao_sdk.proof.der import CertificateError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json
from guqiao_sdk.proof.restart import Restart, RestartAuthorities, RestartStatement
from guqiao_sdk.proof.restart_rules import governor_keys, verify_restart
from guqiao_sdk.proof.revocation_list import RevocationList, parse_revocation_list_pem
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.codec import encode_message
from services.consensus.domain.contracts import objects
from services.consensus.domain.contracts.chain_registry.form import read_registration
from services.consensus.domain.contracts.governance_form import Proposal, parse_proposal
from services.consensus.domain.contracts.host import Refusal
from services.consensus.domain.contracts.identity_record import (
    RecordError,
    parse_identity,
    parse_key,
)
from services.consensus.domain.contracts.light_client_form import read_evidence, read_set_changes
from services.consensus.domain.contracts.light_client_replacement import read_trust
from services.consensus.domain.contracts.notice.form import (
    Filing,
    read_figures,
    read_filing,
    read_reference,
)
from services.consensus.domain.contracts.notice.standing import Kind
from services.consensus.domain.contracts.object_life.body_form import judge_body
from services.consensus.domain.contracts.objects_form import ObjectHeader, read_object
from services.consensus.domain.contracts.packets_host import hex_bytes
from services.consensus.domain.faults import Proven, UnprovenError, judge_batch, judge_new_view
from services.consensus.domain.ledger.restarting import governors_of
from services.consensus.domain.ledger.state_parts import read_prefix
from services.consensus.domain.ledger.state_tree import apply, changes_of, prove
from services.consensus.domain.messages import Digest, ReplicaId, SequenceNumber, Statement, View
from services.consensus.domain.statements import decode_statement, encode_statement
from tests.fuzz import corpus, mutations
from tests.fuzz.harness import Target
from tests.fuzz.readers import MALFORMED, any_signature, json_object, json_value
from tests.unit.contracts import test_evidence_of_primaries as primaries
from tests.unit.contracts import test_register_fuzz as register
from tests.unit.contracts.governed_chain import (
    WINDOW,
    governed_chain,
    governor_json,
    members_json,
    replica_set,
)
from tests.unit.contracts.notice_market import FIGURES, filing
from tests.unit.contracts.register_market import Market
from tests.unit.ledger.chain_builder import ADMIN, CHAIN, identity_json, key_json
from tests.unit.proof.restart_case import GENESIS_HASH, RestartCase
from tests.unit.xchain import frozen_client as frozen
from tests.unit.xchain import registered_chains as chains
from tests.unit.xchain.test_object_bodies import FIELDS, GOOD

ACCUSED: Final = ReplicaId(1)


def targets() -> tuple[Target, ...]:
    """Every decoder of this kind with its samples."""
    return (*_restarts(), *_accusations(), *_bodies(), *_chains(), _register())


# --- Restarts -----------------------------------------------------------------------------------


@cache
def _case() -> RestartCase:
    return RestartCase()


@cache
def _restart() -> Restart:
    return _case().restart()


def _restarts() -> list[Target]:
    restart = _restart()
    statement = replace(restart.statement, governors=(canonical_json(governor_json("E")),))
    value = canonical_json(restart.encode().hex())
    return [
        Target(
            "restart", Restart.decode, MALFORMED, [restart.encode()], mutations.of_fields,
            lambda v: v.encode(),
        ),
        Target(
            "restart statement", RestartStatement.decode, MALFORMED, [statement.encode()],
            mutations.of_fields, lambda v: v.encode(),
        ),
        Target(
            "rules of a restart", _judged, (*MALFORMED, ProofError), [restart.encode()],
            mutations.of_fields,
        ),
        Target(
            "record of a restart's governor", _keys_of_record, (ProofError,),
            [restart.statement.remaining[0].record], mutations.of_json,
        ),
        Target(
            "governor of a restart",
            lambda data: governors_of(replace(statement, governors=(data,))),
            (ProofError,), statement.governors, mutations.of_json,
        ),
        Target(
            "restart authorities", lambda data: RestartAuthorities.from_json(json_value(data)),
            (ProofError, JsonError), [canonical_json(_case().authorities.to_json())],
            mutations.of_json,
        ),
        Target(
            "restarts in a write set", lambda data: read_restarts(Reader(data)), MALFORMED,
            [_written(value)], mutations.of_fields,
        ),
        Target(
            "restart in a write set", lambda data: read_restarts(Reader(_written(data))), MALFORMED,
            [value, b""], mutations.of_json,
        ),
    ]  # fmt: skip


def _written(value: bytes) -> bytes:
    """A write set with this restart, and with another value that it deletes."""
    writer = Writer().u32(2).blob(b"governance/restarts/1").u8(1).blob(value)
    return bytes(writer.blob(b"register/x").u8(0))


def _judged(data: bytes) -> Restart:
    restart = Restart.decode(data)
    verify_restart(
        restart,
        genesis_hash=GENESIS_HASH,
        authorities=_case().authorities,
        old_set=_case().old.set,
        known_header_hash=None,
        verify=any_signature,
    )
    return restart


def _keys_of_record(record: bytes) -> list[bytes]:
    """Under a state that holds the record, whatever it says."""
    statement = _restart().statement
    remaining = statement.remaining[0]
    key = f"identity/did/did:rem:shandong:{remaining.entity_id}.governor".encode()
    pages: dict[bytes, bytes] = {}
    update = apply(pages.__getitem__, None, changes_of({key: record}), statement.height)
    pages.update(update.pages)
    proof = prove(pages.__getitem__, update.version, key)
    header = replace(statement.header, state_root=update.root)
    changed = replace(remaining, record=record, proof=proof)
    return governor_keys(replace(statement, header=header), changed)


# --- Accusations --------------------------------------------------------------------------------


def _accusations() -> list[Target]:
    chain = governed_chain()
    statement = Statement(
        VoteType.COMMIT, View(1), SequenceNumber(7), Digest(b"d" * 32), ACCUSED, bytes(64)
    )
    members = replica_set(chain, 1)
    batch = primaries.proof_of(chain, primaries.proposal(chain, b"no transaction"), 0)
    forged = [
        encode_message(primaries.new_view(chain, *each)) for each in primaries.FORGED.values()
    ]

    def new_view(data: bytes) -> Proven:
        return judge_new_view(data, ACCUSED, members, any_signature, window=WINDOW, base=0)

    return [
        Target(
            "statement", lambda data: decode_statement(data, ACCUSED), MALFORMED,
            [encode_statement(statement)], mutations.of_fields, encode_statement,
        ),
        Target(
            "guilt of an invalid batch",
            lambda data: judge_batch(data, ACCUSED, members, any_signature),
            (UnprovenError,), [batch.encode()], mutations.of_fields,
        ),
        Target(
            "guilt of an invalid new-view", new_view, (UnprovenError,), forged, mutations.of_fields
        ),
        Target(
            "prefix of the state", read_prefix, MALFORMED, [b"", b"\x00\x0f\x07", bytes(8)],
            mutations.of_bytes, lambda v: v.nibbles,
        ),
    ]  # fmt: skip


# --- Bodies -------------------------------------------------------------------------------------


def _bodies() -> list[Target]:
    records = (RecordError, JsonError)
    refused = (Refusal, JsonError)
    payload = corpus.journey().bundle.packets[0].payload
    return [
        Target(
            "identity", lambda data: parse_identity(json_value(data), field="identity"), records,
            [canonical_json(identity_json(ADMIN, "identity_admin"))], mutations.of_json,
        ),
        Target(
            "key of an identity", lambda data: parse_key(json_value(data), field="key"), records,
            [canonical_json(key_json(ADMIN))], mutations.of_json,
        ),
        Target("data object", _data_object, refused, [payload], mutations.of_json),
        Target("payload of a packet", objects.parse, (Refusal,), [payload], mutations.of_json),
        Target(
            "body of a data object", lambda data: judge_body(FIELDS, json_object(data)), refused,
            [canonical_json(GOOD)], mutations.of_json,
        ),
        Target(
            "governance proposal", _proposal, refused, [canonical_json(_PROPOSAL)],
            mutations.of_json,
        ),
        *_notices(),
        Target(
            "bytes in hex", lambda data: hex_bytes(json_value(data), "proof", 64), refused,
            [b'"0aff"'], mutations.of_json,
        ),
    ]  # fmt: skip


_PROPOSAL: Final[dict[str, Json]] = {
    "members": members_json("A", "B", "C", "E"),
    "governors": [governor_json("E")],
    "not_before": 0,
}


def _data_object(data: bytes) -> ObjectHeader:
    return read_object(json_object(data))


def _notices() -> list[Target]:
    refused = (Refusal, JsonError)
    switch: Json = {"before": FIGURES, "object_id": "shandong:subject:1", "version": 0}
    return [
        Target(
            "upgrade notice", _filing, refused,
            [canonical_json(filing(kind)) for kind in Kind], mutations.of_json,
        ),
        Target(
            "figures of a switch", _figures, refused, [canonical_json(switch)], mutations.of_json
        ),
    ]  # fmt: skip


def _filing(data: bytes) -> Filing:
    members = json_object(data)
    if set(members) != set(filing()):
        raise Refusal("BODY_MALFORMED")
    return read_filing(members)


def _figures(data: bytes) -> dict[str, Json]:
    """What the two bodies of a switch bring: figures of a migration, and references."""
    members = json_object(data)
    if set(members) != {"before", "object_id", "version"}:
        raise Refusal("BODY_MALFORMED")
    object_id, version = read_reference(members, "objects")
    return {
        "before": read_figures(members["before"], "before"),
        "object_id": object_id,
        "version": version,
    }


def _proposal(data: bytes) -> Proposal:
    return parse_proposal(json_object(data), CHAIN)


def _chains() -> list[Target]:
    """What an operator registers, and certificates and lists as the contract reads them."""
    value = chains.registration()
    value["restart_authorities"] = _case().authorities.to_json()
    certificates = [value["validators"][0]["cert"], chains.authority().certificate_pem.decode()]
    pem = value["validators"][1]["cert"]
    lists = [chains.crl(), chains.crl(chains.revoked(pem), number=2)]
    return [
        Target(
            "trust for a frozen client", lambda data: read_trust(json_value(data), "trust"),
            (Refusal, JsonError), [canonical_json(frozen.proposal()["trust"])], mutations.of_json,
        ),
        Target(
            "half of evidence", lambda data: read_evidence(json_value(data), "first"),
            (Refusal, JsonError), [canonical_json(frozen.half(frozen.AFTER.header(7)))],
            mutations.of_json,
        ),
        Target(
            "set changes of an update",
            lambda data: read_set_changes(json_value(data), restarts=True),
            (Refusal, JsonError),
            [canonical_json([frozen.proposal()["trust"], {"restart": _restart().encode().hex()}])],
            mutations.of_json,
        ),
        Target(
            "registration of a chain", lambda data: read_registration(json_value(data)),
            (Refusal, JsonError), [canonical_json(value)], mutations.of_json,
        ),
        Target(
            "certificate of a consensus key", _certificate, (CertificateError, UnicodeDecodeError),
            [each.encode() for each in certificates], mutations.of_pem,
        ),
        Target(
            "revocation list of an authority", _list, (CertificateError, UnicodeDecodeError),
            [each.encode() for each in lists], mutations.of_pem,
        ),
    ]  # fmt: skip


def _list(data: bytes) -> RevocationList:
    return parse_revocation_list_pem(data.decode())


def _certificate(data: bytes) -> Certificate:
    return parse_certificate_pem(data.decode())


def _register() -> Target:
    """All methods, in a market in which each sample has something to work on: what is well-formed
    may be refused there by a rule.
    """
    samples = [
        canonical_json({"method": method, "body": body}) for method, body in register.VALID.items()
    ]
    return Target("call of the register", _called, (Refusal, JsonError), samples, mutations.of_json)


@cache
def _market() -> Market:
    return register.market()


def _called(data: bytes) -> str:
    match json_value(data):
        case {"method": str(method), "body": dict(body)} if method in register.VALID:
            code = copy.deepcopy(_market()).code(method, body)
        case _:
            raise Refusal("BODY_MALFORMED", field="", fault="no call of a method")
    if code == "BODY_MALFORMED":
        raise Refusal(code)
    return code or method
