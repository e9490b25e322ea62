"""The supervisor: starts the network in order, restarts what falls, holds what an operator ended.

PostgreSQL and the replicas together, for no replica needs a database, then the services together. A
process that ends by itself is started again, at most five times a minute, for as long as the
network runs; one that an operator killed or stopped stays down until it is started by name.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.files import make_folder
from guqiao_sdk.proof.quorum import quorum
from guqiaoctl.output import FIRST_TOLD_SECONDS, Progress, choose
from guqiaoctl.supervisor.control import ControlServer
from guqiaoctl.supervisor.forks import Forks, TemplateError
from guqiaoctl.supervisor.process import (
    READY_POLL_SECONDS,
    ManagedProcess,
    ProcessPlan,
    ProcessState,
    refusal_in,
    restoring_texts,
)

START_SECONDS_MAX: Final = 90.0
"""Of a group, or of a process that fell."""

START_ONE_SECONDS_MAX: Final = 45.0
"""Of a process that is started by name; below what a command waits for its answer."""

RESTART_DELAY_SECONDS: Final = 0.5
START_AGAIN_SECONDS: Final = 5.0
"""After a start that failed before there was a process."""

TELL_SECONDS: Final = 2.0
"""How often something is said while the network starts, once it takes longer than a second."""

LINE_CHARACTERS_MAX: Final = 1_000
"""More than a refusal has, remedy included."""

Report = Callable[[str], None]


class StartError(Exception):
    """A process did not become ready. `code` is its own where it gave one in its last words."""

    def __init__(self, name: str, cause: tuple[str, str], tail: list[str], exit_code: int | None):
        refusal = refusal_in(tail)
        self.code = refusal[1] if refusal else ""
        self.exit_code = exit_code
        said = refusal[2] if refusal else " | ".join(tail)
        self.text_en = f"{name} {cause[0]}: {said or 'it said nothing'}"
        self.text_zh = f"{name} {cause[1]}：{said or '没有输出'}"
        super().__init__(self.text_en)


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The processes in groups; a group starts when the one before it is ready. The first starts
    beside the database, all others after it.
    """

    folder: Path
    groups: tuple[tuple[ProcessPlan, ...], ...]
    start_database: Callable[[], Coroutine[None, None, None]]
    stop_database: Callable[[], Coroutine[None, None, None]]
    keep_database: Callable[[], Coroutine[None, None, None]]
    maintain: Callable[[], Coroutine[None, None, None]]
    database_runs: Callable[[], bool]
    preload: tuple[str, ...] = ()
    """What is imported once for all processes."""
    beside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    """What this process itself serves from before the first start until all have ended."""


