"""One supervised process: start it, watch it, end it, and leave nothing behind.

A child ends by itself when the supervisor is gone, however it went. Its output goes to a log file
of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder
from guqiaoctl.supervisor.forks import Fork, Forks

STOP_GRACE_SECONDS: Final = 8.0
READY_POLL_SECONDS: Final = 0.1
READY_ANSWER_SECONDS_MAX: Final = 3.0
"""More than a check may take before the admin port itself calls it failed."""

READY_ANSWER_BYTES_MAX: Final = 64 * 1024
LAST_WORDS_BYTES: Final = 4096
"""Room in a log for why a process ends; less is a full disk."""
RESTARTS_MAX: Final = 5
RESTART_WINDOW_SECONDS: Final = 60.0
RESTORING_SECONDS: Final = 10.0
"""A replica that restores for so long is not waited for: until it votes minutes may go by. One of a
chain that is being founded is done much sooner.
"""

_RESTORE_CHECKS: Final = frozenset({"votes", "level"})
"""What fails in a replica that restores and lacks nothing else."""

_HEIGHTS: Final = re.compile(r"height (\d+) of (\d+)")
_REFUSAL: Final = re.compile(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+): (.+)")


class ProcessState(StrEnum):
    """Where a process stands. HELD: an operator ended it, so it is not started again by itself.
    UNREADY: it was ready, runs on, and says now why it cannot serve. RESTORING: a replica that runs
    and fetches what it lost; it votes again by itself.
    """

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    RESTORING = "restoring"
    UNREADY = "unready"
    HELD = "held"
    FAILED = "failed"


_RUNNING: Final = frozenset({ProcessState.STARTING, ProcessState.READY})
"""The states that an answer of the process may change; the others are decided without it."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """What to start and how to know that it is ready."""

    name: str
    module: str
    arguments: tuple[str, ...]
    admin_port: int
    log_file: Path
    chain: str = ""
    """Whose replica it is; a chain serves with a quorum of them. Empty for a service."""


@dataclass(slots=True)
class ManagedProcess:
    """A plan and the process that runs it, if one does."""

    plan: ProcessPlan
    state: ProcessState = ProcessState.STOPPED
    process: Fork | None = None
    starts: int = 0
    last_exit: int | None = None
    why: str = ""
    """What it last said of why it was not ready, or of why it fell."""

    log_begins: int = 0
    """Where in the log file the words of the running process begin, or of the last that ran."""

    restoring_since: float | None = None
    """Since when every look at it has found that it restores."""

    recent_starts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS_MAX))

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if self.process is not None and running else None

    async def start(self, forks: Forks) -> None:
        """Start the process; readiness is another matter (`wait_ready`)."""
        make_folder(self.plan.log_file.parent)
        log = self.plan.log_file
        self.log_begins = log.stat().st_size if log.exists() else 0
        self.process = await forks.start(self.plan.module, self.plan.arguments, self.plan.log_file)
        self.state, self.restoring_since = ProcessState.STARTING, None
        self.starts += 1
        self.recent_starts.append(time.monotonic())

    async def wait_ready(self, timeout_seconds: float) -> ProcessState:
        """Wait until it is ready, or has restored for a while and goes on so. Any other state: it
        ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            state, _ = await self.look()
            if self.is_settled or self.pid is None or time.monotonic() >= deadline:
                return state
            await asyncio.sleep(READY_POLL_SECONDS)

    @property
    def is_settled(self) -> bool:
        """Whether it is ready, or restores and will not be ready in a moment."""
        if self.restoring_since is not None:
            return time.monotonic() - self.restoring_since >= RESTORING_SECONDS
        return self.state is ProcessState.READY

    def signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended, told or not yet."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after the grace time."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE_SECONDS):
                await process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await process.wait()

    def seconds_to_restart(self) -> float:
        """How long to wait so that it is not started more often than a window allows."""
        if len(self.recent_starts) < RESTARTS_MAX:
            return 0.0
        return RESTART_WINDOW_SECONDS - (time.monotonic() - self.recent_starts[0])

    async def look(self) -> tuple[ProcessState, str]:
        """Where it stands now, and what it says if it is not ready. One that took long to start is
        ready from the first look that finds it so.
        """
        process = self.process
        if self.state not in _RUNNING:
            return self.state, self._why_fallen
        found, why = await readiness(self.plan.admin_port)
        if self.state not in _RUNNING or self.process is not process:  # It was ended meanwhile.
            return self.state, self._why_fallen
        self.why = why
        if found is not ProcessState.RESTORING:
            self.restoring_since = None
        elif self.restoring_since is None:
            self.restoring_since = time.monotonic()
        if found is ProcessState.READY:
            self.state = found
        elif found is ProcessState.UNREADY and self.state is ProcessState.STARTING:
            found = self.state
        return found, why

    def note_fall(self, exit_code: int) -> None:
        """It ended by itself; why, it has said in its last words, if at all."""
        self.last_exit, self.state = exit_code, ProcessState.FAILED
        said = refusal_in(self.log_tail())
        self.why = said[0] if said is not None else f"it ended ({exit_code})"
        folder = self.plan.log_file.parent
        if said is None and shutil.disk_usage(folder).free < LAST_WORDS_BYTES:
            self.why += f", and no room was left for its words: DISK_FULL in {folder}"

    @property
    def _why_fallen(self) -> str:
        return self.why if self.state is ProcessState.FAILED else ""

    def log_tail(self, lines: int = 5) -> list[str]:
        """Its own last lines, none of a process before, for an error that shows its cause."""
        try:
            with self.plan.log_file.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                begins = self.log_begins if self.log_begins <= end else 0
                log.seek(max(begins, end - 16_384))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]


