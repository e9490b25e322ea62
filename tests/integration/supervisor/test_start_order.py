"""What the supervisor starts beside what: replicas beside the database, services after both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from guqiaoctl.network.ports import free_ports
from guqiaoctl.supervisor.process import ManagedProcess, ProcessPlan, is_alive
from guqiaoctl.supervisor.supervisor import NetworkPlan, Supervisor
from services.chassis.errors import causes
from tests.integration.supervisor.test_forks import processes_of

WAIT_SECONDS_MAX = 180.0
NAMES = ["replica", "service"]
READY_SERVER = "tests.integration.supervisor.ready_server"


class DatabaseError(Exception):
    """The database does not start."""


async def nothing() -> None:
    """A database that needs no work."""


class Run:
    """A supervisor of one replica and one service."""

    def __init__(self, folder: Path, start_database: Callable[[Run], Awaitable[object]]) -> None:
        ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))

        async def start() -> None:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await start_database(self)

        self.replica_ready = asyncio.Event()
        groups = tuple((_plan(folder, name, ports[name]),) for name in NAMES)
        plan = NetworkPlan(folder, groups, start, nothing, nothing, nothing, lambda: True)
        self.supervisor = Supervisor(plan, self._report)

    def starts(self, name: str) -> int:
        """How often a process was started."""
        return self.supervisor._processes[name].starts

    def _report(self, text: str) -> None:
        if "replica" in text:
            self.replica_ready.set()

    async def to_ready(self) -> None:
        """Start everything, and end it when it is ready."""

        async def on_ready() -> None:
            self.supervisor.end()

        async with asyncio.timeout(2 * WAIT_SECONDS_MAX):
            await self.supervisor.run(on_ready)


def _plan(folder: Path, name: str, port: int) -> ProcessPlan:
    return ProcessPlan(name, READY_SERVER, (str(port),), port, folder / f"{name}.log")


async def test_replicas_become_ready_while_the_database_starts_and_services_wait_for_it(
    tmp_path: Path,
) -> None:
    services_before_the_database: list[int] = []

    async def start_database(run: Run) -> None:
        await run.replica_ready.wait()
        services_before_the_database.append(run.starts("service"))

    run = Run(tmp_path, start_database)
    await run.to_ready()
    assert services_before_the_database == [0]
    assert run.starts("service") == 1


async def test_a_database_that_does_not_start_is_the_error_and_leaves_no_replica_behind(
    tmp_path: Path,
) -> None:
    replicas: list[int] = []

    async def start_database(run: Run) -> None:
        await run.replica_ready.wait()
        pid = run.supervisor._processes["replica"].pid
        assert pid is not None
        replicas.append(pid)
        raise DatabaseError

    run = Run(tmp_path, start_database)
    with pytest.raises(ExceptionGroup) as raised:
        await run.to_ready()
    assert [type(cause) for cause in causes(raised.value)] == [DatabaseError]
    assert run.starts("service") == 0
    assert not is_alive(replicas[0])


async def test_a_database_that_fails_at_once_leaves_nothing_behind_either(tmp_path: Path) -> None:
    async def start_database(run: Run) -> None:
        raise DatabaseError

    with pytest.raises(ExceptionGroup) as raised:
        await Run(tmp_path, start_database).to_ready()
    assert [type(cause) for cause in causes(raised.value)] == [DatabaseError]
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1, 0.5, 1.0])
async def test_a_network_that_is_ended_while_it_starts_ends_and_leaves_nothing_behind(
    tmp_path: Path, seconds: float
) -> None:
    async def start_database(run: Run) -> None:
        await asyncio.sleep(seconds)
        run.supervisor.end()

    await Run(tmp_path, start_database).to_ready()
    assert processes_of(tmp_path) == []


async def test_a_process_that_came_up_while_the_end_was_asked_for_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watcher is made after all others were told to end."""
    run = Run(tmp_path, lambda _: asyncio.Event().wait())
    start = run.supervisor._start

    async def start_as_the_end_comes(managed: ManagedProcess) -> None:
        await start(managed)
        run.supervisor.end()
        await asyncio.sleep(0)

    monkeypatch.setattr(run.supervisor, "_start", start_as_the_end_comes)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await run.to_ready()
    assert processes_of(tmp_path) == []
