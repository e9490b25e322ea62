"""Campaign: system calls of the writer fail one by one, the index's own among them, by strace.

The store's operations go through `FileOperations`, LMDB's do not. strace makes the N-th call of a
kind fail, or kills the process at it. Where there is no strace, or no ptrace, it says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.crash.checking import check_folder
from tests.crash.sweep import FaultyFiles
from tests.crash.writer import Acknowledged, fork, write_chain

ROOT: Final = Path(__file__).parents[2]
BLOCKS: Final = 12
KILLED_AT: Final = 40
SECONDS_MAX: Final = 300
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

FAULTS_OF_RECOVERY: Final = (
    "pwrite64:error=EIO:when=30",
    "pwrite64:error=ENOSPC:when=34",
    "fdatasync,fsync:error=EIO:when=3",
    "pwrite64:signal=SIGKILL:when=28",
)
"""What it injects into the start after a kill, by which the index was lost, too."""


def why_not() -> str | None:
    """Why the machine does not allow it, or None."""
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "ptrace is not allowed"


def run(folder: Path) -> dict[str, int]:
    """Each fault once; returns how often each one fired."""
    fired = dict[str, int]()
    for number, fault in enumerate(FAULTS):
        fired[fault] = _inject(folder / str(number), fault, Acknowledged())
    for number, fault in enumerate(FAULTS_OF_RECOVERY):
        data, acknowledged = folder / f"again{number}", Acknowledged()
        _fall(data, acknowledged)
        fired[f"recovery {fault}"] = _inject(data, fault, acknowledged)
    return fired


def _fall(data: Path, acknowledged: Acknowledged) -> None:
    """A run that is killed in the middle of a write; its index is lost."""
    child = fork(
        lambda say: write_chain(
            data, say, files=FaultyFiles("kill", KILLED_AT).operations(), blocks=BLOCKS
        )
    )
    with os.fdopen(child.lines) as lines:
        for line in lines:
            acknowledged.take(line)
    assert os.waitstatus_to_exitcode(child.wait()) == -signal.SIGKILL
    shutil.rmtree(data / "index")


def _inject(data: Path, fault: str, acknowledged: Acknowledged) -> int:
    """How often it fired; what was acknowledged before and until then is there."""
    trace = data.with_suffix(".trace")
    _run_with(data, trace, fault, acknowledged)
    if (data / "segments").exists():
        check_folder(data, acknowledged)
    return sum(_shows(line) for line in trace.read_text(errors="replace").splitlines())


def _run_with(data: Path, trace: Path, fault: str, acknowledged: Acknowledged) -> None:
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
    for line in done.stdout.splitlines(keepends=True):
        if line.endswith("\n"):
            acknowledged.take(line)
    assert not acknowledged.is_done, f"{fault}: the writer went on"


def _shows(line: str) -> bool:
    return "(INJECTED)" in line or "killed by SIGKILL" in line
