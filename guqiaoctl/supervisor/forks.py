"""The supervisor's side of the template process (`template.py`): forks to start and to wait for."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.files import make_folder

LOST: Final = 255
"""The exit code of a process that ended with the template: nobody was left to see its own."""


class TemplateError(Exception):
    """The template process ended; what it wrote says why."""


class Fork:
    """A process that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        return await asyncio.shield(self.ended)


class Forks:
    """Starts processes through one template, which is started with the first of them and again
    should it fall. `close` ends whatever still runs.
    """

    def __init__(self, folder: Path, modules: list[str]) -> None:
        self._folder = folder
        self._modules = modules
        self._template: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._running: dict[int, Fork] = {}
        self._asked: deque[asyncio.Future[Fork]] = deque()
        self._opening = asyncio.Lock()

    async def start(self, module: str, arguments: tuple[str, ...], log_file: Path) -> Fork:
        """Run a module as `python -m` would, its output appended to a file. Raises
        `TemplateError`. A start that is cancelled may happen; `close` ends it with the others.
        """
        async with self._opening:
            stdin = await self._open()
        request = {"module": module, "arguments": arguments, "log": str(log_file)}
        self._asked.append(asyncio.get_running_loop().create_future())
        stdin.write(json.dumps(request).encode() + b"\n")
        return await self._asked[-1]

    async def close(self) -> None:
        """End everything that was started and the template itself."""
        if self._template is None or self._reader is None:
            return
        assert self._template.stdin is not None
        self._template.stdin.close()
        await self._template.wait()
        await self._reader

    @property
    def _log(self) -> Path:
        return self._folder / "logs" / "template.log"

    async def _open(self) -> asyncio.StreamWriter:
        if self._template is None or self._reader is None or self._reader.done():
            make_folder(self._log.parent)
            with self._log.open("ab") as log:
                self._template = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "guqiaoctl.supervisor.template", str(self._folder)),
                    *self._modules,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            self._reader = asyncio.create_task(self._read(self._template))
        assert self._template.stdin is not None
        return self._template.stdin

    async def _read(self, template: asyncio.subprocess.Process) -> None:
        assert template.stdout is not None
        while line := await template.stdout.readline():
            self._take(json.loads(line))
        await template.wait()
        for fork in self._running.values():
            fork.ended.set_result(LOST)
        self._running.clear()
        for asked in self._asked:
            if not asked.done():
                asked.set_exception(TemplateError(f"the template process ended; see {self._log}"))
        self._asked.clear()

    def _take(self, said: dict[str, Any]) -> None:
        if "started" in said:
            fork = Fork(said["started"])
            self._running[fork.pid] = fork
            asked = self._asked.popleft()
            if not asked.done():  # Whoever was cancelled meanwhile does not wait any more.
                asked.set_result(fork)
        else:
            self._running.pop(said["ended"]).ended.set_result(said["code"])
