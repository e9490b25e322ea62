"""What peers pass on: it reaches the primary whoever left it out, costs no honest primary its view,
and takes no client's room (pbft.md D4, D5).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ExhaustedError
from services.consensus import wire
from services.consensus.domain.learner import Learner
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.messages import SequenceNumber
from services.consensus.pacing import AdmissionLimit
from tests.integration.node.memory_chain import Member, MemoryChain, protocol_of
from tests.integration.node.test_driver_in_memory import APPLIED, submit, transaction
from tests.integration.node.test_flood_of_one_peer import counted
from tests.plugins.chain_network import ADMIN, DEFAULT_ROLES, PARAMETERS, ChainNetwork

LIAR, OUTSIDER, HONEST = 3, 7, 2
OTHER = "1/other"
ROOM = 4


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    roles = {**DEFAULT_ROLES, OTHER: ("identity_admin",)}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters, roles=roles)


@pytest.fixture
async def alone(chain: MemoryChain, monkeypatch: pytest.MonkeyPatch) -> Member:
    """One backup alone: nothing is ordered, so what it admits waits. Clients have `ROOM`."""
    monkeypatch.setattr(AdmissionLimit, "value", ROOM)
    return await chain.start(1)


def pass_on(chain: MemoryChain, sender: int, to: int, *entries: SignedTransaction) -> None:
    chain.deliver(sender, to, wire.gossip_frame([entry.encode() for entry in entries]))


@pytest.mark.req("G2-07-1", "G2-16-4")
@pytest.mark.parametrize("told", [(1, 2), (1,)])
@pytest.mark.parametrize("sender", [LIAR, OUTSIDER])
async def test_what_a_peer_keeps_from_the_primary_is_ordered_in_its_view(
    chain: MemoryChain, network: ChainNetwork, sender: int, told: tuple[int, ...]
) -> None:
    """pbft.md D5: otherwise the backups' timers would run out, again and again."""
    members = [await chain.start(number) for number in range(LIAR)]
    entry = transaction(network, "kept from the primary")
    for backup in told:
        pass_on(chain, sender, backup, entry)
    await chain.wait_for(lambda: all(each.ledger.was_executed(entry.id()) for each in members))
    assert [(each.driver.replica.view, each.driver.replica.active) for each in members] == [
        (0, True)
    ] * LIAR