def refusal_in(lines: Sequence[str]) -> re.Match[str] | None:
    """The last of these lines that is `CODE: sentence`, in both parts."""
    return next((found for line in lines[::-1] if (found := _REFUSAL.match(line))), None)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # No /proc here, or another user's process.
        return True
    return state != "Z"


def restoring_texts(why: str, *, has_quorum: bool = True) -> tuple[str, str]:
    """What a replica that restores does, in English and Chinese, from what its /readyz says. It
    votes again when its chain has gone on without it, for which the others must be a quorum.
    """
    if not has_quorum:
        return (
            "too many of its chain restore: those left are no quorum. Bring one of them back with"
            " the data that it had, or see `guqiao restart --help`",
            "该链正在恢复的副本过多，其余副本不足法定数；请用原有数据恢复其中一个，"
            "或参阅 `guqiao restart --help`",
        )
    heights = _HEIGHTS.search(why)
    english = f" (height {heights[1]} of {heights[2]})" if heights else ""
    chinese = f"（高度 {heights[1]}/{heights[2]}）" if heights else ""
    return (
        f"it restores what it lost from the others and votes again by itself{english}",
        f"正在从其他副本恢复丢失的数据，完成后自动恢复投票{chinese}",
    )


async def readiness(admin_port: int) -> tuple[ProcessState, str]:
    """READY where the admin port answers /readyz with 200, else RESTORING or UNREADY; and what it
    says beside: each check that failed, or what the process does without meanwhile.
    """
    try:
        async with asyncio.timeout(READY_ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
            try:
                writer.write(
                    b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _read_rest(reader)
            finally:
                writer.close()
        is_up = b" 200 " in head.partition(b"\r\n")[0]
        said = json.loads(body).get("degraded" if is_up else "failures", {})
        state = ProcessState.READY if is_up else _state_of(said)
        return state, "; ".join(f"{check}: {text}" for check, text in said.items())
    except (OSError, EOFError, TimeoutError):
        return ProcessState.UNREADY, "its admin port does not answer"
    except (ValueError, TypeError, KeyError, AttributeError):
        return ProcessState.UNREADY, "its admin port answers what makes no sense"


def _state_of(failures: dict[str, str]) -> ProcessState:
    """RESTORING only where nothing else fails: with its certificate expired it restores nothing."""
    restores = "RESTORING" in failures.get("votes", "") and failures.keys() <= _RESTORE_CHECKS
    return ProcessState.RESTORING if restores else ProcessState.UNREADY


async def _read_rest(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < READY_ANSWER_BYTES_MAX and (chunk := await reader.read(1024)):
        body += chunk
    return body
