"""Where a chain's registration is in its life, and every step that it may take (SM-1).

standing/<chain>               status and version in force or under review
registration/<chain>/<version> what the operator stated, who signed, and the reports on it
pending/<chain>                an update that waits for its probe or for the set that it names
stale/<chain>                  the task that a drift opened
operator/<uscc>/<chain>        the chains in force of an operator
exemption/<chain>              why a further independent chain is allowed
migration/<chain>              the chain that this one takes over from
suspension/<chain>             why, in which scope, and who signed
deregistration/<chain>         the request, and the province's consent
replacement/<chain>            another trust for a frozen client that waits: see `replacing`
root/<fingerprint>             an authority whose certificates count
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Refusal

CHAINS: Final = "chains"


class Status(StrEnum):
    """Where a registration is. A draft is the operator's own file and not on chain."""

    SUBMITTED = "SUBMITTED"
    RETURNED = "RETURNED"
    PROVINCIAL_REVIEWED = "PROVINCIAL_REVIEWED"
    CONFORMANCE = "CONFORMANCE"
    CONFORMANCE_FAILED = "CONFORMANCE_FAILED"
    CONFORMANCE_PASSED = "CONFORMANCE_PASSED"
    ACTIVE = "ACTIVE"
    STALE = "STALE"
    SUSPENDED = "SUSPENDED"
    MIGRATING = "MIGRATING"
    DEREGISTERED = "DEREGISTERED"


NONE: Final = "NONE"
"""Where a chain is that nobody registered."""
IN_FORCE: Final = frozenset({Status.ACTIVE, Status.STALE, Status.SUSPENDED, Status.MIGRATING})
"""Chains that their operator has: another independent one is a duplicate."""

_S = Status
TRANSITIONS: Final[Mapping[str, Mapping[str, frozenset[Status]]]] = {
    "submit": {NONE: frozenset({_S.SUBMITTED})},
    "resubmit": {_S.RETURNED: frozenset({_S.SUBMITTED})},
    "give_back": {
        _S.SUBMITTED: frozenset({_S.RETURNED}),
        _S.CONFORMANCE_FAILED: frozenset({_S.RETURNED}),
    },
    "countersign": {_S.SUBMITTED: frozenset({_S.PROVINCIAL_REVIEWED})},
    "start_test": {
        _S.PROVINCIAL_REVIEWED: frozenset({_S.CONFORMANCE}),
        _S.CONFORMANCE_FAILED: frozenset({_S.CONFORMANCE}),
    },
    "report": {_S.CONFORMANCE: frozenset({_S.CONFORMANCE_PASSED, _S.CONFORMANCE_FAILED})},
    "approve": {_S.CONFORMANCE_PASSED: frozenset({_S.ACTIVE})},
    "update": {_S.ACTIVE: frozenset({_S.ACTIVE}), _S.STALE: frozenset({_S.STALE})},
    "accept_update": {_S.ACTIVE: frozenset({_S.ACTIVE}), _S.STALE: frozenset({_S.ACTIVE})},
    "drift": {_S.ACTIVE: frozenset({_S.STALE})},
    "agree": {_S.STALE: frozenset({_S.ACTIVE})},
    "suspend": {_S.ACTIVE: frozenset({_S.SUSPENDED}), _S.STALE: frozenset({_S.SUSPENDED})},
    "resume": {_S.SUSPENDED: frozenset({_S.ACTIVE})},
    "open_migration": {_S.ACTIVE: frozenset({_S.MIGRATING})},
    "close_migration": {_S.MIGRATING: frozenset({_S.ACTIVE})},
    "request_deregistration": {
        _S.ACTIVE: frozenset({_S.ACTIVE}),
        _S.SUSPENDED: frozenset({_S.SUSPENDED}),
    },
    "consent_deregistration": {
        _S.ACTIVE: frozenset({_S.ACTIVE}),
        _S.SUSPENDED: frozenset({_S.SUSPENDED}),
    },
    "deregister": {
        _S.ACTIVE: frozenset({_S.DEREGISTERED}),
        _S.SUSPENDED: frozenset({_S.DEREGISTERED}),
    },
    "propose_client": {each: frozenset({each}) for each in IN_FORCE},
    "consent_client": {each: frozenset({each}) for each in IN_FORCE},
    "replace_client": {
        each: frozenset({each, _S.ACTIVE} if each is _S.STALE else {each}) for each in IN_FORCE
    },
}
"""What is not listed is ILLEGAL_TRANSITION."""


def standing_key(chain: str) -> str:
    """Where a chain's standing is kept in the namespace of `chains`."""
    return f"standing/{chain}"


def migration_key(target: str) -> str:
    """Where it is kept which chain another one takes over from."""
    return f"migration/{target}"


def registration_key(chain: str, version: int) -> str:
    """Where a version of its registration is kept."""
    return f"registration/{chain}/{version:020d}"


def status_of(standing: Mapping[str, Json] | None) -> str:
    """The status that a standing says."""
    return NONE if standing is None else str(standing["status"])


def find(host: Host, key: str) -> dict[str, Any] | None:
    """A record of this contract, or None."""
    value = host.get(key)
    assert value is None or isinstance(value, dict), "the contract wrote it"
    return value


def standing_of(host: Host, chain: str) -> dict[str, Any]:
    """The standing of a chain that somebody registered."""
    standing = find(host, standing_key(chain))
    if standing is None:
        raise Refusal("CHAIN_UNKNOWN", chain=chain)
    return standing


def require_step(step: str, status: str) -> None:
    """Refuse a step that the life cycle does not list for this status."""
    if status not in TRANSITIONS[step]:
        raise Refusal("ILLEGAL_TRANSITION", state=status, event=step)


def move(
    host: Host, chain: str, step: str, target: Status, topic: str, /, **facts: Json
) -> dict[str, Any]:
    """Take a step; `facts` are announced, and those that a standing keeps are kept."""
    before = find(host, standing_key(chain))
    status = status_of(before)
    require_step(step, status)
    assert target in TRANSITIONS[step][status], f"{step} does not lead from {status} to {target}"
    after = {**(before or {}), "status": target.value, "height": host.height()}
    after |= {name: facts[name] for name in ("version", "reason", "scope") if name in facts}
    host.put(standing_key(chain), after)
    told: dict[str, Json] = {"chain_id": chain, "version": after["version"], "status": target.value}
    host.emit(topic, {**facts, **told})
    return after


def registration_in_standing(host: Host, chain: str, standing: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the version that a standing names."""
    record = find(host, registration_key(chain, standing["version"]))
    assert record is not None, "a standing names a version that is kept"
    return record
