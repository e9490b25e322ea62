"""The evidence contract: a replica that signed two statements which exclude each other is jailed.

Anybody may submit: the two signatures prove it, against the set of the epoch that they were made in
(G2-16-4). The legal entity is named on chain. The key's votes count no more from height + window
on; n and q stay, and at most f are jailed, so that the rest can always go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
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
)
from services.consensus.domain.contracts.set_events import announce_set
from services.consensus.domain.messages import ReplicaId, Statement
from services.consensus.domain.statements import (
    decode_statement,
    exclude_each_other,
    statement_bytes,
)

NAME: Final = "evidence"
METHOD: Final = "submit"
STATEMENT_BYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class EvidenceContract:
    """`evidence` v1."""

    name: str = NAME
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        """`submit`, for everybody."""
        return {METHOD: submit}


def key_record(public_key: bytes) -> str:
    """Where the contract keeps what a vote key is guilty of."""
    return f"key/{public_key.hex()}"


def submit(host: Host, body: Mapping[str, Json]) -> None:
    """Record two statements that exclude each other and jail their signer; once is enough."""
    system = system_host(host)
    require_members(body, "", "epoch replica first second")
    replica_set = _set_of(system, _number(body["epoch"], "epoch"))
    member = _member_of(replica_set, _number(body["replica"], "replica"))
    first, second = (_statement(body, name, member) for name in ("first", "second"))
    if not exclude_each_other(first, second):
        raise _invalid("second", "it does not exclude the first statement")
    for name, statement in (("first", first), ("second", second)):
        message = statement_bytes(statement, replica_set)
        if not system.verify_signature(member.public_key, message, statement.signature):
            raise _invalid(name, f"the signature is not that of replica {member.replica}")
    known = host.get(key_record(member.public_key))
    if isinstance(known, dict) and known["jailed_epoch"] is not None:
        return
    jailed = _jail(system, member)
    facts = _facts(replica_set, member, first, second, jailed)
    if known == facts:
        return
    host.put(key_record(member.public_key), facts)
    host.emit("evidence.recorded", facts)
    if jailed is not None:
        announce_set(host, jailed)


def _jail(system: SystemHost, member: Member) -> SetInForce | None:
    changed: list[SetInForce | None] = []
    system.within(
        GOVERNANCE,
        lambda: changed.append(jail(system, member.public_key, height=system.height())),
    )
    return changed[0]


def _facts(
    replica_set: ReplicaSet,
    member: Member,
    first: Statement,
    second: Statement,
    jailed: SetInForce | None,
) -> Json:
    """What is known for ever. Views and sequence numbers are texts: a liar may sign any number."""
    return {
        "epoch": replica_set.epoch,
        "replica": member.replica,
        "vote_key": member.public_key.hex(),
        "entity_id": member.entity_id,
        "entity_name": member.entity_name,
        "type": first.vote_type.name,
        "view": str(first.view),
        "sequences": [str(first.sequence), str(second.sequence)],
        "digests": [first.digest.hex(), second.digest.hex()],
        "signatures": [first.signature.hex(), second.signature.hex()],
        "jailed_epoch": None if jailed is None else jailed.replica_set.epoch,
        "jailed_from": None if jailed is None else jailed.from_height,
    }


def _set_of(system: SystemHost, epoch: int) -> ReplicaSet:
    found: list[SetInForce | None] = []
    system.within(GOVERNANCE, lambda: found.append(set_of_epoch(system, epoch)))
    if found[0] is None:
        raise _invalid("epoch", "this chain has no such epoch")
    return found[0].replica_set


def _member_of(replica_set: ReplicaSet, number: int) -> Member:
    if number >= replica_set.size:
        raise _invalid("replica", "it is not in the set of that epoch")
    return replica_set.members[number]


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
