"""Live replicas verify the votes of a quorum and no more, and miss nothing (pbft.md N11)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.votes import VoteType
from services.consensus import driver, wire
from services.consensus.domain.learner import Learner
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Hello,
    Prepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.signer import Signer
from services.consensus.domain.statements import vote_bytes
from services.consensus.intake import USELESS_JUDGED_AT_ONCE_MAX
from services.consensus.signing import Authenticator, signer
from tests.integration.node import memory_chain
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms, protocol_of
from tests.integration.node.test_driver_in_memory import APPLIED, submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

HEIGHTS = 3
FIRST = View(0)
ONE = SequenceNumber(1)
OTHER = Digest(b"o" * 32)

Vote = TypeVar("Vote", Prepare, Commit, Checkpoint)


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no view changes, however slow the machine."""
    never = {"heartbeat_ms": 60_000, "view_timeout_ms": 60_000, "view_timeout_max_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters={**PARAMETERS, **never})


class Counting:
    """A provider that counts what the one thread of votes verifies, by what was signed."""

    def __init__(self, provider: GmProvider) -> None:
        self._provider = provider
        self.verified: Counter[bytes] = Counter()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.verified[message] += 1
        return self._provider.verify(public_key, message, signature)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Counter[bytes]]:
    """What each replica's authenticator verified, in the order in which they are started."""
    counters: list[Counter[bytes]] = []

    def counting(window: int, provider: GmProvider) -> Authenticator:
        counted = Counting(provider)
        counters.append(counted.verified)
        return Authenticator(window, cast(GmProvider, counted))

    monkeypatch.setattr(memory_chain, "Authenticator", counting)
    return counters


class OwnVoteFirst:
    """Delivers votes to a replica once it has said its own; `Hello` to nobody, so that nobody
    fetches what it could vote for.
    """

    def __init__(self, deliver: Callable[[MemoryChain, int, int, bytes], None]) -> None:
        self._deliver = deliver
        self._said: set[tuple[int, Any]] = set()
        self._held: defaultdict[tuple[int, Any], list[tuple[int, bytes]]] = defaultdict(list)

    def deliver(self, chain: MemoryChain, sender: int, to: int, frame: bytes) -> None:
        message = wire.read_frame(frame)
        if isinstance(message, Hello):
            return
        if isinstance(message, Prepare | Commit | Checkpoint):
            question = (type(message), message.sequence)
            self._said.add((sender, question))
            for earlier, held in self._held.pop((sender, question), []):
                self._deliver(chain, earlier, sender, held)
            proposed_it = isinstance(message, Prepare) and to == 0
            if not proposed_it and (to, question) not in self._said:
                self._held[to, question].append((sender, frame))
                return
        self._deliver(chain, sender, to, frame)


