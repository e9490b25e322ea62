"""Mistakes of other people's replicas, each by its row: a P of the reliability plan, or a row of
the field lessons (docs/field-lessons.md). One real replica, its peers by hand.

Rows that need a whole cluster are in `tests/simulation/test_known_mistakes_of_clusters.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import (
    Broadcast,
    Certified,
    Effect,
    Equivocation,
    Evidence,
    Execute,
    FetchBlocks,
    Persist,
    ViewChanged,
)
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    Commit,
    Digest,
    Executed,
    Hello,
    NewView,
    PeerMessage,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    Propose,
    ReplicaId,
    RequestPending,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.view_change import chosen_batches
from services.consensus.settings import Settings
from tests.simulation.keys import replica_set, verify
from tests.unit.consensus.protocol import (
    LATE_MS,
    OTHER,
    PARAMETERS,
    PAY,
    START_MS,
    SUSPECTING,
    Bench,
    a_batch,
    certified,
    committed,
    finality_certificate,
    header_hash,
    pass_time,
    prepared_certificate,
    sent,
    signer,
    ticking,
    view_change,
)

WINDOW = PARAMETERS.window
SET = replica_set(4)


def refused(message: PeerMessage, sender: int) -> bool:
    return authenticate(message, ReplicaId(sender), SET, verify, WINDOW) is not None


def executed(effects: Sequence[Effect]) -> list[Execute]:
    return [each for each in effects if isinstance(each, Execute)]


def votes(effects: Sequence[Effect]) -> list[Prepare | Commit]:
    found = [each.message for each in effects if isinstance(each, Broadcast)]
    return [each for each in found if isinstance(each, Prepare | Commit)]


def opened(view: int, changes: tuple[ViewChange, ...]) -> NewView:
    """The new-view that follows from these view-changes."""
    return signer(view % 4).new_view(View(view), changes, chosen_batches(changes))


# --- Proposals ------------------------------------------------------------------------------


@pytest.mark.req("G2-07-1")
def test_p05_a_sequence_number_that_was_decided_before_a_restart_is_not_proposed_again() -> None:
    """Killed between the decision and its execution; a heartbeat must not take its place."""
    bench = ticking(0)
    bench.step(Propose(PAY))
    for peer in (1, 2):
        bench.receive_prepare(peer, 1, PAY.digest())
    bench.receive_commit(1, 1, PAY.digest())
    assert executed(bench.receive_commit(2, 1, PAY.digest()))
    bench.recover()
    bench.step(Tick(START_MS))
    proposals = [each for each in sent(bench.step(Propose(OTHER))) if isinstance(each, PrePrepare)]
    assert [(each.sequence, each.digest) for each in proposals] == [(2, OTHER.digest())]


@pytest.mark.req("G2-07-1")
def test_p11_a_primary_that_only_jumps_is_suspected() -> None:
    bench = ticking(1)
    bench.step(RequestPending(b"pay"))
    for sequence in range(2, WINDOW + 2):
        assert votes(bench.receive_pre_prepare(sequence, a_batch(f"b{sequence}"))) == []
    assert Broadcast(SUSPECTING) in pass_time(bench, LATE_MS)
    assert bench.core._ordering.accepted_through == 0


@pytest.mark.req("G2-07-1")
def test_row06_a_proposal_that_contradicts_the_new_view_of_its_primary_is_evidence() -> None:
    """What stands inside a certificate is a vote like any other."""
    bench = ticking(2)
    prepared = prepared_certificate(0, 1, PAY.digest())
    changes = (view_change(0, 1), view_change(1, 1, prepared=(prepared,)), view_change(3, 1))
    bench.step(opened(1, changes), 1)
    effects = bench.receive_pre_prepare(1, OTHER, view=1)
    found = [each for each in effects if isinstance(each, Evidence)]
    assert [each.replica for each in found] == [1]
    offence = found[0].offence
    assert isinstance(offence, Equivocation)
    assert {offence.first.digest, offence.second.digest} == {PAY.digest(), OTHER.digest()}
    assert not [each for each in votes(effects) if each.digest == OTHER.digest()]


# --- Votes and certificates -----------------------------------------------------------------


@pytest.mark.req("G2-07-1")
def test_row01_commits_and_checkpoint_votes_for_another_digest_do_not_count() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(2, 1, PAY.digest())
    for peer in (0, 3):
        assert executed(bench.receive_commit(peer, 1, OTHER.digest())) == []
    assert executed(bench.receive_commit(2, 1, PAY.digest())) == []
    other = ticking(1)
    committed(other, 1, PAY)
    other.step(Executed(SequenceNumber(1), header_hash("mine")))
    for peer, header in ((0, "mine"), (2, "other")):
        effects = other.receive_checkpoint(peer, 1, header_hash(header))
        assert not [each for each in effects if isinstance(each, Certified)]


@pytest.mark.req("G2-07-1")
def test_row02_a_vote_that_comes_again_and_again_is_one_vote() -> None:
    """Of seven: three replicas' votes, one of them three times, are no quorum of five."""
    bench = ticking(1, size=7)
    bench.receive_pre_prepare(1, PAY)
    for peer in (2, 2, 2, 3, 3):
        assert votes(bench.receive_prepare(peer, 1, PAY.digest())) == []
    assert votes(bench.receive_prepare(4, 1, PAY.digest())), "the fourth backup's makes it prepared"
    for peer in (2, 2, 2, 3, 3, 4):
        assert executed(bench.receive_commit(peer, 1, PAY.digest())) == []
    assert executed(bench.receive_commit(5, 1, PAY.digest()))


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("doubled", ["prepared", "finality"])
def test_row02_p24_one_signer_twice_makes_no_certificate_though_all_signatures_hold(
    doubled: str,
) -> None:
    whole = prepared_certificate(0, 1, PAY.digest())
    certificate = finality_certificate(1, header_hash("b"))
    assert not refused(view_change(1, 1, prepared=(whole,)), 1)
    assert not refused(signer(1).view_change(View(1), SequenceNumber(1), certificate, ()), 1)
    if doubled == "prepared":
        twice = PreparedCertificate(
            whole.view,
            whole.sequence,
            whole.digest,
            whole.pre_prepare_signature,
            (whole.prepares[0], whole.prepares[0]),
        )
        assert refused(view_change(1, 1, prepared=(twice,)), 1)
    else:
        first, second, _ = certificate.signatures
        signatures = (first, second, second)
        object.__setattr__(certificate, "signatures", signatures)
        lie = signer(1).view_change(View(1), SequenceNumber(1), certificate, ())
        assert refused(lie, 1)


