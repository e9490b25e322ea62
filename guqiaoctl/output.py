"""What the command line prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

from guqiaoctl.failures import CliError


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
    text, remedy = (part.rstrip(".。 ") for part in error.texts[language()])
    separator, stop = ("：", "。") if language() == "zh" else (": ", ". ")
    print(f"{error.code}{separator}{text}{stop}{remedy}{stop.strip()}", file=sys.stderr)
    return error.exit_code


def say(line: str) -> None:
    """Print progress for a person. What cannot be said (a log on a full disk) stops nothing."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


class Progress:
    """A counter, shown while something takes longer than a second, at most twice a second."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._began = self._shown = time.monotonic()

    def show(self, done: int) -> None:
        """Tell how many are done."""
        now = time.monotonic()
        if now - self._shown < (0.5 if sys.stderr.isatty() else 2.0):
            return
        self._shown = now
        seconds = f"({now - self._began:.0f} {choose('s', '秒')})"
        say(f"  {self._what}: {done}/{self._total} {seconds}")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; a Chinese character takes two places."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max([_width(name), *(_width(row[column]) for row in cells)])
        for column, name in enumerate(header)
    ]
    for row in [list(header), *cells]:
        padded = [
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
