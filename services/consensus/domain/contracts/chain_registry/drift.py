"""What a chain's registration means for its proofs, and its signing keys for it (G2-10-3).

The light client asks here before it believes a block of another chain, and tells here which keys
sign from now on. A chain that nobody registered with `chains` is nobody's matter: what genesis or
`light_client.register_chain` trusts goes on as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.working_days import CalendarYearUnknownError
from services.consensus.domain.contracts.calendar import block_day, working_days
from services.consensus.domain.contracts.chain_registry.policy import (
    UPDATE_WORKING_DAYS,
    policy,
)
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    Status,
    find,
    move,
    registration_in_standing,
    registration_key,
    standing_key,
    standing_of,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import SystemHost

EVERYTHING: Final = "ALL"
"""The scope of a suspension in which headers are not followed either."""


def require_provable(host: SystemHost, chain: str) -> None:
    """Refuse proofs against blocks of a chain that is stale, suspended or gone."""
    standing = _standing(host, chain)
    status = None if standing is None else standing["status"]
    if status == Status.STALE:
        raise Refusal("REGISTRATION_STALE", chain=chain)
    if status in (Status.SUSPENDED, Status.DEREGISTERED):
        raise Refusal("CHAIN_NOT_ADMITTED", chain=chain, status=status)


def is_shut_out(host: SystemHost, chain: str) -> bool:
    """Whether nothing of a chain is believed, because it is suspended or gone."""
    standing = _standing(host, chain)
    return standing is not None and standing["status"] in (Status.SUSPENDED, Status.DEREGISTERED)


def require_followed(host: SystemHost, chain: str, *, changes_set: bool) -> None:
    """Refuse a header of a chain that is stale, gone, or suspended altogether. Set changes are
    taken of a stale one too: an update can only be held against the set that signs now.
    """
    standing = _standing(host, chain)
    if standing is None:
        return
    status = standing["status"]
    if status == Status.STALE and not changes_set:
        raise Refusal("REGISTRATION_STALE", chain=chain)
    is_cut = status == Status.SUSPENDED and standing["scope"] == EVERYTHING
    if is_cut or status == Status.DEREGISTERED:
        raise Refusal("CHAIN_NOT_ADMITTED", chain=chain, status=status)


def note_set(host: SystemHost, replica_set: ReplicaSet) -> None:
    """Hold the set that signs from now on against the registration."""
    chain = replica_set.chain_id
    standing = _standing(host, chain)
    if standing is not None and standing["status"] == Status.ACTIVE:
        host.within(CHAINS, lambda: compare(host, replica_set))


def compare(host: SystemHost, replica_set: ReplicaSet) -> None:
    """Within `chains`, of a chain that is ACTIVE: open a task where other keys sign than those that
    are registered; put an update in force that was announced and probed before.
    """
    chain = replica_set.chain_id
    signing = keys_of_set(replica_set)
    record = registration_in_standing(host, chain, standing_of(host, chain))
    if keys_of_registration(record["registration"]) == signing:
        return
    pending = find(host, f"pending/{chain}")
    if (
        pending is not None
        and "report" in pending
        and keys_of_registration(pending["registration"]) == signing
    ):
        put_in_force(host, chain, pending)
        return
    task: dict[str, Json] = {
        "epoch": replica_set.epoch,
        "set_hash": replica_set.hash().hex(),
        "opened_height": host.height(),
        "opened_ms": host.block_time_ms(),
        "due": _due(host),
    }
    host.put(f"stale/{chain}", task)
    move(host, chain, "drift", Status.STALE, "chain.registration_stale", **task)


def put_in_force(host: SystemHost, chain: str, pending: Mapping[str, Any]) -> None:
    """Within `chains`: the next version is what was pending, and a task about drift is done."""
    version = standing_of(host, chain)["version"] + 1
    host.put(registration_key(chain, version), dict(pending))
    host.delete(f"pending/{chain}")
    close_task(host, chain)
    facts: dict[str, Json] = {"version": version, "digest": pending["digest"]}
    move(host, chain, "accept_update", Status.ACTIVE, "chain.updated", **facts)


def close_task(host: Host, chain: str) -> None:
    """Within `chains`: a task about drift is done, where there is one."""
    task = find(host, f"stale/{chain}")
    if task is not None and "closed_height" not in task:
        host.put(f"stale/{chain}", {**task, "closed_height": host.height()})


def keys_of_set(replica_set: ReplicaSet) -> frozenset[tuple[str, str]]:
    """Each key of a set with the entity behind it."""
    return _pairs((each.public_key.hex(), each.entity_id) for each in replica_set.members)


def keys_of_registration(registration: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The same of a registration."""
    rows = registration["validators"]
    return _pairs((row["sm2_pubkey"], row["entity"]["uscc"]) for row in rows)


def _pairs(pairs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(pairs)


def _standing(host: SystemHost, chain: str) -> dict[str, Any] | None:
    value = host.read(CHAINS, standing_key(chain))
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def _due(host: SystemHost) -> str | None:
    """The last day for an update, or None where the calendar of that year is not on chain."""
    days = policy(host, UPDATE_WORKING_DAYS)
    try:
        return working_days(host).after(block_day(host), days).last.isoformat()
    except CalendarYearUnknownError:
        return None