@pytest.mark.req("G2-09-3")
def test_p12_row03_a_prepare_of_one_place_is_a_vote_at_no_other() -> None:
    """The whole matrix: type, view, sequence number; chain and epoch beside it."""
    kinds: tuple[type[Prepare] | type[Commit], ...] = (Prepare, Commit)
    places = list(itertools.product(kinds, (View(4), View(8)), (1, 2)))
    for said, meant in itertools.product(places, repeat=2):
        kind, view, number = said
        signs = signer(1).prepare if kind is Prepare else signer(1).commit
        vote = signs(view, SequenceNumber(number), Digest(PAY.digest()))
        place = (meant[1], SequenceNumber(meant[2]), vote.digest, vote.replica)
        moved: PeerMessage = meant[0](*place, vote.signature)
        assert refused(moved, 1) == (said != meant)


@pytest.mark.req("G2-07-1")
def test_row04_an_equivocating_primary_gets_neither_of_its_batches_committed_by_mixed_votes() -> (
    None
):
    """Replica 1 holds PAY, the others were shown OTHER: three commits, but never three for one."""
    bench = ticking(1)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(2, 1, PAY.digest())
    assert executed(bench.receive_commit(0, 1, PAY.digest())) == []
    assert executed(bench.receive_commit(2, 1, OTHER.digest())) == []
    effects = bench.receive_commit(0, 1, OTHER.digest())
    assert executed(effects) == []
    assert [each.replica for each in effects if isinstance(each, Evidence)] == [0]
    assert executed(bench.receive_commit(3, 1, PAY.digest())) == [Execute(SequenceNumber(1), PAY)]


