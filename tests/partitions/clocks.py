"""Clocks of the campaign's own: a replica's time of day is what a file says, and may jump (T-15).

libfaketime reads the file; timers and everything monotonic run as ever.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RIGHT = 0


def why_not() -> str | None:
    """Why clocks cannot be set here, or None."""
    return None if shutil.which("faketime") else "there is no faketime here"


def _library() -> str:
    """The library, as the command itself would load it."""
    listing = subprocess.run(
        ["faketime", "-m", "-f", "+0s", "env"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = listing.stdout.splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("LD_PRELOAD="))


@dataclass(frozen=True, slots=True)
class Clocks:
    """One clock for each number, in files of this folder."""

    folder: Path
    library: str

    @classmethod
    def right(cls, folder: Path, count: int) -> Clocks:
        """Clocks that tell the right time."""
        folder.mkdir(parents=True)
        clocks = cls(folder, _library())
        for number in range(count):
            clocks.set([number], RIGHT)
        return clocks

    def prefix(self, number: int) -> tuple[str, ...]:
        """What to put before a command that shall live by this clock."""
        return (
            "env",
            f"LD_PRELOAD={self.library}",
            f"FAKETIME_TIMESTAMP_FILE={self._file(number)}",
            "FAKETIME_CACHE_DURATION=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_DONT_RESET=1",
        )

    def set(self, numbers: Iterable[int], seconds: int) -> None:
        """Let these clocks be so many seconds ahead, or behind, from now on."""
        for number in numbers:
            written = self._file(number).with_suffix(".new")
            written.write_text(f"{seconds:+d}s\n")
            written.replace(self._file(number))

    def _file(self, number: int) -> Path:
        return self.folder / f"clock{number}"
