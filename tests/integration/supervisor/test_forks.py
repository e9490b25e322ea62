"""Processes as forks of a template: what they look like, how they end, and that none is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guqiaoctl.network.ports import free_ports
from guqiaoctl.supervisor.forks import LOST, Fork, Forks, TemplateError
from guqiaoctl.supervisor.process import is_alive
from tests.end_to_end.harness import OneMachine, wait_until

SECONDS_MAX = 180.0
SAYS = "tests.integration.supervisor.says"
READY_SERVER = "tests.integration.supervisor.ready_server"


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    found = Forks(tmp_path, [])
    yield found
    await found.close()


async def says(forks: Forks, folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of a process that does what its arguments say."""
    log = folder / "says.log"
    fork = await forks.start(SAYS, arguments, log)
    async with asyncio.timeout(SECONDS_MAX):
        code = await fork.wait()
    return code, log.read_text()


async def serving(forks: Forks, folder: Path) -> Fork:
    """A process that runs on."""
    return await forks.start(READY_SERVER, (str(free_ports(1)[0]),), folder / "server.log")


async def give_up_a_start(forks: Forks, folder: Path) -> None:
    """Ask for a process, and be gone before the answer."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await serving(forks, folder)


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit 0", 0), ("exit 3", 3)])
async def test_a_process_ends_with_its_own_code(
    forks: Forks, tmp_path: Path, how: str, code: int
) -> None:
    assert (await says(forks, tmp_path, how))[0] == code


async def test_what_a_process_writes_is_in_its_log_and_so_is_why_it_failed(
    forks: Forks, tmp_path: Path
) -> None:
    code, text = await says(forks, tmp_path, "raise")
    assert code == 1
    assert text.startswith("arguments: raise\n")
    assert text.endswith("ValueError: as it was told\n")
    code, text = await says(forks, tmp_path, "exit with a reason")
    assert code == 1
    assert text.endswith("a reason\n")


async def test_a_process_has_its_own_command_line_and_session(forks: Forks, tmp_path: Path) -> None:
    fork = await serving(forks, tmp_path)
    path = Path(f"/proc/{fork.pid}/cmdline")
    await asyncio.to_thread(
        wait_until, "its command line", lambda: READY_SERVER.encode() in path.read_bytes()
    )
    assert os.getsid(fork.pid) == fork.pid
    assert fork.returncode is None


async def test_a_killed_process_has_the_signal_as_its_code(forks: Forks, tmp_path: Path) -> None:
    fork = await serving(forks, tmp_path)
    os.kill(fork.pid, signal.SIGKILL)
    async with asyncio.timeout(SECONDS_MAX):
        assert await fork.wait() == -signal.SIGKILL
    assert not is_alive(fork.pid)


async def test_closing_ends_what_runs_and_a_start_that_was_given_up(tmp_path: Path) -> None:
    forks = Forks(tmp_path, [])
    fork = await serving(forks, tmp_path)
    await give_up_a_start(forks, tmp_path)
    async with asyncio.timeout(SECONDS_MAX):
        await forks.close()
    assert not is_alive(fork.pid)
    assert processes_of(tmp_path) == []


async def test_an_answer_to_a_start_that_was_given_up_is_not_taken_for_another(
    forks: Forks, tmp_path: Path
) -> None:
    await serving(forks, tmp_path)
    await give_up_a_start(forks, tmp_path)
    assert await says(forks, tmp_path, "exit 3") == (3, "arguments: exit 3\n")


async def test_after_the_template_fell_its_processes_count_as_ended_and_others_can_be_started(
    forks: Forks, tmp_path: Path
) -> None:
    fork = await serving(forks, tmp_path)
    # The fork has its own command line a moment after its start.
    await asyncio.to_thread(wait_until, "one template", lambda: len(processes_of(tmp_path)) == 1)
    os.kill(processes_of(tmp_path)[0], signal.SIGKILL)
    async with asyncio.timeout(SECONDS_MAX):
        assert await fork.wait() == LOST
    os.kill(fork.pid, signal.SIGKILL)  # It was not started as one that dies with its parent.
    assert (await says(forks, tmp_path, "exit 3"))[0] == 3


async def test_a_template_that_cannot_import_says_where_to_look(tmp_path: Path) -> None:
    forks = Forks(tmp_path, ["no.such.module"])
    with pytest.raises(TemplateError, match=r"template\.log"):
        await serving(forks, tmp_path)
    await forks.close()
    assert "No module named 'no'" in (tmp_path / "logs" / "template.log").read_text()


async def test_closing_what_never_started_anything_does_nothing(tmp_path: Path) -> None:
    await Forks(tmp_path, []).close()
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[int]:
    """Those whose command line has the folder."""
    return list(OneMachine(folder).processes())
