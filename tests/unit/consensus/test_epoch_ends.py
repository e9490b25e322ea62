"""One test a sentence of docs/protocol/pbft.md: set changes (G) and jailing (E) in the core."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import Broadcast, Certified, Effect, FetchBlocks, Send
from services.consensus.domain.epochs import Core, open_core, records_of_epoch, voting_key
from services.consensus.domain.learner import Learner
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    CertifiedHead,
    Checkpoint,
    Digest,
    EpochStarted,
    Executed,
    Hello,
    LogRecord,
    PeerMessage,
    Propose,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
    ViewChange,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.signer import Signer
from services.consensus.domain.view_change import chosen_batches
from tests.simulation.keys import public_key, replica_set, sign_with, verify
from tests.unit.consensus.protocol import (
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    committed,
    finality_certificate,
    header_hash,
    kinds,
    sent,
    signer,
    ticking,
)

WINDOW = PARAMETERS.window
END = WINDOW
"""The end that block 1 tells: 1 + window - 1."""


def told(bench: Bench, sequence: int, end: int | None) -> None:
    """Executed, and the state after it names the epoch's end."""
    header = header_hash(f"block {sequence}")
    last = None if end is None else SequenceNumber(end)
    bench.step(Executed(SequenceNumber(sequence), header, last))
    for peer in [each for each in range(4) if each != bench.me][:2]:
        bench.receive_checkpoint(peer, sequence, header)


def ended(me: int) -> Bench:
    """A bench that certified the last height of its epoch."""
    bench = ticking(me)
    for number in range(1, END + 1):
        committed(bench, number, a_batch(f"b{number}"))
        told(bench, number, END)
    return bench


@pytest.mark.req("G2-10-3")
def test_g5_the_primary_proposes_nothing_beyond_the_end_of_the_epoch() -> None:
    bench = ticking(0)
    bench.step(Propose(a_batch("one")))
    for peer in (1, 2):
        bench.receive_prepare(peer, 1, a_batch("one").digest())
        bench.receive_commit(peer, 1, a_batch("one").digest())
    told(bench, 1, END)
    for number in range(2, END + 1):
        assert bench.core.may_propose
        bench.step(Propose(a_batch(f"b{number}")))
    assert not bench.core.may_propose, f"the window would reach to {1 + WINDOW}"


@pytest.mark.req("G2-10-3")
def test_g5_a_backup_votes_for_nothing_beyond_the_end_of_the_epoch() -> None:
    bench = ticking(1)
    for number in (1, 2):
        committed(bench, number, a_batch(f"b{number}"))
        told(bench, number, END)
    for number in range(3, END + 1):
        effects = bench.receive_pre_prepare(number, a_batch(f"b{number}"))
        assert "Broadcast" in kinds(effects)
    assert bench.receive_pre_prepare(END + 1, a_batch("beyond")) == []
    assert bench.receive_commit(2, END + 1, a_batch("beyond").digest()) == []


@pytest.mark.req("G2-10-3")
def test_g5_votes_for_a_height_beyond_the_end_of_the_epoch_are_no_votes() -> None:
    bench = ticking(1)
    for number in (1, 2):
        committed(bench, number, a_batch(f"b{number}"))
        told(bench, number, END)
    for height, offences in ((END, ["Reject", "Evidence"]), (END + 1, [])):
        assert bench.receive_checkpoint(2, height, header_hash("one")) == []
        assert kinds(bench.receive_checkpoint(2, height, header_hash("another"))) == offences


def test_g5_the_end_may_come_down_but_never_below_what_was_voted_for() -> None:
    bench = ticking(1)
    committed(bench, 1, a_batch("b1"))
    told(bench, 1, 50)
    committed(bench, 2, a_batch("b2"))
    told(bench, 2, 2 + WINDOW - 1)
    assert bench.receive_pre_prepare(2 + WINDOW, a_batch("beyond")) == []


@pytest.mark.req("G2-10-3")
@given(
    decided=st.integers(1, 40),
    low=st.integers(0, 60),
    window=st.integers(1, 32),
    extra=st.integers(0, 20),
)
def test_g5_whoever_may_vote_at_the_new_sets_height_has_executed_the_block_that_decides_it(
    decided: int, low: int, window: int, extra: int
) -> None:
    """The arithmetic of the barrier: a >= h + window, votes up to low + window, executed >= low."""
    first = decided + window + extra
    if low + window >= first:
        assert low >= decided


def test_g5_an_idle_epoch_is_filled_up_at_once() -> None:
    bench = ticking(0)
    assert not bench.core.heartbeat_due
    bench.step(Propose(a_batch("one")))
    for peer in (1, 2):
        bench.receive_prepare(peer, 1, a_batch("one").digest())
        bench.receive_commit(peer, 1, a_batch("one").digest())
    told(bench, 1, 100)
    assert not bench.core.heartbeat_due, "the end is far"
    bench.step(Executed(SequenceNumber(2), header_hash("x"), SequenceNumber(END)))
    assert bench.core.heartbeat_due


