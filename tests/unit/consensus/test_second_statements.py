"""A statement that was refused stands against a second one (pbft.md N3, V6)."""

from __future__ import annotations

import pytest

from services.consensus.domain.effects import Equivocation, Evidence, InvalidBatch
from services.consensus.domain.messages import BatchRefused, Digest, Prepare, SequenceNumber, View
from tests.unit.consensus.protocol import START_MS, Bench, a_batch, kinds, sent, signer, ticking


@pytest.mark.req("G2-16-4")
@pytest.mark.parametrize("why", ["older than its predecessor", "refused by admission"])
def test_n3_a_proposal_that_was_refused_stands_against_a_second_one(why: str) -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, a_batch("pay", START_MS + 5))
    first, second = a_batch("old", START_MS + 4), a_batch("new", START_MS + 6)
    if why == "refused by admission":
        bench.step(BatchRefused(bench.pre_prepare(2, first), why))
    else:
        bench.receive_pre_prepare(2, first)
    effects = bench.receive_pre_prepare(2, second)
    assert kinds(effects) == ["Reject", "Evidence"]
    offence = next(each.offence for each in effects if isinstance(each, Evidence))
    assert isinstance(offence, Equivocation)
    assert {offence.first.digest, offence.second.digest} == {first.digest(), second.digest()}


@pytest.mark.req("G2-16-4")
def test_n3_an_invalid_batch_in_the_place_of_an_accepted_one_is_equivocation_too() -> None:
    bench = ticking(1)
    bench.receive_pre_prepare(1, a_batch("pay", START_MS + 5))
    other = bench.pre_prepare(1, a_batch("bad", START_MS + 5))
    offences = [
        type(each.offence)
        for each in bench.step(BatchRefused(other, "bad"))
        if isinstance(each, Evidence)
    ]
    assert offences == [Equivocation, InvalidBatch]


@pytest.mark.req("G2-16-4")
def test_n3_what_was_refused_in_one_view_says_nothing_of_the_next() -> None:
    bench = ticking(2)
    bench.step(BatchRefused(bench.pre_prepare(1, a_batch("bad")), "bad"))
    enter_view_1(bench)
    honest = a_batch("pay")
    effects = bench.receive_pre_prepare(1, honest, view=1)
    assert {"Reject", "Evidence"}.isdisjoint(kinds(effects))
    [vote] = [each for each in sent(effects) if isinstance(each, Prepare)]
    assert (vote.view, vote.digest) == (1, honest.digest())


@pytest.mark.req("G2-07-1", "G2-16-4")
def test_n2_n3_what_waited_in_one_view_is_neither_accepted_nor_held_against_the_next() -> None:
    """N2: it waited for a predecessor, which comes in the next view, of another primary."""
    bench = ticking(2)
    assert bench.receive_pre_prepare(2, a_batch("waits")) == []
    enter_view_1(bench)
    first, second = a_batch("first"), a_batch("second")
    for number, batch in enumerate((first, second), 1):
        effects = bench.receive_pre_prepare(number, batch, view=1)
        assert {"Reject", "Evidence"}.isdisjoint(kinds(effects))
        [vote] = [each for each in sent(effects) if isinstance(each, Prepare)]
        assert (vote.view, vote.sequence, vote.digest) == (1, number, batch.digest())


def enter_view_1(bench: Bench) -> None:
    """Three ask for it, and its primary opens it with nothing to propose again."""
    asking = tuple(
        signer(each).view_change(View(1), SequenceNumber(0), None, ()) for each in (0, 1, 3)
    )
    for message in asking:
        bench.step(message, message.replica)
    bench.step(signer(1).new_view(View(1), asking, ()), 1)
    assert (bench.core.view, bench.core.active) == (1, True)


@pytest.mark.req("G2-16-4")
def test_v6_a_second_new_view_after_a_refused_one_is_entered_and_evidence() -> None:
    bench = ticking(2)
    asking = tuple(
        signer(each).view_change(View(1), SequenceNumber(0), None, ()) for each in (0, 1, 3)
    )
    for message in asking:
        bench.step(message, message.replica)
    invented = (SequenceNumber(1), Digest(b"x" * 32))
    bench.step(signer(1).new_view(View(1), asking, (invented,)), 1)
    assert not bench.core.active
    effects = bench.step(signer(1).new_view(View(1), asking, ()), 1)
    offences = [each.offence for each in effects if isinstance(each, Evidence)]
    assert [type(each) for each in offences] == [Equivocation]
    assert (bench.core.view, bench.core.active) == (1, True)