# --- View changes ---------------------------------------------------------------------------


def histories() -> Iterator[dict[int, tuple[int, bytes]]]:
    """What n = 4 replicas may hold as latest prepared at one sequence number, once PAY is committed
    in view 1: a quorum prepared it there; the others hold nothing, or something of view 0.
    """
    for quorum in itertools.combinations(range(4), 3):
        (rest,) = set(range(4)) - set(quorum)
        for other in (None, (0, OTHER.digest()), (0, PAY.digest()), (1, PAY.digest())):
            held = {each: (1, PAY.digest()) for each in quorum}
            yield held if other is None else {**held, rest: other}


@pytest.mark.req("G2-07-1")
def test_p07_row05_whatever_quorum_of_view_changes_is_taken_what_was_committed_is_kept() -> None:
    """All histories and all quorums at n = 4: a commit of an old view is never contradicted."""
    seen = 0
    for held in histories():
        for quorum in itertools.combinations(range(4), 3):
            changes = []
            for replica in quorum:
                latest = held.get(replica)
                kept = () if latest is None else (prepared_certificate(latest[0], 1, latest[1]),)
                changes.append(view_change(replica, 2, prepared=kept))
            assert chosen_batches(changes) == ((1, PAY.digest()),)
            seen += 1
    assert seen == 64


@pytest.mark.req("G2-07-1")
def test_p07_a_new_view_that_does_not_come_is_waited_for_no_longer_than_a_time_out() -> None:
    """All others left for view 1, whose primary is dead: it goes on to view 2 with them."""
    bench = ticking(3)
    for peer in (0, 2):
        bench.step(view_change(peer, 1), peer)
    assert (bench.core.view, bench.core.active) == (1, False)
    pass_time(bench, PARAMETERS.timeout_ms)
    waiting = Hello(View(1), False, True, SequenceNumber(0))
    bench.step(waiting, 0)
    assert bench.core.view == 1
    pass_time(bench, 2 * PARAMETERS.timeout_ms)
    assert bench.core.view == 2


@pytest.mark.req("G2-07-1")
def test_p08_row14_view_changes_of_different_certified_heights_make_one_quorum() -> None:
    """Whatever checkpoint each starts from: the new primary only fetches the blocks first."""
    bench = ticking(1)
    ahead = (view_change(2, 1, certified=2), view_change(3, 1, certified=1))
    effects = [effect for each in ahead for effect in bench.step(each, each.replica)]
    fetched = [each for each in effects if isinstance(each, FetchBlocks)]
    assert [(each.last, each.source) for each in fetched] == [(2, 2), (1, 3)]
    assert not [each for each in sent(effects) if isinstance(each, NewView)]
    certificate = ahead[0].certificate
    assert certificate is not None
    two, header = SequenceNumber(2), Digest(certificate.header_hash)
    effects = bench.step(CertifiedElsewhere(two, header, START_MS, certificate))
    (message,) = [each for each in sent(effects) if isinstance(each, NewView)]
    assert sorted(each.certified for each in message.view_changes) == [0, 1, 2]
    assert ViewChanged(View(1), ReplicaId(1)) in effects
    assert not refused(message, 1)


