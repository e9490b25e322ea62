"""Set changes and evidence on drivers with real stores and signatures, joined in memory.

Each chain has governors of its four entities; places without a replica are played by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.followed_sets import FollowedSets
from guqiao_sdk.client.transactions import ChainPosition, Identity, build_transaction
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import PrivateKey
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import verify_certificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance
from services.consensus import wire
from services.consensus.domain.learner import Learner
from services.consensus.domain.messages import (
    Digest,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import sign_bytes
from services.consensus.ledger import Ledger
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms
from tests.plugins.chain_network import ADMIN, PARAMETERS, ChainNetwork

APPLIED = ledger_pb2.OUTCOME_APPLIED
WINDOW = 8
ROLES = {ADMIN: ("identity_admin",)} | {
    f"{number}/{name}": (name,) for number in range(4) for name in ("governor", "replica")
}


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("evidence", 1)),
        parameters={**PARAMETERS, "heartbeat_ms": 60_000},
    )


async def send(
    member: Member,
    network: ChainNetwork,
    maker: Identity,
    contract: str,
    method: str,
    body: Mapping[str, Json],
) -> ledger_pb2.TransactionResult:
    height = member.finality.certified_height
    position = ChainPosition("shandong", height, bytes(32), now_ms())
    transaction = build_transaction(
        network.provider, maker, position, contract=contract, method=method, body=body
    )
    async with asyncio.timeout(60):
        result = await member.submissions.submit(transaction, wait_final=True)
    assert result is not None
    return result


async def register(member: Member, network: ChainNetwork, name: str) -> int:
    """An ordinary transaction; returns its height."""
    admin = network.identities[ADMIN]
    key: Json = {
        "id": "k1",
        "public_key": admin.private_key.public_key.hex(),
        "not_before_ms": 0,
        "not_after_ms": 4 * 10**12,
    }
    identity: Json = {
        "did": f"{admin.organisation}.{name}",
        "organisation": admin.organisation,
        "roles": [],
        "keys": [key],
    }
    result = await send(
        member, network, admin, "identity", "register_identity", {"identity": identity}
    )
    assert result.outcome == APPLIED, result.code
    return result.height


def members_json(chain: MemoryChain, keys: Sequence[PrivateKey]) -> list[Json]:
    """The present entities, further ones where there are more keys."""
    known = chain.genesis.replica_set.members
    return [
        {
            "entity_id": known[number].entity_id if number < 4 else f"91370000TEST00000{number}",
            "entity_name": f"机构{number}",
            "vote_key": key.public_key.hex(),
        }
        for number, key in enumerate(keys)
    ]


async def decide(
    chain: MemoryChain, network: ChainNetwork, keys: Sequence[PrivateKey]
) -> ledger_pb2.TransactionResult:
    """Three of four entities let these keys vote."""
    member = next(iter(chain.members.values()))
    body: dict[str, Json] = {
        "members": members_json(chain, keys),
        "governors": [],
        "not_before": 0,
    }
    governors = [network.identities[f"{number}/governor"] for number in range(3)]
    proposed = await send(member, network, governors[0], "governance", "propose", body)
    assert proposed.outcome == APPLIED, proposed.code
    named: dict[str, Json] = {"proposal": proposed.transaction_id.hex()}
    for governor in governors[1:]:
        result = await send(member, network, governor, "governance", "approve", named)
        assert result.outcome == APPLIED, result.code
    return result


def check_chain(chain: MemoryChain, member: Member) -> None:
    """A light client that trusts genesis alone follows every set change to the last height."""
    ledger, verify = member.ledger, chain.provider.verify
    trusted = TrustedChain.from_genesis(chain.genesis.hash(), chain.genesis.replica_set)
    for height in range(1, ledger.store.last_certified + 1):
        header, certificate = ledger.header(height), ledger.store.get_certificate(height)
        assert certificate is not None
        following = ledger.set_at(height + 1)
        assert header.next_set_hash == following.hash()
        changes = []
        if following.epoch != header.epoch:
            changes = [SetChange(header, certificate, following)]
        verify_certificate(header, certificate, ledger.set_at(height), verify)
        if not changes:
            trusted = advance(trusted, header, certificate, verify)
        elif height < ledger.store.last_certified:
            later = ledger.header(height + 1)
            later_certificate = ledger.store.get_certificate(height + 1)
            assert later_certificate is not None
            trusted = advance(trusted, later, later_certificate, verify, changes)


@dataclass
class Asked:
    """Answers `ListSetChanges` from a ledger, in the place of a client's endpoints."""

    ledger: Ledger

    async def call(self, attempt: Any, seconds: float) -> Any:
        return await attempt(self, seconds)

    async def ListSetChanges(
        self,
        request: node.ListSetChangesRequest,
        timeout: float,  # noqa: ASYNC109 - as the stub has it
    ) -> node.ListSetChangesResponse:
        changes = self.ledger.set_changes(request.from_epoch)
        return node.ListSetChangesResponse(set_changes=[each.encode() for each in changes])


