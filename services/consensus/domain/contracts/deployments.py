"""The contract `contracts`: how contracts in star/1 come onto a chain, change, pause and end.

Every step is proposed by a governor for his entity and takes effect in the transaction with which
enough entities have approved it (G2-05-5). Whether an upgrade is compatible is what the forms show,
never what is declared. A destroyed contract is never called again and its name never taken again;
its state stays where it was. From version 2 on a contract runs by a template of the regulatory
chain (`deployment_template.py`); version 1 asks for none, version 2 knows those of format 1 alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.contracts.deployed import (
    BY_LIFE_CYCLE,
    BY_POSITIONS,
    BY_RELEASE,
    BY_TEMPLATE,
    CONTRACTS,
    GAS_LATEST_KEY,
    SYSTEM_KEY,
    Deployed,
    GasRules,
    NamedTemplate,
    Status,
    code_key,
    code_of,
    contract_record_key,
    deployed,
    deployer_of,
    gas_key,
    gas_rules,
    states_from_json,
)
from services.consensus.domain.contracts.deployment_changes import (
    FORMER_TEMPLATE,
    Differences,
    require_class,
    template_differences,
)
from services.consensus.domain.contracts.deployment_form import (
    read_code,
    read_members,
    read_name,
    read_reason,
)
from services.consensus.domain.contracts.deployment_notice import (
    NOTICE,
    require_notice,
    require_same_notice,
)
from services.consensus.domain.contracts.deployment_positions import require_no_open
from services.consensus.domain.contracts.deployment_proposal import (
    PROPOSAL_LIFE_MS,
    Action,
    ContractProposal,
    drop,
    entities_of,
    keep,
    make_room,
    may_take_effect,
    open_proposal,
    proposals_for,
    proposed_code_key,
)
from services.consensus.domain.contracts.deployment_template import (
    RELEASE,
    Release,
    judge_release,
    require_standing,
    require_successor,
)
from services.consensus.domain.contracts.governance import governor_of
from services.consensus.domain.contracts.host import Host, Method, Refusal
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.interface import compare, interface_of
from services.consensus.domain.contracts.star.ir import ENGINE
from services.consensus.domain.contracts.star.package import Code
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.model import FORMAT, FORMATS
from services.consensus.domain.contracts.template.tiers import TierMap

RESERVED: Final = frozenset(
    (
        "calendar",
        "chains",
        "contracts",
        "documents",
        "evidence",
        "gas",
        "governance",
        "identity",
        "ledger",
        "light_client",
        "notices",
        "objects",
        "packets",
        "register",
        "services",
        "templates",
    )
)
"""Names of contracts in Python, on whichever chain, and what proposals about gas are called; the
same for ever in versions 1 to 4.
"""
_RESERVED_LATER: Final = frozenset(("observed",))
"""The same from version 5 on."""
GAS_NAME: Final = "gas"

_FORMATS: Final[Mapping[int, tuple[str, ...]]] = {1: (), 2: (FORMAT,)}
"""Of templates, by version; any later one knows all."""
_BECOMES: Final = {
    Action.PAUSE: (Status.PAUSED, "contracts.paused"),
    Action.RESUME: (Status.ACTIVE, "contracts.resumed"),
    Action.DESTROY: (Status.DESTROYED, "contracts.destroyed"),
}
_FROM: Final = {
    Action.UPGRADE: (Status.ACTIVE, Status.PAUSED),
    Action.PAUSE: (Status.ACTIVE,),
    Action.RESUME: (Status.PAUSED,),
    Action.DESTROY: (Status.ACTIVE, Status.PAUSED),
}


@dataclass(frozen=True, slots=True)
class DeploymentsContract:
    """`contracts`; v2 asks of a deployment and of an upgrade for the template, its standing, tests
    and a risk review, and of each approval of them for the standing. v3 also knows templates of
    format 2, and destroys nothing in which a business is under way. v4 asks the report of tests for
    a static analysis and a run on a test network, and looks further for numbers of persons. v5 also
    compares the templates of an upgrade, asks for the notice of one that breaks, and has the engine
    hold each call of what it deploys against the life cycle and the tiers of its template.
    """

    version: int = 1
    name: str = CONTRACTS

    def methods(self) -> Mapping[str, Method]:
        """For governors."""
        formats = _FORMATS.get(self.version, FORMATS)
        return {
            "deploy": partial(deploy, formats=formats, version=self.version),
            "upgrade": partial(upgrade, formats=formats, version=self.version),
            "pause": partial(_propose_status, action=Action.PAUSE, version=self.version),
            "resume": partial(_propose_status, action=Action.RESUME, version=self.version),
            "destroy": partial(_propose_status, action=Action.DESTROY, version=self.version),
            "set_gas": set_gas,
            "approve": partial(approve, version=self.version),
            "withdraw": withdraw,
        }


def deploy(
    host: Host, body: Mapping[str, Json], *, formats: Collection[str] = (), version: int = 1
) -> None:
    """Propose a new contract under a name of its own, by a template where `formats` are known."""
    read_members(body, *("name", "engine", "ir", "source"), *(RELEASE if formats else ()))
    name = read_name(body["name"])
    _, entity, current = governor_of(host)
    _check_free(host, name, version)
    code = read_code(body)
    facts: dict[str, Json] = {"engine": ENGINE, "digest": code.module.digest.hex()}
    if formats:
        facts |= judge_release(host, body, code.module, formats, version).facts
    _propose(host, Action.DEPLOY, name, (entity, current), facts, code)


def upgrade(
    host: Host, body: Mapping[str, Json], *, formats: Collection[str] = (), version: int = 1
) -> None:
    """Propose the next version of a contract. `compatible` is what the proposer told everybody; a
    breaking change told as compatible is refused (G2-14-4).
    """
    by_life_cycle = version >= BY_LIFE_CYCLE
    members = ("name", "engine", "ir", "source", "compatible", *(RELEASE if formats else ()))
    read_members(body, *members, *((FORMER_TEMPLATE, NOTICE) if by_life_cycle else ()))
    name = read_name(body["name"])
    _, entity, current = governor_of(host)
    before = _in_status(host, name, Action.UPGRADE)
    code = read_code(body)
    digest = code.module.digest.hex()
    if digest == before.digest:
        raise Refusal("CONTRACT_UNCHANGED", contract=name, digest=digest)
    old = read_form(code_of(host, before))
    found = Differences(compare(interface_of(old), interface_of(code.module)))
    require_class(name, found, body["compatible"])
    facts: dict[str, Json] = {
        "engine": ENGINE,
        "digest": digest,
        "from_version": before.version,
        "compatible": not found.breaking,
        "changes": found.told(),
        "changes_count": len(found.changes),
    }
    if formats:
        release = judge_release(host, body, code.module, formats, version)
        require_successor(before.template, release.named)
        facts |= release.facts
        if by_life_cycle:
            facts |= _template_change(host, body, before, release, found, digest)
    _propose(host, Action.UPGRADE, name, (entity, current), facts, code)


def _template_change(
    host: Host,
    body: Mapping[str, Json],
    before: Deployed,
    release: Release,
    found: Differences,
    digest: str,
) -> dict[str, Json]:
    """What the templates of an upgrade differ in beside the interface, and its notice if it breaks
    anybody.
    """
    former = body[FORMER_TEMPLATE]
    more = template_differences(before.template, former, release.template, FORMATS)
    require_class(before.name, more, body["compatible"])
    entry: dict[str, Json] = {
        "contract": before.name,
        "from": before.digest,
        "to": digest,
        "template": release.named.digest,
    }
    breaking = found.breaking + more.breaking
    return {
        "compatible": not breaking,
        "template_changes": more.told(),
        "template_changes_count": len(more.changes),
        "notice": require_notice(host, body[NOTICE], entry, breaking),
    }


def set_gas(host: Host, body: Mapping[str, Json]) -> None:
    """Propose the next version of limits and prices, under the name `gas`. Calls from then on are
    paid by it; what was paid before stays. It has the prices that the one in force has, no others:
    a chain that began with the first table was never asked for more.
    """
    read_members(body, "transaction_limit", "block_limit", "prices")
    _, entity, current = governor_of(host)
    in_force = gas_rules(host)
    try:
        rules = GasRules.from_json({**body, "version": in_force.version + 1})
        if rules.prices.is_first is not in_force.prices.is_first:
            raise ValueError("not the prices that the rules in force have")
    except ValueError as error:
        raise Refusal("BODY_MALFORMED", field="gas", fault=str(error)[:200]) from error
    _propose(host, Action.SET_GAS, GAS_NAME, (entity, current), {"gas": rules.to_json()}, None)


def approve(host: Host, body: Mapping[str, Json], *, version: int = 1) -> None:
    """Approve a proposal for the sender's entity; doing so twice changes nothing. The template that
    it names has to be in force still, and so has the notice of an upgrade.
    """
    by_template = version >= BY_TEMPLATE
    by_life_cycle = version >= BY_LIFE_CYCLE
    more = (*(("standing",) if by_template else ()), *((NOTICE,) if by_life_cycle else ()))
    read_members(body, "name", "proposal", *more)
    name = read_name(body["name"])
    _, entity, current = governor_of(host)
    proposal = open_proposal(host, name, body["proposal"], current)
    if by_template:
        _require_in_force(host, proposal, body["standing"], version)
    if by_life_cycle:
        require_same_notice(host, body[NOTICE], proposal.facts.get("notice"))
    if entity not in proposal.approvals:
        _approve(host, proposal, entity, current, version=version)


def withdraw(host: Host, body: Mapping[str, Json]) -> None:
    """Take the own entity's proposal back."""
    read_members(body, "name", "proposal")
    name = read_name(body["name"])
    _, entity, current = governor_of(host)
    proposal = open_proposal(host, name, body["proposal"], current)
    if proposal.entity != entity:
        raise Refusal("PROPOSAL_UNKNOWN", proposal=proposal.id)
    drop(host, entity, name)
    host.emit("contracts.withdrawn", {"proposal": proposal.id, "name": name, "entity_id": entity})


