"""The evidence contract: what a replica signed against the protocol is named on chain for ever.

Anybody may submit: signatures prove it, against the set of the epoch that they were made in
(G2-16-4). Two statements that exclude each other jail their signer: its votes count no more from
height + window on; n and q stay, and at most f are jailed, so that the rest can always go on. An
invalid batch or new-view (version 2) names its signer and jails nobody: no quorum follows it, and
the next view is another primary's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import Member
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.packets_host import (
    NUMBER_BOUND,
    SystemHost,
    hex_bytes,
    require_members,
    system_host,
)
from services.consensus.domain.contracts.replica_sets import (
    GOVERNANCE,
    SetInForce,
    jail,
    set_of_epoch,
    window_of,
)
from services.consensus.domain.contracts.set_events import announce_set
from services.consensus.domain.faults import (
    PROOF_BYTES_MAX,
    Proven,
    UnprovenError,
    judge_batch,
    judge_new_view,
)
from services.consensus.domain.messages import ReplicaId, Statement
from services.consensus.domain.statements import (
    decode_statement,
    exclude_each_other,
    statement_bytes,
)

NAME: Final = "evidence"
RECORDED: Final = "evidence.recorded"
STATEMENT_BYTES_MAX: Final = 128


class Offence(StrEnum):
    """What a replica can be accused of, by the method that judges it."""

    EQUIVOCATION = "submit"
    INVALID_BATCH = "submit_invalid_batch"
    INVALID_NEW_VIEW = "submit_invalid_new_view"


@dataclass(frozen=True, slots=True)
class EvidenceContract:
    """`evidence` v1 knows equivocation only; v2 adds what a primary signs alone."""

    version: int = 1
    name: str = NAME

    def methods(self) -> Mapping[str, Method]:
        """All for everybody."""
        first: dict[str, Method] = {Offence.EQUIVOCATION: submit}
        second: dict[str, Method] = {
            Offence.INVALID_BATCH: submit_invalid_batch,
            Offence.INVALID_NEW_VIEW: submit_invalid_new_view,
        }
        return first if self.version == 1 else {**first, **second}


def key_record(public_key: bytes, offence: Offence = Offence.EQUIVOCATION) -> str:
    """Where the contract keeps what a vote key is guilty of. Governance lets no key back that
    equivocated.
    """
    if offence is Offence.EQUIVOCATION:
        return f"key/{public_key.hex()}"
    return f"fault/{public_key.hex()}/{offence.name}"


def submit(host: Host, body: Mapping[str, Json]) -> None:
    """Record two statements that exclude each other and jail their signer; once is enough."""
    require_members(body, "", "epoch replica first second")
    accused = _accused(host, body)
    member = accused.member
    first, second = (_statement(body, name, member) for name in ("first", "second"))
    if not exclude_each_other(first, second):
        raise _invalid("second", "it does not exclude the first statement")
    for name, statement in (("first", first), ("second", second)):
        message = statement_bytes(statement, accused.found.replica_set)
        if not accused.system.verify_signature(member.public_key, message, statement.signature):
            raise _invalid(name, f"the signature is not that of replica {member.replica}")
    known = host.get(key_record(member.public_key))
    if isinstance(known, dict) and known["jailed_epoch"] is not None:
        return
    jailed = _jail(accused.system, member)
    facts = {
        **_facts(accused, first.vote_type.name, first, second),
        "jailed_epoch": jailed[0].replica_set.epoch if jailed else None,
        "jailed_from": jailed[0].from_height if jailed else None,
    }
    if known == facts:
        return
    host.put(key_record(member.public_key), facts)
    host.emit(RECORDED, facts)
    for each in jailed:
        announce_set(host, each)


def submit_invalid_batch(host: Host, body: Mapping[str, Json]) -> None:
    """Record a proposal with a transaction that stateless admission refuses."""
    accused, proof = _accused_by_proof(host, body)
    if _is_known(host, accused, Offence.INVALID_BATCH):
        return
    try:
        proven = judge_batch(
            proof,
            ReplicaId(accused.member.replica),
            accused.found.replica_set,
            accused.system.verify_signature,
        )
    except UnprovenError as error:
        raise _invalid("proof", str(error)) from error
    _record(host, accused, Offence.INVALID_BATCH, proven)


def submit_invalid_new_view(host: Host, body: Mapping[str, Json]) -> None:
    """Record a new-view whose proposals do not follow from its view-changes."""
    accused, proof = _accused_by_proof(host, body)
    if _is_known(host, accused, Offence.INVALID_NEW_VIEW):
        return
    windows: list[int] = []
    accused.system.within(GOVERNANCE, lambda: windows.append(window_of(accused.system)))
    try:
        proven = judge_new_view(
            proof,
            ReplicaId(accused.member.replica),
            accused.found.replica_set,
            accused.system.verify_signature,
            window=windows[0],
            base=accused.found.base,
        )
    except UnprovenError as error:
        raise _invalid("proof", str(error)) from error
    _record(host, accused, Offence.INVALID_NEW_VIEW, proven)


@dataclass(frozen=True, slots=True)
class _Accused:
    """Who is said to have lied, and in which set."""

    system: SystemHost
    found: SetInForce
    member: Member


def _accused_by_proof(host: Host, body: Mapping[str, Json]) -> tuple[_Accused, bytes]:
    require_members(body, "", "epoch replica proof")
    return _accused(host, body), hex_bytes(body["proof"], "proof", PROOF_BYTES_MAX)


def _accused(host: Host, body: Mapping[str, Json]) -> _Accused:
    system = system_host(host)
    found = _set_of(system, _number(body["epoch"], "epoch"))
    number = _number(body["replica"], "replica")
    if number >= found.replica_set.size:
        raise _invalid("replica", "it is not in the set of that epoch")
    return _Accused(system, found, found.replica_set.members[number])


def _is_known(host: Host, accused: _Accused, offence: Offence) -> bool:
    """Once for each key and kind: to judge a proof again would cost much and change nothing."""
    return host.get(key_record(accused.member.public_key, offence)) is not None


def _record(host: Host, accused: _Accused, offence: Offence, proven: Proven) -> None:
    facts: Json = {**_facts(accused, offence.name, proven.statement), "fault": proven.fault}
    host.put(key_record(accused.member.public_key, offence), facts)
    host.emit(RECORDED, facts)


def _jail(system: SystemHost, member: Member) -> list[SetInForce]:
    changed: list[SetInForce] = []
    system.within(
        GOVERNANCE,
        lambda: changed.extend(jail(system, member.public_key, height=system.height())),
    )
    return changed


def _facts(accused: _Accused, kind: str, *statements: Statement) -> dict[str, Json]:
    """What is known for ever. Views and sequence numbers are texts: a liar may sign any number."""
    member = accused.member
    return {
        "epoch": accused.found.replica_set.epoch,
        "replica": member.replica,
        "vote_key": member.public_key.hex(),
        "entity_id": member.entity_id,
        "entity_name": member.entity_name,
        "type": kind,
        "view": str(statements[0].view),
        "sequences": [str(each.sequence) for each in statements],
        "digests": [each.digest.hex() for each in statements],
        "signatures": [each.signature.hex() for each in statements],
    }


def _set_of(system: SystemHost, epoch: int) -> SetInForce:
    found: list[SetInForce | None] = []
    system.within(GOVERNANCE, lambda: found.append(set_of_epoch(system, epoch)))
    if found[0] is None:
        raise _invalid("epoch", "this chain has no such epoch")
    return found[0]


def _statement(body: Mapping[str, Json], name: str, member: Member) -> Statement:
    encoded = hex_bytes(body[name], name, STATEMENT_BYTES_MAX)
    try:
        return decode_statement(encoded, ReplicaId(member.replica))
    except MalformedError as error:
        raise _invalid(name, str(error)) from error


def _number(value: Json, field: str) -> int:
    if type(value) is not int or not 0 <= value < NUMBER_BOUND:
        raise Refusal("BODY_MALFORMED", field=field, fault="not an integer from 0 to 2^53 - 1")
    return value


def _invalid(field: str, fault: str) -> Refusal:
    return Refusal("EVIDENCE_INVALID", field=field, fault=fault)
