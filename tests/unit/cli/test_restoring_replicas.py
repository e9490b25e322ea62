"""What the supervisor makes of processes that are slow, restore or fall: their state, what waits
for them, and what it says.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from guqiaoctl.commands import dev
from guqiaoctl.supervisor import process as process_module
from guqiaoctl.supervisor import supervisor as supervisor_module
from guqiaoctl.supervisor.forks import Fork
from guqiaoctl.supervisor.process import (
    RESTORING_SECONDS,
    ManagedProcess,
    ProcessPlan,
    ProcessState,
    restoring_texts,
)
from guqiaoctl.supervisor.supervisor import (
    NetworkPlan,
    StartError,
    Supervisor,
    holding_up,
)

READY = (ProcessState.READY, "")
RESTORES = (ProcessState.RESTORING, "votes: the replica does not vote: RESTORING, height 3 of 40")
AWAY = (ProcessState.UNREADY, "its admin port does not answer")
LINE = json.dumps({"event": "link.up", "level": "info"})


class Network:
    """Replicas and a service that run and say of themselves what a test gives them to say."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, **said: tuple[ProcessState, str]
    ) -> None:
        self.said = {name.replace("_", "-"): answer for name, answer in said.items()}
        ports = dict(enumerate(self.said))

        async def readiness(port: int) -> tuple[ProcessState, str]:
            return self.said[ports[port]]

        async def nothing() -> None:
            """No database."""

        monkeypatch.setattr(process_module, "readiness", readiness)
        monkeypatch.setenv("GUQIAO_LANG", "en")
        for name in self.said:
            (folder / f"{name}.log").write_text(LINE + "\n")
        plans = tuple(
            ProcessPlan(name, "none", (), port, folder / f"{name}.log", name.rpartition("-")[0])
            for port, name in ports.items()
        )
        self.lines: list[str] = []
        self.plans = plans
        plan = NetworkPlan(folder, (plans,), nothing, nothing, nothing, nothing, lambda: True)
        self.supervisor = Supervisor(plan, self.lines.append)
        self.processes = self.supervisor._processes
        for port, managed in enumerate(self.processes.values()):
            managed.process, managed.state = Fork(1_000_000 + port), ProcessState.STARTING

    def __getitem__(self, name: str) -> ManagedProcess:
        return self.processes[name]

    async def wait(self) -> list[str]:
        """Wait for all; returned is what was said."""
        await self.supervisor._wait_group(list(self.processes.values()), time.monotonic())
        return self.lines

    async def holding_up(self) -> list[str]:
        """Who is waited for, after a look at everyone."""
        for managed in self.processes.values():
            await managed.look()
        return [managed.plan.name for managed in holding_up(self.processes.values())]

    async def answer(self, command: str, name: str) -> dict[str, Any]:
        """What the supervisor answers to a command."""
        return await self.supervisor._one(command, name)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    for name in ("START_SECONDS_MAX", "START_ONE_SECONDS_MAX"):
        monkeypatch.setattr(supervisor_module, name, 0.0)
    monkeypatch.setattr(process_module, "RESTORING_SECONDS", 0.0)


@pytest.mark.req("G2-13-2")
async def test_a_process_that_took_longer_than_is_waited_becomes_ready_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(tmp_path, monkeypatch, shandong_0=AWAY)
    managed = network["shandong-0"]
    assert await managed.wait_ready(0.0) is ProcessState.STARTING
    assert await managed.look() == (ProcessState.STARTING, AWAY[1])
    network.said["shandong-0"] = READY
    assert await managed.look() == READY
    assert managed.state is ProcessState.READY
    network.said["shandong-0"] = AWAY
    assert await managed.look() == AWAY, "it was ready before"


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("begins", [ProcessState.STARTING, ProcessState.READY])
async def test_a_replica_that_restores_has_a_state_of_its_own_until_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: ProcessState
) -> None:
    network = Network(tmp_path, monkeypatch, shandong_0=RESTORES)
    managed = network["shandong-0"]
    managed.state = begins
    assert await managed.look() == RESTORES
    assert not managed.is_settled, "it may be ready in a moment"
    assert managed.restoring_since is not None
    managed.restoring_since -= RESTORING_SECONDS
    assert managed.is_settled
    assert await managed.wait_ready(0.0) is ProcessState.RESTORING
    network.said["shandong-0"] = READY
    assert await managed.look() == READY
    assert managed.restoring_since is None