@pytest.mark.req("G2-16-4")
async def test_what_was_lost_on_its_way_to_the_primary_is_passed_on_again_before_it_is_late(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md D5, V11"""
    members = [await chain.start(number) for number in range(LIAR)]
    entry = transaction(network, "lost once")
    lost: list[bytes] = []

    def loses(frame: bytes) -> bool:
        if len(lost) < 2 and frame == wire.gossip_frame([entry.encode()]):
            lost.append(frame)
            return True
        return False

    for backup in (1, 2):
        pass_on(chain, LIAR, backup, entry)
    chain.loses = loses
    await chain.wait_for(lambda: all(each.ledger.was_executed(entry.id()) for each in members))
    assert (len(lost), {each.driver.replica.view for each in members}) == (2, {0})


@pytest.mark.req("G2-07-1")
async def test_a_new_primary_is_told_at_once_of_what_the_one_before_left_lying(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pbft.md D5. Replica 0, the first primary, passes it on to two and proposes nothing."""
    members = [await chain.start(number) for number in (1, 2, 3)]
    for member in members:
        monkeypatch.setattr(member.driver._timers, "_resend_ms", 3_600_000)
    entry = transaction(network, "left lying")
    for backup in (2, 3):
        pass_on(chain, 0, backup, entry)
    await chain.wait_for(lambda: all(each.ledger.was_executed(entry.id()) for each in members))
    assert {each.driver.replica.view for each in members} == {1}


@pytest.mark.parametrize("votes", [True, False])
async def test_who_has_no_vote_leaves_it_to_others_to_tell_the_primary(
    chain: MemoryChain, alone: Member, network: ChainNetwork, *, votes: bool
) -> None:
    """pbft.md D5: it does not know the primary either."""
    core, entry = alone.driver.replica, transaction(network, "passed on")
    if not votes:
        alone.driver.replica = Learner(
            replica_set=core.replica_set,
            parameters=protocol_of(chain.genesis),
            head=alone.ledger.head(),
            now_ms=0,
            epoch_end=None,
            base=SequenceNumber(0),
        )
    frame = wire.gossip_frame([entry.encode()])
    alone.intake.on_frame(HONEST, frame)
    await chain.wait_for(lambda: entry.id() in alone.driver._timers._timed)
    await asyncio.sleep(0)  # The frame arrives on the next turn of the loop.
    assert ((1, 0, frame) in chain.heard) == votes


async def test_nobody_is_owed_what_a_signer_signed_whom_the_state_does_not_know(
    alone: Member, network: ChainNetwork
) -> None:
    """pbft.md D4, D5: he may have been known when it came, and the primary heard of it later."""

    def is_owed(maker: Identity) -> bool:
        encoded = transaction(network, "one", maker=maker).encode()
        return alone.driver._is_owed(read_transaction(encoded))

    assert is_owed(network.identities[ADMIN])
    assert [is_owed(each) for each in strangers(network)] == [False] * 3


def strangers(network: ChainNetwork) -> list[Identity]:
    """Of no DID that the chain knows, under a key that it does not know, and for another
    organisation.
    """
    known, key = network.identities[ADMIN], network.provider.keygen()
    other = network.identities[OTHER].organisation
    return [
        replace(known, did=f"{known.organisation}.nobody"),
        replace(known, key_id="k9", private_key=key),
        replace(known, organisation=other),
    ]


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_there_is_no_room_for_what_strangers_signed_and_who_passes_it_on_is_counted(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """One signature of a stranger covers a thousand transactions."""
    members = [await chain.start(number) for number in range(LIAR)]
    sent = [
        transaction(network, f"stranger{number}", maker=maker)
        for number, maker in enumerate(strangers(network))
    ]
    for to in range(LIAR):
        pass_on(chain, LIAR, to, *sent)
    assert (await submit(members[1], transaction(network, "known"))).outcome == APPLIED
    for member in members:
        assert counted(member) == {(LIAR, "late"): len(sent)}
        assert not any(each.id() in member.driver.mempool for each in sent)
        assert not any(member.ledger.was_executed(each.id()) for each in sent)


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_peer_has_its_share_of_the_room_and_takes_none_of_the_clients(
    chain: MemoryChain, alone: Member, network: ChainNetwork
) -> None:
    passed = [transaction(network, f"passed{number}") for number in range(2 * ROOM + 3)]
    alone.intake.on_frame(LIAR, wire.gossip_frame([each.encode() for each in passed]))
    honest = transaction(network, "honest")
    alone.intake.on_frame(HONEST, wire.gossip_frame([honest.encode()]))
    await chain.wait_for(
        lambda: counted(alone)[LIAR, "flood"] == 3 and honest.id() in alone.driver.mempool
    )
    assert len(alone.driver.mempool) == 2 * ROOM + 1
    for number in range(ROOM - 1):
        entry = transaction(network, f"own{number}", maker=network.identities[OTHER])
        await alone.submissions.submit(entry, wait_final=False)
    with pytest.raises(ExhaustedError):  # Theirs, and what an honest peer's clients brought.
        await alone.submissions.submit(transaction(network, "full"), wait_final=False)


@pytest.mark.req("G2-13-2")
async def test_what_those_without_a_vote_pass_on_shares_one_part_and_counts_for_nothing(
    chain: MemoryChain, alone: Member, network: ChainNetwork
) -> None:
    for sender in (OUTSIDER, OUTSIDER + 1):
        entries = [transaction(network, f"{sender}/{number}") for number in range(2 * ROOM)]
        alone.intake.on_frame(sender, wire.gossip_frame([each.encode() for each in entries]))
    await chain.wait_for(
        lambda: sum(counted(alone)[each, "flood"] for each in (OUTSIDER, OUTSIDER + 1)) == 2 * ROOM
    )
    assert len(alone.driver.mempool) == 2 * ROOM
    entries = [transaction(network, f"liar/{number}") for number in range(2 * ROOM)]
    alone.intake.on_frame(LIAR, wire.gossip_frame([each.encode() for each in entries]))
    await chain.wait_for(lambda: len(alone.driver.mempool) == 4 * ROOM)
    assert not alone.intake.transactions.is_full


@pytest.mark.req("G2-13-2", "G2-07-1")
@pytest.mark.parametrize("waits", [False, True])
async def test_a_full_queue_is_full_for_the_organisation_that_fills_it_alone(
    alone: Member, network: ChainNetwork, *, waits: bool
) -> None:
    """L4; what waits for a predecessor takes room, too."""
    after = bytes(31) + b"\x01" if waits else None
    for number in range(ROOM):
        entry = transaction(network, f"greedy{number}", after=after)
        await alone.submissions.submit(entry, wait_final=False)
    with pytest.raises(ExhaustedError):
        await alone.submissions.submit(transaction(network, "one more"), wait_final=False)
    other = network.identities[OTHER]
    for number in range(ROOM // 2):
        entry = transaction(network, f"other{number}", maker=other)
        await alone.submissions.submit(entry, wait_final=False)
        assert entry.id() in alone.driver.mempool
    entry = transaction(network, "beyond its part", maker=other)
    with pytest.raises(ExhaustedError):
        await alone.submissions.submit(entry, wait_final=False)


@pytest.mark.req("G2-13-2")
async def test_what_a_liar_passed_on_first_is_the_clients_who_brings_it(
    chain: MemoryChain, alone: Member, network: ChainNetwork
) -> None:
    """It is passed on to all, for the liar may have kept it from most."""
    entry = transaction(network, "both")
    alone.intake.on_frame(LIAR, wire.gossip_frame([entry.encode()]))
    mempool = alone.driver.mempool
    await chain.wait_for(lambda: entry.id() in mempool)
    assert (mempool.source(entry.id()), mempool.own()) == (LIAR, ())
    await alone.submissions.submit(entry, wait_final=False)
    assert mempool.source(entry.id()) is None
    assert [each.id for each in mempool.own()] == [entry.id()]
    assert mempool.queued(1) == 1
    mempool.remove([entry.id()])
    assert (mempool.queued(0), mempool.organisations) == (0, frozenset())
