"""Steps of a chain that is in force: updates, suspension, and the window of a migration (SM-1).

What does not concern keys, RPC or consensus is in force when the operator states it. Of the rest
the CSRC's technical side reports a new probe first; a set that does not sign yet waits, and is in
force in the block in which the light client sees it sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.chain_registry.drift import (
    EVERYTHING,
    compare,
    compare_observed,
    keys_of_registration,
    keys_of_set,
    observed_keys,
    put_in_force,
    signing_keys_of,
)
from services.consensus.domain.contracts.chain_registry.fields import Fields
from services.consensus.domain.contracts.chain_registry.form import (
    Registration,
    read_registration,
)
from services.consensus.domain.contracts.chain_registry.judging import judge_registration
from services.consensus.domain.contracts.chain_registry.standing import (
    Status,
    find,
    migration_key,
    move,
    registration_in_standing,
    registration_key,
    require_step,
    standing_of,
)
from services.consensus.domain.contracts.chain_registry.steps import (
    called,
    kept,
    record_of,
    report_of,
    require_csrc_or_province,
    require_digest,
    require_owner,
    signed,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.light_client_registration import followed_set
from services.consensus.domain.contracts.packets_host import (
    SystemHost,
    require_role,
    system_host,
    text,
)
from services.consensus.domain.contracts.set_events import warn_of_shares
from services.consensus.domain.contracts.signers import require_operator

REASON_LENGTH_MAX: Final = 500
SCOPES: Final = frozenset({"PACKETS", EVERYTHING})
PROBED: Final = ("validators", "rpc_endpoints", "consensus")
"""Members of a registration whose change is in force after a new probe."""
IMMUTABLE: Final = ("chain_id", "region_code", "operator", "genesis_hash", "parent_chain_id")

# --- Updates --------------------------------------------------------------------------------------


def update(host: Host, body: Mapping[str, Json], *, lists: bool) -> None:
    """State what a registration says from now on (G2-10-3). What is in force, stated again,
    withdraws an update that waits; nothing else passes one, for it would undo it.
    """
    require_operator(host)
    chain, standing, record = called(host, body, "update", "registration")
    before: Mapping[str, Any] = record["registration"]
    require_owner(host, chain, before)
    _require_unchanged(before, body["registration"])
    registration = read_registration(body["registration"])
    judge_registration(system_host(host), registration, lists=lists)
    is_pending = find(host, f"pending/{chain}") is not None
    if registration.digest == record["digest"]:
        if is_pending:
            host.delete(f"pending/{chain}")
            host.emit("chain.update_withdrawn", {"chain_id": chain})
        return
    stated = record_of(host, registration)
    warn_of_shares(host, "chain", registration.replica_set, {"chain_id": chain})
    if any(registration.value[name] != before[name] for name in PROBED):
        host.put(f"pending/{chain}", stated)
        facts: dict[str, Json] = {"chain_id": chain, "digest": registration.digest}
        host.emit("chain.update_stated", {**facts, "in_force": standing["version"]})
        return
    if is_pending:
        raise Refusal("CHAIN_UPDATE_PENDING", chain=chain)
    version = standing["version"] + 1
    kept_reports = {name: each for name, each in record.items() if name not in stated}
    host.put(registration_key(chain, version), {**kept_reports, **stated})
    told: dict[str, Json] = {"version": version, "digest": registration.digest}
    move(host, chain, "update", Status(standing["status"]), "chain.updated", **told)


def _require_unchanged(before: Mapping[str, Any], value: Json) -> None:
    """An id, an operator and a genesis are what the chain is: another one is another chain."""
    for name in IMMUTABLE:
        if isinstance(value, dict) and value.get(name) != before[name]:
            raise Refusal("CHAIN_FIELD_IMMUTABLE", field=name)


def accept_update(host: Host, body: Mapping[str, Json], *, lists: bool) -> None:
    """Report the probe of what an update states. It is in force if the keys are those that sign."""
    require_role(host, roles.CSRC_TECH)
    chain, standing, _ = called(host, body, "accept_update", "digest result report probes")
    pending = find(host, f"pending/{chain}")
    if pending is None:
        raise Refusal("CHAIN_UPDATE_UNKNOWN", chain=chain)
    require_digest(body, pending)
    system, registration = system_host(host), kept(pending)
    is_passed, found = report_of(host, body, registration)
    facts: dict[str, Json] = {"chain_id": chain, "digest": registration.digest}
    if not is_passed:
        host.delete(f"pending/{chain}")
        host.emit("chain.update_failed", {**facts, "report": found["report"]})
        return
    judge_registration(system, registration, lists=lists)
    reported = {**pending, "report": found}
    if _signs_now(system, registration):
        put_in_force(system, chain, reported)
    elif standing["status"] == Status.STALE:
        raise Refusal("REGISTRATION_STALE", chain=chain)
    else:
        host.put(f"pending/{chain}", reported)
        host.emit("chain.update_awaited", facts)


def _signs_now(host: SystemHost, registration: Registration) -> bool:
    sealing = observed_keys(host, registration.chain_id)
    if sealing is not None:
        return signing_keys_of(registration.value) == sealing
    signing = followed_set(host, registration.chain_id)
    assert signing is not None, "a chain in force is trusted"
    return keys_of_registration(registration.value) == keys_of_set(signing)


# --- Suspension -----------------------------------------------------------------------------------


def suspend(host: Host, body: Mapping[str, Json]) -> None:
    """Take nothing of a chain any more: as the CSRC, or as the province with its approval."""
    chain, _, record = called(host, body, "suspend", "reason scope")
    require_csrc_or_province(host, chain, record["registration"])
    reason = text(body["reason"], "reason", REASON_LENGTH_MAX)
    scope = Fields(body, "").choice("scope", SCOPES)
    facts: dict[str, Json] = {"reason": reason, "scope": scope}
    move(host, chain, "suspend", Status.SUSPENDED, "chain.suspended", **facts)
    host.put(f"suspension/{chain}", {**facts, **signed(host)})


def resume(host: Host, body: Mapping[str, Json]) -> None:
    """Take it again, with the digest of what shows that the cause is closed. Keys that changed in
    the meantime are a drift at once.
    """
    chain, _, record = called(host, body, "resume", "cause_closed reason")
    require_csrc_or_province(host, chain, record["registration"])
    facts: dict[str, Json] = {
        "reason": text(body["reason"], "reason", REASON_LENGTH_MAX),
        "cause_closed": Fields(body, "").digest("cause_closed"),
    }
    move(host, chain, "resume", Status.ACTIVE, "chain.resumed", **facts)
    compare_now(system_host(host), chain)


# --- Migration ------------------------------------------------------------------------------------


def open_migration(host: SystemHost, chain: str, *, target: str | None = None) -> None:
    """For the contract that keeps upgrade notices, within `chains`: the window opens. With `target`
    another chain of the operator may be registered to take over.
    """
    require_step("open_migration", standing_of(host, chain)["status"])
    if target is not None:
        host.put(migration_key(target), {"from": chain, "height": host.height()})
    move(host, chain, "open_migration", Status.MIGRATING, "chain.migrating")


def close_migration(host: SystemHost, chain: str) -> None:
    """The window closes, after the cut-over or the way back."""
    standing = standing_of(host, chain)
    move(host, chain, "close_migration", Status.ACTIVE, "chain.migrated")
    assert registration_in_standing(host, chain, standing)
    compare_now(host, chain)


def forget_target(host: SystemHost, target: str) -> None:
    """Within `chains`, after a migration that did not take place: nothing takes over any more."""
    host.delete(migration_key(target))


def compare_now(host: SystemHost, chain: str) -> None:
    """Within `chains`, of a chain that is ACTIVE: hold who signs now against the registration."""
    if observed_keys(host, chain) is not None:
        compare_observed(host, chain)
        return
    signing = followed_set(host, chain)
    assert signing is not None, "a chain in force is trusted"
    compare(host, signing)
