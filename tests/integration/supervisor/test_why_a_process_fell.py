"""Why a process fell is told at once, by its own last words, and for as long as it is down."""

from __future__ import annotations

import asyncio
import errno
import http.client
import os
import shutil
import sys
from pathlib import Path

import pytest
import structlog

from guqiaoctl.network.ports import free_ports
from guqiaoctl.supervisor import supervisor as supervision
from guqiaoctl.supervisor.control import ask
from guqiaoctl.supervisor.forks import Fork, Forks
from guqiaoctl.supervisor.process import ManagedProcess, ProcessPlan, ProcessState
from guqiaoctl.supervisor.supervisor import NetworkPlan, Supervisor
from services.chassis import endings
from tests.integration.supervisor.test_forks import READY_SERVER, SAYS

SECONDS_MAX = 180.0
REFUSAL = "STORAGE_FAILED: fsync failed (Input/output error). Check the disk."


async def nothing() -> None:
    """A database that needs no work."""


def fall(port: int) -> None:
    """Let the process behind a port end with a refusal."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
    connection.request("POST", "/", f"some output\n{REFUSAL}\n")
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()


@pytest.mark.req("G2-13-2")
async def test_the_status_names_why_a_process_fell_while_it_waits_to_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "RESTART_DELAY_SECONDS", SECONDS_MAX)  # As after five falls.
    port = free_ports(1)[0]
    process = ProcessPlan("csrc-0", READY_SERVER, (str(port),), port, tmp_path / "log", "csrc")
    plan = NetworkPlan(tmp_path, ((process,),), nothing, nothing, nothing, nothing, lambda: True)
    supervisor = Supervisor(plan, lambda _: None)
    found: list[tuple[str, str]] = []

    async def on_ready() -> None:
        await asyncio.to_thread(fall, port)
        while not found or found[-1][0] != ProcessState.FAILED:
            answer = await ask(tmp_path / "run", {"command": "status"})
            found.extend((each["state"], each["why"]) for each in answer["processes"])
        supervisor.end()

    async with asyncio.timeout(SECONDS_MAX):
        await supervisor.run(on_ready)
    assert found[-1] == (ProcessState.FAILED, REFUSAL)


async def test_the_last_words_of_an_earlier_run_are_not_taken_for_those_of_the_last(
    tmp_path: Path,
) -> None:
    forks = Forks(tmp_path, [])
    whys = []
    try:
        for how in ("refuse", "exit 3"):
            plan = ProcessPlan("csrc-0", SAYS, (how,), free_ports(1)[0], tmp_path / "log")
            managed = ManagedProcess(plan)
            await managed.start(forks)
            assert managed.process is not None
            managed.note_fall(await managed.process.wait())
            whys.append(await managed.look())
    finally:
        await forks.close()
    failed = ProcessState.FAILED
    assert whys == [(failed, REFUSAL), (failed, "it ended (3)")]


async def test_where_the_disk_had_no_room_for_its_words_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ProcessPlan("csrc-0", SAYS, ("exit",), free_ports(1)[0], tmp_path / "log")
    managed = ManagedProcess(plan)
    managed.note_fall(6)
    assert managed.why == "it ended (6)"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    managed.note_fall(6)
    assert managed.why.endswith(f"DISK_FULL in {tmp_path}")


def test_a_full_disk_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the log nor standard error has room for why the process ends."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(structlog, "get_logger", full)
    monkeypatch.setattr(sys.stderr, "write", full)
    with pytest.raises(SystemExit) as ended:
        endings.end_for(OSError(errno.ENOSPC, "no space"), "consensus")
    assert ended.value.code == endings.EXIT_UNAVAILABLE


async def test_a_process_that_ended_a_moment_ago_is_stopped_without_complaint(
    tmp_path: Path,
) -> None:
    """The template has seen its end, and this side has not read of it yet."""
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    plan = ProcessPlan("csrc-0", SAYS, ("exit",), free_ports(1)[0], tmp_path / "log")
    managed = ManagedProcess(plan, process=Fork(ended.pid))
    assert managed.process is not None
    asyncio.get_running_loop().call_later(0.05, managed.process.ended.set_result, 5)
    await managed.stop()
    assert managed.process.returncode == 5