@pytest.mark.req("G2-07-1")
async def test_n11_a_chain_of_four_verifies_exactly_up_to_the_quorum(
    chain: MemoryChain,
    network: ChainNetwork,
    verified: list[Counter[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_first = OwnVoteFirst(MemoryChain.deliver)

    def deliver(chain: MemoryChain, sender: int, to: int, frame: bytes) -> None:
        own_first.deliver(chain, sender, to, frame)

    monkeypatch.setattr(MemoryChain, "deliver", deliver)
    members = [await chain.start(number) for number in range(4)]
    for number in range(HEIGHTS):
        assert (await submit(members[0], transaction(network, f"t{number}"))).outcome == APPLIED
        height = number + 1
        await chain.wait_for(
            lambda height=height: all(m.finality.certified_height >= height for m in members)  # type: ignore[misc]
        )

    present = chain.genesis.replica_set
    for number, member in enumerate(members):
        for height in map(SequenceNumber, range(1, HEIGHTS + 1)):
            block = member.ledger.store.get_block(height)
            assert block is not None
            batch, header = block.batch.digest(), member.ledger.header(height).hash()
            counts = [
                verified[number][vote_bytes(present, vote_type, FIRST, height, digest)]
                for vote_type, digest in (
                    (VoteType.PREPARE, batch),
                    (VoteType.COMMIT, batch),
                    (VoteType.CHECKPOINT, header),
                )
            ]
            assert counts == [2 if number == 0 else 1, 2, 2], f"replica {number} at {height}"


class Played:
    """All replicas but 1, played by the test: what it delivers together is judged in one round."""

    def __init__(self, chain: MemoryChain, network: ChainNetwork) -> None:
        self._chain = chain
        self.present = chain.genesis.replica_set
        self.by = [
            Signer(ReplicaId(number), self.present, signer(network.provider, key))
            for number, key in enumerate(network.vote_keys)
        ]

    async def propose(self) -> tuple[View, SequenceNumber, Digest]:
        """The first batch, until the replica has prepared it: its place."""
        proposal = self.by[0].pre_prepare(FIRST, ONE, Batch(now_ms(), ()))
        self._chain.deliver(0, 1, wire.message_frame(proposal))
        await self.wait_for(Prepare)
        return FIRST, ONE, proposal.digest

    def deliver(self, *votes: Prepare | Commit | Checkpoint) -> None:
        for vote in votes:
            self._chain.deliver(vote.replica, 1, wire.message_frame(vote))

    async def wait_for(self, kind: type[Vote]) -> Vote:
        """The replica's own vote of this kind."""
        await self._chain.wait_for(lambda: bool(self._heard(kind)))
        return self._heard(kind)[0]

    def _heard(self, kind: type[Vote]) -> list[Vote]:
        frames = [wire.read_frame(frame) for _, to, frame in self._chain.heard if to == 2]
        return [each for each in frames if isinstance(each, kind)]


def has(member: Member, text: str) -> bool:
    """Whether the metrics say so."""
    return f"guqiao_consensus_{text}".encode() in member.metrics.render()


@pytest.mark.req("G2-07-1", "G2-16-4")
async def test_n11_a_forger_keeps_no_quorum_away_and_a_second_vote_behind_it_is_evidence(
    chain: MemoryChain, network: ChainNetwork, verified: list[Counter[bytes]]
) -> None:
    member = await chain.start(1)
    played = Played(chain, network)
    by, present, place = played.by, played.present, await played.propose()
    played.deliver(replace(by[3].prepare(*place), signature=b"x" * 64), by[2].prepare(*place))
    await played.wait_for(Commit)
    played.deliver(*(by[number].commit(*place) for number in (0, 2, 3)))
    header = Digest((await played.wait_for(Checkpoint)).header_hash)
    played.deliver(
        by[0].commit(FIRST, ONE, OTHER)
    )  # The queue of 0 came last, so its vote is held.
    await chain.wait_for(lambda: has(member, 'evidence_total{replica="0"} 1.0'))
    played.deliver(*(by[number].checkpoint(ONE, header) for number in (0, 2, 3)))
    await chain.wait_for(lambda: member.finality.certified_height == 1)

    assert has(member, "surplus_votes_total 3.0")  # One of each type.
    assert has(member, 'rejected_messages_total{reason="unauthentic",replica="3"} 1.0')
    [counts] = verified
    assert counts[vote_bytes(present, VoteType.PREPARE, *place)] == 2
    assert counts[vote_bytes(present, VoteType.COMMIT, *place)] == 3
    assert counts[vote_bytes(present, VoteType.COMMIT, FIRST, ONE, OTHER)] == 1
    assert counts[vote_bytes(present, VoteType.CHECKPOINT, FIRST, ONE, header)] == 2


async def test_n11_a_full_inbox_costs_no_vote_that_is_held(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await chain.start(1)
    played = Played(chain, network)
    place = await played.propose()
    with monkeypatch.context() as full:
        full.setattr(driver, "INBOX_MAX", 0)
        played.deliver(*(played.by[number].prepare(*place) for number in (2, 3)))
        dropped = 'ignored_messages_total{reason="unready",replica="2"} 1.0'
        await chain.wait_for(lambda: has(member, dropped))
    assert not has(member, 'ignored_messages_total{reason="unready",replica="3"}')
    played.deliver(played.by[0].commit(*place))
    await played.wait_for(Commit)


async def test_n11_a_learner_verifies_none_of_the_votes_that_came_before_it_was_one(
    chain: MemoryChain, network: ChainNetwork, verified: list[Counter[bytes]]
) -> None:
    member = await chain.start(1)
    core = member.driver.replica
    head = member.ledger.head()
    played = Played(chain, network)
    played.deliver(played.by[2].commit(FIRST, ONE, OTHER))
    member.driver.replica = Learner(
        replica_set=core.replica_set,
        parameters=protocol_of(chain.genesis),
        head=head,
        now_ms=now_ms(),
        epoch_end=None,
        base=core.base,
    )
    unready = 'ignored_messages_total{reason="unready",replica="2"} 1.0'
    await chain.wait_for(lambda: has(member, unready))
    assert verified == [Counter()]


@pytest.mark.req("G2-07-1")
async def test_n11_surplus_votes_do_not_make_a_forger_trusted_again(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await chain.start(1)
    played, judge, rounds = Played(chain, network), Authenticator.judge, list[int]()
    by, place = played.by, await played.propose()
    bad = replace(by[3].prepare(*place), signature=b"x" * 64)
    played.deliver(bad, by[2].prepare(*place))
    await played.wait_for(Commit)
    played.deliver(bad)
    await chain.wait_for(lambda: has(member, "surplus_votes_total 2.0"))

    def recorded(self: Authenticator, core: Any, messages: Any) -> Any:
        rounds.append(len(messages))
        return judge(self, core, messages)

    monkeypatch.setattr(Authenticator, "judge", recorded)
    many = USELESS_JUDGED_AT_ONCE_MAX + 5
    for number in range(many):
        digest = Digest(number.to_bytes(32, "big"))
        played.deliver(replace(by[3].commit(FIRST, ONE, digest), signature=b"x" * 64))
    refused = f'rejected_messages_total{{reason="unauthentic",replica="3"}} {many + 1}.0'
    await chain.wait_for(lambda: has(member, refused))
    assert rounds == [USELESS_JUDGED_AT_ONCE_MAX, 5]
