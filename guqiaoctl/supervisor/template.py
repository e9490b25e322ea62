"""Starts the processes of a network as forks of one that has imported everything already.

Fourteen interpreters that each import the same libraries for a second are most of a start. Here one
template process imports them once, before any thread or channel exists, and forks for each process
that is started. A fork has the command line, the session and the memory of its own that an ordinary
`python -m MODULE` has. It ends when the supervisor is gone, and so does the template.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterable
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Final

import setproctitle

_CONTEXT: Final[ForkServerContext] = multiprocessing.get_context("forkserver")


def preload(modules: Iterable[str]) -> None:
    """What the template imports before its first fork. One template a supervising process: the
    first network started in it says what.
    """
    _CONTEXT.set_forkserver_preload(["guqiaoctl.supervisor.template", *sorted(set(modules))])


class Fork:
    """A process that runs; `ended` is its exit code once it has one, negative for a signal."""

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid is not None
        self._process = process
        self.pid: Final[int] = process.pid
        self.ended: Final[asyncio.Future[int]] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(process.sentinel, self._note_end)

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        return await asyncio.shield(self.ended)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._process.join()
        assert self._process.exitcode is not None
        self.ended.set_result(self._process.exitcode)
        self._process.close()


async def start(module: str, arguments: tuple[str, ...], log_file: Path) -> Fork:
    """Run a module as `python -m` would, its output appended to a file."""
    process = _CONTEXT.Process(target=_run, args=(module, arguments, str(log_file)))
    # The first start waits for the template's imports.
    await asyncio.to_thread(process.start)
    return Fork(process)


def _run(module: str, arguments: tuple[str, ...], log_file: str) -> None:
    os.setsid()
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    setproctitle.setproctitle(" ".join([sys.executable, "-m", module, *arguments]))
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(log)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None
    wait([supervisor.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
