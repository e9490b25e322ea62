"""Votes are verified only up to the quorum, and none is lost by that (pbft.md N11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest

from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.batch import Batch
from services.chassis.telemetry import Metrics
from services.consensus.domain.effects import Certified, Effect, Equivocation, Evidence, Reject
from services.consensus.domain.messages import (
    Checkpoint,
    Commit,
    Digest,
    Executed,
    Message,
    PeerMessage,
    Prepare,
    Propose,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.gate import useless_on_arrival
from services.consensus.metrics import ReplicaMetrics
from services.consensus.signing import Authenticator
from services.consensus.surplus import Sent, Surplus
from tests.simulation.keys import public_key, replica_set, sign_with, verify
from tests.unit.consensus.protocol import (
    GENESIS,
    OTHER,
    PARAMETERS,
    PAY,
    START_MS,
    Bench,
    header_hash,
    signer,
    ticking,
    view_change,
)

ONE = SequenceNumber(1)
FIRST = View(0)
HEADER = header_hash("block 1")
SURPLUS = "guqiao_consensus_surplus_votes_total"


class Counting:
    """Verifies as the simulator does, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return verify(public_key, message, signature)


class Node:
    """A real core and authenticator around a `Surplus`, in the turns of the vote loop."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.metrics = Metrics()
        self.surplus = Surplus(ReplicaMetrics(self.metrics).surplus_votes)
        self.inbox: list[tuple[ReplicaId, Message]] = []
        self.verified: Counter[type[PeerMessage]] = Counter()
        self.refused: list[int] = []
        self.put: list[PeerMessage] = []
        self._provider = Counting()
        self._authenticator = Authenticator(PARAMETERS.window, cast(GmProvider, self._provider))

    def round(self, *messages: Sent) -> None:
        """These are judged in one round; what is authentic waits for the core."""
        core = self.bench.core
        useful = [each for each in messages if self._is_useful(*each)]
        wanted = self.surplus.sift(core, iter(self.inbox), useful)
        while wanted:
            for sender, message in wanted:
                self._judge(sender, message)
            wanted = self.surplus.missing(core, iter(self.inbox))

    def step(self) -> list[Effect]:
        """The core takes what waits."""
        inbox, self.inbox = self.inbox, []
        return [
            effect for sender, message in inbox for effect in self.bench.step(message, int(sender))
        ]

    def receive(self, *messages: Sent) -> list[Effect]:
        """One round, and the core's turn."""
        self.round(*messages)
        return self.step()

    def _is_useful(self, sender: int, message: PeerMessage) -> bool:
        core, window = self.bench.core, PARAMETERS.window
        return useless_on_arrival(core, sender, message, window=window, said=0) is None

    def _judge(self, sender: int, message: PeerMessage) -> None:
        before = self._provider.count
        [verdict] = self._authenticator.judge(self.bench.core, [(sender, message)])
        self.verified[type(message)] += self._provider.count - before
        if verdict is None:
            self.put.append(message)
            self.inbox.append((ReplicaId(sender), message))
        else:
            self.refused.append(sender)


def prepare(replica: int, *, of: Batch = PAY, size: int = 4, view: int = 0) -> Sent:
    return replica, signer(replica, size).prepare(View(view), ONE, Digest(of.digest()))


def commit(replica: int, *, of: Batch = PAY, size: int = 4, view: int = 0) -> Sent:
    return replica, signer(replica, size).commit(View(view), ONE, Digest(of.digest()))


def checkpoint(replica: int, *, of: Digest = HEADER, size: int = 4) -> Sent:
    return replica, signer(replica, size).checkpoint(ONE, of)


def forged(sent: Sent) -> Sent:
    sender, vote = sent
    assert isinstance(vote, Prepare | Commit | Checkpoint)
    return sender, replace(vote, signature=b"x" * 64)


def backup(size: int = 4) -> Node:
    """Replica 1, which accepted and prepared the first proposal."""
    bench = ticking(1, size)
    bench.receive_pre_prepare(1, PAY)
    return Node(bench)


def executed_node() -> Node:
    """The same once it executed that batch."""
    node = backup()
    node.receive(prepare(2))
    node.receive(commit(0), commit(2))
    node.bench.step(Executed(ONE, HEADER))
    return node


def offences(effects: Sequence[Effect]) -> list[Equivocation]:
    found = [effect.offence for effect in effects if isinstance(effect, Evidence)]
    assert all(isinstance(each, Equivocation) for each in found)
    return cast(list[Equivocation], found)


def in_one_round(node: Node, votes: Sequence[Sent]) -> list[Effect]:
    return node.receive(*votes)


def one_by_one(node: Node, votes: Sequence[Sent]) -> list[Effect]:
    return [effect for vote in votes for effect in node.receive(vote)]


