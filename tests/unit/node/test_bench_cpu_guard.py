"""What the CPU guard allows: honest runs pass, a fifth more fails."""

from __future__ import annotations

import json

import pytest

from bench.cpu_guard import NOTICED, RECORDED, RECORDED_RUNS, allowed, record_of

KEPT = json.loads(RECORDED.read_text())
RUNS: list[float] = KEPT["runs"]


def test_the_record_is_of_several_runs() -> None:
    assert len(RUNS) >= RECORDED_RUNS
    assert record_of(RUNS) == KEPT


@pytest.mark.parametrize("run", RUNS)
def test_each_honest_run_passes_and_fails_where_it_costs_a_fifth_more(run: float) -> None:
    limit = allowed(KEPT["verifications_per_transaction"])
    assert NOTICED == 1.2
    assert run <= limit < NOTICED * run


@pytest.mark.parametrize("runs", [[10.0, 10.0, 11.5], [8.9, 10.0, 10.0]])
def test_runs_that_lie_too_far_apart_are_not_recorded(runs: list[float]) -> None:
    with pytest.raises(ValueError, match="too far apart"):
        record_of(runs)