@pytest.mark.req("G2-10-3")
def test_g6_a_core_whose_epoch_ended_says_and_does_nothing_more() -> None:
    bench = ended(1)
    assert bench.core.ended
    assert bench.core.low_watermark == END
    assert bench.step(Tick(START_MS + 60_000)) == []
    assert bench.receive_pre_prepare(END + 1, a_batch("beyond")) == []


def test_g6_catch_up_ends_an_epoch_too() -> None:
    bench = ticking(1)
    for number in range(1, END + 1):
        head = header_hash(f"block {number}")
        certificate = finality_certificate(number, head)
        bench.step(
            CertifiedElsewhere(
                SequenceNumber(number), head, START_MS, certificate, SequenceNumber(END)
            )
        )
    assert bench.core.ended


# --- The next epoch --------------------------------------------------------------------------

NEXT = replace(replica_set(4), epoch=1)
HEAD = CertifiedHead(
    SequenceNumber(END),
    header_hash("last"),
    START_MS,
    finality_certificate(END, header_hash("last")),
)


def next_core(
    me: int, records: list[LogRecord] | None = None, jailed: tuple[int, ...] = ()
) -> Core:
    """The core of epoch 1, which starts above END."""
    members = replace(NEXT, jailed=jailed)
    key = voting_key(members, ReplicaId(me))
    return open_core(
        me=ReplicaId(me),
        sign=None if key is None else sign_with(key),
        replica_set=members,
        parameters=PARAMETERS,
        head=HEAD,
        base=SequenceNumber(END),
        epoch_end=None,
        now_ms=START_MS,
        records=records_of_epoch(records or [], 1, first=0),
    )


def next_signer(me: int) -> Signer:
    return Signer(ReplicaId(me), NEXT, sign_with(public_key(me)))


def judged(message: PeerMessage, sender: int, members: ReplicaSet = NEXT) -> str | None:
    reject = authenticate(message, ReplicaId(sender), members, verify, WINDOW, END)
    return None if reject is None else reject.reason


@pytest.mark.req("G2-10-3")
def test_g6_the_next_set_starts_above_the_end_in_its_first_view() -> None:
    core = next_core(0)
    core.step(ReplicaId(0), Tick(START_MS))
    effects = core.step(ReplicaId(0), Propose(a_batch("first")))
    proposal = sent(effects)[0]
    assert (proposal.view, proposal.sequence) == (0, END + 1)  # type: ignore[union-attr]
    assert judged(proposal, 0) is None
    assert judged(proposal, 0, replica_set(4)) is not None, "the old epoch does not know it"


@pytest.mark.req("G2-10-3")
@pytest.mark.parametrize("jailed", [(), (1,)], ids=["replica", "learner"])
@pytest.mark.parametrize("height", [END - 2, END])
def test_g6_what_the_ledger_tells_late_of_the_old_epoch_ends_no_new_one(
    height: int, jailed: tuple[int, ...]
) -> None:
    """Its end is the height that the new epoch starts above: once taken for the new one's end, it
    is over before it began.
    """
    core, late = next_core(1, jailed=jailed), SequenceNumber(height)
    header, end = header_hash("late"), SequenceNumber(END)
    certificate = finality_certificate(height, header)
    elsewhere = CertifiedElsewhere(late, header, START_MS, certificate, end)
    for message in (Executed(late, header, end), elsewhere):
        assert core.step(ReplicaId(1), message) == []
    assert (core.ended, core.low_watermark, core.halted) == (False, END, False)


@pytest.mark.req("G2-10-3", "G2-07-1")
def test_p04_a_view_changes_right_after_the_set_changed() -> None:
    """The height that the epoch starts above has a certificate of the old set: nobody asks it."""
    core = next_core(1)
    for peer in (0, 2):
        core.step(ReplicaId(peer), Hello(View(0), True, True, SequenceNumber(END), 1))
    effects: list[Effect] = []
    for number in range(1, 80):
        effects += core.step(ReplicaId(1), Tick(START_MS + 250 * number))
    own = next(each for each in sent(effects) if isinstance(each, ViewChange))
    assert (own.certified, own.certificate) == (END, None)
    assert judged(own, 1) is None
    others = [
        next_signer(each).view_change(View(1), SequenceNumber(END), None, ()) for each in (2, 3)
    ]
    for other in others:
        assert judged(other, other.replica) is None
        effects = core.step(other.replica, other)
    assert (core.view, core.active) == (1, True)
    assert chosen_batches((own, *others)) == ()


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("height", [0, END - 1])
def test_p04_a_view_change_below_the_start_of_the_epoch_is_refused(height: int) -> None:
    below = next_signer(2).view_change(View(1), SequenceNumber(height), None, ())
    assert judged(below, 2) is not None
    old = finality_certificate(END, header_hash("last"))
    with_old = next_signer(2).view_change(View(1), SequenceNumber(END), old, ())
    assert judged(with_old, 2) is not None