def before_the_core_steps(node: Node, votes: Sequence[Sent]) -> list[Effect]:
    for vote in votes:
        node.round(vote)
    return node.step()


Delivery = Callable[[Node, Sequence[Sent]], list[Effect]]
DELIVERIES: tuple[Delivery, ...] = (in_one_round, one_by_one, before_the_core_steps)


@pytest.mark.parametrize("deliver", DELIVERIES)
@pytest.mark.parametrize("me", [0, 1], ids=["primary", "backup"])
@pytest.mark.parametrize("size", [4, 7])
def test_n11_all_votes_of_a_height_cost_exactly_the_verifications_of_a_quorum(
    size: int, me: int, deliver: Delivery
) -> None:
    bench = ticking(me, size)
    node, quorum = Node(bench), replica_set(size).quorum
    others = [each for each in range(size) if each != me]
    if me == 0:
        bench.step(Propose(PAY))
    else:
        bench.receive_pre_prepare(1, PAY)
    deliver(node, [prepare(each, size=size) for each in others if each != 0])
    deliver(node, [commit(each, size=size) for each in others])
    bench.step(Executed(ONE, HEADER))
    effects = deliver(node, [checkpoint(each, size=size) for each in others])

    [certified] = [each for each in effects if isinstance(each, Certified)]
    assert len(certified.certificate.signatures) == quorum
    assert bench.core.low_watermark == 1
    own_prepare = 0 if me == 0 else 1
    assert node.verified == {
        Prepare: quorum - 1 - own_prepare,
        Commit: quorum - 1,
        Checkpoint: quorum - 1,
    }
    assert node.refused == []


def test_n11_a_surplus_vote_is_counted_and_accuses_nobody() -> None:
    node = backup()
    node.receive(prepare(2), prepare(3))
    rendered = node.metrics.render().decode()
    assert f"{SURPLUS} 1.0" in rendered
    assert "messages_total{" not in rendered
    assert (node.refused, len(node.surplus)) == ([], 1)


@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.req("G2-07-1")
def test_n11_who_forges_first_keeps_no_quorum_away(size: int) -> None:
    quorum, faulty = replica_set(size).quorum, replica_set(size).faulty_max
    others = [each for each in range(size) if each != 1]
    forgers = set(others[-faulty:])
    node = backup(size)

    def votes(one: Callable[..., Sent]) -> list[Sent]:
        bad = [forged(one(each, size=size)) for each in forgers]
        return bad + [one(each, size=size) for each in others if each not in forgers | {0}]

    node.receive(*votes(prepare))
    node.receive(*votes(commit), commit(0, size=size))
    node.bench.step(Executed(ONE, HEADER))
    node.receive(*votes(checkpoint), checkpoint(0, size=size))
    assert node.bench.core.low_watermark == 1
    assert node.verified == {
        Prepare: quorum - 2 + faulty,
        Commit: quorum - 1 + faulty,
        Checkpoint: quorum - 1 + faulty,
    }
    assert Counter(node.refused) == dict.fromkeys(forgers, 3)


def test_n11_only_as_many_as_were_forged_are_verified_in_their_place() -> None:
    node = backup(7)
    node.receive(forged(prepare(6, size=7)), *(prepare(each, size=7) for each in (2, 3, 4, 5)))
    assert node.verified == {Prepare: 4}
    assert (node.refused, len(node.surplus)) == ([6], 1)


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("deliver", DELIVERIES)
@pytest.mark.parametrize("quorate_first", [True, False])
@pytest.mark.parametrize("phase", ["prepare", "commit", "checkpoint"])
def test_n11_equivocation_behind_a_quorum_is_the_same_evidence_as_without_surplus(
    phase: str, quorate_first: bool, deliver: Delivery
) -> None:
    quorum, pair = [prepare(2)], [prepare(3), prepare(3, of=OTHER)]
    make: Callable[[], Node] = backup
    if phase == "commit":
        quorum, pair = [prepare(2), commit(0), commit(2)], [commit(3), commit(3, of=OTHER)]
    if phase == "checkpoint":
        # Two of the three that certify: the third would close the question.
        quorum, pair = [], [checkpoint(3), checkpoint(3, of=header_hash("other"))]
        make = executed_node
    if not quorate_first:
        pair.reverse()

    ungated = make().bench
    for sender, message in quorum:
        ungated.step(message, sender)
    expected = [e for sender, message in pair for e in ungated.step(message, sender)]
    assert len(offences(expected)) == 1

    node = make()
    node.receive(*quorum)
    held_before = len(node.surplus)
    effects = deliver(node, pair)
    assert offences(effects) == offences(expected)
    rejects = [each for each in effects if isinstance(each, Reject)]
    assert rejects == [each for each in expected if isinstance(each, Reject)]
    assert len(node.surplus) == held_before == 0


