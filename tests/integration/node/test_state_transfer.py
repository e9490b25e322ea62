"""A replica whose peers have the old blocks no more takes the state instead, believing nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.roles import OBSERVER
from services.chassis.errors import UnavailableError
from services.chassis.grpc_server import Caller, RpcRefusals
from services.chassis.grpc_server.identity import calling_as
from services.consensus.api import NodeApi
from services.consensus.domain.ledger.state_parts import PREFIX_NIBBLES_MAX, Prefix, StatePart
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain
from tests.integration.node.test_archived_blocks import SEGMENT_BYTES_MAX, archive_of, archived
from tests.integration.node.test_driver_in_memory import transaction
from tests.integration.node.test_repair import FAST, content, submit
from tests.plugins.chain_network import ChainNetwork

INTERVAL = 8

Spoil = Callable[[peer_pb2.StateResponse], peer_pb2.StateResponse]


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms and gives the state of every eighth."""
    parameters = {**FAST, "snapshot_interval": INTERVAL}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        chain.without_blocks_steps = 20
        yield chain


async def without_old_blocks(chain: MemoryChain, network: ChainNetwork) -> int:
    """Three replicas at work whose archives are all away; a height that is in them."""
    height = await archived(chain, network, (0, 1, 2))
    for number in range(3):
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    chain.founding = False
    return height


def lie(member: Member, spoil: Spoil) -> list[int]:
    """Let a replica answer falsely; the list grows with every lie."""
    honest, lies = member.repairs.state._response, list[int]()

    def response(request: peer_pb2.StateRequest) -> peer_pb2.StateResponse | None:
        answer = honest(request)
        if answer is None:
            return None
        spoilt = spoil(peer_pb2.StateResponse.FromString(answer.SerializeToString()))
        if spoilt != answer:
            lies.append(request.height)
        return spoilt

    member.repairs.state._response = response  # type: ignore[method-assign]
    return lies


async def check_joined(chain: MemoryChain, network: ChainNetwork, late: Member, old: int) -> None:
    """It votes, has the others' state and goes on with their blocks; of the rest it says so."""
    await chain.wait_for(lambda: late.driver.votes)
    since = late.ledger.history_from
    assert since % INTERVAL == 0
    assert since > old
    late.ledger.store.verify_state()
    height = await submit(late, transaction(network, "late"))
    await chain.wait_for(lambda: chain.members[0].ledger.store.last_certified >= height)
    assert content(late, height) == content(chain.members[0], height)
    for refused in (late.ledger.block_message, late.ledger.certified_header_message):
        with pytest.raises(UnavailableError) as caught:
            refused(old)
        assert caught.value.code == "HISTORY_NOT_HERE"
    await check_node_rpc(late, late.ledger.receipts(height)[0].transaction_id)


