"""A chain of four that lost two for good goes on with two new members: pbft.md, Q1 to Q9.

Drivers, stores and signatures are real, joined in memory.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.followed_sets import FollowedSets
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import PrivateKey, open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from guqiao_sdk.proof.light_client import TrustedChain, advance
from guqiao_sdk.proof.quorum import Member
from guqiao_sdk.proof.restart import Restart, RestartStatement
from guqiao_sdk.proof.state_proof import verify_state_proof
from services.chassis.errors import UnavailableError
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.codec import Kind
from services.consensus.domain.contracts.replica_sets import Cause, restart_key, set_key
from services.consensus.domain.learner import Learner
from services.consensus.domain.replica import Replica
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger
from services.consensus.restart import put_in_force
from services.consensus.store import ChainStore, Promise
from tests.integration.node.memory_chain import Member as Running
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_set_changes_in_memory import (
    APPLIED,
    WINDOW,
    Asked,
    register,
    same_blocks,
    send,
)
from tests.plugins.ceremony import OPTIONS, Authorities, Ceremony, statement_of
from tests.plugins.chain_network import ADMIN, PARAMETERS, ChainNetwork

NEW = (2, 3)
ROLES = {ADMIN: ("identity_admin",)} | {f"{number}/governor": ("governor",) for number in range(4)}


@dataclass
class Lab:
    """A chain, its keys, and who may restart it."""

    chain: MemoryChain
    network: ChainNetwork
    authorities: Authorities
    new_keys: dict[int, PrivateKey] = field(default_factory=dict)

    @property
    def ceremony(self) -> Ceremony:
        governors = {
            f"91370000TEST00000{number}": self.network.identities[f"{number}/governor"].private_key
            for number in range(4)
        }
        return Ceremony(self.network.provider, self.authorities, governors)

    def folders(self, *numbers: int) -> dict[int, Path]:
        return {number: self.chain.folder_of(number) for number in numbers}

    def members(self) -> list[Member]:
        """The first two stay, two other entities come."""
        old = self.chain.genesis.replica_set.members
        self.new_keys = {number: self.network.provider.keygen() for number in NEW}
        new = [
            Member(number, key.public_key, f"91370000NEWS00000{number}", f"新机构{number}")
            for number, key in self.new_keys.items()
        ]
        return [*old[:2], *new]

    def statement(self, *survivors: int) -> RestartStatement:
        return statement_of(self.chain.genesis, self.folders(*survivors), self.members())

    def put_in_force(self, restart: Restart, *numbers: int) -> list[bool]:
        chain = self.chain
        verify = self.network.provider.verify
        return [
            put_in_force(chain.folder_of(each), chain.genesis, each, restart, verify, OPTIONS)
            for each in numbers
        ]

    async def start_restarted(self) -> list[Running]:
        """The survivors, and the new members with empty folders."""
        members = [await self.chain.start(number) for number in (0, 1)]
        return members + [
            await self.chain.start(number, (self.new_keys[number],)) for number in NEW
        ]

    def lose(self, *numbers: int) -> None:
        """Their folders are gone, but kept aside for whoever comes back."""
        for number in numbers:
            folder = self.chain.folder_of(number)
            folder.rename(folder.with_name(f"{folder.name}.lost"))


def network_of(folder: Path, authorities: Authorities) -> ChainNetwork:
    """Keys and genesis, which names these authorities."""
    return ChainNetwork.create(
        folder / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("evidence", 1)),
        parameters={**PARAMETERS, "heartbeat_ms": 60_000, "snapshot_interval": 8},
        genesis_members=authorities.genesis_members,
    )


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    authorities = Authorities.create(open_provider())
    network = network_of(tmp_path, authorities)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        yield Lab(chain, network, authorities)


def is_checkpoint(frame: bytes) -> bool:
    message = peer_pb2.PeerFrame.FromString(frame).message
    return message[:1] == bytes([Kind.CHECKPOINT])


def is_vote_of_epoch_0(frame: bytes) -> bool:
    read = peer_pb2.PeerFrame.FromString(frame)
    return bool(read.message) and read.message[:1] != bytes([Kind.HELLO]) and read.epoch == 0


async def lose_quorum(lab: Lab) -> tuple[int, bytes]:
    """Four replicas work, the votes for the last block get lost, then 2 and 3 are gone for good.
    Returns the last certified height, and the header hash of what was executed above.
    """
    chain = lab.chain
    members = [await chain.start(number) for number in range(4)]
    height = await register(members[0], lab.network, "acknowledged")
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in members))
    chain.loses = is_checkpoint
    unfinished = asyncio.ensure_future(register(members[0], lab.network, "uncertified"))

    def is_executed() -> bool:
        assert not unfinished.done(), unfinished
        return all(member.ledger.store.last_height == height + 1 for member in members)

    await chain.wait_for(is_executed)
    lost = members[0].ledger.header(height + 1).hash()
    for number in range(4):
        await chain.stop(number)
    unfinished.cancel()
    chain.loses = None
    lab.lose(2, 3)
    return height, lost


@pytest.mark.req("G2-13-2", "G2-16-3", "G2-07-2")
async def test_a_chain_that_lost_half_of_its_replicas_goes_on_with_new_ones(lab: Lab) -> None:
    """Q5 to Q8: what was certified is kept, what was not is dropped, and new members join."""
    height, lost = await lose_quorum(lab)
    restart = lab.ceremony.approve(lab.statement(0, 1))
    assert restart.statement.height == height
    assert lab.put_in_force(restart, 0, 1, *NEW) == [True] * 4
    lab.chain.founding = False
    members = await lab.start_restarted()
    for member in members[:2]:
        assert member.ledger.store.last_height == height
        assert isinstance(member.driver.replica, Replica)
        assert member.driver.replica.epoch == 1
    after = await register(members[0], lab.network, "after")
    await lab.chain.wait_for(lambda: all(m.finality.certified_height >= after for m in members))
    assert all(isinstance(m.driver.replica, Replica) for m in members)
    assert same_blocks(members, after)
    assert same_blocks(members, height)
    first = members[0].ledger.header(height + 1)
    assert (first.epoch, first.hash() != lost) == (1, True)
    assert members[0].ledger.restart_base(1) == height
    again = await register(members[2], lab.network, "uncertified")
    assert again > after, "its sender sends it again"


@pytest.mark.req("G2-13-2", "G2-10-3")
async def test_the_state_explains_the_restart_and_clients_follow_it_by_its_approvals(
    lab: Lab,
) -> None:
    """Q8, Q9: an auditor finds set, statement and approvals by state proofs; who trusts the old set
    alone is refused, with a word on what helps.
    """
    height, _ = await lose_quorum(lab)
    restart = lab.ceremony.approve(lab.statement(0, 1))
    lab.put_in_force(restart, 0, 1, *NEW)
    members = await lab.start_restarted()
    after = await register(members[0], lab.network, "after")
    ledger = members[0].ledger
    header, certificate = ledger.header(height + 1), ledger.store.get_certificate(height + 1)
    assert certificate is not None
    for key in (restart_key(1), set_key(1)):
        place = f"governance/{key}".encode()
        proven = ledger.store.prove_state(height + 1, place)
        assert proven is not None
        value, proof = proven
        assert value is not None
        verify_state_proof(piece=key, root=header.state_root, key=place, value=value, proof=proof)
        found = parse_json_strict(value, depth_max=4, size_max=1_000_000)
        if key == restart_key(1):
            assert found == restart.encode().hex()
        else:
            assert isinstance(found, dict)
            assert (found["cause"], found["from_height"]) == (Cause.RESTART, height + 1)
    genesis, verify = lab.chain.genesis, lab.network.provider.verify
    changes = ledger.set_changes(0)
    assert [change.restart for change in changes] == [restart]
    for trusted in (
        TrustedChain.from_genesis(genesis.hash(), genesis.replica_set, lab.authorities.public),
        TrustedChain.from_checkpoint(
            genesis.hash(),
            genesis.replica_set,
            height,
            ledger.header(height).hash(),
            lab.authorities.public,
        ),
    ):
        moved = advance(trusted, header, certificate, verify, changes)
        assert (moved.height, moved.replica_set) == (height + 1, restart.statement.new_set)
    unanchored = TrustedChain.from_genesis(genesis.hash(), genesis.replica_set)
    with pytest.raises(ProofError, match="take a new trust file") as refused:
        advance(unanchored, header, certificate, verify, changes)
    assert refused.value.code == "RESTART_UNAVAILABLE"
    with pytest.raises(ProofError, match="follows no trusted set change"):
        advance(unanchored, header, certificate, verify)
    await check_clients(lab, ledger, after)


async def check_clients(lab: Lab, ledger: Ledger, after: int) -> None:
    """A client with authorities follows, one without is refused."""
    genesis = lab.chain.genesis
    trust = ChainTrust("shandong", genesis.hash(), genesis.replica_set, lab.authorities.public)
    for known in (trust, replace(trust, authorities=None)):
        sets = FollowedSets(known, lab.network.provider, Asked(ledger))  # type: ignore[arg-type]
        for height in range(1, after + 1):
            message = ledger.block_message(height)
            assert message is not None
            if ledger.header(height).epoch == 1 and known.authorities is None:
                with pytest.raises(ProofError, match="take a new trust file"):
                    await sets.verified_block(message)
            else:
                assert (await sets.verified_block(message)).height == height


@pytest.mark.req("G2-16-4", "G2-13-2")
async def test_members_that_come_back_vote_in_an_epoch_that_is_over_and_change_nothing(
    lab: Lab,
) -> None:
    """Q7: one that was lost has its old folder, and follows once it goes by the restart, too."""
    height, lost = await lose_quorum(lab)
    restart = lab.ceremony.approve(lab.statement(0, 1))
    lab.put_in_force(restart, 0, 1, *NEW)
    members = await lab.start_restarted()
    after = await register(members[0], lab.network, "after")
    await lab.chain.wait_for(lambda: all(m.finality.certified_height >= after for m in members))
    await lab.chain.stop(3)
    folder = lab.chain.folder_of(3)
    folder.rename(folder.with_name("aside"))
    folder.with_name(f"{folder.name}.lost").rename(folder)
    back = await lab.chain.start(3)
    assert back.ledger.header(height + 1).hash() == lost
    assert back.driver.replica.epoch == 0
    heard: list[bytes] = []
    lab.chain.watch = lambda sender, frame: heard.append(frame) if sender == 3 else None
    await lab.chain.wait_for(lambda: any(map(is_vote_of_epoch_0, heard)))
    later = await register(members[0], lab.network, "later")
    assert back.ledger.store.last_certified == height
    certificate = members[0].ledger.store.get_certificate(later)
    assert certificate is not None
    assert [number for number, _ in certificate.signatures] == [0, 1, 2]
    await lab.chain.stop(3)
    assert lab.put_in_force(restart, 3) == [True]
    follows = await lab.chain.start(3)
    await lab.chain.wait_for(lambda: follows.finality.certified_height >= later)
    assert isinstance(follows.driver.replica, Learner)
    assert follows.ledger.header(height + 1) == members[0].ledger.header(height + 1)
    with pytest.raises(ProofError, match="ended below it"):
        await old_epoch_header(lab, members[0].ledger, height)


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_who_comes_back_without_the_restart_takes_a_state_that_it_leads_to(lab: Lab) -> None:
    """Q7, T3: the head of the state comes with the restart, which is judged by its approvals; what
    was executed here and never certified is gone.
    """
    chain = lab.chain
    chain.without_blocks_steps = 20
    height, lost = await lose_quorum(lab)
    lab.put_in_force(lab.ceremony.approve(lab.statement(0, 1)), 0, 1, *NEW)
    members = await lab.start_restarted()
    for number in range(2 * WINDOW):
        last = await register(members[0], lab.network, f"after{number}")
    await chain.wait_for(lambda: all(m.finality.certified_height >= last for m in members))
    await chain.stop(3)
    folder = chain.folder_of(3)
    folder.rename(folder.with_name("aside"))
    folder.with_name(f"{folder.name}.lost").rename(folder)
    back = await chain.start(3)
    assert back.ledger.header(height + 1).hash() == lost
    await chain.wait_for(lambda: back.ledger.history_from > height)
    await chain.wait_for(lambda: back.finality.certified_height >= last)
    assert isinstance(back.driver.replica, Learner)
    assert back.driver.replica.epoch == 1
    back.ledger.store.verify_state()
    assert back.ledger.store.get_header(height + 1) is None
    with pytest.raises(UnavailableError) as away:
        back.ledger.block_message(height + 1)
    assert away.value.code == "HISTORY_NOT_HERE"
    assert [change.replica_set.epoch for change in back.ledger.set_changes(0)] == [1]
    await chain.stop(3)
    shutil.rmtree(folder / "index")
    again = await chain.start(3)
    assert again.ledger.store.get_header(height + 1) is None
    again.ledger.store.verify_state()


async def old_epoch_header(lab: Lab, ledger: Ledger, height: int) -> None:
    """A client that followed the restart meets a header of the old epoch above it."""
    genesis = lab.chain.genesis
    trust = ChainTrust("shandong", genesis.hash(), genesis.replica_set, lab.authorities.public)
    sets = FollowedSets(trust, lab.network.provider, Asked(ledger))  # type: ignore[arg-type]
    await sets.set_of(ledger.header(height + 1).encode())
    await sets.set_of(replace(ledger.header(height + 1), epoch=0).encode())


@pytest.mark.req("G2-13-2")
async def test_replicas_that_all_forgot_their_votes_go_on_in_a_new_epoch(lab: Lab) -> None:
    """Q6, ADR 0020: more than f forgot at once, so all are silent for good; two take new keys."""
    chain = lab.chain
    members = [await chain.start(number) for number in range(4)]
    height = await register(members[0], lab.network, "acknowledged")
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in members))
    for number in range(4):
        await chain.stop(number)
        forget(chain.folder_of(number))
    old = chain.genesis.replica_set.members
    lab.new_keys = {number: lab.network.provider.keygen() for number in NEW}
    new = [replace(old[number], public_key=key.public_key) for number, key in lab.new_keys.items()]
    statement = statement_of(chain.genesis, lab.folders(0, 1, 2, 3), [*old[:2], *new])
    assert len(statement.remaining) == 4
    assert lab.put_in_force(lab.ceremony.approve(statement), 0, 1, *NEW) == [True] * 4
    chain.founding = False
    restarted = await lab.start_restarted()
    await chain.wait_for(lambda: all(m.driver.pause is Pause.NONE for m in restarted))
    after = await register(restarted[0], lab.network, "after")
    await chain.wait_for(lambda: all(m.finality.certified_height >= after for m in restarted))


def forget(folder: Path) -> None:
    """The promise says from now on that votes were lost."""
    for path in folder.glob("promise.*.json"):
        made = Promise.decode(path.read_bytes())
        assert made is not None
        path.write_bytes(replace(made, forgotten=True).encode())


@pytest.mark.req("G2-10-3", "G2-13-2")
async def test_the_restarted_chain_governs_itself_and_can_be_restarted_again(lab: Lab) -> None:
    """Q4: governors of the new entities come with the statement; a second loss has its own."""
    await lose_quorum(lab)
    members = lab.members()
    entity, key = members[2].entity_id, lab.network.provider.keygen()
    governor: Json = {
        "did": f"did:rem:shandong:{entity}.governor",
        "organisation": f"did:rem:shandong:{entity}",
        "roles": ["governor"],
        "keys": [
            {
                "id": "k1",
                "public_key": key.public_key.hex(),
                "not_before_ms": 0,
                "not_after_ms": 4 * 10**12,
            }
        ],
    }
    genesis = lab.chain.genesis
    statement = statement_of(genesis, lab.folders(0, 1), members, [governor])
    lab.put_in_force(lab.ceremony.approve(statement), 0, 1, *NEW)
    running = await lab.start_restarted()
    await register(running[0], lab.network, "after")
    await govern(lab, running[0], entity, key)
    await lab.chain.wait_for(lambda: all(m.driver.replica.epoch == 2 for m in running[:3]))
    last = await register(running[0], lab.network, "governed")
    await lab.chain.wait_for(lambda: all(m.finality.certified_height >= last for m in running))
    for number in (0, 1, *NEW):
        await lab.chain.stop(number)
    again = statement_of(genesis, lab.folders(0, 2), second_members(lab, members))
    assert (again.epoch, again.height >= last) == (3, True)
    ceremony = replace(lab.ceremony, governors={**lab.ceremony.governors, entity: key})
    assert lab.put_in_force(ceremony.approve(again), 0, 2) == [True, True]
    with sets_of(lab, 0) as sets:
        assert [change.replica_set.epoch for change in sets.set_changes(0)] == [1, 2, 3]
        assert sets.set_at(again.height + 1) == again.new_set


async def govern(lab: Lab, member: Running, entity: str, key: PrivateKey) -> None:
    """Entities 0 and 1 and the new one of number 2 give number 3 another key."""
    organisation = f"did:rem:shandong:{entity}"
    governors = [lab.network.identities[f"{number}/governor"] for number in (0, 1)]
    governors.append(Identity(f"{organisation}.governor", "k1", organisation, key))
    present = member.driver.replica.replica_set.members
    keys = [each.public_key for each in present[:3]] + [lab.network.provider.keygen().public_key]
    members: list[Json] = [
        {
            "entity_id": each.entity_id,
            "entity_name": each.entity_name,
            "vote_key": new.hex(),
        }
        for each, new in zip(present, keys, strict=True)
    ]
    body: dict[str, Json] = {"members": members, "governors": [], "not_before": 0}
    proposed = await send(member, lab.network, governors[0], "governance", "propose", body)
    assert proposed.outcome == APPLIED, proposed.code
    named: dict[str, Json] = {"proposal": proposed.transaction_id.hex()}
    for governor in governors[1:]:
        result = await send(member, lab.network, governor, "governance", "approve", named)
        assert result.outcome == APPLIED, result.code


def second_members(lab: Lab, first: list[Member]) -> list[Member]:
    """Numbers 0 and 2 stay this time."""
    new = {
        number: Member(
            number,
            lab.network.provider.keygen().public_key,
            f"91370000MORE00000{number}",
            f"又一机构{number}",
        )
        for number in (1, 3)
    }
    return [new.get(member.replica, member) for member in first]


@contextmanager
def sets_of(lab: Lab, number: int) -> Iterator[ChainSets]:
    """What the folder of a stopped replica says of the sets."""
    folder, genesis = lab.chain.folder_of(number), lab.chain.genesis
    store = ChainStore.open(folder, genesis, replica=number, options=OPTIONS)
    yield ChainSets(store, genesis)
    store.close()