@pytest.mark.req("G2-16-4")
def test_n11_equivocation_at_a_checkpoint_with_a_quorum_that_waits_for_execution() -> None:
    """The quorum of others is there before this replica executed: the question stays open."""
    node = backup()
    node.receive(checkpoint(0), checkpoint(2), checkpoint(3))
    assert node.verified == {Checkpoint: 3}
    effects = node.receive(checkpoint(3, of=header_hash("other")))
    assert [each.first.replica for each in offences(effects)] == [3]

    seven = backup(7)
    seven.receive(*(checkpoint(each, size=7) for each in (0, 2, 3, 4, 5, 6)))
    assert (seven.verified, len(seven.surplus)) == ({Checkpoint: 5}, 1)
    effects = seven.receive(checkpoint(6, of=header_hash("other"), size=7))
    assert [each.first.replica for each in offences(effects)] == [6]
    assert [each.first.digest for each in offences(effects)] == [HEADER]
    assert seven.verified == {Checkpoint: 7}


def test_n11_a_held_vote_with_another_signature_is_judged_with_the_new_one() -> None:
    node = backup()
    node.receive(prepare(2), forged(prepare(3)))
    assert (node.refused, len(node.surplus)) == ([], 1)
    node.receive(prepare(3))
    assert node.refused == [3]
    assert node.put[-1] == prepare(3)[1]


def test_n11_the_same_surplus_vote_again_is_still_not_verified() -> None:
    node = backup()
    node.receive(prepare(2))
    for _ in range(3):
        node.receive(prepare(3))
    assert (node.verified, len(node.surplus)) == ({Prepare: 1}, 1)


def test_n11_without_an_own_vote_as_many_more_of_others_are_verified() -> None:
    node = Node(ticking(1, 7))
    quorum = replica_set(7).quorum
    node.receive(*(prepare(each, size=7) for each in range(2, 7)))
    node.receive(*(commit(each, size=7) for each in (0, 2, 3, 4, 5, 6)))
    assert node.verified == {Prepare: quorum - 1, Commit: quorum}
    node.bench.receive_pre_prepare(1, PAY)
    node.bench.step(Executed(ONE, HEADER))  # Committed by the others' votes.
    assert node.bench.core.executed == 1


def test_n11_votes_for_another_digest_have_a_quorum_of_their_own() -> None:
    """A backup that was shown another proposal than the rest still commits what they commit."""
    node = backup()
    node.receive(commit(0, of=OTHER), commit(2, of=OTHER), commit(3, of=OTHER))
    assert node.verified == {Commit: 3}
    question = signer(1).commit(FIRST, ONE, Digest(OTHER.digest()))
    assert node.bench.core.held_votes.signers(question) == dict.fromkeys(
        (0, 2, 3), Digest(OTHER.digest())
    )


def test_n11_who_said_something_else_counts_for_no_quorum_of_this_digest() -> None:
    node = backup(7)
    node.receive(commit(6, of=OTHER, size=7))
    node.round(commit(5, of=OTHER, size=7))  # Waits for the core.
    node.receive(*(commit(each, size=7) for each in (6, 5, 0, 2, 3, 4)))
    digest = Digest(PAY.digest())
    said = node.bench.core.held_votes.signers(signer(1, 7).commit(FIRST, ONE, digest))
    assert said is not None
    assert sorted(each for each in said if said[each] == digest) == [0, 2, 3, 4]


def test_n11_what_waited_and_got_lost_is_replaced_from_the_surplus() -> None:
    node = backup()
    node.round(prepare(2), prepare(3))
    assert (node.verified, len(node.surplus)) == ({Prepare: 1}, 1)
    node.inbox.clear()
    node.receive((0, view_change(0, 5)))  # Whatever comes next.
    assert len(node.surplus) == 0
    assert node.bench.core.held_votes.signers(prepare_of(1)) == dict.fromkeys(
        (1, 3), Digest(PAY.digest())
    )


def test_n11_a_vote_that_is_there_twice_counts_once() -> None:
    node = backup(7)
    votes = [prepare(each, size=7) for each in (2, 2, 3, 4, 5)]
    assert node.surplus.sift(node.bench.core, (), votes) == votes[:4]


def test_n11_a_held_vote_that_is_judged_beside_another_counts_for_its_quorum() -> None:
    node = backup(7)
    node.round(*(prepare(each, size=7) for each in (2, 3, 4, 5)))
    node.inbox.clear()
    second, again = prepare(5, of=OTHER, size=7), [prepare(each, size=7) for each in (2, 3, 4)]
    wanted = node.surplus.sift(node.bench.core, (), [second, *again])
    assert wanted == [prepare(5, size=7), second, *again[:2]]


def prepare_of(replica: int) -> Prepare:
    vote = prepare(replica)[1]
    assert isinstance(vote, Prepare)
    return vote


