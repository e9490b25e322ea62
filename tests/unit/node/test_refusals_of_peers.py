"""What peers sent in vain is counted by peer and reason, and fills no log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from services.chassis.telemetry import Metrics
from services.consensus.domain.learner import Learner
from services.consensus.domain.messages import (
    Checkpoint,
    Digest,
    Executed,
    Hello,
    NewView,
    PeerMessage,
    ReplicaId,
    SequenceNumber,
    Tick,
    View,
)
from services.consensus.gate import useless_now, useless_on_arrival
from services.consensus.refusals import LOG_AGAIN_SECONDS, NEVER_HONEST, Reason, Refusals
from tests.simulation.keys import replica_set
from tests.unit.consensus.protocol import (
    GENESIS,
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    header_hash,
    signer,
    view_change,
)

WINDOW = PARAMETERS.window
HEIGHT = 2
DIGEST = Digest(b"d" * 32)


class Timer:
    """Calls later when the test says that a second has passed."""

    def __init__(self) -> None:
        self._due: list[tuple[Callable[[int], None], int]] = []

    def later(self, seconds: float, function: Callable[[int], None], argument: int) -> None:
        assert seconds == LOG_AGAIN_SECONDS
        self._due.append((function, argument))

    def pass_second(self) -> None:
        due, self._due = self._due, []
        for function, argument in due:
            function(argument)


def counting(timer: Timer) -> tuple[Refusals, Metrics]:
    metrics, labels = Metrics(), ("replica", "reason")
    rejected = metrics.counter("guqiao_rejected_total", "", labels)
    ignored = metrics.counter("guqiao_ignored_total", "", labels)
    return Refusals(rejected, ignored, timer.later), metrics


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_counted_for_its_sender_by_what_it_says_of_it(reason: Reason) -> None:
    refusals, metrics = counting(Timer())
    refusals.count(3, reason, times=2)
    refusals.count(3, reason, times=0)
    name = "rejected" if reason in NEVER_HONEST else "ignored"
    line = f'guqiao_{name}_total{{reason="{reason}",replica="3"}} 2.0'
    assert line in metrics.render().decode()
    assert metrics.render().decode().count("_total{") == 1


def test_a_flood_is_one_line_at_once_and_then_one_a_second_with_a_count() -> None:
    timer = Timer()
    refusals, _ = counting(timer)
    with capture_logs() as logs:
        for number in range(4_000):
            refusals.count(3, Reason.UNAUTHENTIC, f"signature {number}")
        refusals.count(2, Reason.MALFORMED, "empty")
        assert [(each["sender"], each["count"]) for each in logs] == [(3, 1), (2, 1)]
        timer.pass_second()
        assert [(each["sender"], each["count"]) for each in logs[2:]] == [(3, 3_999)]
        assert logs[2]["why"] == "signature 3999"
        timer.pass_second()
        refusals.count(3, Reason.STALE, "again")
        assert [(each["sender"], each["count"]) for each in logs[3:]] == [(3, 1)]


def test_what_honest_replicas_send_too_is_not_logged() -> None:
    refusals, _ = counting(Timer())
    with capture_logs() as logs:
        for reason in set(Reason) - NEVER_HONEST:
            refusals.count(1, reason)
    assert logs == []


# --- Which messages are of no use ----------------------------------------------------------------


def at_height() -> Bench:
    """Replica 1 in view 0 with `HEIGHT` certified blocks."""
    bench = Bench(1)
    bench.step(Tick(START_MS))
    for sequence in range(1, HEIGHT + 1):
        batch = a_batch(f"batch {sequence}")
        bench.receive_pre_prepare(sequence, batch)
        for sender in (2, 3):
            bench.receive_prepare(sender, sequence, batch.digest())
        for sender in (0, 2, 3):
            bench.receive_commit(sender, sequence, batch.digest())
        header = header_hash(str(sequence))
        bench.step(Executed(SequenceNumber(sequence), header))
        for sender in (0, 2, 3):
            bench.receive_checkpoint(sender, sequence, header)
    assert bench.core.low_watermark == HEIGHT
    return bench


def prepare(sequence: int, view: int = 0, sender: int = 3) -> PeerMessage:
    return signer(sender).prepare(View(view), SequenceNumber(sequence), DIGEST)


def on_arrival(message: PeerMessage, *, sender: int = 3, said: int = 0) -> Reason | None:
    core = at_height().core
    return useless_on_arrival(core, sender, message, window=WINDOW, said=said)


@pytest.mark.req("G2-07-1")
def test_a_late_vote_does_not_accuse_unless_its_sender_said_to_be_past_it() -> None:
    checkpoint = signer(3).checkpoint(SequenceNumber(HEIGHT), DIGEST)
    for vote in (prepare(HEIGHT), checkpoint):
        assert on_arrival(vote, said=HEIGHT - 1) is Reason.LATE
        assert on_arrival(vote, said=HEIGHT) is Reason.STALE
    assert on_arrival(prepare(HEIGHT + 1), said=HEIGHT) is None
    assert on_arrival(prepare(0)) is Reason.STALE, "nobody votes for genesis"
    assert {Reason.LATE} & NEVER_HONEST == set()


def test_a_vote_of_a_number_without_a_vote_is_looked_at_no_further() -> None:
    assert on_arrival(prepare(HEIGHT + 1), sender=4) is Reason.NOT_MEMBER
    core = at_height().core
    core.replica_set = replace(replica_set(4), jailed=(3,))
    vote = prepare(HEIGHT + 1)
    assert useless_on_arrival(core, 3, vote, window=WINDOW, said=0) is Reason.NOT_MEMBER
    hello = Hello(View(0), True, False, SequenceNumber(0))
    assert useless_on_arrival(core, 3, hello, window=WINDOW, said=0) is None


def test_the_future_within_reach_is_kept_on_arrival_and_what_is_beyond_is_not() -> None:
    assert on_arrival(prepare(HEIGHT + 2 * WINDOW)) is None
    assert on_arrival(prepare(HEIGHT + 2 * WINDOW + 1)) is Reason.FUTURE
    assert on_arrival(prepare(HEIGHT + 1, view=4)) is None
    assert on_arrival(prepare(HEIGHT + 1, view=2**40)) is Reason.FUTURE
    core = at_height().core
    assert useless_now(core, prepare(HEIGHT + WINDOW), window=WINDOW) is None
    assert useless_now(core, prepare(HEIGHT + WINDOW + 1), window=WINDOW) is Reason.FUTURE


def test_a_proposal_for_another_view_waits_until_it_is_looked_at() -> None:
    proposal = signer(1).pre_prepare(View(1), SequenceNumber(HEIGHT + 1), a_batch("next"))
    assert on_arrival(proposal, sender=1) is None
    assert useless_now(at_height().core, proposal, window=WINDOW) is Reason.OTHER_VIEW


def test_what_belongs_to_a_view_that_was_left_is_late() -> None:
    core = at_height().core
    core._view = View(5)
    new_view = NewView(View(4), (), (), bytes(64))
    assert useless_now(core, new_view, window=WINDOW) is Reason.LATE
    vote = prepare(HEIGHT + 1, view=4)
    assert useless_now(core, vote, window=WINDOW) is Reason.LATE
    core._active = False
    assert useless_now(core, vote, window=WINDOW) is None, "it may still decide the old view"


def test_a_learner_takes_no_votes_and_hears_hellos() -> None:
    learner = Learner(
        replica_set=replica_set(4),
        parameters=PARAMETERS,
        head=GENESIS,
        now_ms=START_MS,
        epoch_end=None,
        base=SequenceNumber(0),
    )
    vote, hello = prepare(1), Hello(View(0), True, False, SequenceNumber(9))
    assert useless_on_arrival(learner, 3, vote, window=WINDOW, said=0) is Reason.UNREADY
    assert useless_now(learner, vote, window=WINDOW) is Reason.UNREADY
    assert useless_now(learner, hello, window=WINDOW) is None


@pytest.mark.req("G2-07-1")
def test_the_new_view_that_is_waited_for_is_of_use() -> None:
    bench = at_height()
    asking = tuple(view_change(each, 2) for each in (0, 2, 3))
    for message in asking:
        bench.step(message, message.replica)
    assert (bench.core.view, bench.core.active) == (2, False)
    new_view = signer(2).new_view(View(2), asking, ())
    assert useless_on_arrival(bench.core, 2, new_view, window=WINDOW, said=0) is None
    assert useless_now(bench.core, new_view, window=WINDOW) is None
    bench.step(new_view, 2)
    assert bench.core.active


SEQUENCES = st.integers(0, HEIGHT + 3 * WINDOW)
VIEWS = st.integers(0, 12)


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, PeerMessage]:
    sender, view, sequence = draw(st.sampled_from([0, 2, 3])), draw(VIEWS), draw(SEQUENCES)
    by, place = signer(sender), (View(view), SequenceNumber(sequence))
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return sender, by.prepare(*place, DIGEST)
    if kind == 1:
        return sender, by.commit(*place, DIGEST)
    if kind == 2:
        return sender, Checkpoint(place[1], DIGEST, ReplicaId(sender), bytes(64))
    return sender, signer(view % 4).pre_prepare(*place, a_batch("any"))


@given(messages(), st.integers(0, HEIGHT))
def test_what_is_called_useless_the_core_does_nothing_with(
    sent: tuple[int, PeerMessage], said: int
) -> None:
    (sender, message), bench = sent, at_height()
    before = bench.core.records()
    named = [
        useless_on_arrival(bench.core, sender, message, window=WINDOW, said=said),
        useless_now(bench.core, message, window=WINDOW),
    ]
    if named == [None, None]:
        return
    assert bench.step(message, sender) == []
    assert bench.core.records() == before
    if named[0] is not None:
        assert named[1] is not None, "what can never be of use is of none now"