def same_blocks(members: Sequence[Member], height: int) -> bool:
    return len({member.ledger.header(height).hash() for member in members}) == 1


@pytest.mark.req("G2-10-3", "G2-16-3")
async def test_a_vote_key_is_replaced_without_a_restart_and_the_old_one_counts_no_more(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md G3 to G6: replica 3 holds both keys, the chain is idle but for governance."""
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(3)]
    members.append(await chain.start(3, (network.vote_keys[3], new)))
    decided = await decide(chain, network, [*network.vote_keys[:3], new])
    end = decided.height + WINDOW - 1
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in members))
    assert all(isinstance(m.driver.replica, Replica) for m in members)
    height = await register(members[3], network, "after")
    assert height > end
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in members))
    assert same_blocks(members, height)
    assert members[0].ledger.header(end).epoch == 0
    assert members[0].ledger.header(end + 1).epoch == 1
    check_chain(chain, members[0])


@pytest.mark.req("G2-10-3")
async def test_a_learner_follows_and_votes_from_its_height_on_without_a_restart(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md G7: five replicas need four votes, so the chain goes on only if the fifth votes."""
    chain.places = 5
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(4)]
    learner = await chain.start(4, (new,))
    assert isinstance(learner.driver.replica, Learner)
    height = await register(members[0], network, "before")
    await chain.wait_for(lambda: learner.finality.certified_height >= height)
    await decide(chain, network, [*network.vote_keys, new])
    everybody = [*members, learner]
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in everybody))
    assert isinstance(learner.driver.replica, Replica)
    await chain.stop(0)
    height = await register(learner, network, "after")
    assert learner.ledger.set_at(height).size == 5
    check_chain(chain, learner)


