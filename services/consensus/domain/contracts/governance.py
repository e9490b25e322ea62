"""The governance contract: who votes is decided by the legal entities behind the replicas.

A proposal names the whole next set. It is scheduled once more than two thirds of the entities of
the set in force have approved it, for a height at least the window ahead. Governance identities
hold the role `governor`, are bound to their entity by its code, come from genesis or with an
approved proposal, and are out of any administrator's reach. A vote key never governs or signs, and
a key that did either never votes (`key_uses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet, ReplicaSetError
from services.consensus.domain.contracts.governance_form import Proposal, parse_proposal
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.identity_record import (
    IdentityRecord,
    identity_from_state,
    identity_key,
)
from services.consensus.domain.contracts.key_uses import (
    IDENTITY,
    KeyUse,
    check_uses,
    claim_uses,
    public_keys,
)
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    require_members,
    require_role,
    system_host,
    text,
    this_chain,
)
from services.consensus.domain.contracts.replica_sets import (
    GOVERNANCE,
    Cause,
    SetInForce,
    latest_set,
    schedule,
    set_at,
)
from services.consensus.domain.contracts.set_events import announce_set

NAME: Final = GOVERNANCE
PROPOSAL_LIFE_MS: Final = 7 * 86_400_000
NOT_BEFORE_HEIGHTS_MAX: Final = 10_000
PROPOSALS_MAX: Final = 128
"""One of each entity at most, so never more than a set has replicas."""


@dataclass(frozen=True, slots=True)
class GovernanceContract:
    """`governance` v1."""

    name: str = NAME
    version: int = 1

    def methods(self) -> Mapping[str, Method]:
        """For governors."""
        return {"propose": propose, "approve": approve, "withdraw": withdraw}


def entity_of(organisation: str) -> str:
    """The code of a legal entity, by which its DID and its replicas are bound together."""
    return organisation.rpartition(":")[2]


def governor_of(host: Host) -> tuple[SystemHost, str, ReplicaSet]:
    """The sender's entity, if he may speak for it, and the set in force: for every contract that
    lets the entities decide.
    """
    require_role(host, roles.GOVERNOR)
    system, sender = system_host(host), host.sender()
    current = _set_in_force(system)
    entity = entity_of(sender.organisation)
    if entity not in {member.entity_id for member in current.members}:
        raise Refusal("GOVERNANCE_ENTITY_UNKNOWN", entity=entity, epoch=current.epoch)
    return system, entity, current


def _set_in_force(system: SystemHost) -> ReplicaSet:
    found: list[SetInForce | None] = []
    system.within(GOVERNANCE, lambda: found.append(set_at(system, system.height())))
    assert found[0] is not None, "genesis writes the first set"
    return found[0].replica_set


def propose(host: Host, body: Mapping[str, Json]) -> None:
    """Propose the next set; takes the place of an earlier proposal of the same entity."""
    system, entity, current = governor_of(host)
    proposal = parse_proposal(body, this_chain(host))
    _check_pending(host)
    _check(system, proposal)
    if proposal.not_before > host.height() + NOT_BEFORE_HEIGHTS_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="not_before", maximum=NOT_BEFORE_HEIGHTS_MAX)
    identifier = host.transaction_id()
    record: dict[str, Json] = {
        "id": identifier,
        "entity_id": entity,
        "body": dict(body),
        "expires_ms": host.block_time_ms() + PROPOSAL_LIFE_MS,
        "approvals": [],
    }
    host.emit("governance.proposed", {"proposal": identifier, "entity_id": entity, **body})
    _approve(system, record, entity, current)


def approve(host: Host, body: Mapping[str, Json]) -> None:
    """Approve a proposal for the sender's entity; doing so twice changes nothing."""
    system, entity, current = governor_of(host)
    require_members(body, "", "proposal")
    record = _open_proposal(host, body["proposal"])
    _check_pending(host)
    _check(system, parse_proposal(_object(record["body"]), this_chain(host)))
    _approve(system, record, entity, current)


def withdraw(host: Host, body: Mapping[str, Json]) -> None:
    """Take the own entity's proposal back."""
    _, entity, _ = governor_of(host)
    require_members(body, "", "proposal")
    record = _open_proposal(host, body["proposal"])
    if record["entity_id"] != entity:
        raise Refusal("PROPOSAL_UNKNOWN", proposal=body["proposal"])
    host.delete(_proposal_key(entity))
    host.emit("governance.withdrawn", {"proposal": body["proposal"], "entity_id": entity})


def _approve(system: SystemHost, record: dict[str, Json], entity: str, current: ReplicaSet) -> None:
    approvals = record["approvals"]
    assert isinstance(approvals, list)
    if entity in approvals:
        return
    approvals = [*approvals, entity]
    system.put(_proposal_key(str(record["entity_id"])), {**record, "approvals": approvals})
    entities = {member.entity_id for member in current.members}
    count = len(entities.intersection(map(str, approvals)))
    system.emit(
        "governance.approved",
        {
            "proposal": record["id"],
            "entity_id": entity,
            "approvals": count,
            "entities": len(entities),
        },
    )
    if 3 * count > 2 * len(entities):
        _schedule(system, _object(record["body"]))


