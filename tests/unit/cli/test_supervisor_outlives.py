"""What a supervisor and its callers outlive: full disks, failed starts, silence, strangers."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.errors import ErrorFacts, GuqiaoError, UnavailableError
from guqiao_sdk.gm.provider import open_provider
from guqiaoctl.commands import dev
from guqiaoctl.failures import EXIT_UNAVAILABLE, CliError
from guqiaoctl.network import bring_up
from guqiaoctl.network.layout import Layout
from guqiaoctl.supervisor import control
from guqiaoctl.supervisor import supervisor as supervisor_module
from guqiaoctl.supervisor.control import ControlServer
from guqiaoctl.supervisor.forks import Fork, TemplateError
from guqiaoctl.supervisor.process import ManagedProcess, ProcessState
from tests.unit.cli.test_database_restarts import said
from tests.unit.cli.test_restoring_replicas import READY, Network


async def test_a_full_disk_at_the_daily_revocation_lists_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = asyncio.Event()
    failures = [OSError(errno.ENOSPC, "No space left on device")] * 2
    away = UnavailableError(ErrorFacts("CHAIN_UNAVAILABLE", ""))
    refusals: list[GuqiaoError | str] = [away, "CRL_AHEAD"]

    def renew(*_: object) -> None:
        if failures:
            raise failures.pop()

    async def publish() -> str:
        match refusals.pop(0) if refusals else "":
            case GuqiaoError() as error:
                raise error
            case "":
                renewed.set()
                return ""
            case code:
                return str(code)

    monkeypatch.setenv("GUQIAO_LANG", "en")
    monkeypatch.setattr(bring_up, "renew_crls", renew)
    monkeypatch.setattr(bring_up, "CRL_RENEWAL_SECONDS", 0.0)
    monkeypatch.setattr(bring_up, "CRL_RETRY_SECONDS", 0.0)
    lines: list[str] = []
    task = asyncio.ensure_future(
        bring_up.renew_daily(Layout(tmp_path), open_provider(), lines.append, publish)
    )
    async with asyncio.timeout(20):
        await renewed.wait()
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(lines) == 4
    assert "could not be renewed: No space left on device; trying again" in lines[0]
    assert "could not be renewed: CHAIN_UNAVAILABLE; trying again" in lines[2]
    assert "could not be renewed: CRL_AHEAD; trying again" in lines[3]


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "Input/output error"), subprocess.TimeoutExpired("pg_ctl", 9)]
)
async def test_a_database_that_cannot_be_started_for_now_ends_no_network(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    lines = await said(monkeypatch, [failure, failure])
    assert lines == ["postgres ended, starting it again", f"postgres: {failure}"]


async def test_a_process_whose_start_fails_is_started_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()
    failures = [TemplateError("the template process ended")] * 2

    async def start(self: ManagedProcess, forks: object) -> None:
        if network.plans and self.starts and failures:
            raise failures.pop()
        self.process, self.state = Fork(1_000_000), ProcessState.STARTING
        self.starts += 1
        started.set()

    monkeypatch.setattr(ManagedProcess, "start", start)
    for name in ("RESTART_DELAY_SECONDS", "START_AGAIN_SECONDS"):
        monkeypatch.setattr(supervisor_module, name, 0.0)
    network = Network(tmp_path, monkeypatch, shandong_0=READY)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        await network.supervisor._start_group(tasks, network.plans, 0.0)
        started.clear()
        fallen = network["shandong-0"]
        assert fallen.process is not None
        fallen.process.ended.set_result(-9)
        await started.wait()
        for watcher in network.supervisor._watchers.values():
            watcher.cancel()
    assert not failures
    assert sum("could not be started" in line for line in network.lines) == 2


async def asked(data: Path) -> CliError:
    """The failure of `dev status`."""
    with pytest.raises(CliError) as raised:
        await asyncio.to_thread(dev._command, data, {"command": "status"})
    return raised.value


async def test_a_supervisor_that_says_nothing_is_named_with_its_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: dict[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("never")

    monkeypatch.setattr(control, "QUICK_ANSWER_SECONDS_MAX", 0.2)
    (tmp_path / "run").mkdir()
    server = ControlServer(tmp_path / "run", silent)
    await server.open()
    failure = await asked(tmp_path)
    await server.close()
    assert (failure.code, failure.exit_code) == ("SERVICE_UNAVAILABLE", EXIT_UNAVAILABLE)
    text, remedy = failure.texts["en"]
    assert "does not answer" in text
    assert "kill -9" in remedy


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[1]\n", b"", b"\xff\n"])
async def test_a_port_that_another_program_has_by_now_is_no_running_network(
    tmp_path: Path, answer: bytes
) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (tmp_path / "run").mkdir()
    told = {"port": port, "token": "x", "pid": 1}
    (tmp_path / "run" / "control.json").write_text(json.dumps(told))
    failure = await asked(tmp_path)
    server.close()
    assert failure.code == "NETWORK_DOWN"
