"""Why a process fell is told at once, by its own last words, and for as long as it is down."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path

import pytest

from guqiaoctl.network.ports import free_ports
from guqiaoctl.supervisor import supervisor as supervision
from guqiaoctl.supervisor.control import ask
from guqiaoctl.supervisor.forks import Forks
from guqiaoctl.supervisor.process import ManagedProcess, ProcessPlan, ProcessState
from guqiaoctl.supervisor.supervisor import NetworkPlan, Supervisor
from tests.integration.supervisor.test_forks import READY_SERVER, SAYS

SECONDS_MAX = 60.0
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
