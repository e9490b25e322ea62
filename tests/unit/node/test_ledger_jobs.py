"""What the ledger still has to do is bounded: more than the core can ask for is our own bug."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.domain.messages import SequenceNumber
from services.consensus.ledger_work import (
    ADOPT_JOBS_MAX,
    CATCH_UP_JOBS_MAX,
    CORES_MAX,
    LedgerWork,
)

WINDOW = 4


async def test_no_more_jobs_wait_than_two_cores_and_those_who_bring_blocks_can_ask_for() -> None:
    nothing = cast(Any, None)
    parameters = SimpleNamespace(window=WINDOW)
    work = LedgerWork(
        ledger=cast(Any, SimpleNamespace(genesis=SimpleNamespace(parameters=parameters))),
        tracker=nothing,
        mempool=nothing,
        timers=nothing,
        finality=nothing,
        metrics=nothing,
        tell=nothing,
        on_executed=nothing,
        on_halt=nothing,
    )
    for number in range(CORES_MAX * WINDOW + CATCH_UP_JOBS_MAX + ADOPT_JOBS_MAX):
        work.execute(SequenceNumber(number + 1), Batch(1, ()))
    with pytest.raises(asyncio.QueueFull):
        work.execute(SequenceNumber(99), Batch(1, ()))