@pytest.mark.req("G2-13-2")
async def test_a_process_that_an_operator_ended_is_held_whatever_it_last_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(tmp_path, monkeypatch, shandong_0=READY)
    managed = network["shandong-0"]

    async def ended_meanwhile(port: int) -> tuple[ProcessState, str]:
        managed.state = ProcessState.HELD
        return READY

    monkeypatch.setattr(process_module, "readiness", ended_meanwhile)
    assert await managed.look() == (ProcessState.HELD, "")
    assert managed.state is ProcessState.HELD


@pytest.mark.req("G2-13-2")
@pytest.mark.usefixtures("at_once")
async def test_a_chain_serves_with_a_quorum_while_the_others_restore_and_these_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(
        tmp_path,
        monkeypatch,
        shandong_0=RESTORES,
        shandong_1=READY,
        shandong_2=READY,
        shandong_3=READY,
    )
    lines = await network.wait()
    assert [line.partition(" (")[0] for line in lines] == [
        "shandong-1 ready",
        "shandong-2 ready",
        "shandong-3 ready",
        "shandong-0: it restores what it lost from the others and votes again by itself",
    ]
    assert lines[-1].endswith(" (height 3 of 40)")


@pytest.mark.req("G2-13-2")
@pytest.mark.usefixtures("at_once")
async def test_what_comes_next_waits_for_all_but_replicas_that_restore_beside_a_quorum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = {f"shandong_{number}": READY for number in range(4)}
    cases: list[tuple[dict[str, tuple[ProcessState, str]], list[str]]] = [
        ({}, []),
        ({"shandong_0": RESTORES}, []),
        ({"shandong_0": AWAY}, ["shandong-0"]),
        ({"shandong_0": RESTORES, "shandong_1": RESTORES}, ["shandong-0", "shandong-1"]),
        ({"shandong_0": RESTORES, "shandong_1": AWAY}, ["shandong-0", "shandong-1"]),
        ({"shandong_0": RESTORES, "csrc_0": READY, "csrc_1": AWAY}, ["csrc-1"]),
        ({"registry": RESTORES}, ["registry"]),
    ]
    for changed, expected in cases:
        network = Network(tmp_path, monkeypatch, **{**chain, **changed})
        assert await network.holding_up() == expected


@pytest.mark.req("G2-13-2")
@pytest.mark.usefixtures("at_once")
async def test_fewer_than_a_quorum_is_a_failure_that_names_each_and_what_it_lacks_and_no_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "START_SECONDS_MAX", 0.4)
    said = {"shandong_0": RESTORES, "shandong_1": AWAY, "shandong_2": READY, "shandong_3": READY}
    with pytest.raises(StartError) as raised:
        await Network(tmp_path, monkeypatch, **said).wait()
    assert raised.value.text_en == (
        "shandong-0, shandong-1 were not ready within 0 s: the replica does not vote: RESTORING,"
        " height 3 of 40 | its admin port does not answer"
    )
    assert "未能在 0 秒内就绪" in raised.value.text_zh


@pytest.mark.req("G2-13-2")
async def test_a_replica_that_ended_at_start_is_a_failure_at_once_though_a_quorum_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {f"shandong_{number}": READY for number in range(4)}
    network = Network(tmp_path, monkeypatch, **said)
    ended = network["shandong-3"].process
    assert ended is not None
    ended.ended.set_result(5)
    with pytest.raises(StartError, match=r"shandong-3 ended at start \(exit 5\)") as raised:
        await network.wait()
    assert raised.value.exit_code == 5