class Supervisor:
    """Runs one `NetworkPlan`. One supervisor a data folder; the caller holds the folder's lock."""

    def __init__(self, plan: NetworkPlan, report: Report) -> None:
        self._plan = plan
        self._report = report
        self._processes = {
            process.name: ManagedProcess(process) for group in plan.groups for process in group
        }
        self._group_started = {
            process.name: started
            for group, started in ((group, asyncio.Event()) for group in plan.groups)
            for process in group
        }
        self._ended = asyncio.Event()
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._control = ControlServer(plan.folder / "run", self._answer)
        self._ready = False
        self._forks = Forks(plan.folder, list(plan.preload))

    async def run(self, on_ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start everything, stay until `end` is called, stop everything, whatever happens."""
        make_folder(self._plan.folder / "run")
        try:
            async with self._plan.beside(), asyncio.TaskGroup() as tasks:
                main = tasks.create_task(self._main(tasks, on_ready))
                await self._ended.wait()
                main.cancel()
                await asyncio.wait([main])  # Until then it may start another one to watch.
                for watcher in self._watchers.values():
                    watcher.cancel()
        finally:
            for watcher in self._watchers.values():
                watcher.cancel()
            await self._stop_all()

    def end(self) -> None:
        """Ask `run` to stop everything and return."""
        self._ended.set()

    async def _main(
        self, tasks: asyncio.TaskGroup, on_ready: Callable[[], Awaitable[None]] | None
    ) -> None:
        await self._control.open()
        began = time.monotonic()
        self._watchers["telling"] = tasks.create_task(self._tell_starting(began))
        first, *others = self._plan.groups
        async with asyncio.TaskGroup() as together:
            together.create_task(self._start_database(tasks, began))
            together.create_task(self._start_group(tasks, first, began))
        for group in others:
            await self._start_group(tasks, group, began)
        self._ready = True
        self._watchers.pop("telling").cancel()
        maintenance = tasks.create_task(self._plan.maintain())
        self._watchers["maintenance"] = maintenance
        if on_ready is not None:
            await on_ready()

    async def _tell_starting(self, began: float) -> None:
        """Say that something goes on while processes that take their time are waited for."""
        wait = FIRST_TOLD_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = TELL_SECONDS
            count = sum(each.state is ProcessState.READY for each in self._processes.values())
            seconds, of = time.monotonic() - began, len(self._processes)
            self._report(
                choose(
                    f"  starting: {count} of {of} ready ({seconds:.0f} s)",
                    f"  正在启动：{of} 个进程中 {count} 个已就绪（{seconds:.0f} 秒）",
                )
            )

    async def _start_database(self, tasks: asyncio.TaskGroup, began: float) -> None:
        await self._plan.start_database()
        self._watchers["postgres"] = tasks.create_task(self._plan.keep_database())
        self._report_ready("postgres", began)

    async def _start_group(
        self, tasks: asyncio.TaskGroup, group: tuple[ProcessPlan, ...], began: float
    ) -> None:
        for plan in group:
            await self._start(self._processes[plan.name])
            self._watchers[plan.name] = tasks.create_task(self._watch(self._processes[plan.name]))
        await self._wait_group([self._processes[plan.name] for plan in group], began)

    async def _wait_group(self, group: Sequence[ManagedProcess], began: float) -> None:
        """Wait until whatever is started next can be served."""
        deadline = time.monotonic() + START_SECONDS_MAX
        waiting = list(group)
        while True:
            await asyncio.gather(*(process.look() for process in waiting))
            for process in [each for each in waiting if each.state is ProcessState.READY]:
                waiting.remove(process)
                self._report_ready(process.plan.name, began)
            if any(process.pid is None for process in group):
                raise _why_not_ready([each for each in group if each.pid is None], 0)
            if not holding_up(group):
                break
            if time.monotonic() >= deadline:
                raise _why_not_ready(holding_up(group), START_SECONDS_MAX)
            await asyncio.sleep(READY_POLL_SECONDS)
        self._group_started[group[0].plan.name].set()
        for process in waiting:
            en, zh = restoring_texts(process.why)
            self._report(choose(f"{process.plan.name}: {en}", f"{process.plan.name}：{zh}"))

    async def _start(self, managed: ManagedProcess) -> None:
        try:
            await managed.start(self._forks)
        except TemplateError as error:
            cause = ("could not be started", "无法启动")
            raise StartError(managed.plan.name, cause, [str(error)], None) from error

    def _report_ready(self, name: str, began: float) -> None:
        seconds = time.monotonic() - began
        self._report(
            choose(f"{name} ready ({seconds:.1f} s)", f"{name} 已就绪（{seconds:.1f} 秒）")
        )

    async def _watch(self, managed: ManagedProcess) -> None:
        """Start a process again when it ends by itself, once what came up with it is there: until
        then its end is why the network does not start.
        """
        while managed.process is not None:
            code = await managed.process.wait()
            if managed.state is ProcessState.HELD or self._ended.is_set():
                managed.last_exit = code
                return
            managed.note_fall(code)
            await self._group_started[managed.plan.name].wait()
            name = managed.plan.name
            self._report(
                choose(
                    f"{name} ended ({code}), starting it again",
                    f"{name} 已退出（{code}），重新启动",
                )
            )
            await asyncio.sleep(max(RESTART_DELAY_SECONDS, managed.seconds_to_restart()))
            if managed.state is ProcessState.FAILED:  # Nobody held or started it meanwhile.
                try:
                    await self._start(managed)
                except StartError as error:
                    self._report(choose(error.text_en, error.text_zh))
                    await asyncio.sleep(START_AGAIN_SECONDS)
                else:
                    await managed.wait_ready(START_SECONDS_MAX)

    async def _stop_all(self) -> None:
        self._report(choose("stopping everything", "正在停止全部进程"))
        with Progress(choose("ended", "已结束"), len(self._processes)) as progress:
            for group in reversed(self._plan.groups):
                await asyncio.gather(*(self._processes[plan.name].stop() for plan in group))
                progress.show(sum(each.pid is None for each in self._processes.values()))
            await self._forks.close()
            await self._plan.stop_database()
            await self._control.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("command"):
            case "status":
                return await self._status()
            case "down":
                self.end()
                return {"ok": True, "pid": os.getpid()}
            case "kill" | "stop" | "start" as command:
                return await self._one(command, str(request.get("process", "")))
        return {"error": f"no command {request.get('command')!r}"}

    async def _status(self) -> dict[str, Any]:
        looks = await asyncio.gather(*(process.look() for process in self._processes.values()))
        return {
            "ready": self._ready,
            "pid": os.getpid(),
            "database": "ready" if self._plan.database_runs() else "away",
            "processes": [
                {
                    "name": name,
                    "chain": process.plan.chain,
                    "state": state,
                    "why": why,
                    "pid": process.pid,
                    "starts": process.starts,
                    "last_exit": process.last_exit,
                }
                for (name, process), (state, why) in zip(
                    self._processes.items(), looks, strict=True
                )
            ],
        }

    async def _one(self, command: str, name: str) -> dict[str, Any]:
        managed = self._processes.get(name)
        if managed is None:
            return {"error": f"no process {name!r}", "known": sorted(self._processes)}
        if command == "start":
            return await self._start_one(managed)
        if managed.pid is None and managed.state is not ProcessState.FAILED:
            text, chinese = f"{name} does not run", f"{name} 未在运行"
            return {"error": text, "zh": chinese, "state": managed.state}
        managed.state = ProcessState.HELD
        if managed.pid is None:  # It fell and waited to be started again: not any more.
            return {"ok": True, "state": managed.state}
        if command == "kill":
            managed.signal(signal.SIGKILL)
            assert managed.process is not None
            await managed.process.wait()
        else:
            await managed.stop()
        return {"ok": True, "state": managed.state}

    async def _start_one(self, managed: ManagedProcess) -> dict[str, Any]:
        if managed.pid is not None:
            text, chinese = f"{managed.plan.name} runs already", f"{managed.plan.name} 已在运行"
            return {"error": text, "zh": chinese, "state": managed.state}
        try:
            await self._start(managed)
        except StartError as error:
            return {"error": error.text_en, "zh": error.text_zh, "code": "START_FAILED"}
        state = await managed.wait_ready(START_ONE_SECONDS_MAX)
        old = self._watchers.get(managed.plan.name)
        if old is None or old.done():
            # The group's task group owns only the watchers made at start; this one ends with `run`.
            self._watchers[managed.plan.name] = asyncio.ensure_future(self._watch(managed))
        if state not in (ProcessState.READY, ProcessState.RESTORING):
            why = _why_not_ready([managed], START_ONE_SECONDS_MAX)
            return {"error": why.text_en, "zh": why.text_zh, "code": why.code or "START_FAILED"}
        return {"ok": True, "state": state, "why": managed.why}


def holding_up(group: Iterable[ManagedProcess]) -> list[ManagedProcess]:
    """Those of a group that what comes after waits for: each that is not ready, except the replicas
    that restore where a quorum of their chain is ready without them.
    """
    by_chain: dict[str, list[ManagedProcess]] = {}
    for process in group:
        by_chain.setdefault(process.plan.chain, []).append(process)
    return [each for chain, members in by_chain.items() for each in _lacking(chain, members)]


def _lacking(chain: str, members: list[ManagedProcess]) -> list[ManagedProcess]:
    lacking = [each for each in members if each.state is not ProcessState.READY]
    ready = len(members) - len(lacking)
    if chain and ready >= quorum(len(members)):
        return [each for each in lacking if not each.is_settled]
    return lacking


def _why_not_ready(late: Sequence[ManagedProcess], seconds: float) -> StartError:
    """Why none of them is ready. One that ended has said why, so it speaks for the others."""
    managed = late[0]
    if managed.pid is None:
        tail = [line[:LINE_CHARACTERS_MAX] for line in managed.log_tail()]
        exit_code = managed.process.returncode if managed.process is not None else None
        cause = (f"ended at start (exit {exit_code})", f"启动时退出（{exit_code}）")
        return StartError(managed.plan.name, cause, tail, exit_code)
    was = "was" if len(late) == 1 else "were"
    cause = (f"{was} not ready within {seconds:.0f} s", f"未能在 {seconds:.0f} 秒内就绪")
    lacks = dict.fromkeys(lack for each in late for lack in _lacks(each))
    return StartError(", ".join(each.plan.name for each in late), cause, list(lacks), None)


def _lacks(managed: ManagedProcess) -> list[str]:
    return [said.partition(": ")[2] or said for said in managed.why.split("; ")]
