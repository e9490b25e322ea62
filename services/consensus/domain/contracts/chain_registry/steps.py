"""What the steps of a registration share: who signs, what a body names, what is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.regions import region_of_chain, region_of_did
from services.consensus.domain.contracts.chain_registry.endpoints import require_probes
from services.consensus.domain.contracts.chain_registry.fields import Fields
from services.consensus.domain.contracts.chain_registry.form import (
    Registration,
    chain_id_of,
    read_registration,
)
from services.consensus.domain.contracts.chain_registry.policy import LAG_HEIGHTS, policy
from services.consensus.domain.contracts.chain_registry.standing import (
    IN_FORCE,
    find,
    migration_key,
    registration_in_standing,
    require_step,
    standing_of,
)
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import require_members, require_role
from services.consensus.domain.contracts.signers import require_csrc, require_second

CHAINS_MAX: Final = 256
"""Chains of one operator that are looked at."""
PROBES_MAX: Final = 32


def require_owner(host: Host, chain: str, registration: Mapping[str, Any]) -> None:
    """The sender is of the operator that registered the chain."""
    if registration["operator"]["did"] != host.sender().organisation:
        raise Refusal("CHAIN_OWNER_OTHER", chain=chain, owner=registration["operator"]["did"])


def require_province(host: Host, chain: str, registration: Mapping[str, Any]) -> None:
    """The sender is a regulator of the chain's province, and no part of its operator."""
    require_role(host, roles.PROVINCIAL_REGULATOR)
    organisation = host.sender().organisation
    province = region_of_did(organisation)
    is_operator = organisation == registration["operator"]["did"]
    if province != region_of_chain(chain) or is_operator:
        raise Refusal("CHAIN_PROVINCE_OTHER", chain=chain, province=province)


def is_provincial(host: Host) -> bool:
    """Whether a provincial regulator sends."""
    return roles.PROVINCIAL_REGULATOR in host.sender().roles


def require_csrc_or_province(host: Host, chain: str, registration: Mapping[str, Any]) -> None:
    """Both CSRC roles sign, or the province with one of them."""
    if not is_provincial(host):
        require_csrc(host)
        return
    require_province(host, chain, registration)
    checker = host.checker()
    has_tech = checker is not None and roles.CSRC_TECH in checker.roles
    require_second(host, roles.CSRC_TECH if has_tech else roles.CSRC_MARKET)


def called(
    host: Host, body: Mapping[str, Json], step: str, more: str = ""
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The chain that a body names, its standing and its record, where the step may be taken."""
    require_members(body, "", f"chain_id {more}")
    chain = chain_id_of(body["chain_id"])
    standing = standing_of(host, chain)
    require_step(step, standing["status"])
    return chain, standing, registration_in_standing(host, chain, standing)


def require_digest(body: Mapping[str, Json], record: Mapping[str, Any]) -> None:
    """Whoever reviews names what was read, so that nothing else is approved in its place."""
    if body["digest"] != record["digest"]:
        raise Refusal("CHAIN_REGISTRATION_OTHER", expected=record["digest"])


def signed(host: Host) -> dict[str, Any]:
    """Who took a step, and where."""
    checker = host.checker()
    return {
        "by": host.sender().did,
        "checker": None if checker is None else checker.did,
        "height": host.height(),
        "transaction_id": host.transaction_id(),
    }


def record_of(host: Host, registration: Registration) -> dict[str, Any]:
    """What is kept of a registration."""
    value = dict(registration.value)
    return {"registration": value, "digest": registration.digest, "submitted": signed(host)}


def report_of(
    host: Host, body: Mapping[str, Json], registration: Registration
) -> tuple[bool, dict[str, Any]]:
    """The result of a conformance test, and what is kept of it. A pass needs every endpoint."""
    form = Fields(body, "")
    is_passed = form.choice("result", ("PASS", "FAIL")) == "PASS"
    report: dict[str, Any] = {"result": body["result"], "report": form.digest("report")}
    rows = form.rows("probes", "url chain_id", PROBES_MAX, optional="height")
    if is_passed:
        lag_max = policy(host, LAG_HEIGHTS)
        report["probes"] = require_probes(
            rows, registration.endpoints, registration.chain_id, lag_max=lag_max
        )
    return is_passed, {**report, **signed(host)}


def kept(record: Mapping[str, Any]) -> Registration:
    """A registration that was found good and is kept."""
    return read_registration(record["registration"])


def require_not_duplicate(host: Host, registration: Registration) -> None:
    """Refuse another independent chain of an operator that has one, but for a sub-chain, the target
    of a migration, and where the CSRC wrote down a reason (G2-06-2).
    """
    chain, uscc, parent = registration.chain_id, registration.operator_uscc, registration.parent
    own = {name: of for name, of in _chains_of(host, uscc).items() if name != chain}
    if parent is not None:
        if own.get(parent, parent) is not None:
            fault = "not an independent chain in force of this operator"
            raise Refusal("CHAIN_FIELD_INVALID", field="parent_chain_id", fault=fault)
        return
    independent = [name for name, of in own.items() if of is None]
    if not independent:
        return
    exemption, migration = find(host, f"exemption/{chain}"), find(host, migration_key(chain))
    is_exempt = exemption is not None and exemption["operator_uscc"] == uscc
    takes_over = migration is not None and migration["from"] in independent
    if not is_exempt and not takes_over:
        raise Refusal("CHAIN_DUPLICATE_INDEPENDENT", chain=chain, known=independent[0])


def _chains_of(host: Host, uscc: str) -> dict[str, str | None]:
    """The chains in force of an operator, each with the one that it is a part of."""
    prefix = f"operator/{uscc}/"
    found: dict[str, str | None] = {}
    for key, value in host.scan(prefix, CHAINS_MAX):
        chain = key.removeprefix(prefix)
        assert isinstance(value, dict), "the contract wrote it"
        if standing_of(host, chain)["status"] in IN_FORCE:
            parent = value["parent"]
            found[chain] = None if parent is None else str(parent)
    return found