@pytest.mark.req("G2-10-3")
def test_p24_votes_under_a_key_or_epoch_that_is_no_longer_in_force_count_nothing() -> None:
    """P24, B26: each vote of the old epoch is refused in the new, even by a member of both."""
    batch = a_batch("late")
    old = signer(2)
    votes: list[PeerMessage] = [
        old.prepare(View(0), SequenceNumber(END + 1), Digest(batch.digest())),
        old.commit(View(0), SequenceNumber(END + 1), Digest(batch.digest())),
        old.checkpoint(SequenceNumber(END + 1), header_hash("late")),
        old.view_change(View(1), SequenceNumber(END), None, ()),
        signer(0).pre_prepare(View(0), SequenceNumber(END + 1), batch),
    ]
    for vote in votes:
        assert judged(vote, 0 if vote is votes[-1] else 2) is not None
    others = tuple(
        replace(member, public_key=public_key(member.replica + 10)) for member in NEXT.members
    )
    replaced = replace(NEXT, members=others)
    stale = next_signer(2).prepare(View(0), SequenceNumber(END + 1), Digest(batch.digest()))
    assert judged(stale, 2) is None
    assert judged(stale, 2, replaced) is not None
    smaller = next_signer(3).prepare(View(0), SequenceNumber(END + 1), Digest(batch.digest()))
    assert judged(replace(smaller, replica=ReplicaId(4)), 4) is not None


@pytest.mark.req("G2-07-1")
def test_r5_records_of_an_old_epoch_are_void_in_the_new() -> None:
    """A view-change of the old epoch would hold the replica out of the new one's first views."""
    old = signer(2).view_change(View(7), SequenceNumber(0), None, ())
    vote = signer(2).checkpoint(SequenceNumber(END), header_hash("last"))
    core = next_core(2, [old, vote])
    assert (core.view, core.active) == (0, True)
    own = next_signer(2).view_change(View(3), SequenceNumber(END), None, ())
    core = next_core(2, [old, vote, EpochStarted(1), own])
    assert (core.view, core.active) == (3, False)
    assert records_of_epoch([own], 5, first=5) == [own], "a log without a mark began there"


def test_hellos_of_another_epoch_tell_a_height_and_nothing_of_views() -> None:
    """Its view numbers are of another set: they help nobody to leave this view (G6, C4)."""
    bench = ended(1)
    core = next_core(1)
    for peer in (0, 2, 3):
        effects = core.step(
            ReplicaId(peer), Hello(View(9), False, True, SequenceNumber(END + 9), 0)
        )
        assert not [each for each in effects if isinstance(each, Send | Broadcast)]
    for number in range(1, 80):
        effects = core.step(ReplicaId(1), Tick(START_MS + 250 * number))
    assert core.view == 0
    asked = [each for each in effects if isinstance(each, FetchBlocks)]
    assert asked[0].first == END + 1
    assert bench.core.view == 0


# --- Jailing ---------------------------------------------------------------------------------

JAILED = replace(NEXT, jailed=(0,))


@pytest.mark.req("G2-16-4")
def test_e4_nothing_that_a_jailed_replica_signs_counts_alone_or_in_a_certificate() -> None:
    vote = next_signer(0).commit(View(0), SequenceNumber(END + 1), Digest(b"d" * 32))
    assert judged(vote, 0) is None
    assert judged(vote, 0, JAILED) is not None
    view_change = next_signer(0).view_change(View(2), SequenceNumber(END), None, ())
    assert judged(view_change, 0, JAILED) is not None
    votes = tuple(
        (each, next_signer(each).checkpoint(SequenceNumber(END + 1), Digest(b"h" * 32)).signature)
        for each in range(3)
    )
    certificate = replace(finality_certificate(1, b"h" * 32), signatures=votes)
    holder = next_signer(1).view_change(View(2), SequenceNumber(END + 1), certificate, ())
    assert judged(holder, 1) is None
    assert judged(holder, 1, JAILED) is not None


@pytest.mark.req("G2-16-4")
def test_e4_a_jailed_replica_may_still_say_hello() -> None:
    """It follows as a learner, and asks for blocks by telling how far it is."""
    hello = Hello(View(0), True, False, SequenceNumber(END), 1)
    assert judged(hello, 0, JAILED) is None