def _require_in_force(host: Host, proposal: ContractProposal, standing: Json, version: int) -> None:
    named = proposal.facts.get("template")
    if named is not None:
        if version >= BY_RELEASE and deployer_of(proposal.facts) < version:
            # Proposed while the chain asked for less.
            raise Refusal("PROPOSAL_EXPIRED", proposal=proposal.id, expired_ms=proposal.expires_ms)
        template = NamedTemplate.from_json(named)
        require_standing(host, (template.id, template.version), template.digest, standing)
    elif proposal.action in (Action.DEPLOY, Action.UPGRADE):
        # Proposed while the chain asked for none.
        raise Refusal("PROPOSAL_EXPIRED", proposal=proposal.id, expired_ms=proposal.expires_ms)
    elif standing is not None:
        fault = "this proposal has no template"
        raise Refusal("BODY_MALFORMED", field="standing", fault=fault)


def _propose_status(
    host: Host, body: Mapping[str, Json], *, action: Action, version: int = 1
) -> None:
    read_members(body, "name", "reason")
    name, reason = read_name(body["name"]), read_reason(body["reason"])
    _, entity, current = governor_of(host)
    _may_become(host, name, action, version)
    _propose(host, action, name, (entity, current), {"reason": reason}, None, version=version)


def _propose(
    host: Host,
    action: Action,
    name: str,
    proposer: tuple[str, ReplicaSet],
    facts: dict[str, Json],
    code: Code | None,
    *,
    version: int = 1,
) -> None:
    entity, current = proposer
    make_room(host, entity, name)
    drop(host, entity, name)
    expires_ms = host.block_time_ms() + PROPOSAL_LIFE_MS
    identifier = host.transaction_id()
    proposal = ContractProposal(identifier, action, name, entity, expires_ms, (), facts)
    if code is not None:
        host.put(proposed_code_key(entity, name), code.to_json())
    host.emit("contracts.proposed", {**_told(proposal), **facts})
    _approve(host, proposal, entity, current, version=version)


