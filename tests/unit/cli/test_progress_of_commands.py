"""Every command that may last tells of it, also while nothing gets done, in English and Chinese.

What a command waits for is replaced by something that goes on only once progress was told, so no
test waits for a time.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from guqiaoctl import output
from guqiaoctl.commands import (
    archiving,
    deploying,
    dev,
    doctor,
    governance,
    importing,
    register,
    registering,
    restarting,
    transactions,
    verifying,
)
from guqiaoctl.commands.releases import Release
from guqiaoctl.network import bring_up
from guqiaoctl.network.layout import create_network
from guqiaoctl.result_files import whole_file
from guqiaoctl.supervisor import supervisor as supervisor_module
from guqiaoctl.supervisor.process import ManagedProcess
from tests.unit.cli.test_restoring_replicas import READY, Network

TOLD_SECONDS_MAX: Final = 20.0
ID: Final = "ab" * 32
REQUEST: Final = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
FILE: Final = Path("none")


class DoneError(Exception):
    """What was waited for has come; the rest of the command is not of interest here."""


class World:
    """A network's folder, and what a command says of its progress."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = data
        self.expected = ""
        self.told = threading.Event()
        self._set = monkeypatch.setattr
        self._set(output, "say", self._say)
        self._set(output, "FIRST_TOLD_SECONDS", 0.01)

    def _say(self, line: str) -> None:
        if line.startswith(f"  {self.expected}"):
            self.told.set()

    def wait(self, *_: Any, **__: Any) -> None:
        """Go on once progress was told, or never will be."""
        self.told.wait(TOLD_SECONDS_MAX)

    def end(self, *_: Any, **__: Any) -> Any:
        """The same, and the command has what it waited for."""
        self.wait()
        raise DoneError

    async def end_later(self, *_: Any, **__: Any) -> Any:
        """The same for what is awaited."""
        await asyncio.to_thread(self.end)

    def replace(self, place: Any, **parts: Any) -> None:
        """Put something else in the place of what a command uses."""
        for name, part in parts.items():
            self._set(place, name, part)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    create_network(tmp_path / "network")
    return World(tmp_path / "network", monkeypatch)


def nothing(*_: Any, **__: Any) -> Any:
    return SimpleNamespace(data_folder=FILE, replica=0, verify=lambda *_: True)


def two(*_: Any, **__: Any) -> Any:
    return nothing(), None


# --- guqiao dev ----------------------------------------------------------------------------------


def node(command: str) -> Callable[[World], None]:
    def run(world: World) -> None:
        world.replace(dev, ask=world.end_later)
        dev.node_command(world.data, command, "csrc/0")

    return run


def status(world: World) -> None:
    world.replace(dev, ask=world.end_later)
    dev.status(world.data, as_json=True)


def down(world: World) -> None:
    async def answer(*_: Any) -> dict[str, Any]:
        return {"pid": 1}

    world.replace(dev, ask=answer, is_alive=world.end)
    dev.down(world.data)


def down_that_waits_for_the_folder(world: World) -> None:
    async def answer(*_: Any) -> dict[str, Any]:
        return {"pid": 1}

    world.replace(dev, ask=answer, lock_folder=world.end)
    dev.down(world.data)


def reset(world: World) -> None:
    world.replace(shutil, rmtree=world.end)
    dev.reset(world.data, confirmed=True)


def logs(world: World) -> None:
    world.replace(dev, _last_lines=world.end)
    dev.logs(world.data, "", 20)


def up_that_prepares(world: World) -> None:
    world.replace(bring_up, plan_network=world.end)
    dev.up(world.data, detach=False, demo_data=False, new_ports=False)


def up_that_registers(world: World) -> None:
    class Started:
        """A supervisor whose processes are ready at once."""

        def __init__(self, *_: object) -> None:
            self.end = nothing

        async def run(self, on_ready: Callable[[], Any]) -> None:
            await on_ready()

    world.replace(bring_up, plan_network=nothing)
    world.replace(registering, register_market=world.end_later)
    world.replace(supervisor_module, Supervisor=Started)
    dev.up(world.data, detach=False, demo_data=False, new_ports=False)


def up_detached(world: World) -> None:
    process: Any = SimpleNamespace(poll=world.end)
    dev._follow(process, world.data / "ready", io.StringIO())


# --- Files and folders ---------------------------------------------------------------------------


def with_segments(name: str, command: Callable[..., None]) -> Callable[[World], None]:
    def run(world: World) -> None:
        def work(*_: Any, on_segment: Callable[[int, int], object], **__: Any) -> Any:
            on_segment(3, 12)
            world.end()

        world.replace(archiving, _replica=two, _check_is_archive=nothing, **{name: work})
        command(FILE, FILE, as_json=False)

    return run


