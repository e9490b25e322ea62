"""What of a sequence number gives way when several views propose for it, and what never does."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.effects import FetchBatch
from services.consensus.domain.log import (
    SPARE_BATCHES_MAX,
    VOTED_BATCHES_MAX,
    Entry,
    Proposal,
)
from services.consensus.domain.messages import Digest, Prepare, Propose, SequenceNumber, View
from services.consensus.domain.view_change import chosen_batches
from tests.unit.consensus.protocol import (
    Bench,
    a_batch,
    prepared_certificate,
    sent,
    signer,
    ticking,
    view_change,
)

ONE = SequenceNumber(1)
BATCHES = [a_batch(f"of view {view}") for view in range(SPARE_BATCHES_MAX + 2)]
DIGESTS = [Digest(batch.digest()) for batch in BATCHES]


def enter_view(bench: Bench, view: int) -> None:
    """The others begin `view`; none of them has prepared anything."""
    asking = tuple(view_change(each, view) for each in range(4) if each != bench.me)
    for message in asking:
        bench.step(message, message.replica)
    bench.step(signer(view % 4).new_view(View(view), asking, ()), view % 4)
    assert (bench.core.view, bench.core.active) == (view, True)


def views_that_fail(bench: Bench, count: int) -> list[Batch]:
    """As many views propose another batch each for the first sequence number, the replica as the
    primary of its own, too; nobody prepares enough. All are proposed within the clock's bound.
    """
    batches = [a_batch(f"of view {view}") for view in range(count)]
    for view, batch in enumerate(batches):
        if view:
            enter_view(bench, view)
        if view % 4 == bench.me:
            bench.step(Propose(batch))
        else:
            bench.receive_pre_prepare(1, batch, view=view)
    return batches


def held(bench: Bench, batches: list[Batch]) -> list[Batch]:
    return [batch for batch in batches if bench.core.batch(Digest(batch.digest())) == batch]


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("restarts", [False, True])
def test_v7_what_it_voted_for_is_held_though_many_views_propose_other_batches(
    restarts: bool,
) -> None:
    """A traitor shows the certificate of the first view when nobody honest has one: whoever is to
    decide the batch then asks for it.
    """
    bench = ticking(1)
    batches = views_that_fail(bench, 3 * SPARE_BATCHES_MAX)
    if restarts:
        bench.recover(bench.core.records())
    assert held(bench, batches) == batches
    first = Digest(batches[0].digest())
    view = len(batches)
    shown = view_change(0, view, prepared=(prepared_certificate(0, 1, first),))
    changes = (shown, view_change(2, view), view_change(3, view))
    for each in changes[1:]:
        bench.step(each, each.replica)
    new_view = signer(view % 4).new_view(View(view), changes, chosen_batches(changes))
    effects = bench.step(new_view, view % 4)
    assert not [each for each in effects if isinstance(each, FetchBatch)]
    assert [each.digest for each in sent(effects) if isinstance(each, Prepare)] == [first]


def test_v7_the_oldest_vote_gives_way_to_sixty_four_others_and_what_is_needed_to_none() -> None:
    entry = Entry(ONE)
    entry.prepared = prepared_certificate(0, 1, DIGESTS[0])
    votes = [a_batch(f"vote {number}") for number in range(VOTED_BATCHES_MAX)]
    for batch in [*BATCHES[:2], *votes]:
        place = (View(1), ONE, Digest(batch.digest()))
        entry.vote(signer(2).prepare(*place))
        entry.keep(signer(1).pre_prepare(*place[:2], batch))
    kept = [batch for batch in [*BATCHES[:2], *votes] if entry.batch(Digest(batch.digest()))]
    assert kept == [BATCHES[0], *votes]


@pytest.mark.parametrize("needed_as", ["proposed", "prepared", "committed"])
@pytest.mark.parametrize("came_as", ["proposal", "answer"])
def test_a_batch_that_is_needed_gives_way_to_none(needed_as: str, came_as: str) -> None:
    """V7."""
    entry = Entry(ONE)
    if needed_as == "proposed":
        entry.proposal = Proposal(DIGESTS[0], bytes(64), since_ms=0, again=True)
    elif needed_as == "prepared":
        entry.prepared = prepared_certificate(0, 1, DIGESTS[0])
    else:
        entry.committed = DIGESTS[0]
    for view, batch in enumerate(BATCHES):
        if came_as == "proposal":
            entry.keep(signer(view % 4).pre_prepare(View(view), ONE, batch))
        else:
            entry.keep_fetched(DIGESTS[view], batch)
    kept = [batch for batch, digest in zip(BATCHES, DIGESTS, strict=True) if entry.batch(digest)]
    assert kept == [BATCHES[0], *BATCHES[2:]]
