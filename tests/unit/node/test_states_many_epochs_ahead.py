"""A state that lies many set changes ahead is taken by the changes in several steps (pbft.md, T3,
T8 and T9): real `StateTransfer`s ask and answer, over ledgers by hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.light_client import SET_CHANGES_MAX, SetChange, TrustedChain
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus import chain_sets, wire
from services.consensus.chain_sets import ChainSets
from services.consensus.jobs import Pause
from services.consensus.refusals import Reason
from services.consensus.set_paths import Partway, PathTooLongError, SetPaths
from services.consensus.state_transfer import StateTransfer
from tests.unit.proof.proof_keys import FakeKeys, Replicas

HONEST = (0, 1, 2)
HEIGHTS_AN_EPOCH = 10
GENESIS_HASH = b"g" * 32
GENESIS = SimpleNamespace(
    epoch=0,
    parameters=SimpleNamespace(snapshot_interval=4, window=4),
    hash=lambda: GENESIS_HASH,
    restart_authorities=None,
)

Answer = Callable[[int], peer_pb2.StateResponse]
"""What a peer answers to the question for a head from an epoch."""


class Chain:
    """One set after the other, each certified by the one before."""

    def __init__(self, epochs: int) -> None:
        self.keys = FakeKeys()
        self.verified = 0
        self.replicas = [Replicas(self.keys)]
        self.changes: dict[int, SetChange] = {}
        for epoch in range(1, epochs + 1):
            old = self.replicas[-1]
            new = old.next_epoch()
            header = old.header(HEIGHTS_AN_EPOCH * epoch, next_set=new.set)
            self.changes[epoch] = SetChange(header, old.certify(header), new.set)
            self.replicas.append(new)

    @property
    def height(self) -> int:
        """Of the state that is given: in the last epoch, and a multiple of the interval."""
        return HEIGHTS_AN_EPOCH * (len(self.replicas) - 1) + 8 & ~3

    def verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        self.verified += 1
        return self.keys.verify(key, message, signature)

    def giver(self, changes: dict[int, SetChange] | None = None) -> Answer:
        """How the production answers from these changes."""
        ledger = cast(Any, _Giver(self, self.changes if changes is None else changes))
        transfer = StateTransfer(
            driver=cast(Any, None),
            ledger=ledger,
            links=cast(Any, None),
            metrics=cast(Any, None),
            verify=self.verify,
        )

        def answer(from_epoch: int) -> peer_pb2.StateResponse:
            response = transfer._head_response(from_epoch)
            assert response is not None
            frame = wire.read_frame(wire.state_response_frame(response))
            assert isinstance(frame, peer_pb2.StateResponse)
            return frame

        return answer


@lru_cache
def chain_of(epochs: int) -> Chain:
    """Made once: to sign it takes longer than to follow it."""
    return Chain(epochs)


class _Giver(ChainSets):
    def __init__(self, chain: Chain, changes: dict[int, SetChange]) -> None:
        store = SimpleNamespace(last_certified=chain.height, last_height=chain.height)
        super().__init__(cast(Any, store), cast(Any, GENESIS))
        self._chain, self._changes = chain, changes

    def _change_to(self, epoch: int) -> SetChange | None:
        return self._changes.get(epoch)

    def header(self, height: int) -> Any:
        return self._chain.replicas[-1].header(height)

    def certified_header_message(self, height: int) -> ledger_pb2.CertifiedHeader:
        header = self.header(height)
        certificate = self._chain.replicas[-1].certify(header)
        return ledger_pb2.CertifiedHeader(header=header.encode(), certificate=certificate.encode())


@dataclass
class Asker:
    """A replica that restores, knows the set of genesis alone, and is linked to these peers."""

    chain: Chain
    peers: dict[int, Answer]
    refused: list[tuple[int, Reason]] = field(default_factory=list)
    asked: deque[tuple[int, int]] = field(default_factory=deque)
    """(peer, from which epoch), not answered yet."""
    questions: list[tuple[int, int]] = field(default_factory=list)
    store: Any = field(default_factory=lambda: SimpleNamespace(last_height=0, last_certified=0))
    genesis: Any = field(default_factory=lambda: GENESIS)

    def __post_init__(self) -> None:
        refusals = SimpleNamespace(count=lambda sender, why, *_: self.refused.append((sender, why)))
        self.transfer = StateTransfer(
            driver=cast(Any, SimpleNamespace(pause=Pause.RESTORING)),
            ledger=cast(Any, self),
            links=cast(Any, self),
            metrics=cast(Any, SimpleNamespace(refusals=refusals)),
            verify=self.chain.verify,
            without_blocks_steps=0,
        )

    @property
    def heads(self) -> set[int]:
        """Whose head is believed."""
        return set(self.transfer._heads)

    def connected(self) -> frozenset[int]:
        return frozenset(self.peers)

    def send(self, to: int, data: bytes) -> None:
        frame = wire.read_frame(data)
        assert isinstance(frame, peer_pb2.StateRequest)
        if frame.height == 0:
            self.asked.append((to, frame.from_epoch))
            self.questions.append((to, frame.from_epoch))

    async def read(self, question: Callable[[], Any]) -> Any:
        return question()

    def set_at(self, height: int) -> ReplicaSet:
        epoch: int = self.store.last_certified // HEIGHTS_AN_EPOCH
        return self.chain.replicas[epoch].set

    def ask(self) -> None:
        """The step of restoring in which the peers are asked."""
        self.transfer.step(wanted=True, there=None)

    def reach(self, height: int) -> None:
        """Blocks come up to here."""
        self.store.last_height = self.store.last_certified = height
        self.ask()

    async def hear(self) -> None:
        """Each question is answered, in order, until none is asked any more."""
        while self.asked:
            peer, epoch = self.asked.popleft()
            await self.transfer._take(peer, self.peers[peer](epoch))


@pytest.mark.req("G2-10-3", "G2-13-2")
@pytest.mark.parametrize("epochs", [SET_CHANGES_MAX, SET_CHANGES_MAX + 1, 2 * SET_CHANGES_MAX + 6])
async def test_a_state_however_many_set_changes_ahead_is_taken_and_nobody_accused(
    epochs: int,
) -> None:
    """T8: each is asked again from the epoch that its changes reached."""
    chain = chain_of(epochs)
    asker = Asker(chain, dict.fromkeys(HONEST, chain.giver()))
    asker.ask()
    await asker.hear()
    assert asker.heads == set(HONEST)
    assert asker.refused == []
    for head in asker.transfer._heads.values():
        assert head.header.height == chain.height
        assert [each.replica_set for each in head.set_changes] == [
            each.set for each in chain.replicas[1:]
        ]
    steps = range(0, epochs, SET_CHANGES_MAX)
    assert sorted(asker.questions) == [(peer, epoch) for peer in HONEST for epoch in steps]


@pytest.mark.req("G2-13-2")
async def test_what_one_peer_proved_is_kept_once_and_not_proven_again_for_the_others() -> None:
    """T9: else a replica would hold and verify a long chain once for each peer."""
    chain = chain_of(SET_CHANGES_MAX + 6)
    before = chain.verified
    asker = Asker(chain, {0: chain.giver()})
    asker.ask()
    await asker.hear()
    alone, quorum = chain.verified - before, chain.replicas[0].set.quorum
    asker = Asker(chain, dict.fromkeys(HONEST, chain.giver()))
    asker.ask()
    await asker.hear()
    of_heads = (len(HONEST) - 1) * quorum
    assert chain.verified - before == 2 * alone + of_heads
    first, *others = (head.set_changes for head in asker.transfer._heads.values())
    assert all(mine is its for other in others for mine, its in zip(first, other, strict=True))


@pytest.mark.req("G2-13-2")
async def test_a_peer_is_asked_again_from_where_its_path_ends() -> None:
    """T8: a question that was lost begins nothing anew."""
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, {1: chain.giver()})
    asker.ask()
    peer, epoch = asker.asked.popleft()
    await asker.transfer._take(peer, asker.peers[peer](epoch))
    assert list(asker.asked) == [(1, SET_CHANGES_MAX)]
    asker.asked.clear()  # It is lost.
    for _ in range(50):
        asker.ask()
    assert list(asker.asked) == [(1, SET_CHANGES_MAX)]
    await asker.hear()
    assert (asker.heads, asker.refused) == ({1}, [])


def _without(chain: Chain, epoch: int) -> Answer:
    """Every change but one, which no honest replica lacks."""
    honest = chain.giver()

    def answer(from_epoch: int) -> peer_pb2.StateResponse:
        response = honest(from_epoch)
        kept = [each for each in response.set_changes if each != chain.changes[epoch].encode()]
        del response.set_changes[:]
        response.set_changes.extend(kept)
        return response

    return answer


def _forged(chain: Chain, epoch: int) -> Answer:
    """A change that the set to come signed itself."""
    header = chain.changes[epoch].header
    forged = SetChange(header, chain.replicas[epoch].certify(header), chain.replicas[epoch].set)
    return chain.giver({**chain.changes, epoch: forged})


def _nothing_new(chain: Chain, epoch: int) -> Answer:
    """No change behind an epoch, though the head lies ahead."""
    honest = chain.giver()

    def answer(from_epoch: int) -> peer_pb2.StateResponse:
        response = honest(from_epoch)
        if from_epoch >= epoch - 1:
            del response.set_changes[:]
        return response

    return answer


@pytest.mark.req("G2-07-1", "G2-13-2")
@pytest.mark.parametrize("epoch", [1, 40, SET_CHANGES_MAX + 1, SET_CHANGES_MAX + 3])
@pytest.mark.parametrize("lie", [_without, _forged])
async def test_who_leaves_a_change_out_or_forges_one_in_any_step_is_named(
    lie: Callable[[Chain, int], Answer], epoch: int
) -> None:
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, {0: chain.giver(), 3: lie(chain, epoch), 2: chain.giver()})
    asker.ask()
    await asker.hear()
    assert asker.heads == {0, 2}
    assert asker.refused == [(3, Reason.UNPROVEN)]


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("epoch", [1, SET_CHANGES_MAX + 1])
async def test_who_gives_nothing_new_is_named_and_not_asked_again_at_once(epoch: int) -> None:
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, {0: chain.giver(), 3: _nothing_new(chain, epoch), 2: chain.giver()})
    asker.ask()
    await asker.hear()
    assert asker.heads == {0, 2}
    assert asker.refused == [(3, Reason.UNPROVEN)]


async def test_an_answer_that_comes_twice_is_of_no_use_and_asks_for_nothing() -> None:
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, {1: chain.giver()})
    asker.ask()
    asker.asked.clear()
    await asker.transfer._take(1, asker.peers[1](0))
    asker.asked.clear()
    await asker.transfer._take(1, asker.peers[1](0))
    assert not asker.asked
    assert asker.refused == [(1, Reason.UNASKED)]


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("height", [5, 2 * HEIGHTS_AN_EPOCH + 5])
async def test_blocks_that_come_while_a_state_is_looked_for_make_no_path_forgotten(
    height: int,
) -> None:
    """T1 and T8: else one that gives a block now and then, also into another epoch, keeps it from
    ever reaching a head that lies many epochs ahead.
    """
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, dict.fromkeys(HONEST, chain.giver()))
    asker.ask()
    for peer, epoch in [asker.asked.popleft() for _ in HONEST]:
        await asker.transfer._take(peer, asker.peers[peer](epoch))
    asker.reach(height)
    await asker.hear()
    assert asker.heads == set(HONEST)
    assert asker.refused == []
    assert sorted(asker.questions) == [(p, e) for p in HONEST for e in (0, SET_CHANGES_MAX)]


async def test_an_answer_from_an_epoch_whose_path_is_forgotten_accuses_nobody() -> None:
    """T1 and T8: nobody was ahead any more, so it was looked for no longer; then anew."""
    chain = chain_of(SET_CHANGES_MAX + 6)
    asker = Asker(chain, {1: chain.giver()})
    asker.ask()
    peer, epoch = asker.asked.popleft()
    await asker.transfer._take(peer, asker.peers[peer](epoch))
    peer, epoch = asker.asked.popleft()
    asker.transfer.step(wanted=False, there=None)
    await asker.transfer._take(peer, asker.peers[peer](epoch))
    assert asker.refused == [(1, Reason.UNASKED)], "nothing is looked for"
    asker.ask()
    asker.asked.clear()
    await asker.transfer._take(peer, asker.peers[peer](epoch))
    assert asker.refused == [(1, Reason.UNASKED)] * 2
    asker.asked.append((1, 0))
    await asker.hear()
    assert asker.heads == {1}
    assert len(asker.refused) == 2


@pytest.mark.req("G2-10-3")
async def test_a_path_of_lost_replicas_stands_in_nobodys_way() -> None:
    """T9 and Q4: they went on with another epoch of that number, which their old quorum signed."""
    chain, lost = chain_of(3), Chain(1)
    other = Replicas(chain.keys, epoch=1, size=5)
    header = chain.replicas[0].header(12, tag="lost", next_set=other.set)
    lost.changes = {1: SetChange(header, chain.replicas[0].certify(header), other.set)}
    lost.replicas[1] = other
    asker = Asker(chain, {3: lost.giver(), 0: chain.giver(), 1: chain.giver()})
    asker.ask()
    await asker.hear()
    assert asker.heads == {0, 1, 3}
    by_sender = asker.transfer._heads
    assert by_sender[0].header == by_sender[1].header != by_sender[3].header


@pytest.mark.req("G2-13-2")
def test_more_changes_than_a_state_is_kept_with_are_told_and_accuse_nobody() -> None:
    """T9: by their number, and by their bytes."""
    chain = chain_of(5)
    answer = chain.giver()(0)
    trusted = TrustedChain.from_genesis(GENESIS_HASH, chain.replicas[0].set)
    size = len(chain.changes[1].encode())
    for bounds in ({"count_max": 4}, {"bytes_max": 4 * size + 10}):
        with pytest.raises(PathTooLongError) as caught:
            SetPaths(chain.verify, **bounds).judge(0, answer, trusted)
        assert caught.value.epoch == 4
    found = SetPaths(chain.verify, count_max=5).judge(0, answer, trusted)
    assert not isinstance(found, Partway)
    assert len(found.set_changes) == 5


def test_an_answer_has_as_many_changes_as_fit_and_one_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = chain_of(5)
    size = len(chain.changes[1].encode())
    for room, given in ((0, 1), (size, 1), (3 * size + 10, 3), (6 * size, 5)):
        monkeypatch.setattr(chain_sets, "SET_CHANGES_BYTES_MAX", room)
        epochs = [SetChange.decode(each) for each in chain.giver()(0).set_changes]
        assert [each.replica_set.epoch for each in epochs] == list(range(1, given + 1))