def with_blocks(name: str, command: Callable[[Path], None]) -> Callable[[World], None]:
    def run(world: World) -> None:
        def work(*_: Any, on_block: Callable[[int, int], object]) -> Any:
            on_block(1_200, 5_000)
            world.end()

        world.replace(archiving, read_trust=nothing, **{name: work})
        command(world.data / "result")

    return run


def verify(world: World) -> None:
    def judge(_: bytes, __: object, verify_one: Callable[..., bool], **___: Any) -> Any:
        for _number in range(7):
            assert verify_one(b"", b"", b"")
        world.end()

    world.replace(verifying, open_provider=nothing, read_trust=nothing, verify_bundle=judge)
    (world.data / "bundle").touch()
    verifying.verify(world.data / "bundle", FILE, as_json=False)


def check(world: World) -> None:
    world.replace(doctor, PROBES=(lambda _: nothing(), world.end, world.end))
    doctor.check(world.data, as_json=True)


def restart_propose(world: World) -> None:
    world.replace(restarting, _survivor=world.end)
    restarting.propose(
        world.data, [FILE], file=FILE, replace_keys=(), reason="", to=world.data / "to"
    )


def restart_approve(world: World) -> None:
    world.replace(restarting, load_private_key=nothing, _check_own=world.end)
    world.replace(restarting, read_restart=lambda _: SimpleNamespace(statement=None))
    restarting.approve(world.data / "to", "csrc", FILE, genesis_file=FILE, config=None)


def restart_apply(world: World) -> None:
    world.replace(restarting, read_restart=nothing, _replica=two, put_in_force=world.end)
    restarting.apply(FILE, FILE)


# --- Questions to a network ----------------------------------------------------------------------


def roster(world: World) -> None:
    async def pages(*arguments: Any) -> Any:
        arguments[-1](3_000)
        await world.end_later()

    world.replace(register, fetch_roster=pages)
    register.roster(world.data, "", 0, "csv")


def encumbrances(world: World) -> None:
    async def pages(*arguments: Any) -> Any:
        arguments[-1](40)
        await world.end_later()

    world.replace(register, fetch_encumbrances=pages)
    register.encumbrances(world.data, "", 0, "csv")


def dividends(world: World) -> None:
    async def pages(*arguments: Any) -> Any:
        arguments[-1](500)
        await world.end_later()

    world.replace(register, fetch_dividends=pages)
    register.dividends(world.data, "", 0, "csv")


def tx_find(world: World) -> None:
    world.replace(transactions, _find=world.end_later)
    transactions.find(world.data, REQUEST, as_json=False)


def tx_get(world: World) -> None:
    world.replace(transactions, _fetch=world.end_later)
    transactions.get(world.data, ID, as_json=False)


def tx_proof(world: World) -> None:
    async def fetch(*arguments: Any) -> Any:
        arguments[-1](4, 9)
        await world.end_later()

    world.replace(transactions, fetch_bundle=fetch)
    transactions.proof(world.data, ID, world.data / "bundle")


def governance_status(world: World) -> None:
    world.replace(governance, read_governed=world.end_later)
    governance.status(world.data, "csrc", as_json=False)


def governance_propose(world: World) -> None:
    world.replace(governance, _propose=world.end_later)
    governance.propose(world.data, "csrc", 0, file=FILE, replace=())


def governance_approve(world: World) -> None:
    world.replace(governance, _submit=world.end_later)
    governance.approve(world.data, "csrc", 0, ID)


def contract_deploy(world: World) -> None:
    world.replace(deploying, _propose_code=world.end_later)
    place = deploying.Place(world.data, "csrc", "transfer")
    file = Path(__file__).parents[3] / "data" / "contracts" / "transfer.star"
    deploying.propose_code(place, 0, file, Release(), compatible=None, as_json=False)


def contract_approve(world: World) -> None:
    world.replace(deploying, _approve=world.end_later)
    deploying.approve(deploying.Place(world.data, "csrc", "transfer"), 0, ID, as_json=False)


def contract_show(world: World) -> None:
    world.replace(deploying, read_contract=world.end_later)
    deploying.show(deploying.Place(world.data, "csrc", "transfer"), as_json=False)


def contract_call(world: World) -> None:
    world.replace(deploying, _call=world.end_later)
    place = deploying.Place(world.data, "csrc", "transfer")
    deploying.call(place, ("admin", None), "f", "{}", as_json=False)


def import_that_reads(world: World) -> None:
    world.replace(importing, read_dataset=world.end)
    importing.run_import(
        world.data, importing.DEMO_DATA, results=None, skip_malformed=False, as_json=True
    )


def import_that_makes_its_calls(world: World) -> None:
    def calls() -> Iterator[tuple[str, Any]]:
        world.end()
        yield "configure_market", {}

    part: Any = nothing()
    importer = importing._Importer(part, part, part, part, "shandong")
    asyncio.run(importer._put(output.choose("reference data", "基础数据"), calls()))


