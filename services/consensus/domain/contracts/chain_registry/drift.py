"""What a chain's registration means for its proofs, and its signing keys for it (G2-10-3).

The light client asks here before it believes a block of another chain, and tells here which keys
sign from now on; so does what is observed of a chain of another kind. A chain that nobody
registered with `chains` is nobody's matter: what genesis or `light_client.register_chain` trusts
goes on as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.observed_state import CONTRACT as OBSERVED
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
    signing = keys_of_set(replica_set)
    facts: dict[str, Json] = {"epoch": replica_set.epoch, "set_hash": replica_set.hash().hex()}

    def is_of(registration: Mapping[str, Any]) -> bool:
        return keys_of_registration(registration) == signing

    _hold(host, replica_set.chain_id, is_of, facts)


def compare_observed(host: SystemHost, chain: str) -> None:
    """The same of the sealers that are observed, whose entities no header names. A chain that was
    STALE is in force again where the keys that are registered sign again.
    """
    record = _observed(host, chain)
    assert record is not None, "its sealers are kept"
    signing = frozenset(record["keys"])
    facts: dict[str, Json] = {
        "generation": record["generation"],
        "sealers_height": record["sealers_height"],
        "set_hash": digest("guqiao/observed-sealers/1", canonical_json(record["keys"])).hex(),
    }

    def is_of(registration: Mapping[str, Any]) -> bool:
        return signing_keys_of(registration) == signing

    standing = standing_of(host, chain)
    if standing["status"] == Status.ACTIVE:
        _hold(host, chain, is_of, facts)
    elif standing["status"] == Status.STALE:
        if is_of(registration_in_standing(host, chain, standing)["registration"]):
            close_task(host, chain)
            move(host, chain, "agree", Status.ACTIVE, "chain.registration_agrees", **facts)
        else:
            _put_stated_in_force(host, chain, is_of)


def note_sealers(
    host: SystemHost, chain: str, keys: Iterable[str], *, generation: int, sealers_height: int
) -> None:
    """Within `observed`: keep who seals from now on, and hold it against the registration, where
    the chain has one in force.
    """
    facts: dict[str, Json] = {"generation": generation, "sealers_height": sealers_height}
    host.put(_signing_key(chain), {**facts, "keys": [*sorted(keys)]})
    standing = _standing(host, chain)
    if standing is not None and standing["status"] in (Status.ACTIVE, Status.STALE):
        host.within(CHAINS, lambda: compare_observed(host, chain))


def observed_keys(host: SystemHost, chain: str) -> frozenset[str] | None:
    """Who seals a chain of another kind now; None of one that is not observed, and where the
    contract `observed` is of version 1, which holds nothing against the registration.
    """
    record = _observed(host, chain)
    return None if record is None else frozenset(record["keys"])


def _hold(
    host: SystemHost,
    chain: str,
    is_of: Callable[[Mapping[str, Any]], bool],
    facts: Mapping[str, Json],
) -> None:
    """Within `chains`, of a chain that is ACTIVE; `is_of` says whether a registration has the keys
    that sign.
    """
    record = registration_in_standing(host, chain, standing_of(host, chain))
    if is_of(record["registration"]) or _put_stated_in_force(host, chain, is_of):
        return
    task: dict[str, Json] = {
        **facts,
        "opened_height": host.height(),
        "opened_ms": host.block_time_ms(),
        "due": _due(host),
    }
    host.put(f"stale/{chain}", task)
    move(host, chain, "drift", Status.STALE, "chain.registration_stale", **task)


def _put_stated_in_force(
    host: SystemHost, chain: str, is_of: Callable[[Mapping[str, Any]], bool]
) -> bool:
    """Whether an update was announced and probed before that states who signs; it is in force."""
    pending = find(host, f"pending/{chain}")
    if pending is None or "report" not in pending or not is_of(pending["registration"]):
        return False
    put_in_force(host, chain, pending)
    return True


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


def signing_keys_of(registration: Mapping[str, Any]) -> frozenset[str]:
    """The keys of a registration alone."""
    return frozenset(str(row["sm2_pubkey"]) for row in registration["validators"])


def _pairs(pairs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset(pairs)


def _standing(host: SystemHost, chain: str) -> dict[str, Any] | None:
    value = host.read(CHAINS, standing_key(chain))
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def _observed(host: SystemHost, chain: str) -> dict[str, Any] | None:
    value = host.read(OBSERVED, _signing_key(chain))
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def _signing_key(chain: str) -> str:
    return f"signing/{chain}"


def _due(host: SystemHost) -> str | None:
    """The last day for an update, or None where the calendar of that year is not on chain."""
    days = policy(host, UPDATE_WORKING_DAYS)
    try:
        return working_days(host).after(block_day(host), days).last.isoformat()
    except CalendarYearUnknownError:
        return None
