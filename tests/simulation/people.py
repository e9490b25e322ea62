"""Who may restart the simulated chain: CSRC, the province and each entity's governor, with keyed
hashes for signatures. What is signed, and what must be there, is production's to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.restart import (
    Approval,
    Restart,
    RestartAuthorities,
    RestartStatement,
    Role,
    approval_sign_bytes,
)
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.ledger.genesis import Genesis
from tests.simulation.keys import IDEAL, OUTSIDER, Scheme, public_key, sign_with
from tests.simulation.membership import key_number
from tests.simulation.workload import governor_key

_FOREVER_MS: Final = 2**50
_AUTHORITIES: Final = RestartAuthorities(public_key(OUTSIDER + 3_000), public_key(OUTSIDER + 3_001))


def restartable(genesis: Genesis) -> Genesis:
    """The same chain, which governance keeps the sets of: it can be restarted."""
    return replace(genesis, restart_authorities=_AUTHORITIES)


def next_members(
    old: ReplicaSet,
    lost: tuple[int, ...],
    newcomers: frozenset[int],
    generation: int = 1,
    scheme: Scheme = IDEAL,
) -> tuple[Member, ...]:
    """Who keeps the chain after the loss: the lost ones' seats have new keys, `newcomers` also
    another entity.
    """
    members = list(old.members)
    for seat in lost:
        member = replace(members[seat], public_key=scheme.key(key_number(seat, generation)))
        if seat in newcomers:
            member = replace(member, entity_id=f"newcomer-{seat}", entity_name=f"Newcomer {seat}")
        members[seat] = member
    return tuple(members)


def governors_of(newcomers: frozenset[int]) -> tuple[bytes, ...]:
    """The governors that come with new entities, as a statement names them."""
    found = []
    for seat in sorted(newcomers):
        record = _governor(f"newcomer-{seat}")
        keys: list[Json] = [
            {
                "id": name,
                "public_key": key.public_key.hex(),
                "not_before_ms": key.not_before_ms,
                "not_after_ms": key.not_after_ms,
            }
            for name, key in record.keys.items()
        ]
        roles: list[Json] = list(record.roles)
        value: Json = {
            "did": record.did,
            "organisation": record.organisation,
            "roles": roles,
            "keys": keys,
        }
        found.append(canonical_json(value))
    return tuple(found)


def approve(statement: RestartStatement) -> Restart:
    """Signed by all who must."""
    restart = Restart(statement)
    for role, entity_id in restart.missing():
        restart = restart.with_approval(_approval(statement, role, entity_id))
    return restart


def half_approved(statement: RestartStatement, first: Restart) -> Restart:
    """A second statement: the governors sign it, too, but CSRC's and the province's signatures are
    copied from the first.
    """
    copied = tuple(each for each in first.approvals if each.role is not Role.ENTITY)
    restart = Restart(statement, copied)
    for role, entity_id in restart.missing():
        restart = restart.with_approval(_approval(statement, role, entity_id))
    return restart


def _approval(statement: RestartStatement, role: Role, entity_id: str) -> Approval:
    match role:
        case Role.CSRC:
            key = _AUTHORITIES.csrc
        case Role.PROVINCE:
            key = _AUTHORITIES.province
        case Role.ENTITY:
            key = _governor_key(entity_id)
    sign = sign_with(key)
    return Approval(role, entity_id, key, sign(approval_sign_bytes(statement, role, entity_id)))


def _governor_key(entity_id: str) -> bytes:
    kind, _, number = entity_id.partition("-")
    if kind == "entity":
        return governor_key(int(number))
    return public_key(OUTSIDER + 5_000 + int(number))


def _governor(entity_id: str) -> IdentityRecord:
    organisation = f"did:rem:sim:{entity_id}"
    key = KeyRecord(_governor_key(entity_id), 0, _FOREVER_MS, revoked=False)
    return IdentityRecord(
        f"{organisation}.governor", organisation, frozenset({"governor"}), True, {"k1": key}
    )
