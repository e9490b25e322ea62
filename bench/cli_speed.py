"""How soon the command line answers: `guqiao --help` beside a bare interpreter, one JSON object.

Each is started in turn, so that other work on the machine meets both. Exit code 1 where the
quickest help took longer than is intended.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HELP_SECONDS_INTENDED: Final = 0.5
ROUNDS: Final = 15
BARE: Final = (sys.executable, "-c", "pass")
HELP: Final = (str(Path(sys.executable).parent / "guqiao"), "--help")


def seconds_of(command: tuple[str, ...]) -> float:
    """Run one command to its end."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the figures."""
    bare, shown = [], []
    for _ in range(ROUNDS):
        bare.append(seconds_of(BARE))
        shown.append(seconds_of(HELP))
    figures = {
        "help_seconds_least": round(min(shown), 3),
        "help_seconds_median": round(statistics.median(shown), 3),
        "help_seconds_most": round(max(shown), 3),
        "bare_interpreter_seconds_median": round(statistics.median(bare), 3),
        "ratio": round(statistics.median(shown) / statistics.median(bare), 2),
        "help_seconds_intended": HELP_SECONDS_INTENDED,
    }
    print(json.dumps(figures))
    sys.exit(min(shown) > HELP_SECONDS_INTENDED)


if __name__ == "__main__":
    main()