def _approve(
    host: Host, proposal: ContractProposal, entity: str, current: ReplicaSet, *, version: int
) -> None:
    proposal = proposal.approved_by(entity)
    keep(host, proposal)
    counted = {"approvals": proposal.count(current), "entities": len(entities_of(current))}
    host.emit("contracts.approved", {**_told(proposal), "entity_id": entity, **counted})
    if may_take_effect(proposal, current):
        _take_effect(host, proposal, version)
        # They were judged against the contract as it was.
        for other in list(proposals_for(host, proposal.name, entities_of(current))):
            drop(host, other.entity, other.name)


def _take_effect(host: Host, proposal: ContractProposal, version: int) -> None:
    name, action = proposal.name, proposal.action
    if action in (Action.DEPLOY, Action.UPGRADE):
        _take_code(host, proposal, version)
        return
    if action is Action.SET_GAS:
        _take_gas(host, proposal)
        return
    status, topic = _BECOMES[action]
    contract = _may_become(host, name, action, version).with_status(status)
    host.put(contract_record_key(name), contract.to_json())
    host.emit(topic, {**_told(proposal), **contract.to_json(), **proposal.facts})


def _take_gas(host: Host, proposal: ContractProposal) -> None:
    rules = GasRules.from_json(proposal.facts["gas"])
    if rules.version != gas_rules(host).version + 1:
        # Of an entity that left and came back: others have changed gas meanwhile.
        raise Refusal("PROPOSAL_EXPIRED", proposal=proposal.id)
    host.put(gas_key(rules.version), rules.to_json())
    host.put(GAS_LATEST_KEY, rules.version)
    host.emit("contracts.gas_set", {**_told(proposal), **proposal.facts})


