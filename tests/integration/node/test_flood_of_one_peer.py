"""One peer floods live replicas with everything that a peer can send: the others' transactions go
on, what is held stays bounded, and the counters name the peer, with the reason, and nobody else.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.transaction import SignedTransaction
from services.consensus import answering, wire
from services.consensus.answering import Answering
from services.consensus.domain.codec import encode_message
from services.consensus.domain.messages import (
    Digest,
    Hello,
    ReplicaId,
    SequenceNumber,
    View,
    ViewChange,
)
from services.consensus.domain.signer import Signer
from services.consensus.exchange import PEER_BYTES_MAX
from services.consensus.fair_queue import FairQueue
from services.consensus.intake import (
    PEER_VOTES_MAX,
    VOTES_JUDGED_AT_ONCE_MAX,
)
from services.consensus.offered import PEER_TRANSACTIONS_MAX
from services.consensus.peers import FRAME_BYTES_MAX
from services.consensus.proposal_intake import PEER_PROPOSALS_MAX
from services.consensus.refusals import NEVER_HONEST, Reason
from services.consensus.signing import signer
from services.consensus.surplus import Sent
from services.consensus.view_change_intake import WAITING_MAX
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_driver_in_memory import APPLIED, submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork
from tests.unit.node.test_view_changes_that_do_not_hold import new_view

LIAR = 3
NOBODY = ReplicaId(7)
"""As one that was removed: the set of this epoch has no such member."""

DIGEST = Digest(b"d" * 32)
LARGE_BYTES = 900_000
DEEP = 20_000
SIGNED = ((b"\x04" + bytes(64), bytes(64)),)
COUNTED = re.compile(
    r'guqiao_consensus_(rejected|ignored)_messages_total{reason="(\w+)",replica="(\d)"} (\d+)'
)


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


def counted(member: Member) -> Counter[tuple[int, str]]:
    """How often which peer was counted for which reason; in the metric that fits the reason."""
    found: Counter[tuple[int, str]] = Counter()
    for metric, reason, replica, count in COUNTED.findall(member.metrics.render().decode()):
        assert (metric == "rejected") == (Reason(reason) in NEVER_HONEST)
        found[int(replica), reason] = int(count)
    return found


def liar(chain: MemoryChain, network: ChainNetwork) -> Signer:
    key = network.vote_keys[LIAR]
    return Signer(ReplicaId(LIAR), chain.genesis.replica_set, signer(network.provider, key))


def one_of_each(chain: MemoryChain, network: ChainNetwork, low: int) -> dict[Reason, list[bytes]]:
    """Frames, by why each is not used at a replica that certified `low`."""
    by, other_chain = liar(chain, network), replace(chain.genesis.replica_set, chain_id="other")
    sign = signer(network.provider, network.vote_keys[LIAR])
    elsewhere = Signer(ReplicaId(LIAR), other_chain, sign)
    place, window = (View(0), SequenceNumber(low + 1), DIGEST), chain.genesis.parameters.window
    vote = wire.message_frame(by.prepare(*place))
    request = wire.block_request_frame(1, 1)
    refused = transaction(network, "refused").encode()
    return {
        Reason.MALFORMED: [
            b"",
            vote[:-3],
            vote + vote,
            vote + request,
            request + b"\xfa\x3f\x05hello",
            peer_pb2.PeerFrame(message=b"\xff" * 100).SerializeToString(),
            *deep_frames(),
            peer_pb2.PeerFrame(
                block_request=peer_pb2.BlockRequest(from_height=5, to_height=1)
            ).SerializeToString(),
        ],
        Reason.UNAUTHENTIC: [
            wire.message_frame(elsewhere.prepare(*place)),
            wire.message_frame(replace(by.prepare(*place), signature=b"x" * 64)),
            wire.message_frame(replace(by.prepare(*place), replica=ReplicaId(1))),
            wire.message_frame(replace(by.prepare(*place), replica=NOBODY)),
            wire.message_frame(by.pre_prepare(View(0), SequenceNumber(low + 1), Batch(1, ()))),
        ],
        Reason.INADMISSIBLE: [
            wire.gossip_frame([refused[:-1] + bytes([refused[-1] ^ 1])]),
            wire.gossip_frame([SignedTransaction(b"[" * DEEP, SIGNED).encode()]),
            wire.gossip_frame([SignedTransaction(b'{"a":' * DEEP, SIGNED).encode()]),
        ],
        Reason.LATE: [wire.message_frame(by.prepare(View(0), SequenceNumber(1), DIGEST))],
        Reason.FUTURE: [
            wire.message_frame(by.prepare(View(0), SequenceNumber(low + 100_000), DIGEST)),
            wire.message_frame(by.commit(View(2**40), SequenceNumber(low + 1), DIGEST)),
            wire.message_frame(by.commit(View(0), SequenceNumber(low + window + 1), DIGEST)),
        ],
        Reason.OTHER_VIEW: [
            wire.message_frame(by.pre_prepare(View(3), SequenceNumber(low + 1), Batch(1, ())))
        ],
        Reason.OTHER_EPOCH: [
            peer_pb2.PeerFrame(message=encode_message(by.prepare(*place)), epoch=7)
            .SerializeToString()
        ],
        Reason.UNPROVEN: [
            wire.block_response_frame([ledger_pb2.Block(batch=b"no block")], low + 1),
        ],
        Reason.UNASKED: [
            wire.batch_response_frame(low + 1, Batch(1, ())),
            wire.state_response_frame(peer_pb2.StateResponse(height=64, part=b"x")),
        ],
    }  # fmt: skip


def deep_frames() -> list[bytes]:
    """Unknown members within one another: groups, and members of a length."""
    nested = b""
    while len(nested) < DEEP:
        nested = b"\x7a" + _varint(len(nested)) + nested
    return [b"\x7b" * DEEP, nested]


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


async def three(chain: MemoryChain, network: ChainNetwork) -> list[Member]:
    """Replicas 0 to 2 at one height above 0; the test plays replica 3."""
    members = [await chain.start(number) for number in range(3)]
    result = await submit(members[0], transaction(network, "first"))
    assert result.outcome == APPLIED
    await chain.wait_for(
        lambda: all(m.driver.replica.low_watermark >= result.height for m in members)
    )
    return members


@pytest.mark.req("G2-07-1", "G2-16-4")
async def test_whatever_a_peer_sends_in_vain_is_counted_once_with_its_reason(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = await three(chain, network)
    frames = one_of_each(chain, network, members[0].driver.replica.low_watermark)
    for each in frames.values():
        for frame in each:
            chain.deliver(LIAR, 0, frame)
    hello = Hello(View(0), True, False, SequenceNumber(1))
    chain.deliver(LIAR, 0, wire.message_frame(hello))
    members[0].intake.on_oversized(LIAR, "20000000 bytes")
    chain.deliver(LIAR, 0, frames[Reason.LATE][0])
    wanted = Counter({(LIAR, reason.value): len(each) for reason, each in frames.items()})
    wanted[LIAR, Reason.MALFORMED] += 1
    wanted[LIAR, Reason.STALE] += 1
    await chain.wait_for(lambda: counted(members[0]).total() >= wanted.total())
    assert {key: n for key, n in counted(members[0]).items() if key[0] == LIAR} == wanted


@pytest.mark.req("G2-07-1")
async def test_replicas_that_work_and_one_that_was_away_accuse_nobody(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(3)]
    for number in range(5):
        await submit(members[number % 3], transaction(network, f"before{number}"))
    members.append(await chain.start(3))
    for number in range(5):
        await submit(members[number % 3], transaction(network, f"while{number}"))
    height = max(m.finality.certified_height for m in members)
    await chain.wait_for(lambda: all(m.finality.certified_height >= height for m in members))
    await chain.stop(0)
    assert (await submit(members[3], transaction(network, "after"))).outcome == APPLIED
    for member in members:
        assert not [key for key in counted(member) if Reason(key[1]) in NEVER_HONEST]


def flood(chain: MemoryChain, network: ChainNetwork) -> Iterator[bytes]:
    """More of each kind than a peer's queue takes, without a pause."""
    by, place = liar(chain, network), (View(0), SequenceNumber(3), DIGEST)
    vote = by.commit(*place)
    yield from [
        wire.message_frame(replace(vote, signature=number.to_bytes(64, "big")))
        for number in range(PEER_VOTES_MAX + 500)
    ]
    for view in range(1, 300):
        yield wire.message_frame(by.view_change(View(view), SequenceNumber(0), None, ()))
    large = Batch(1, tuple(bytes([n]) * (LARGE_BYTES // 8) for n in range(8)))
    proposal = by.pre_prepare(View(LIAR), SequenceNumber(3), large)
    yield from [wire.message_frame(proposal)] * (PEER_PROPOSALS_MAX + 20)
    answer = peer_pb2.BlockResponse(last_certified_height=2**64 - 1)
    for _ in range(40):
        yield wire.batch_response_frame(3, large)
        yield wire.batch_request_frame(3, DIGEST)
        yield wire.block_request_frame(1, 2**63)
        yield wire.state_request_frame(2**63, prefix=b"\x01")
        yield peer_pb2.PeerFrame(block_response=answer).SerializeToString()
    for _ in range(40):
        yield from deep_frames()
        yield wire.message_frame(replace(vote, replica=NOBODY))
    for number in range(3):
        names = [b"%d %30d" % (number, part) for part in range(PEER_TRANSACTIONS_MAX // 2)]
        yield wire.gossip_frame(names)


def queues(member: Member) -> list[object]:
    intake = member.intake
    rooms = (
        intake, intake._exchange, intake._view_changes, intake._proposals, member.repairs.state
    )  # fmt: skip
    return [value for room in rooms for value in vars(room).values()]


def check_bounds(member: Member) -> None:
    """What waits of the liar, and what of it the core was given."""
    found = [each for each in queues(member) if isinstance(each, FairQueue)]
    asked = [each for each in queues(member) if isinstance(each, Answering)]
    assert (len(found), len(asked)) == (6, 3)
    for questions in asked:
        assert len(questions._peers[LIAR].waiting) <= answering.WAITING_MAX
    for queue in found:
        waiting = queue._peers.get(LIAR)
        assert waiting is None or len(waiting.entries) <= queue._count_max
        assert waiting is None or waiting.size <= PEER_BYTES_MAX
    passed = member.intake.transactions._offered._sources[LIAR]
    assert len(passed.entries) <= PEER_TRANSACTIONS_MAX
    assert passed.size <= PEER_BYTES_MAX
    assert len(member.driver._inbox) <= 10 * VOTES_JUDGED_AT_ONCE_MAX


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_under_a_flood_of_one_peer_the_others_go_on_and_the_peer_is_counted(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = await three(chain, network)
    frames = list(flood(chain, network))
    assert sum(map(len, frames)) > 4 * PEER_BYTES_MAX
    assert max(map(len, frames)) < FRAME_BYTES_MAX
    for member in members:
        for frame in frames:
            member.intake.on_frame(LIAR, frame)
        check_bounds(member)
    flooding = asyncio.ensure_future(_go_on(members, frames))
    for number in range(6):
        entry = transaction(network, f"honest{number}")
        assert (await submit(members[number % 3], entry)).outcome == APPLIED
    assert not flooding.done()
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    for member in members:
        check_bounds(member)
        found = counted(member)
        assert found[LIAR, Reason.FLOOD] > 500
        assert found[LIAR, Reason.UNAUTHENTIC] > 0
        assert found[LIAR, Reason.INADMISSIBLE] > 0
        assert found[LIAR, Reason.UNASKED] > 0
        assert {key for key in found if key[0] != LIAR and Reason(key[1]) in NEVER_HONEST} == set()
        assert found.keys().isdisjoint((number, Reason.FLOOD.value) for number in range(3))


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_of_a_flood_of_authentic_view_changes_the_last_are_read_and_the_rest_is_counted(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member, *others = await three(chain, network)
    verified: list[View] = []
    judge = member.intake._view_changes._judge

    async def judged(epoch: int, messages: list[Sent]) -> set[int]:
        verified.extend(each.view for _, each in messages if isinstance(each, ViewChange))
        return await judge(epoch, messages)

    member.intake._view_changes._judge = judged
    by = liar(chain, network)
    for view in range(1, 1_001):
        message = by.view_change(View(view), SequenceNumber(0), None, ())
        member.intake.on_frame(LIAR, wire.message_frame(message))
    await chain.wait_for(lambda: len(verified) >= WAITING_MAX)
    assert verified == [View(each) for each in range(1_001 - WAITING_MAX, 1_001)]
    assert counted(member)[LIAR, Reason.FLOOD] == 1_000 - WAITING_MAX
    assert (await submit(others[0], transaction(network, "honest"))).outcome == APPLIED


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_new_view_longer_than_its_set_allows_is_counted_and_never_read(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, D1: by its length alone, before a byte of it is decoded."""
    member, *_ = await three(chain, network)
    frame = wire.message_frame(new_view(replicas=60, window=16))
    assert FRAME_BYTES_MAX // 10 < len(frame) < FRAME_BYTES_MAX
    member.intake.on_frame(LIAR, frame)
    assert counted(member)[LIAR, Reason.MALFORMED] == 1
    assert not member.intake._view_changes._waiting._peers


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_after_a_forged_view_change_no_other_of_that_peer_is_verified(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """pbft.md, D1: it rests for half a minute; the others' transactions go on."""
    member, *others = await three(chain, network)
    by = liar(chain, network)
    true = by.view_change(View(1), SequenceNumber(0), None, ())
    member.intake.on_frame(LIAR, wire.message_frame(replace(true, signature=b"x" * 64)))
    await chain.wait_for(lambda: counted(member)[LIAR, Reason.UNAUTHENTIC] == 1)
    for view in range(2, 50):
        message = by.view_change(View(view), SequenceNumber(0), None, ())
        member.intake.on_frame(LIAR, wire.message_frame(replace(message, signature=b"x" * 64)))
    await chain.wait_for(lambda: counted(member)[LIAR, Reason.FLOOD] == 48)
    assert counted(member)[LIAR, Reason.UNAUTHENTIC] == 1
    assert (await submit(others[0], transaction(network, "honest"))).outcome == APPLIED


async def _go_on(members: list[Member], flooded: list[bytes]) -> None:
    """Again and again; of the large frames, which cost one process for three replicas, few."""
    frames = [each for each in flooded if len(each) < LARGE_BYTES // 2] + flooded[-150:]
    while True:
        for start in range(0, len(frames), 100):
            for member in members:
                for frame in frames[start : start + 100]:
                    member.intake.on_frame(LIAR, frame)
            await asyncio.sleep(0.01)
