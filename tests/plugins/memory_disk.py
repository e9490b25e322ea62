"""Folders on the machine's memory disk, and what others leave there; nobody else would remove it.

A name holds the process that made it. A folder goes with its `with` block or with its process, also
where that is asked to end by SIGTERM; what a killed process left, the next run sweeps.
"""

from __future__ import annotations

import atexit
import multiprocessing
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from types import FrameType
from typing import Final

MEMORY_DISK: Final = Path("/dev/shm")
PREFIXES: Final = ("simulation-", "crash-")
_OWNED: Final = re.compile(
    rf"(?:(?:{'|'.join(PREFIXES)})([0-9]+)-.+|(?:sem\.faketime_sem_|faketime_shm_)([0-9]+))"
)
"""Our folders, and what libfaketime makes for each process that it is loaded into."""


def make_folder(prefix: str) -> Path:
    """A new folder of this process, in memory where there is a memory disk; whoever asks removes
    it, and else the end of the process does.
    """
    assert prefix in PREFIXES, "what is not known is never swept"
    base = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{getpid()}-", dir=base))
    atexit.register(_remove, folder, getpid())
    return folder


def remove_folder(folder: Path) -> None:
    """Remove what `make_folder` gave."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def memory_folder(prefix: str) -> Iterator[Path]:
    """A folder as long as the block runs."""
    folder = make_folder(prefix)
    try:
        yield folder
    finally:
        remove_folder(folder)


def end_in_order() -> None:
    """Let SIGTERM end this process as an exit does, and first those that work for it: blocks are
    left, and what is to be done at the end is done.
    """
    signal.signal(signal.SIGTERM, _exit)


def sweep(disk: Path = MEMORY_DISK) -> int:
    """Remove what processes made that are no more; how many things that was."""
    swept = 0
    for each in disk.iterdir() if disk.is_dir() else ():
        owned = _OWNED.fullmatch(each.name)
        if owned is None or Path(f"/proc/{owned[1] or owned[2]}").exists():
            continue
        if each.is_dir():
            remove_folder(each)
        else:
            with suppress(FileNotFoundError):  # Another sweeps at the same time.
                each.unlink()
        swept += 1
    return swept


def _remove(folder: Path, owner: int) -> None:
    if getpid() == owner:  # A forked child inherits what is to be done, not the folder.
        remove_folder(folder)


def _exit(number: int, _frame: FrameType | None) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(128 + number)