@pytest.mark.req("G2-10-3")
async def test_a_removed_member_follows_on_and_its_votes_count_no_more(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md G6: its number passes to another key that nobody runs yet; three of four go on."""
    members = [await chain.start(number) for number in range(4)]
    await decide(chain, network, [*network.vote_keys[:3], network.provider.keygen()])
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in members))
    assert isinstance(members[3].driver.replica, Learner)
    height = await register(members[3], network, "after")
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in members))
    certificate = members[0].ledger.store.get_certificate(height)
    assert certificate is not None
    assert [number for number, _ in certificate.signatures] == [0, 1, 2]


@pytest.mark.req("G2-10-3", "G2-07-1")
@pytest.mark.parametrize("before", [2, 1, 0])
async def test_p04_a_primary_that_stops_around_the_change_stops_no_chain(
    chain: MemoryChain, network: ChainNetwork, before: int
) -> None:
    """P4: the primary is gone `before` heights below the end of its epoch; the view changes, and
    the others come to the same epoch, with the stopped one after its restart.
    """
    members = [await chain.start(number) for number in range(4)]
    stopped = members[0]
    decided = await decide(chain, network, [*network.vote_keys[:3], network.provider.keygen()])
    stop_at = decided.height + WINDOW - 1 - before
    await chain.wait_for(lambda: stopped.driver.replica.executed >= stop_at)
    await chain.stop(0)
    chain.members[0] = restarted = await chain.start(0)
    live = [restarted, *members[1:]]
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in live))
    height = await register(members[1], network, "after")
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in live))
    assert same_blocks(live, height)
    check_chain(chain, restarted)


@pytest.mark.req("G2-10-3")
async def test_a_replica_that_was_away_over_the_change_catches_up_through_it(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md G8: it verifies each block by the set of its height, which it learns on the way."""
    members = [await chain.start(number) for number in range(4)]
    await register(members[0], network, "before")
    await chain.stop(1)
    new = network.provider.keygen()
    live = [chain.members[number] for number in (0, 2, 3)]
    keys = network.vote_keys
    await decide(chain, network, [keys[0], new, keys[2], keys[3]])
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in live))
    height = await register(live[0], network, "meanwhile")
    back = await chain.start(1, (network.vote_keys[1], new))
    await chain.wait_for(lambda: back.finality.certified_height >= height)
    # It has a vote in both epochs, and enters the second once the certified blocks are executed.
    await chain.wait_for(lambda: back.driver.replica.epoch == 1)
    assert isinstance(back.driver.replica, Replica)
    check_chain(chain, back)


def spoken_by(chain: MemoryChain, network: ChainNetwork, message: Any, number: int) -> Any:
    """The message, signed with the vote key of replica `number`."""
    signed = sign_bytes(message, chain.genesis.replica_set)
    return replace(message, signature=network.provider.sign(network.vote_keys[number], signed))


def lie_of_replica_3(chain: MemoryChain, network: ChainNetwork, to: int) -> None:
    """Two prepares for one place; the second is the lie."""
    for text in ("one", "two"):
        digest = Digest(text.encode().ljust(32, b"."))
        vote = Prepare(View(0), SequenceNumber(1), digest, ReplicaId(3), b"")
        chain.deliver(3, to, wire.message_frame(spoken_by(chain, network, vote, 3)))


@pytest.mark.req("G2-16-4")
async def test_a_replica_that_votes_twice_is_named_on_chain_and_jailed(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md E1 to E5: replicas 0 to 2 are honest, 3 is played by the test."""
    chain.reporters = {n: network.identities[f"{n}/replica"] for n in range(3)}
    members = [await chain.start(number) for number in range(3)]
    for to in range(3):
        lie_of_replica_3(chain, network, to)
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in members))
    assert members[0].driver.replica.replica_set.jailed == (3,)
    height = await register(members[0], network, "after")
    assert members[0].ledger.set_at(height).quorum == 3
    late = Prepare(View(0), SequenceNumber(height + 1), Digest(b"x" * 32), ReplicaId(3), b"")
    members_now = members[0].ledger.set_at(height)
    signed = network.provider.sign(network.vote_keys[3], sign_bytes(late, members_now))
    chain.deliver(3, 0, wire.message_frame(replace(late, signature=signed), 1))
    counted = b'rejected_messages_total{reason="not_member",replica="3"} 1.0'
    await chain.wait_for(lambda: counted in members[0].metrics.render())
    degraded = b"guqiao_consensus_jailed_replicas 1.0"
    await chain.wait_for(lambda: degraded in members[0].metrics.render())
    check_chain(chain, members[0])


@pytest.mark.req("G2-16-4")
async def test_evidence_survives_a_restart_and_is_not_doubled(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md E1: the replica stops before it could submit what it found."""
    members = [await chain.start(number) for number in range(3)]
    lie_of_replica_3(chain, network, 0)
    folder = chain.folder / "member0" / "evidence"
    await chain.wait_for(lambda: len(list(folder.glob("*.json"))) == 1)
    await chain.stop(0)
    chain.reporters = {0: network.identities["0/replica"]}
    restarted = await chain.start(0)
    lie_of_replica_3(chain, network, 0)
    live = [restarted, *members[1:]]
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in live))
    await chain.wait_for(lambda: not list(folder.glob("*.json")))
    assert live[1].driver.replica.replica_set.jailed == (3,)


