"""Campaign: system calls of the writer fail one by one, the index's own among them, by strace.

The store's operations go through `FileOperations`, LMDB's do not. strace makes the N-th call of a
kind fail, or kills the process at it. Where there is no strace, or no ptrace, it says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.crash.checking import check_folder
from tests.crash.writer import Acknowledged

ROOT: Final = Path(__file__).parents[2]
BLOCKS: Final = 12
SECONDS_MAX: Final = 120
FAULTS: Final = (
    "fsync:error=EIO:when=31",
    "write:error=EIO:when=40",
    "pwrite64:error=EIO:when=80",
    "pwrite64:error=ENOSPC:when=90",
    "writev:error=EIO:when=70",
    "fsync:signal=SIGKILL:when=34",
    "pwrite64:signal=SIGKILL:when=85",
    "writev:signal=SIGKILL:when=75",
)
"""What strace injects, after the folder was opened and before the run ends."""


def why_not() -> str | None:
    """Why the machine does not allow it, or None."""
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "ptrace is not allowed"


def run(folder: Path) -> dict[str, int]:
    """Each fault once; returns how often each one fired."""
    fired = {}
    for number, fault in enumerate(FAULTS):
        data, trace = folder / str(number), folder / f"{number}.trace"
        acknowledged = _run_with(data, trace, fault)
        fired[fault] = sum(_shows(line) for line in trace.read_text(errors="replace").splitlines())
        if (data / "segments").exists():
            check_folder(data, acknowledged)
    return fired


def _run_with(data: Path, trace: Path, fault: str) -> Acknowledged:
    call = fault.partition(":")[0]
    command = ["strace", "-f", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={fault}"]
    writer = [sys.executable, "-m", "tests.crash.writer", str(data), str(BLOCKS)]
    done = subprocess.run(
        [*command, *writer],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    acknowledged = Acknowledged()
    for line in done.stdout.splitlines(keepends=True):
        if line.endswith("\n"):
            acknowledged.take(line)
    assert not acknowledged.is_done, f"{fault}: the writer went on"
    return acknowledged


def _shows(line: str) -> bool:
    return "(INJECTED)" in line or "killed by SIGKILL" in line