@pytest.mark.req("G2-13-2")
async def test_a_replica_that_falls_while_what_comes_next_starts_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(self: ManagedProcess, forks: object) -> None:
        self.process, self.state = Fork(1_000_000), ProcessState.STARTING
        self.starts += 1
        begun.set()

    begun = asyncio.Event()
    monkeypatch.setattr(ManagedProcess, "start", start)
    monkeypatch.setattr(supervisor_module, "RESTART_DELAY_SECONDS", 0.0)
    network = Network(tmp_path, monkeypatch, **{f"shandong_{n}": READY for n in range(4)})
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        await network.supervisor._start_group(tasks, network.plans, time.monotonic())
        fallen = network["shandong-2"]
        for _ in range(2):
            begun.clear()
            assert fallen.process is not None
            fallen.process.ended.set_result(-9)
            await begun.wait()
        assert [process.starts for process in network.processes.values()] == [1, 1, 3, 1]
        for watcher in network.supervisor._watchers.values():
            watcher.cancel()


@pytest.mark.req("G2-13-2")
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("said", [READY, RESTORES])
async def test_a_replica_that_restores_is_started_as_one_that_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[ProcessState, str]
) -> None:
    network = Network(tmp_path, monkeypatch, shandong_0=said)
    answer = await started(network, monkeypatch)
    assert answer == {"ok": True, "state": said[0], "why": said[1]}


@pytest.mark.req("G2-13-2")
async def test_a_start_that_fails_says_the_seconds_that_were_waited_and_what_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "START_ONE_SECONDS_MAX", 1.0)
    network = Network(tmp_path, monkeypatch, shandong_0=AWAY)
    answer = await started(network, monkeypatch)
    assert answer["code"] == "START_FAILED"
    assert answer["error"] == f"shandong-0 was not ready within 1 s: {AWAY[1]}"
    assert answer["zh"] == f"shandong-0 未能在 1 秒内就绪：{AWAY[1]}"


async def started(network: Network, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is answered to the start of a replica that was stopped."""
    managed = network["shandong-0"]
    fork, managed.process = managed.process, None

    async def start(self: ManagedProcess, forks: object) -> None:
        self.process, self.state = fork, ProcessState.STARTING

    monkeypatch.setattr(ManagedProcess, "start", start)
    answer = await network.answer("start", "shandong-0")
    for watcher in network.supervisor._watchers.values():
        watcher.cancel()
    return answer


@pytest.mark.req("G2-13-2")
async def test_a_state_that_does_not_allow_a_command_is_told_in_both_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(tmp_path, monkeypatch, shandong_0=READY)
    answer = await network.answer("start", "shandong-0")
    assert (answer["error"], answer["zh"]) == ("shandong-0 runs already", "shandong-0 已在运行")
    network["shandong-0"].process, network["shandong-0"].state = None, ProcessState.HELD
    for command in ("kill", "stop"):
        answer = await network.answer(command, "shandong-0")
        assert (answer["error"], answer["zh"]) == (
            "shandong-0 does not run",
            "shandong-0 未在运行",
        )


async def test_status_says_whether_a_replica_that_restores_can_vote_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for restoring, says in ((1, "votes again by itself"), (2, "no quorum")):
        said = {f"shandong_{n}": RESTORES if n < restoring else READY for n in range(4)}
        answer = await Network(tmp_path, monkeypatch, csrc_0=READY, **said).supervisor._status()
        monkeypatch.setattr(dev, "load_network", lambda data: None)
        monkeypatch.setattr(dev, "endpoints", lambda network: {})
        monkeypatch.setattr(dev, "_command", lambda data, request, answer=answer: answer)
        dev.status(tmp_path, as_json=False)
        lines = [line for line in capsys.readouterr().out.splitlines() if "restor" in line]
        assert len(lines) == restoring
        assert all(says in line for line in lines)


def test_heights_are_told_where_they_are_known() -> None:
    english, chinese = restoring_texts(RESTORES[1])
    assert english.endswith(" by itself (height 3 of 40)")
    assert chinese.endswith("自动恢复投票（高度 3/40）")
    english, chinese = restoring_texts("votes: the replica does not vote: RESTORING")
    assert english.endswith(" by itself")
    assert chinese.endswith("自动恢复投票")
