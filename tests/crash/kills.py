"""Campaign: `kill -9` of the process that writes the chain log, over and over (T-10).

A child commits blocks; after a chosen number of lines and a moment more it is killed, or at any
moment from its first on, so while it recovers from the kill before. Then the folder is opened and
compared with what the child had said and with the same blocks executed in memory. A new folder is
begun every so often, so that the cost of a kill stays the same.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Final

from services.consensus.store.files import SYSTEM_FILES
from tests.crash.checking import check_folder, log_durably
from tests.crash.writer import Acknowledged, fork, write_chain

KILLS_A_FOLDER: Final = 40
LINES_MAX: Final = 9
SPIN_MAX: Final = 40_000
EARLY_SHARE: Final = 0.4
START_SPIN_MAX: Final = 1_500_000


def run(folder: Path, *, kills: int, seed: int) -> dict[str, int]:
    """Kill so often; raises `AssertionError` where anything acknowledged is wrong."""
    chance = random.Random(seed)
    counts = {"kills": 0, "kills before ready": 0, "acknowledged": 0, "blocks": 0}
    for first in range(0, kills, KILLS_A_FOLDER):
        data, acknowledged = folder / str(first), Acknowledged()
        for _ in range(first, min(first + KILLS_A_FOLDER, kills)):
            counts["kills"] += _kill_once(data, acknowledged, chance, folder / f"{first}.log")
            counts["kills before ready"] += not acknowledged.is_ready
            last = check_folder(data, acknowledged)
        counts["acknowledged"] += len(acknowledged.headers)
        counts["blocks"] += last
        shutil.rmtree(data)
    return counts


def _kill_once(data: Path, acknowledged: Acknowledged, chance: random.Random, log: Path) -> int:
    child = fork(lambda say: write_chain(data, say, files=SYSTEM_FILES, blocks=None))
    is_early, acknowledged.is_ready = chance.random() < EARLY_SHARE, False
    with os.fdopen(child.lines) as lines:
        for _ in range(0 if is_early else chance.randint(1, LINES_MAX)):
            line = lines.readline()
            assert line, "the writer ended by itself"
            acknowledged.take(line)
            log_durably(log, line.rstrip())
        for _ in range(chance.randint(0, START_SPIN_MAX if is_early else SPIN_MAX)):
            pass  # A busy wait: it falls anywhere in a commit, or in a start.
        os.kill(child.pid, signal.SIGKILL)
        for line in lines:
            assert not line.startswith(("bug", "failed")), line
            if line.endswith("\n"):
                acknowledged.take(line)
                log_durably(log, line.rstrip())
    status = child.wait()
    return int(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
