"""What the chain says when a replica set is scheduled, however that came about."""

from __future__ import annotations

from collections.abc import Mapping

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.contracts.host import Host
from services.consensus.domain.contracts.replica_sets import SetInForce


def announce_set(host: Host, scheduled: SetInForce) -> None:
    """Announce a set, and warn of what the regulator must see: an entity with more than f keys
    (G2-16-3), and a chain that runs without the votes of a jailed replica (G2-16-4).
    """
    replica_set = scheduled.replica_set
    place: dict[str, Json] = {"epoch": replica_set.epoch, "from_height": scheduled.from_height}
    members: list[Json] = [
        {
            "replica": member.replica,
            "entity_id": member.entity_id,
            "entity_name": member.entity_name,
            "vote_key": member.public_key.hex(),
            "jailed": member.replica in replica_set.jailed,
        }
        for member in replica_set.members
    ]
    host.emit(
        "governance.set_scheduled",
        {
            **place,
            "cause": scheduled.cause.value,
            "set_hash": replica_set.hash().hex(),
            "members": members,
        },
    )
    warn_of_shares(host, "governance", replica_set, place)
    if replica_set.jailed:
        jailed: list[Json] = [
            replica_set.members[replica].entity_id for replica in replica_set.jailed
        ]
        host.emit("governance.degraded", {**place, "entities": jailed})


def warn_of_shares(
    host: Host, subject: str, replica_set: ReplicaSet, place: Mapping[str, Json]
) -> None:
    """Announce the entities with more than f keys of a set, this chain's or another one's, where
    there are such (G2-16-3): `ENTITY_ABOVE_FAULTY_MAX`.
    """
    above: list[Json] = [*replica_set.entities_above_faulty_max()]
    if above:
        host.emit(f"{subject}.entity_above_faulty_max", {**place, "entities": above})
