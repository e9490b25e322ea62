"""What entities decide on together about a contract in star/1, and whether they have.

A proposal is one entity's, for one contract; it is counted over the entities of the set in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.packets_host import text

PROPOSAL_LIFE_MS: Final = 7 * 86_400_000
PROPOSALS_OF_ENTITY_MAX: Final = 8


class Action(StrEnum):
    """What is proposed."""

    DEPLOY = "deploy"
    UPGRADE = "upgrade"
    PAUSE = "pause"
    RESUME = "resume"
    DESTROY = "destroy"
    SET_GAS = "set_gas"


@dataclass(frozen=True, slots=True)
class ContractProposal:
    """`facts` are those of its action: digest and changes, or the reason. Its code, where it brings
    some, stands under a key of its own.
    """

    id: str
    action: Action
    name: str
    entity: str
    expires_ms: int
    approvals: tuple[str, ...]
    facts: dict[str, Json]

    def to_json(self) -> dict[str, Json]:
        """As the state keeps it."""
        return {
            "id": self.id,
            "action": self.action.value,
            "name": self.name,
            "entity_id": self.entity,
            "expires_ms": self.expires_ms,
            "approvals": list(self.approvals),
            "facts": self.facts,
        }

    def approved_by(self, entity: str) -> ContractProposal:
        """The same with one approval more."""
        return replace(self, approvals=(*self.approvals, entity))

    def count(self, current: ReplicaSet) -> int:
        """How many entities of the set in force approve it."""
        return len(entities_of(current).intersection(self.approvals))


def may_take_effect(proposal: ContractProposal, current: ReplicaSet) -> bool:
    """Whether what is proposed takes effect now: the one place that decides it, so what a
    deployment has to bring beside approvals is asked here.

    More than two thirds of the entities decide, as on the replica set. To stop a contract in an
    emergency more than a third suffices: as many could have kept it from ever running.
    """
    needed = 1 if proposal.action is Action.PAUSE else 2
    return 3 * proposal.count(current) > needed * len(entities_of(current))


def entities_of(current: ReplicaSet) -> set[str]:
    """The legal entities with a replica."""
    return {member.entity_id for member in current.members}


def keep(host: Host, proposal: ContractProposal) -> None:
    """Write it; an earlier one of the same entity for the same contract gives way."""
    host.put(_key(proposal.entity, proposal.name), proposal.to_json())


def drop(host: Host, entity: str, name: str) -> None:
    """Forget an entity's proposal for a contract and the code that it brought."""
    host.delete(_key(entity, name))
    host.delete(proposed_code_key(entity, name))


def make_room(host: Host, entity: str, name: str) -> None:
    """Drop what an entity proposed and let expire, and refuse where the rest is too many."""
    open_ones = 0
    for _, value in host.scan(_key(entity, ""), PROPOSALS_OF_ENTITY_MAX):
        proposal = _proposal(value)
        if proposal.expires_ms < host.block_time_ms():
            drop(host, entity, proposal.name)
        elif proposal.name != name:
            open_ones += 1
    if open_ones >= PROPOSALS_OF_ENTITY_MAX:
        raise Refusal("LIMIT_EXCEEDED", limit="proposals", maximum=PROPOSALS_OF_ENTITY_MAX)


def proposals_for(host: Host, name: str, entities: Iterable[str]) -> Iterator[ContractProposal]:
    """The proposals of these entities for a contract."""
    for entity in sorted(entities):
        value = host.get(_key(entity, name))
        if value is not None:
            yield _proposal(value)


def open_proposal(host: Host, name: str, identifier: Json, current: ReplicaSet) -> ContractProposal:
    """The proposal of this id; raises `Refusal`."""
    wanted = text(identifier, "proposal")
    for proposal in proposals_for(host, name, entities_of(current)):
        if proposal.id != wanted:
            continue
        if proposal.expires_ms < host.block_time_ms():
            raise Refusal("PROPOSAL_EXPIRED", proposal=wanted, expired_ms=proposal.expires_ms)
        return proposal
    raise Refusal("PROPOSAL_UNKNOWN", proposal=wanted)


def proposed_code_key(entity: str, name: str) -> str:
    """Where the code of an entity's proposal stands until it takes effect."""
    return f"proposed/{entity}/{name}"


def _key(entity: str, name: str) -> str:
    return f"proposal/{entity}/{name}"


def _proposal(value: Json) -> ContractProposal:
    match value:
        case {
            "id": str(identifier),
            "action": str(action),
            "name": str(name),
            "entity_id": str(entity),
            "expires_ms": int(expires_ms),
            "approvals": list(approvals),
            "facts": dict(facts),
        }:
            approving = tuple(map(str, approvals))
            return ContractProposal(
                identifier, Action(action), name, entity, expires_ms, approving, facts
            )
    raise AssertionError("a proposal of another shape")