@pytest.mark.req("G2-16-4")
def test_e4_a_new_view_counts_no_view_change_of_a_jailed_replica() -> None:
    """Its link is not asked there: a jailed replica's word comes inside an honest one's message."""
    view = View(3)
    changes = [
        next_signer(each).view_change(view, SequenceNumber(END), None, ()) for each in range(4)
    ]
    assert JAILED.primary(view) == 1
    assert [judged(each, each.replica, JAILED) is None for each in changes] == [False] + [True] * 3
    for counted, fault in (
        (changes[1:], None),
        (changes[:3], "replica 0 has no vote in the set"),
        (changes, "replica 0 has no vote in the set"),
    ):
        message = next_signer(1).new_view(view, tuple(counted), chosen_batches(tuple(counted)))
        assert judged(message, 1, JAILED) == fault


@pytest.mark.req("G2-16-4")
def test_e4_views_pass_over_a_jailed_primary() -> None:
    assert [JAILED.primary(view) for view in range(6)] == [1, 2, 3, 1, 2, 3]
    proposer = next_core(1, jailed=(0,))
    proposer.step(ReplicaId(1), Tick(START_MS))
    assert proposer.may_propose


@pytest.mark.req("G2-16-4")
def test_e4_the_quorum_stays_and_the_others_reach_it() -> None:
    members = replace(NEXT, jailed=(3,))
    core = next_core(1, jailed=(3,))
    core.step(ReplicaId(1), Tick(START_MS))
    batch = a_batch("on")
    place = (View(0), SequenceNumber(END + 1), Digest(batch.digest()))
    core.step(ReplicaId(0), next_signer(0).pre_prepare(*place[:2], batch))
    core.step(ReplicaId(2), next_signer(2).prepare(*place))
    effects: list[Effect] = []
    for peer in (0, 2):
        effects += core.step(ReplicaId(peer), next_signer(peer).commit(*place))
    assert "Execute" in kinds(effects)
    header = header_hash("on")
    effects = core.step(ReplicaId(1), Executed(place[1], header))
    votes: list[Checkpoint] = [next_signer(each).checkpoint(place[1], header) for each in (0, 2)]
    for vote in votes:
        effects += core.step(vote.replica, vote)
    done = next(each for each in effects if isinstance(each, Certified))
    assert len(done.certificate.signatures) == members.quorum == 3


@pytest.mark.req("G2-16-4")
def test_e4_a_jailed_replica_follows_as_a_learner() -> None:
    assert isinstance(next_core(0, jailed=(0,)), Learner)
    assert isinstance(next_core(1, jailed=(0,)), Replica)


# --- Learners --------------------------------------------------------------------------------


def a_learner() -> Learner:
    core = next_core(4)
    assert isinstance(core, Learner)
    core.step(ReplicaId(4), Tick(START_MS))
    return core


@pytest.mark.req("G2-10-3")
def test_g7_a_learner_asks_for_what_others_have_certified_and_votes_for_nothing() -> None:
    core = a_learner()
    core.step(ReplicaId(2), Hello(View(0), True, False, SequenceNumber(END + 100), 1))
    assert (
        core.step(
            ReplicaId(0), next_signer(0).pre_prepare(View(0), SequenceNumber(5), a_batch("x"))
        )
        == []
    )
    effects = core.step(ReplicaId(4), Tick(START_MS + 250))
    assert kinds(effects) == ["Broadcast", "FetchBlocks"]
    asked = effects[1]
    assert isinstance(asked, FetchBlocks)
    assert (asked.first, asked.source) == (END + 1, 2)
    head = header_hash("x")
    for height in range(END + 1, asked.last + 1):
        certificate = finality_certificate(height, head)
        number = SequenceNumber(height)
        effects = core.step(ReplicaId(4), CertifiedElsewhere(number, head, START_MS, certificate))
    assert kinds(effects) == ["FetchBlocks"], "at once, for there is more"
    assert core.low_watermark == core.executed == asked.last


def test_g7_a_learner_learns_that_the_epoch_ends() -> None:
    core = a_learner()
    head = header_hash("x")
    end = SequenceNumber(END + 2)
    for height in (END + 1, END + 2):
        number = SequenceNumber(height)
        certificate = finality_certificate(height, head)
        core.step(ReplicaId(4), CertifiedElsewhere(number, head, START_MS, certificate, end))
    assert core.ended
    assert core.step(ReplicaId(4), Tick(START_MS + 10_000)) == []


def test_g7_a_learners_word_moves_nobody_out_of_a_view() -> None:
    bench = ticking(1)
    for peer in (4, 5, 6):
        bench.step(Hello(View(3), False, True, SequenceNumber(0)), peer)
    for number in range(1, 80):
        bench.step(Tick(START_MS + 250 * number))
    assert bench.core.view == 0
