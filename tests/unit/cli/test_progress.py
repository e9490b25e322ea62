"""Progress is told while something takes its time, also while nothing gets done."""

from __future__ import annotations

import threading

import pytest

from guqiaoctl import output
from guqiaoctl.output import Progress

TOLD_SECONDS_MAX = 30.0


def test_a_count_that_stands_still_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            twice.set()

    monkeypatch.setattr(output, "say", say)
    progress = Progress("events", 9)
    progress._every_seconds = 0.1
    with progress:
        progress.show(4)
        assert twice.wait(TOLD_SECONDS_MAX)
    assert all("events: 4/9" in line for line in told)


def test_what_is_quick_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(output, "say", told.append)
    progress = Progress("events", 9)
    progress._ended.set()
    with progress:
        progress.show(9)
    assert told == []
