"""What the command line prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, Self, TextIO

from guqiaoctl.failures import CliError

FIRST_TOLD_SECONDS: Final = 1.0
"""What is quicker than that says nothing of its progress."""
STALLED_SECONDS: Final = 10.0


def language() -> str:
    """`zh` where the locale is Chinese, else `en`."""
    for name in ("GUQIAO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)  # noqa: TID251 - the locale is the user's own setting
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def choose(en: str, zh: str) -> str:
    """The text in the user's language."""
    return zh if language() == "zh" else en


def fail(error: CliError) -> int:
    """Print a failure and return its exit code."""
    print(sentence(error), file=sys.stderr)
    return error.exit_code


def sentence(error: CliError) -> str:
    """A failure in one line in the user's language: code, text, remedy."""
    text, remedy = (part.rstrip(".。 ") for part in error.texts[language()])
    separator, stop = ("：", "。") if language() == "zh" else (": ", ". ")
    return f"{error.code}{separator}{text}{stop}{remedy}{stop.strip()}"


def say(line: str) -> None:
    """Print progress for a person. What cannot be said (a log on a full disk) stops nothing."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def log_warnings_only() -> None:
    """Have what this process serves itself log to standard error, and only what somebody must see:
    standard output is for data.
    """
    import structlog  # Most commands serve nothing, and are quicker without it.

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


class Progress:
    """A counter, shown while something takes longer than a second: at most twice a second on a
    terminal, every two seconds elsewhere, also while nothing gets done.
    """

    def __init__(self, what: str, total: int = 0, *, stalled: str = "") -> None:
        """Without a total only what is done is told, and while nothing is, the time alone.
        `stalled` is said once each time that nothing gets done for `STALLED_SECONDS`.
        """
        self._what, self._total, self._done = what, total, 0
        self._stalled = stalled
        self._every_seconds = 0.5 if sys.stderr.isatty() else 2.0
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True, name="progress")

    def __enter__(self) -> Self:
        self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._teller.join()

    def show(self, done: int, total: int | None = None) -> None:
        """Take down how many are done, and of how many where that shows only now."""
        self._done = done
        if total is not None:
            self._total = total

    def _tell(self) -> None:
        wait = FIRST_TOLD_SECONDS
        done, moved, is_told = self._done, self._began, False
        while not self._ended.wait(wait):
            now = time.monotonic()
            seconds = f"({now - self._began:.0f} {choose('s', '秒')})"
            say(f"  {self._what}{self._count()} {seconds}")
            wait = self._every_seconds
            if self._done != done:
                done, moved, is_told = self._done, now, False
            elif self._stalled and not is_told and now - moved >= STALLED_SECONDS:
                is_told = True
                say(f"  {self._stalled}")

    def _count(self) -> str:
        if self._total:
            return f": {self._done}/{self._total}"
        return f": {self._done}" if self._done else ""


def print_json(value: Any, file: TextIO | None = None) -> None:
    """Print one JSON value on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2), file=file)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], file: TextIO | None = None
) -> None:
    """Print aligned columns on standard output; a Chinese character takes two places."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max([_width(name), *(_width(row[column]) for row in cells)])
        for column, name in enumerate(header)
    ]
    for row in [list(header), *cells]:
        padded = [
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(padded).rstrip(), file=file)


def shown(value: Any) -> str:
    """A value, or a text as it is, in one line in which nothing moves the cursor or hides."""
    is_json = isinstance(value, list | dict | bool | int | None)
    text = json.dumps(value, ensure_ascii=False) if is_json else str(value)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