@pytest.mark.req("G2-07-1")
def test_row20_a_batch_that_is_proposed_again_in_three_views_is_voted_for_in_each() -> None:
    """Each view is opened by its own quorum, one replica being away, and none gets to commit."""
    bench = ticking(3)
    bench.receive_pre_prepare(1, PAY)
    held = prepared_certificate(0, 1, PAY.digest())
    for view in (1, 2, 4):
        others = [each for each in (0, 1, 2) if each != (view + 1) % 3]
        changes = tuple(view_change(each, view, prepared=(held,)) for each in sorted([*others, 3]))
        message = opened(view, changes)
        assert not refused(message, view % 4)
        effects = bench.step(message, view % 4)
        said = [each for each in votes(effects) if isinstance(each, Prepare)]
        assert [(each.view, each.digest) for each in said] == [(view, PAY.digest())]
        held = prepared_certificate(view, 1, PAY.digest())
    for peer in (1, 2):
        bench.receive_prepare(peer, 1, PAY.digest(), view=4)
    bench.receive_commit(0, 1, PAY.digest(), view=4)
    assert executed(bench.receive_commit(1, 1, PAY.digest(), view=4)) == [
        Execute(SequenceNumber(1), PAY)
    ]


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("order", list(itertools.permutations(("decide", "leave", "open"))))
def test_row22_a_decision_and_a_view_change_at_the_same_instant_lose_nothing(
    order: tuple[str, ...],
) -> None:
    """Every order of: the last commit, f + 1 view-changes, the new-view (which proposes again)."""
    bench = ticking(3)
    bench.receive_pre_prepare(1, PAY)
    bench.receive_prepare(1, 1, PAY.digest())
    bench.receive_commit(0, 1, PAY.digest())
    held = prepared_certificate(0, 1, PAY.digest())
    changes = tuple(view_change(each, 1, prepared=(held,)) for each in (0, 1, 2))
    effects: list[Effect] = []
    for event in order:
        if event == "decide":
            effects += bench.receive_commit(1, 1, PAY.digest())
        elif event == "leave":
            for change in changes[:2]:
                effects += bench.step(change, change.replica)
        else:
            effects += bench.step(opened(1, changes), 1)
    for peer in (0, 1):
        effects += bench.receive_prepare(peer, 1, PAY.digest(), view=1)
        effects += bench.receive_commit(peer, 1, PAY.digest(), view=1)
    effects += bench.receive_prepare(2, 1, PAY.digest(), view=1)
    effects += bench.receive_commit(2, 1, PAY.digest(), view=1)
    assert executed(effects) == [Execute(SequenceNumber(1), PAY)]
    assert (bench.core.view, bench.core.active) == (1, True)
    said = [(type(each), each.digest) for each in votes(effects) if each.view == 1]
    assert said == [(Prepare, PAY.digest()), (Commit, PAY.digest())], "others may need its votes"


def certified_elsewhere(number: int) -> CertifiedElsewhere:
    digest = header_hash(f"block {number}")
    certificate = finality_certificate(number, digest)
    return CertifiedElsewhere(SequenceNumber(number), digest, START_MS, certificate)


@pytest.mark.req("G2-07-1")
def test_row23_d3_a_block_that_is_fetched_twice_is_taken_once() -> None:
    """What catch-up stored first need not be answered."""
    bench = ticking(1)
    for _ in range(2):
        bench.step(certified_elsewhere(1))
        bench.step(certified_elsewhere(2))
        assert (bench.core.low_watermark, bench.core.executed) == (2, 2)
    bench.step(certified_elsewhere(1))
    assert (bench.core.low_watermark, bench.core.halted) == (2, False)
    assert bench.step(Executed(SequenceNumber(2), header_hash("block 2"))) == []
    assert votes(bench.receive_pre_prepare(3, PAY)), "it takes part from here"


@pytest.mark.req("G2-07-1")
def test_row24_catching_up_while_waiting_for_a_view_leaves_no_mode_behind() -> None:
    """It left view 0; the others decide there without it; then the new view comes after all."""
    bench = ticking(2)
    bench.step(view_change(0, 1), 0)
    bench.step(view_change(3, 1), 3)
    assert not bench.core.active
    bench.step(certified_elsewhere(1))
    assert (bench.core.low_watermark, bench.core.active) == (1, False)
    changes = (
        view_change(0, 1, certified=1),
        view_change(1, 1, certified=1),
        view_change(3, 1),
    )
    bench.step(opened(1, changes), 1)
    assert (bench.core.view, bench.core.active) == (1, True)
    assert votes(bench.receive_pre_prepare(2, PAY, view=1))
    assert bench.core._suspicion.entered_ms == bench.core._suspicion.now_ms