def test_n11_a_view_change_drops_the_surplus_and_counts_anew() -> None:
    """The same batch, too, of which it holds a certificate of the view before."""
    node = backup()
    node.receive(prepare(2), prepare(3))
    node.receive(commit(0), commit(2), commit(3))
    assert len(node.surplus) == 2
    changes = tuple(view_change(each, 2) for each in (0, 2, 3))
    new_view = signer(2).new_view(View(2), changes, ())
    node.receive(*((each.replica, each) for each in changes), (2, new_view))
    assert node.bench.core.view == 2
    node.bench.receive_pre_prepare(1, PAY, view=2)
    node.verified.clear()
    node.receive(prepare(0, view=2), prepare(3, view=2))
    assert (node.verified, len(node.surplus)) == ({Prepare: 1}, 1)
    node.receive(*(commit(each, view=2) for each in (0, 2, 3)))
    assert node.verified == {Prepare: 1, Commit: 2}
    node.bench.step(Executed(ONE, HEADER))
    assert node.bench.core.executed == 1


def test_n11_votes_of_the_view_that_is_left_count_until_the_next_is_entered() -> None:
    node = backup()
    node.receive(prepare(2))
    node.receive((2, view_change(2, 2)), (3, view_change(3, 2)))
    assert (node.bench.core.view, node.bench.core.active) == (2, False)
    node.receive(*(commit(each) for each in (0, 2, 3)))
    assert (node.verified[Commit], len(node.surplus)) == (2, 1)


def test_n11_votes_of_views_to_come_are_all_verified() -> None:
    node = backup()
    votes = [commit(each, view=1) for each in (0, 2, 3)]
    node.receive(*votes)
    assert (node.verified, len(node.surplus)) == ({Commit: 3}, 0)


def test_n11_a_jailed_signer_counts_for_no_quorum_and_is_never_held() -> None:
    """Five of seven are needed, and all six that are not jailed are there."""
    bench = ticking(1, 7)
    jailing = replace(replica_set(7), jailed=(0,))
    bench.core = Replica(
        me=ReplicaId(1),
        replica_set=jailing,
        parameters=PARAMETERS,
        sign=sign_with(public_key(1)),
        head=GENESIS,
        now_ms=START_MS,
    )
    node = Node(bench)
    node.receive(*(commit(each, size=7) for each in (0, 2, 3, 4, 5, 6)))
    assert (node.verified, node.refused, len(node.surplus)) == ({Commit: 5}, [], 0)
    assert node.surplus.sift(bench.core, (), [commit(0, size=7)]) == [commit(0, size=7)]


def test_n11_what_no_signature_excuses_is_refused_and_not_held() -> None:
    node = backup()
    node.receive(prepare(2))
    by_the_primary, for_another = prepare(0), (3, prepare(2)[1])
    node.receive(by_the_primary, for_another)
    assert (node.refused, len(node.surplus)) == ([0, 3], 0)
    assert node.verified == {Prepare: 1}


def test_n11_after_a_restart_the_prepared_certificate_counts() -> None:
    node = backup()
    node.receive(prepare(2))
    node.bench.recover()
    again = Node(node.bench)
    again.receive(prepare(2), prepare(3))
    assert (again.verified, len(again.surplus)) == ({}, 2)
    effects = again.receive(prepare(3, of=OTHER))
    assert [each.first.replica for each in offences(effects)] == [3]


@pytest.mark.req("G2-07-1")
def test_n11_what_is_held_is_bounded_by_the_window_and_the_set() -> None:
    node, window, size = backup(), PARAMETERS.window, 4
    held: list[Sent] = []
    for sequence in range(1, 3 * window):
        for digest in (Digest(PAY.digest()), Digest(OTHER.digest())):
            for number in (0, 2, 3):
                by, place = signer(number), (FIRST, SequenceNumber(sequence), digest)
                held += [(number, by.commit(*place)), (number, by.checkpoint(*place[1:]))]
                held += [(number, by.prepare(*place))] * (number != 0)
    for vote in held + [forged(each) for each in held]:
        node.round(vote)
        assert len(node.surplus) <= 3 * window * size
    node.step()


def test_n11_surplus_of_a_certified_height_of_the_past_and_of_another_core_is_dropped() -> None:
    node = backup()
    node.receive(prepare(2), prepare(3))
    node.receive(commit(0), commit(2), commit(3))
    assert len(node.surplus) == 2
    node.bench.step(Executed(ONE, HEADER))
    node.receive(checkpoint(0), checkpoint(2), checkpoint(3))
    assert (node.bench.core.low_watermark, len(node.surplus)) == (1, 3)
    node.round()
    assert len(node.surplus) == 0

    other = backup()
    other.receive(prepare(2), prepare(3))
    other.bench.recover([])
    other.round()
    assert len(other.surplus) == 0
