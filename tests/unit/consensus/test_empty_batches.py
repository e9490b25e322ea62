"""V12: a primary that fills the chain with empty batches is suspected; one that proposes
heartbeats, or fills up the end of an epoch, is not, however late they arrive.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.effects import Effect
from services.consensus.domain.empty_batches import EmptyBatches
from services.consensus.domain.messages import Executed, Hello, SequenceNumber
from tests.unit.consensus.protocol import (
    PARAMETERS,
    START_MS,
    Bench,
    a_batch,
    certified,
    committed,
    header_hash,
    pass_time,
    sent,
    ticking,
)

HEARTBEAT_MS = PARAMETERS.heartbeat_ms
BORNE = 2 * PARAMETERS.window
TICK_MS = 100


def hellos(effects: list[Effect]) -> list[Hello]:
    return [each for each in sent(effects) if isinstance(each, Hello)]


def suspects(effects: list[Effect]) -> bool:
    return any(each.suspects for each in hellos(effects))


def block(bench: Bench, number: int, batch: Batch | None = None) -> list[Effect]:
    """The primary's next batch becomes final: an empty one, unless it is given."""
    chosen = Batch(bench.now_ms, ()) if batch is None else batch
    return [*committed(bench, number, chosen), *certified(bench, number)]


@pytest.mark.req("G2-07-1")
def test_p16_v12_a_primary_that_proposes_empty_batches_without_a_pause_is_suspected() -> None:
    bench = ticking(1)
    for number in range(1, BORNE + 1):
        block(bench, number)
    assert not suspects(pass_time(bench, TICK_MS)), "so many may arrive at once"
    block(bench, BORNE + 1)
    assert suspects(pass_time(bench, TICK_MS))


@pytest.mark.req("G2-07-1")
def test_p16_v12_three_times_as_many_as_heartbeats_are_too_many_in_the_long_run() -> None:
    bench, number = ticking(1), 0
    while not suspects(pass_time(bench, HEARTBEAT_MS // 3)):
        number += 1
        assert number <= 4 * BORNE
        block(bench, number)


def test_v12_whoever_stops_is_suspected_no_more() -> None:
    bench = ticking(1)
    for number in range(1, BORNE + 2):
        block(bench, number)
    assert suspects(pass_time(bench, TICK_MS))
    pass_time(bench, HEARTBEAT_MS // 2)
    assert not any(each.suspects for each in hellos(pass_time(bench, HEARTBEAT_MS)))


@given(
    held=st.lists(st.integers(1, PARAMETERS.window), min_size=20, max_size=60),
    pace=st.floats(0.55, 3.0),
)
@settings(max_examples=100)
def test_v12_heartbeats_are_borne_for_ever_however_they_arrive(
    held: list[int], pace: float
) -> None:
    """Each is proposed an interval after the one before, and several arrive together, as many as a
    window has; this replica's time passes at another pace.
    """
    counted, now_ms = EmptyBatches(PARAMETERS, START_MS), float(START_MS)
    for together in held:
        now_ms += together * HEARTBEAT_MS * pace
        for _ in range(together):
            counted.accepted(int(now_ms))
        assert not counted.too_many(int(now_ms))


def test_v12_the_primary_of_the_next_view_is_judged_by_itself() -> None:
    counted = EmptyBatches(PARAMETERS, START_MS)
    for _ in range(BORNE + 1):
        counted.accepted(START_MS)
    assert counted.too_many(START_MS)
    counted.enter_view(START_MS)
    assert not counted.too_many(START_MS)
    counted.accepted(START_MS)
    assert not counted.too_many(START_MS)


def test_v12_batches_with_requests_are_no_heartbeats() -> None:
    bench = ticking(1)
    for number in range(1, 4 * BORNE):
        block(bench, number, a_batch(f"pay {number}"))
    assert not suspects(pass_time(bench, TICK_MS))


def test_v12_the_end_of_an_epoch_is_filled_up_at_once() -> None:
    """After as many heartbeats at once as may come, a window of empty batches up to the end."""
    bench = ticking(1)
    for number in range(1, BORNE):
        block(bench, number)
    committed(bench, BORNE, Batch(START_MS, ()))
    end = SequenceNumber(BORNE + PARAMETERS.window)
    bench.step(Executed(SequenceNumber(BORNE), header_hash(f"block {BORNE}"), end))
    certified(bench, BORNE)
    for number in range(BORNE + 1, end):
        block(bench, number)
        assert not suspects(pass_time(bench, TICK_MS))
