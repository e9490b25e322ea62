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


def test_what_stands_still_for_long_says_once_where_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        if len(told) == 6:
            enough.set()

    monkeypatch.setattr(output, "say", say)
    monkeypatch.setattr(output, "FIRST_TOLD_SECONDS", 0.0)
    monkeypatch.setattr(output, "STALLED_SECONDS", 0.0)
    progress = Progress("events", 9, stalled="look there")
    progress._every_seconds = 0.01
    with progress:
        assert enough.wait(TOLD_SECONDS_MAX)
    assert told.count("  look there") == 1


def test_what_is_quick_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(output, "say", told.append)
    progress = Progress("events", 9)
    progress._ended.set()
    with progress:
        progress.show(9)
    assert told == []


def test_progress_stands_on_standard_error_and_leaves_standard_output_to_the_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GUQIAO_LANG", "en")
    monkeypatch.setattr(output, "FIRST_TOLD_SECONDS", 0.0)
    is_told = threading.Event()

    def say(line: str) -> None:
        output_say(line)
        is_told.set()

    output_say = output.say
    monkeypatch.setattr(output, "say", say)
    with Progress("blocks", 5_000):
        assert is_told.wait(TOLD_SECONDS_MAX)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("  blocks: 0/5000 (")


@pytest.mark.parametrize(
    ("done", "total", "says"),
    [(0, None, "blocks"), (7, None, "blocks: 7"), (0, 9, "blocks: 0/9"), (7, 9, "blocks: 7/9")],
)
def test_a_count_is_told_where_one_is_known(
    monkeypatch: pytest.MonkeyPatch, done: int, total: int | None, says: str
) -> None:
    monkeypatch.setenv("GUQIAO_LANG", "en")
    monkeypatch.setattr(output, "FIRST_TOLD_SECONDS", 0.0)
    told: list[str] = []
    is_told = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        is_told.set()

    monkeypatch.setattr(output, "say", say)
    progress = Progress("blocks")
    progress.show(done, total)
    with progress:
        assert is_told.wait(TOLD_SECONDS_MAX)
    assert told[0].startswith(f"  {says} (")