def _take_code(host: Host, proposal: ContractProposal, version: int) -> None:
    """A paused contract stays paused under its new version."""
    name, facts = proposal.name, proposal.facts
    before = None
    if proposal.action is Action.DEPLOY:
        _check_free(host, name, version)
    else:
        before = _in_status(host, name, Action.UPGRADE)
        if before.version != facts["from_version"]:
            # Of an entity that left and came back: what was compared is no more.
            raise Refusal("PROPOSAL_EXPIRED", proposal=proposal.id)
    named, tiers, steps = (facts.get(each) for each in ("template", "tiers", "life_cycle"))
    contract = Deployed(
        name,
        engine=ENGINE,
        digest=str(facts["digest"]),
        version=1 if before is None else before.version + 1,
        status=Status.ACTIVE if before is None else before.status,
        template=None if named is None else NamedTemplate.from_json(named),
        tiers=None if tiers is None else TierMap.from_json(tiers),
        final_states=states_from_json(facts.get("final_states")),
        life_cycle=None if steps is None else LifeCycle.from_json(steps),
        deployer=deployer_of(facts),
    )
    code = host.get(proposed_code_key(proposal.entity, name))
    assert code is not None, "it stands there while the proposal does"
    host.put(code_key(name, contract.version), code)
    host.put(contract_record_key(name), contract.to_json())
    topic = "contracts.deployed" if before is None else "contracts.upgraded"
    host.emit(topic, {**_told(proposal), **contract.to_json(), **facts})


def _told(proposal: ContractProposal) -> dict[str, Json]:
    return {
        "proposal": proposal.id,
        "action": proposal.action.value,
        "name": proposal.name,
        "entity_id": proposal.entity,
    }


def reserved_in(version: int) -> frozenset[str]:
    """The names that no deployed contract may have in this version."""
    return RESERVED | _RESERVED_LATER if version >= BY_LIFE_CYCLE else RESERVED


def _check_free(host: Host, name: str, version: int) -> None:
    taken = host.get(SYSTEM_KEY)
    assert isinstance(taken, list), "genesis writes the names of the chain's contracts"
    if name in reserved_in(version) or name in taken or deployed(host, name) is not None:
        raise Refusal("CONTRACT_NAME_TAKEN", name=name)


def _may_become(host: Host, name: str, action: Action, version: int) -> Deployed:
    """The contract, if this action may change its status now."""
    contract = _in_status(host, name, action)
    if action is Action.DESTROY and version >= BY_POSITIONS:
        require_no_open(host, contract)
    return contract


def _in_status(host: Host, name: str, action: Action) -> Deployed:
    """The contract, if it is where this action begins."""
    contract = deployed(host, name)
    if contract is None:
        raise Refusal("CONTRACT_UNKNOWN", contract=name)
    if contract.status is Status.DESTROYED:
        raise Refusal("CONTRACT_DESTROYED", contract=name)
    if contract.status not in _FROM[action]:
        raise Refusal(
            "CONTRACT_STATE_WRONG", contract=name, status=contract.status.value, action=action.value
        )
    return contract