async def check_node_rpc(late: Member, known: bytes) -> None:
    """It gives what it knows. What it does not know may be in the blocks that it never had, so it
    says where to ask instead of that there is no such thing.
    """
    links = late.repairs._links
    refusals = RpcRefusals(late.metrics)
    api = NodeApi(
        late.submissions, late.ledger, late.driver, late.finality, links, (), "1", refusals
    )
    observer = Caller("did:rem:test:observer", "k1", "did:rem:test:csrc", frozenset({OBSERVER}))
    with calling_as(observer):
        request = node.GetTransactionRequest(transaction_id=known)
        assert (await api.GetTransaction(request, None)).result.transaction_id == known
        for question in (
            api.GetTransaction(node.GetTransactionRequest(transaction_id=bytes(32)), None),
            api.GetObject(node.GetObjectRequest(object_id="early", version=1), None),
        ):
            with pytest.raises(UnavailableError) as caught:
                await question
            assert caught.value.code == "HISTORY_NOT_HERE"


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_a_new_replica_takes_the_state_where_nobody_gives_the_blocks(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md T1, T3, T4 and T7."""
    old = await without_old_blocks(chain, network)
    late = await chain.start(3)
    await check_joined(chain, network, late, old)
    for answer in (omits, has_no_quorum):  # What comes late, or unasked, moves nothing.
        given = chain.members[0].repairs.state._response(peer_pb2.StateRequest())
        assert given is not None
        late.repairs.state.on_frame(0, answer(given), 1)
    since = late.ledger.history_from
    late.repairs.state.on_frame(0, peer_pb2.StateResponse(height=since, part=b"\xff"), 1)
    await submit(late, transaction(network, "later"))
    await chain.stop(3)
    late = await chain.start(3)
    assert late.driver.votes
    assert late.ledger.history_from > old


def omits(answer: peer_pb2.StateResponse) -> peer_pb2.StateResponse:
    if answer.part:
        part = StatePart.decode(answer.part)
        answer.part = replace(part, entries=(part.entries or ())[1:]).encode()
    return answer


def is_no_part(answer: peer_pb2.StateResponse) -> peer_pb2.StateResponse:
    if answer.part:
        answer.part = b"\xff"
    return answer


def without_head(answer: peer_pb2.StateResponse) -> peer_pb2.StateResponse:
    return EMPTY if answer.HasField("certified_header") else answer


def has_no_quorum(answer: peer_pb2.StateResponse) -> peer_pb2.StateResponse:
    if answer.HasField("certified_header"):
        answer.certified_header.certificate = answer.certified_header.certificate[:-68]
    return answer


@pytest.mark.req("G2-13-2", "G2-07-3")
@pytest.mark.parametrize("spoil", [omits, is_no_part])
async def test_a_lying_source_is_named_and_left_and_the_state_comes_from_the_others(
    chain: MemoryChain, network: ChainNetwork, spoil: Spoil
) -> None:
    """Row P22 of docs/reliability.md; pbft.md, T3 and T5."""
    old = await without_old_blocks(chain, network)
    lies = lie(chain.members[0], spoil)
    lie(chain.members[2], without_head)  # So the liar is one of the two sources.
    for member in chain.members.values():
        member.repairs.state.part_bytes_max = 500
    late = await chain.start(3)
    late.repairs.state.part_bytes_max = 500
    await check_joined(chain, network, late, old)
    assert lies
    metrics = late.metrics.render()
    assert b'rejected_messages_total{reason="unproven",replica="0"}' in metrics
    assert metrics.count(b"rejected_messages_total{") == 1


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_t5_a_source_that_answers_only_what_was_not_asked_holds_nothing_up(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    old = await without_old_blocks(chain, network)
    lie(chain.members[0], lambda answer: EMPTY if answer.part else answer)
    lie(chain.members[2], without_head)  # So the one that is silent is one of the two sources.
    for member in chain.members.values():
        member.repairs.state.part_bytes_max = 500
    late = await chain.start(3)
    taking = late.repairs.state
    taking.part_bytes_max = 500

    async def chatter() -> None:
        while True:
            if taking._taking is not None:
                height, prefix = taking._taking.head.header.height, bytes(PREFIX_NIBBLES_MAX)
                part = StatePart(Prefix(prefix), (), None).encode()
                answer = peer_pb2.StateResponse(height=height, prefix=prefix, part=part)
                taking.on_frame(0, answer, 1)
            await asyncio.sleep(0.02)

    chatting = asyncio.create_task(chatter())
    try:
        await check_joined(chain, network, late, old)
    finally:
        chatting.cancel()


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_a_head_without_a_quorum_is_refused_and_its_sender_named(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, T3."""
    old = await without_old_blocks(chain, network)
    lie(chain.members[0], has_no_quorum)
    lie(chain.members[2], without_head)
    late = await chain.start(3)
    rejected = b'rejected_messages_total{reason="unproven",replica="0"}'
    await chain.wait_for(lambda: rejected in late.metrics.render())
    assert late.ledger.store.last_height == 0
    del chain.members[2].repairs.state._response
    await check_joined(chain, network, late, old)


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_one_peers_word_is_not_enough(chain: MemoryChain, network: ChainNetwork) -> None:
    """pbft.md, T3: f + 1 must offer the same head."""
    old = await without_old_blocks(chain, network)
    silent = [lie(chain.members[number], lambda _: peer_pb2.StateResponse()) for number in (1, 2)]
    late = await chain.start(3)
    await chain.wait_for(lambda: all(len(lies) > 2 for lies in silent))
    assert late.ledger.store.last_height == 0
    del chain.members[1].repairs.state._response
    await check_joined(chain, network, late, old)


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_an_offer_of_who_is_no_member_does_not_count(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, T3: a learner says the same as the one member that answers."""
    old = await without_old_blocks(chain, network)
    for number in (1, 2):
        lie(chain.members[number], lambda _: peer_pb2.StateResponse())
    late = await chain.start(3)
    learner, asked = chain.genesis.replica_set.size, list[int]()
    honest = chain.members[0].repairs.state._response

    def response(request: peer_pb2.StateRequest) -> peer_pb2.StateResponse | None:
        answer = honest(request)
        if answer is not None:
            asked.append(request.height)
            late.repairs.state.on_frame(learner, answer, 1)
        return answer

    chain.members[0].repairs.state._response = response  # type: ignore[method-assign]
    await chain.wait_for(lambda: len(asked) > 3)
    assert set(asked) == {0}, "nobody was asked for a part"
    assert late.ledger.store.last_height == 0
    del chain.members[1].repairs.state._response
    await check_joined(chain, network, late, old)


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_a_crash_while_the_state_comes_costs_a_new_beginning_and_nothing_else(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, T6."""
    old = await without_old_blocks(chain, network)
    for number in range(3):
        lie(chain.members[number], lambda answer: answer if not answer.part else EMPTY)
    late = await chain.start(3)
    await chain.wait_for(lambda: late.repairs.state._taking is not None)
    await late.ledger.keep_state_part([(b"half/a", b"state")])
    await chain.stop(3, clean=False)
    for number in range(3):
        del chain.members[number].repairs.state._response
    late = await chain.start(3)
    assert late.ledger.store.last_height == 0
    await check_joined(chain, network, late, old)


EMPTY = peer_pb2.StateResponse(height=10**9)


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_a_replica_that_was_away_for_long_stops_to_take_the_state_and_votes_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, T2: it has its folder and its votes, and the blocks that it misses are gone."""
    early = await chain.start(3)
    for number in range(3):
        await chain.start(number)
    await chain.wait_for(lambda: early.ledger.store.last_certified > 2)
    for number in (3, 0, 1, 2):
        await chain.stop(number)
    old = await without_old_blocks(chain, network)
    late = await chain.start(3)
    assert late.driver.votes, "nothing of its own is missing"
    await chain.wait_for(lambda: late.ledger.history_from > 0)
    await check_joined(chain, network, late, old)


@pytest.mark.req("G2-13-2")
async def test_where_blocks_come_no_state_is_asked_for(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, T1: a replica that replayed the blocks has the history."""
    height = await archived(chain, network, (0,))
    chain.founding = False
    late = await chain.start(3)
    await chain.wait_for(lambda: late.driver.votes)
    assert late.ledger.history_from == 0
    assert content(late, height) == content(chain.members[1], height)
