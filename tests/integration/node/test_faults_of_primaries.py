"""An invalid batch and an invalid new-view on drivers with real stores and signatures: whoever saw
it keeps a proof, submits it, and the chain names the legal entity (pbft.md E1, E7 to E9).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus import wire
from services.consensus.domain.contracts.evidence import NAME, Offence, key_record
from services.consensus.domain.ledger.host import read_json
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.messages import (
    NULL_DIGEST,
    Digest,
    NewView,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms
from tests.integration.node.test_set_changes_in_memory import ROLES, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("evidence", 2)),
        parameters={**PARAMETERS, "heartbeat_ms": 60_000},
    )


def signer(chain: MemoryChain, network: ChainNetwork, number: int) -> Signer:
    """The signing half of any replica, the test's liar among them."""
    key = network.vote_keys[number]
    return Signer(
        ReplicaId(number),
        chain.genesis.replica_set,
        lambda message: network.provider.sign(key, message),
    )


def bad_proposal(chain: MemoryChain, network: ChainNetwork) -> PrePrepare:
    """Replica 0 proposes what no client signed."""
    batch = Batch(now_ms(), (b"no transaction",))
    return signer(chain, network, 0).pre_prepare(View(0), SequenceNumber(1), batch)


def bad_new_view(chain: MemoryChain, network: ChainNetwork) -> NewView:
    """Replica 1 opens view 1 with a batch that nobody prepared."""
    asked = tuple(
        signer(chain, network, number).view_change(View(1), SequenceNumber(0), None, ())
        for number in (0, 1, 2)
    )
    chosen = ((SequenceNumber(1), NULL_DIGEST), (SequenceNumber(2), Digest(b"x" * 32)))
    return signer(chain, network, 1).new_view(View(1), asked, chosen)


def recorded(chain: MemoryChain, member: Member, number: int, offence: Offence) -> Any:
    """What the chain knows, at this member."""
    public_key = chain.genesis.replica_set.members[number].public_key
    with member.ledger.store.state_reader() as state:
        return read_json(state, contract_key(NAME, key_record(public_key, offence)))


@pytest.mark.req("G2-16-4", "G2-07-1")
@pytest.mark.parametrize(
    ("offence", "liar"), [(Offence.INVALID_BATCH, 0), (Offence.INVALID_NEW_VIEW, 1)]
)
async def test_e7_e8_who_signs_an_invalid_proposal_or_new_view_is_named_on_chain(
    chain: MemoryChain, network: ChainNetwork, offence: Offence, liar: int
) -> None:
    honest = [number for number in range(4) if number != liar]
    chain.reporters = {n: network.identities[f"{n}/replica"] for n in honest}
    members = [await chain.start(number) for number in honest]
    lie = bad_proposal if offence is Offence.INVALID_BATCH else bad_new_view
    for to in honest:
        chain.deliver(liar, to, wire.message_frame(lie(chain, network)))
    await chain.wait_for(lambda: all(recorded(chain, m, liar, offence) for m in members))
    facts = recorded(chain, members[0], liar, offence)
    accused = chain.genesis.replica_set.members[liar]
    assert (facts["entity_id"], facts["type"]) == (accused.entity_id, offence.name)
    folders = [chain.folder / f"member{number}" / "evidence" for number in honest]
    await chain.wait_for(lambda: not [f for each in folders for f in each.glob("*.json")])
    assert {member.driver.replica.epoch for member in members} == {0}, "nobody is jailed"
    await register(members[0], network, "after")


@pytest.mark.req("G2-16-4")
async def test_e1_a_proof_of_an_invalid_batch_survives_a_restart(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    frame = wire.message_frame(bad_proposal(chain, network))
    chain.deliver(0, 1, frame)
    folder = chain.folder / "member1" / "evidence"
    await chain.wait_for(lambda: len(list(folder.glob("*.json"))) == 1)
    (kept,) = folder.glob("*.json")
    assert json.loads(kept.read_bytes())["replica"] == 0
    await chain.stop(1)
    chain.reporters = {1: network.identities["1/replica"]}
    restarted = await chain.start(1)
    live = [restarted, *members[1:]]
    await chain.wait_for(lambda: all(recorded(chain, m, 0, Offence.INVALID_BATCH) for m in live))
    await chain.wait_for(lambda: not list(folder.glob("*.json")))


@pytest.mark.req("G2-16-4")
async def test_what_no_transaction_can_carry_is_named_in_the_log_alone(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """A batch with more transactions than genesis allows is wrong as a whole; and a transaction
    larger than a proof may be is shown by nothing smaller.
    """
    maximum = chain.genesis.parameters.batch_transactions_max
    many = Batch(now_ms(), (b"x",) * (maximum + 1))
    large = Batch(now_ms(), (bytes(chain.genesis.parameters.batch_bytes_max // 2),))
    members = [await chain.start(number) for number in (1, 2, 3)]
    for sequence, batch in enumerate((many, large), 1):
        message = signer(chain, network, 0).pre_prepare(View(0), SequenceNumber(sequence), batch)
        chain.deliver(0, 1, wire.message_frame(message))
    found = b'guqiao_consensus_evidence_total{replica="0"} 2.0'
    await chain.wait_for(lambda: found in members[0].metrics.render())
    assert not list((chain.folder / "member1" / "evidence").glob("*.json"))
    core = members[0].driver.replica
    assert isinstance(core, Replica)
    assert core._suspects or core.view > 0