def _schedule(system: SystemHost, body: Mapping[str, Json]) -> None:
    proposal = parse_proposal(body, this_chain(system))
    for governor in proposal.governors:
        _write_governor(system, governor)
    vote_keys = _vote_keys(proposal)
    system.within(IDENTITY, lambda: claim_uses(system, vote_keys, KeyUse.VOTE))
    try:
        scheduled = schedule(
            system,
            proposal.replica_set,
            guilty={key for key in vote_keys if _is_guilty(system, key)},
            height=system.height(),
            not_before=proposal.not_before,
        )
    except ReplicaSetError as error:  # It would keep too many of the guilty.
        raise Refusal(error.code, detail=error.detail) from error
    for key, _ in system.scan("proposal/", PROPOSALS_MAX):
        system.delete(key)
    announce_set(system, scheduled)


def _write_governor(system: SystemHost, record: IdentityRecord) -> None:
    def write() -> None:
        claim_uses(system, public_keys(record), KeyUse.GOVERNANCE)
        system.put(identity_key(record.did), record.to_json())

    system.within(IDENTITY, write)
    system.emit("identity.governor_set", record.to_json())


def _check_pending(host: Host) -> None:
    """One approved change at a time: the next is judged against the set that it will meet."""
    latest = latest_set(host)
    assert latest is not None
    if latest.cause is Cause.GOVERNANCE and latest.from_height > host.height():
        raise Refusal(
            "SET_CHANGE_PENDING",
            epoch=latest.replica_set.epoch,
            from_height=latest.from_height,
        )


def _check(system: SystemHost, proposal: Proposal) -> None:
    """Whether the proposal may follow the set that is scheduled last."""
    latest = latest_set(system)
    assert latest is not None
    before, wanted = latest.replica_set, proposal.replica_set
    if before.members == wanted.members and not proposal.governors:
        raise Refusal("SET_UNCHANGED", epoch=before.epoch)
    seats = {member.public_key: member.replica for member in before.members}
    for member in wanted.members:
        _check_key(system, member.public_key, member.replica, seats.get(member.public_key))
    system.within(IDENTITY, lambda: check_uses(system, _vote_keys(proposal), KeyUse.VOTE))
    entities = {member.entity_id for member in wanted.members}
    for governor in proposal.governors:
        _check_governor(system, governor, entities, _vote_keys(proposal))


def _check_key(system: SystemHost, public_key: bytes, number: int, before: int | None) -> None:
    """A key keeps its number, by which its replica is known on the network; a guilty one does not
    come back.
    """
    key = public_key.hex()
    if before is not None and before != number:
        raise Refusal("VOTE_KEY_MOVED", vote_key=key, before=before, after=number)
    if before is None and _is_guilty(system, public_key):
        raise Refusal("VOTE_KEY_JAILED", vote_key=key)


def _vote_keys(proposal: Proposal) -> list[bytes]:
    return [member.public_key for member in proposal.replica_set.members]


def _is_guilty(system: SystemHost, vote_key: bytes) -> bool:
    return system.read("evidence", f"key/{vote_key.hex()}") is not None


def _check_governor(
    system: SystemHost, record: IdentityRecord, entities: set[str], vote_keys: list[bytes]
) -> None:
    if entity_of(record.organisation) not in entities:
        raise Refusal("GOVERNANCE_ENTITY_UNKNOWN", entity=entity_of(record.organisation))
    for key in public_keys(record):
        if key in vote_keys:
            facts = {"known": KeyUse.VOTE.value, "wanted": KeyUse.GOVERNANCE.value}
            raise Refusal("KEY_OF_OTHER_USE", key=key.hex(), **facts)
    system.within(IDENTITY, lambda: check_uses(system, public_keys(record), KeyUse.GOVERNANCE))
    known = system.read("identity", identity_key(record.did))
    if known is not None and roles.GOVERNOR not in identity_from_state(known).roles:
        raise Refusal("IDENTITY_EXISTS", did=record.did)


def _open_proposal(host: Host, value: Json) -> dict[str, Json]:
    identifier = text(value, "proposal")
    for _, record in host.scan("proposal/", PROPOSALS_MAX):
        found = _object(record)
        if found["id"] != identifier:
            continue
        expires_ms = found["expires_ms"]
        assert isinstance(expires_ms, int)
        if expires_ms < host.block_time_ms():
            raise Refusal("PROPOSAL_EXPIRED", proposal=identifier, expired_ms=expires_ms)
        return found
    raise Refusal("PROPOSAL_UNKNOWN", proposal=identifier)


def _proposal_key(entity: str) -> str:
    return f"proposal/{entity}"


def _object(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict), "the contract wrote it"
    return value
