"""What `make soak` makes of its readings: growth is found, noise is none, seconds tell nothing."""

from __future__ import annotations

import os
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.endurance.readings import (
    LEAK_BYTES,
    MOVED_BYTES,
    Reading,
    minutes,
    not_flat,
    read,
    slope,
    too_few,
)

MEGABYTE = 1_000_000
NOISE = 2 * MEGABYTE


def readings(seconds: int, percent_an_hour: float, noise: int = NOISE) -> list[Reading]:
    """Of a process of a hundred megabytes, now and then with something more for a moment."""
    chance = random.Random(20)
    return [
        Reading(
            at_seconds=float(at),
            own_bytes=int(100 * MEGABYTE * (1 + percent_an_hour / 100 * at / 3_600))
            + (chance.randrange(noise) if at % 3 and noise else 0),
            resident_bytes=120 * MEGABYTE,
            files=40 + at % 2,
            threads=12,
            tasks=80 + at % 5,
        )
        for at in range(seconds)
    ]


@pytest.mark.parametrize(
    ("percent_an_hour", "verdict"), [(0.0, "flat"), (0.5, "flat"), (1.5, "grows"), (20.0, "grows")]
)
def test_two_hours_tell_one_percent_an_hour_under_noise(
    percent_an_hour: float, verdict: str
) -> None:
    found = slope(readings(7_200, percent_an_hour))
    assert found.verdict == verdict
    assert found.low <= found.median <= found.high
    assert found.most == 1.0


@pytest.mark.parametrize(
    ("leaked_bytes", "grows"), [(0, False), (50, False), (LEAK_BYTES, True), (2_000, True)]
)
def test_four_minutes_tell_what_each_transaction_leaves_behind(
    leaked_bytes: int, grows: bool
) -> None:
    """At the fewest transactions that are enough, and under noise twice as large as the bound."""
    a_second = 2 * MOVED_BYTES / LEAK_BYTES / 240
    percent = 100 * leaked_bytes * a_second * 3_600 / (100 * MEGABYTE)
    assert (slope(readings(240, percent)).verdict == "grows") is grows


@pytest.mark.parametrize("leaked_bytes", [0, LEAK_BYTES])
def test_memory_that_fills_and_is_let_go_again_hides_no_leak(leaked_bytes: int) -> None:
    """A cache that is emptied every 25 s."""
    a_second = 2 * MOVED_BYTES / LEAK_BYTES / 240
    sawtooth = [
        replace(
            each,
            own_bytes=each.own_bytes
            + int(leaked_bytes * a_second * each.at_seconds)
            + int(each.at_seconds % 25) * MEGABYTE // 25,
        )
        for each in readings(240, 0.0, noise=MEGABYTE // 4)
    ]
    assert (slope(sawtooth).verdict == "grows") is bool(leaked_bytes)


def test_a_run_of_too_few_transactions_tells_no_leak() -> None:
    assert too_few(2 * MOVED_BYTES // LEAK_BYTES) is None
    assert "200 bytes each" in str(too_few(2 * MOVED_BYTES // LEAK_BYTES - 1))


def test_memory_that_moves_both_ways_is_neither_flat_nor_said_to_grow() -> None:
    chance = random.Random(7)
    moving = [
        replace(each, own_bytes=100 * MEGABYTE + chance.randrange(NOISE))
        for each in readings(300, 0.0)[::10]
    ]
    assert slope(moving).verdict == "open"


def test_the_least_of_each_minute_is_told() -> None:
    told = minutes(readings(150, 60.0))
    assert told == [100 * MEGABYTE, 101 * MEGABYTE, 102 * MEGABYTE]


def test_a_run_of_seconds_tells_no_slope() -> None:
    with pytest.raises(ValueError, match="2 blocks of 10 s tell no slope"):
        slope(readings(20, 5.0))


def test_files_threads_and_tasks_that_come_and_go_are_flat() -> None:
    assert not_flat(readings(300, 0.0)) == []
    busy = [
        replace(each, tasks=each.tasks + (int(each.at_seconds) % 7) * int(each.at_seconds) // 10)
        for each in readings(300, 0.0)
    ]
    assert not_flat(busy) == [], "more and more under way at once, and after it as few as before"


@pytest.mark.parametrize("what", ["files", "threads", "tasks"])
def test_files_threads_and_tasks_that_leak_are_named(what: str) -> None:
    leaking = [
        replace(each, **{what: getattr(each, what) + int(each.at_seconds) // 10})
        for each in readings(300, 0.0)
    ]
    assert [each.partition(":")[0] for each in not_flat(leaking)] == [what]


def test_a_reading_of_a_process_counts_its_open_files_and_threads(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.write_text("17")
    before = read(os.getpid(), tasks, 1.0)
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait)
    thread.start()
    with tasks.open(), tasks.open():
        after = read(os.getpid(), tasks, 2.0)
    is_over.set()
    thread.join()
    assert (before.tasks, before.at_seconds, after.at_seconds) == (17, 1.0, 2.0)
    assert (after.files, after.threads) == (before.files + 2, before.threads + 1)
    assert 0 < before.own_bytes <= before.resident_bytes