@pytest.mark.req("G2-07-1")
def test_row25_a_request_is_still_waited_for_after_view_changes() -> None:
    """Two views end without it; in the third all others are served, and its timer still runs."""
    bench = ticking(3)
    bench.step(RequestPending(b"pay"))
    for view in (1, 2):
        changes = tuple(view_change(each, view) for each in (0, 1, 2))
        for change in changes[:2]:
            bench.step(change, change.replica)
        bench.step(opened(view, changes), view)
        assert (bench.core.view, bench.core.active) == (view, True)
    suspected = []
    for height in (1, 2, 3):
        pass_time(bench, PARAMETERS.timeout_ms * 9 // 10)
        batch = a_batch(f"b{height}", bench.now_ms)
        bench.receive_pre_prepare(height, batch, view=2)
        for peer in (0, 1, 2):
            bench.receive_prepare(peer, height, batch.digest(), view=2)
            bench.receive_commit(peer, height, batch.digest(), view=2)
        certified(bench, height)
        suspected.append(bench.core._suspects)
    assert bench.core.low_watermark == 3
    assert suspected[-1]


# --- Restarts, bounds, settings -------------------------------------------------------------


def steps_of_a_backup() -> list[tuple[str, tuple[object, ...]]]:
    digest = PAY.digest()
    return [
        ("receive_pre_prepare", (1, PAY)),
        ("receive_prepare", (2, 1, digest)),
        ("receive_commit", (0, 1, digest)),
        ("receive_commit", (2, 1, digest)),
    ]


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_p14_killed_between_any_two_effects_a_replica_never_contradicts_what_it_sent() -> None:
    """At every point of every step: what left the replica was written, and after the restart no
    other proposal gets its vote.
    """
    points = 0
    for steps in range(1, len(steps_of_a_backup()) + 1):
        effects: list[Effect] = []
        bench = ticking(1)
        for name, arguments in steps_of_a_backup()[:steps]:
            effects += getattr(bench, name)(*arguments)
        for cut in range(len(effects) + 1):
            written = [each.record for each in effects[:cut] if isinstance(each, Persist)]
            left = votes(effects[:cut])
            assert all(vote in written for vote in left)
            again = Bench(1, records=written)
            again.step(Tick(START_MS))
            other = again.receive_pre_prepare(1, OTHER)
            contradiction = [each for each in votes(other) if left and each.digest != PAY.digest()]
            assert contradiction == []
            points += 1
    assert points > 15


@pytest.mark.parametrize("jump_ms", [3_600_000, 365 * 86_400_000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_p21_no_timer_fires_or_stops_for_a_clock_that_jumps(jump_ms: int, sign: int) -> None:
    bench = ticking(1)
    bench.step(RequestPending(b"pay"))
    bench.now_ms += sign * jump_ms
    bench.step(Tick(bench.now_ms))
    assert not bench.core._suspects
    pass_time(bench, LATE_MS)
    assert bench.core._suspects, "it goes on from where it was"


@pytest.mark.req("G2-07-1")
def test_p21_row18_ten_thousand_view_changes_overflow_no_time_out() -> None:
    bench = ticking(2)
    for view in range(1, 10_000):
        bench.step(view_change(0, view), 0)
        bench.step(view_change(3, view), 3)
        bench.records.clear()
    assert bench.core.view == 9_999
    assert bench.core._suspicion.timeout_ms == PARAMETERS.timeout_max_ms
    assert bench.core._suspicion._timeout.attempts < 10


def test_row28_no_setting_of_a_node_is_a_number_of_the_protocol() -> None:
    """What a node's operator edits may hurt that node alone: nothing that others depend on."""
    node_local = set(Settings.model_fields)
    words = ("quorum", "window", "timeout", "heartbeat", "batch", "block", "view", "clock")
    assert [name for name in sorted(node_local) if any(word in name for word in words)] == []


@pytest.mark.req("G2-07-1")
def test_row28_what_one_replica_says_of_itself_moves_nobody() -> None:
    """A node with other numbers of its own suspects all the time, and stays alone with that."""
    bench = ticking(1)
    for number in range(1, 50):
        bench.step(Hello(View(number % 3), False, True, SequenceNumber(0)), 3)
        pass_time(bench, 100)
    assert (bench.core.view, bench.core.active) == (0, True)