COMMANDS: Final[list[tuple[Callable[[World], None], str, str]]] = [
    (node("start"), "csrc-0: starting", "csrc-0: 正在启动"),
    (node("stop"), "csrc-0: stopping", "csrc-0: 正在停止"),
    (node("kill"), "csrc-0: ending", "csrc-0: 正在终止"),
    (status, "asking the supervisor", "查询监管进程"),
    (down, "stopping the network", "正在停止网络"),
    (down_that_waits_for_the_folder, "stopping the network", "正在停止网络"),
    (reset, "deleting ", "正在删除 "),
    (logs, "reading the logs", "读取日志"),
    (up_that_prepares, "preparing the network", "准备网络"),
    (up_that_registers, "registering the market's chain", "登记市场链"),
    (up_detached, "starting the supervisor", "正在启动监管进程"),
    (with_segments("add_sealed_segments", archiving.create), "segments: 3/12", "段文件: 3/12"),
    (with_segments("remove_archived_segments", archiving.prune), "segments: 3/12", "段文件: 3/12"),
    (
        with_segments("restore_archived_segments", archiving.restore),
        "segments: 3/12",
        "段文件: 3/12",
    ),
    (
        with_blocks("verify_archive", lambda _: archiving.verify(FILE, FILE, as_json=False)),
        "blocks: 1200/5000",
        "区块: 1200/5000",
    ),
    (
        with_blocks("prove_transaction", lambda to: archiving.proof(FILE, ID, FILE, to)),
        "blocks: 1200/5000",
        "区块: 1200/5000",
    ),
    (verify, "signatures verified: 7", "已验证签名: 7"),
    (check, "checks: 1/3", "检查: 1/3"),
    (restart_propose, "reading the replica's folder", "读取副本目录"),
    (restart_approve, "reading the replica's folder", "读取副本目录"),
    (restart_apply, "reading the replica's folder", "读取副本目录"),
    (roster, "positions: 3000", "持有记录: 3000"),
    (encumbrances, "freezes and pledges: 40", "冻结与质押: 40"),
    (dividends, "rows of dividends: 500", "分红明细: 500"),
    (tx_find, "asking the registry", "查询登记服务"),
    (tx_get, "asking the chain", "查询链"),
    (tx_proof, "anchors: 4/9", "存证: 4/9"),
    (governance_status, "asking the chain", "查询链"),
    (governance_propose, "waiting for the chain", "等待链的结果"),
    (governance_approve, "waiting for the chain", "等待链的结果"),
    (contract_deploy, "waiting for the chain", "等待链的结果"),
    (contract_approve, "waiting for the chain", "等待链的结果"),
    (contract_show, "asking the chain", "查询链"),
    (contract_call, "waiting for the chain", "等待链的结果"),
    (import_that_reads, "reading the dataset", "读取数据集"),
    (import_that_makes_its_calls, "reference data", "基础数据"),
]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("command", "en", "zh"), COMMANDS)
def test_a_command_that_lasts_tells_of_its_progress(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[World], None],
    en: str,
    zh: str,
    language: str,
) -> None:
    monkeypatch.setenv("GUQIAO_LANG", language)
    world.expected = {"en": en, "zh": zh}[language]
    with pytest.raises(DoneError):
        command(world)
    assert world.told.is_set()
    assert capsys.readouterr().out == ""


def test_a_result_for_a_pipe_that_nobody_reads_yet_tells_what_is_waited_for(
    world: World, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    world.expected = output.choose("opening ", "打开 ")

    def read_later() -> None:
        world.wait()
        pipe.read_bytes()

    reader = threading.Thread(target=read_later)
    reader.start()
    with whole_file(pipe) as write:
        write(b"whole")
    reader.join(TOLD_SECONDS_MAX)
    assert world.told.is_set()


async def test_a_network_that_stops_tells_how_many_have_ended(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(_: ManagedProcess) -> None:
        await asyncio.to_thread(world.wait)

    monkeypatch.setattr(ManagedProcess, "stop", stop)
    network = Network(tmp_path, monkeypatch, shandong_0=READY)
    world.expected = "ended: 0/1"
    await network.supervisor._stop_all()
    assert world.told.is_set()


async def test_a_network_that_starts_tells_so_as_soon_as_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_TOLD_SECONDS", 0.0)
    monkeypatch.setattr(supervisor_module, "TELL_SECONDS", 3_600.0)
    network = Network(tmp_path, monkeypatch, shandong_0=READY)
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    network.supervisor._report = told.set_result
    telling = asyncio.ensure_future(network.supervisor._tell_starting(0.0))
    async with asyncio.timeout(TOLD_SECONDS_MAX):
        assert "starting: 0 of 1 ready" in await told
    telling.cancel()
