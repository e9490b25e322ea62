"""What of a sequence number gives way when several views propose for it, and what never does."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.log import BATCHES_PER_ENTRY_MAX, Entry, Proposal
from services.consensus.domain.messages import Digest, SequenceNumber, View
from tests.unit.consensus.protocol import (
    Bench,
    a_batch,
    prepared_certificate,
    signer,
    ticking,
    view_change,
)

ONE = SequenceNumber(1)
BATCHES = [a_batch(f"of view {view}") for view in range(BATCHES_PER_ENTRY_MAX + 1)]
DIGESTS = [Digest(batch.digest()) for batch in BATCHES]


def enter_view(bench: Bench, view: int) -> None:
    """The others begin `view`; none of them has prepared anything."""
    asking = tuple(view_change(each, view) for each in range(4) if each != bench.me)
    for message in asking:
        bench.step(message, message.replica)
    bench.step(signer(view % 4).new_view(View(view), asking, ()), view % 4)
    assert (bench.core.view, bench.core.active) == (view, True)


def batches_of_views(bench: Bench) -> list[Batch]:
    """Nine views propose for the first sequence number; only the first batch is prepared."""
    views = [view for view in range(20) if view % 4 != bench.me][: BATCHES_PER_ENTRY_MAX + 1]
    for view, batch in zip(views, BATCHES, strict=True):
        if view:
            enter_view(bench, view)
        bench.receive_pre_prepare(1, batch, view=view)
        if not view:
            bench.receive_prepare(2, 1, batch.digest())
    return [batch for batch in BATCHES if bench.core.batch(Digest(batch.digest())) == batch]


@pytest.mark.req("G2-07-1")
def test_the_prepared_batch_is_held_through_nine_views_and_the_oldest_other_gives_way() -> None:
    """V7: a view-change shows the certificate; whoever must repropose it asks for its batch."""
    bench = ticking(1)
    assert batches_of_views(bench) == [BATCHES[0], *BATCHES[2:]]
    assert [each.digest for each in bench.core._ordering.prepared()] == [DIGESTS[0]]


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
    held = [batch for batch, digest in zip(BATCHES, DIGESTS, strict=True) if entry.batch(digest)]
    assert held == [BATCHES[0], *BATCHES[2:]]
