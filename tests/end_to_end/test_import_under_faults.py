"""An import goes on while its database and services are killed: same outcomes, nothing twice.

The import runs in this process, so that the faults come at chosen events. Everything recovers
unaided: nobody starts anything by hand.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiaoctl.commands.importing import import_dataset
from guqiaoctl.demo.anchors import count_anchored
from guqiaoctl.demo.checks import wait_anchored, wait_equal_roots
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import BASIC, BASIC_ANCHORED, OneMachine, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.crash]
SEED = 20251122
RESULTS = (BASIC / "expected" / "results.csv").read_text(encoding="utf-8")
ROSTER = (BASIC / "expected" / "roster.csv").read_text(encoding="utf-8")


def signal_postgres(machine: OneMachine, number: signal.Signals) -> None:
    """Signal the database server; one that just starts again after the fault before is awaited."""

    def signalled() -> bool:
        try:
            os.kill(machine.postgres_pid(), number)
        except (FileNotFoundError, IndexError, ProcessLookupError):
            return False
        return True

    wait_until("a database server", signalled)


def kill_postgres(machine: OneMachine) -> None:
    signal_postgres(machine, signal.SIGKILL)


def stop_postgres(machine: OneMachine) -> None:
    """A fast shutdown, as an administrator orders it."""
    signal_postgres(machine, signal.SIGINT)


def kill(name: str) -> Callable[[OneMachine], None]:
    def fault(machine: OneMachine) -> None:
        pid = machine.pid(name)
        if pid is not None:  # It may be down already for the fault before, told or not yet.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return fault


FAULTS = [
    kill_postgres,
    kill("shandong-registry"),
    kill("shandong-gateway"),
    stop_postgres,
    kill("csrc-gateway"),
    kill("shandong-registry"),
    kill("shandong-3"),
]


@pytest.mark.req("G2-13-2")
async def test_database_and_services_die_under_an_import_and_nothing_is_lost_or_doubled(
    one_machine: OneMachine,
) -> None:
    dataset = read_dataset(BASIC)
    assert isinstance(dataset, MarketDataset)
    moments = sorted(random.Random(SEED).sample(range(5, len(dataset.events)), len(FAULTS)))
    pending = list(zip(moments, FAULTS, strict=True))
    struck: list[asyncio.Future[None]] = []

    def on_event(done: int) -> None:
        while pending and done >= pending[0][0]:
            _, fault = pending.pop(0)
            struck.append(asyncio.ensure_future(asyncio.to_thread(fault, one_machine)))

    report = await import_dataset(one_machine.network, dataset, on_event)
    await asyncio.gather(*struck)
    assert len(struck) == len(FAULTS)
    assert report.csv() == RESULTS
    await asyncio.to_thread(one_machine.wait_ready)
    await asyncio.to_thread(wait_for_roster, one_machine)
    provider = open_provider()
    await wait_anchored(one_machine.network, provider, BASIC_ANCHORED)
    assert await count_anchored(one_machine.network, provider) == BASIC_ANCHORED
    maker = open_identity(one_machine.network, provider, MARKET, "maker")
    async with open_chain(one_machine.network, provider, MARKET, maker) as client:
        await wait_equal_roots(client)


def wait_for_roster(machine: OneMachine) -> None:
    wait_until("roster", lambda: machine.run("register", "roster").out == ROSTER)


@pytest.mark.req("G2-13-2")
def test_while_the_database_is_away_callers_are_told_so_and_served_again_afterwards(
    one_machine: OneMachine,
) -> None:
    wait_for_roster(one_machine)
    pid = one_machine.postgres_pid()
    one_machine.must("register", "roster")
    kill_postgres(one_machine)
    answers = []

    def served() -> bool:
        answers.append(one_machine.run("register", "roster"))
        return answers[-1].code == 0

    wait_until("served again", served)
    assert {answer.error for answer in answers if answer.code} <= {"DATABASE_UNAVAILABLE"}
    assert {answer.code for answer in answers} <= {0, 6}
    assert answers[-1].out == ROSTER
    assert one_machine.postgres_pid() != pid