@pytest.mark.req("G2-16-4")
async def test_a_jailed_replica_follows_the_chain_and_is_back_with_a_new_key(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md E6: governance replaces the key, and the chain is no longer degraded."""
    chain.reporters = {0: network.identities["0/replica"]}
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(3)]
    members.append(await chain.start(3, (network.vote_keys[3], new)))
    lie_of_replica_3(chain, network, 0)
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in members))
    assert isinstance(members[3].driver.replica, Learner)
    await decide(chain, network, [*network.vote_keys[:3], new])
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 2 for m in members))
    assert isinstance(members[3].driver.replica, Replica)
    assert members[0].driver.replica.replica_set.jailed == ()
    await chain.stop(1)
    await register(members[3], network, "after")
    check_chain(chain, members[0])


async def test_a_batch_of_an_old_epoch_proves_nothing_in_the_new(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """B26: the removed primary proposes again under its old key and epoch; it is not looked at."""
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(4)]
    await decide(chain, network, [new, *network.vote_keys[1:]])
    live = members[1:]
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in live))
    sequence = SequenceNumber(live[0].driver.replica.low_watermark + 1)
    batch = Batch(now_ms(), ())
    stale = PrePrepare(View(0), sequence, batch, Digest(batch.digest()), b"")
    stale = spoken_by(chain, network, stale, 0)
    for to in (1, 2, 3):
        chain.deliver(0, to, wire.message_frame(stale))
        chain.deliver(0, to, wire.message_frame(stale, 1))
    rejected = b'rejected_messages_total{reason="unauthentic",replica="0"} 1.0'
    await chain.wait_for(lambda: all(rejected in m.metrics.render() for m in live))
    assert all(m.driver.replica.executed < sequence for m in live)


@pytest.mark.req("G2-10-3")
async def test_a_client_follows_the_sets_of_a_chain_from_the_set_that_it_trusts(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md G4: every block verifies under the set of its height, and under no other."""
    new = network.provider.keygen()
    members = [await chain.start(number) for number in range(3)]
    members.append(await chain.start(3, (network.vote_keys[3], new)))
    await decide(chain, network, [*network.vote_keys[:3], new])
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in members))
    height = await register(members[0], network, "after")
    ledger = members[0].ledger
    trust = ChainTrust("shandong", chain.genesis.hash(), chain.genesis.replica_set)
    sets = FollowedSets(trust, chain.provider, Asked(ledger))  # type: ignore[arg-type]
    last = ledger.block_message(height)
    assert last is not None
    assert (await sets.verified_block(last)).header.epoch == 1
    assert len(sets.changes_to(1)) == 1
    for number in range(1, height):
        message = ledger.block_message(number)
        assert message is not None
        block = await sets.verified_block(message)
        is_end = number == sets.changes_to(1)[0].header.height
        assert block.next_set == (ledger.set_at(height) if is_end else None)
    beyond = replace(ledger.header(height), epoch=0)
    with pytest.raises(ProofError, match="ended below it"):
        await sets.set_of(beyond.encode())
    forged = ledger.block_message(sets.changes_to(1)[0].header.height)
    assert forged is not None
    forged.next_replica_set = chain.genesis.replica_set.encode()
    with pytest.raises(ProofError, match="names another"):
        await sets.verified_block(forged)
    with pytest.raises(ProofError, match="none is known"):
        await sets.set_of(replace(beyond, epoch=2).encode())
