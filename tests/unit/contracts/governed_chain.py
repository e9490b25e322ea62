"""A chain without disk whose replica set is governed: four entities with a governor each."""

from __future__ import annotations

from typing import Any

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.receipt import Outcome, Receipt
from guqiao_sdk.proof.votes import VoteType
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.evidence import EvidenceContract
from services.consensus.domain.contracts.governance import GovernanceContract
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.contracts.replica_sets import SetInForce, latest_set, set_at
from services.consensus.domain.ledger.restarting import GovernanceState
from services.consensus.domain.messages import (
    Digest,
    ReplicaId,
    SequenceNumber,
    Statement,
    View,
)
from services.consensus.domain.statements import encode_statement, vote_bytes
from tests.unit.ledger.chain_builder import (
    ADMIN,
    MARKET,
    MemoryChain,
    genesis_json,
    genesis_of,
    identity_json,
    key_json,
    payload_of,
    public_key,
    replicas_json,
    sign,
)

WINDOW = 8


def governor(entity: str) -> str:
    return f"did:rem:testing:{entity}.governor"


def organisation(entity: str) -> str:
    return f"did:rem:testing:{entity}"


def governor_json(entity: str) -> dict[str, Any]:
    return {
        "did": governor(entity),
        "organisation": organisation(entity),
        "roles": ["governor"],
        "keys": [key_json(governor(entity))],
    }


def governed_chain(*entities: str, evidence_version: int = 2) -> MemoryChain:
    members = entities or ("A", "B", "C", "D")
    value = genesis_json()
    value["replicas"] = replicas_json(*members)
    value["contracts"] = [
        {"name": name, "version": version, "from_height": 0}
        for name, version in (("identity", 1), ("governance", 1), ("evidence", evidence_version))
    ]
    value["identities"] = [identity_json(ADMIN, "identity_admin")] + [
        governor_json(entity) for entity in sorted(set(members))
    ]
    catalogue = Catalogue(
        [IdentityContract(), GovernanceContract(), EvidenceContract(evidence_version)]
    )
    return MemoryChain(genesis_of(value), catalogue)


def members_json(*entities: str, keys: dict[int, str] | None = None) -> list[Json]:
    """Members with the keys of genesis, but those that `keys` names anew."""
    return [
        {
            "entity_id": entity,
            "entity_name": f"Entity {entity}",
            "vote_key": public_key((keys or {}).get(number, f"replica-{number}")).hex(),
        }
        for number, entity in enumerate(entities)
    ]


def ask(
    chain: MemoryChain, entity: str, method: str, body: dict[str, Any], *, key_id: str = "k1"
) -> Receipt:
    """One transaction of the entity's governor in a block of its own."""
    payload = payload_of(
        method,
        body,
        maker=(governor(entity), key_id),
        organisation=organisation(entity),
        contract="governance",
        expires_height=chain.header.height + 100,
        expires_time_ms=chain.header.block_time_ms + 300_000,
    )
    return chain.receipt(payload)


def propose(
    chain: MemoryChain,
    entity: str,
    members: list[Json],
    *,
    not_before: int = 0,
    governors: Any = (),
) -> Receipt:
    body = {"members": members, "governors": list(governors), "not_before": not_before}
    return ask(chain, entity, "propose", body)


def approve(chain: MemoryChain, entity: str, proposal: Receipt) -> Receipt:
    return ask(chain, entity, "approve", {"proposal": proposal.transaction_id.hex()})


def decide(chain: MemoryChain, members: list[Json], **options: Any) -> Receipt:
    """Propose and approve by three of four; returns the receipt that scheduled it."""
    proposal = propose(chain, "A", members, **options)
    assert proposal.outcome is Outcome.APPLIED, proposal.code
    approve(chain, "B", proposal)
    return approve(chain, "C", proposal)


def replica_set(chain: MemoryChain, height: int) -> ReplicaSet:
    found = set_at(GovernanceState(chain.state), height)
    assert found is not None
    return found.replica_set


def latest(chain: MemoryChain) -> SetInForce:
    found = latest_set(GovernanceState(chain.state))
    assert found is not None
    return found


def statement(
    members: ReplicaSet,
    number: int,
    text: str,
    *,
    vote_type: VoteType = VoteType.PREPARE,
    view: int = 3,
    sequence: int = 7,
) -> Statement:
    """What replica `number` signed, with the key that the set has for it."""
    digest = Digest(text.encode().ljust(32, b"."))
    place = (vote_type, View(view), SequenceNumber(sequence))
    signature = sign(members.members[number].public_key, vote_bytes(members, *place, digest))
    return Statement(*place, digest, ReplicaId(number), signature)


def accuse(chain: MemoryChain, first: Statement, second: Statement, *, epoch: int = 0) -> Receipt:
    body: dict[str, Any] = {
        "epoch": epoch,
        "replica": int(first.replica),
        "first": encode_statement(first).hex(),
        "second": encode_statement(second).hex(),
    }
    payload = payload_of(
        "submit",
        body,
        maker=(ADMIN, "k1"),
        organisation=MARKET,
        contract="evidence",
        expires_height=chain.header.height + 100,
        expires_time_ms=chain.header.block_time_ms + 300_000,
    )
    return chain.receipt(payload)


def convict(chain: MemoryChain, number: int, **options: Any) -> Receipt:
    """Evidence of two prepares of one replica."""
    members = replica_set(chain, chain.header.height + 1)
    first = statement(members, number, "one", **options)
    return accuse(chain, first, statement(members, number, "two", **options), epoch=members.epoch)
