"""`guqiao dev`: the whole network on this machine."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from guqiao_sdk.files import make_folder
from guqiao_sdk.proof.quorum import quorum
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE, CliError
from guqiaoctl.network.layout import (
    DATABASE,
    Network,
    choose_ports,
    create_network,
    load_network,
    lock_folder,
    process_names,
    refuse_foreign,
    save_network,
    with_all_ports,
)
from guqiaoctl.network.parties import CHAINS
from guqiaoctl.output import Progress, choose, log_warnings_only, print_json, print_table, say
from guqiaoctl.supervisor.control import NoAnswerError, NotRunningError, ask
from guqiaoctl.supervisor.process import ProcessState, is_alive, restoring_texts

DETACHED_START_SECONDS_MAX: Final = 120.0
DOWN_SECONDS_MAX: Final = 60.0
END_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.1
_DOING: Final = {
    "kill": ("ending", "正在终止"),
    "stop": ("stopping", "正在停止"),
    "start": ("starting", "正在启动"),
}


def up(
    data: Path,
    *,
    detach: bool,
    demo_data: bool,
    new_ports: bool,
    heartbeat: int | None = None,
    kafka: Sequence[str] = (),
    unregistered: bool = False,
) -> None:
    """Start the network. In the foreground it stays up until Ctrl-C. `heartbeat` is the interval of
    empty blocks, in seconds, that a new one is founded with. `kafka` holds `DOMAIN=HOST:PORT` for
    every domain whose bus is Apache Kafka. `unregistered` leaves the registration of the market's
    chain to the user.
    """
    brokers = _brokers(kafka)
    if detach:
        options = ["--demo-data"] * demo_data + ["--new-ports"] * new_ports
        options += ["--unregistered"] * unregistered
        options += [] if heartbeat is None else ["--heartbeat", str(heartbeat)]
        _up_detached(data, [*options, *(f"--kafka-bootstrap={text}" for text in kafka)])
        return
    refuse_foreign(data)
    lock = lock_folder(data)
    try:
        network = _open_or_create(data, new_ports=new_ports)
        running = _run(
            network, brokers, heartbeat=heartbeat, demo_data=demo_data, registers=not unregistered
        )
        asyncio.run(running)
    finally:
        lock.close()


def down(data: Path) -> None:
    """Stop a running network and wait until it is gone."""
    load_network(data)
    with Progress(choose("stopping the network", "正在停止网络")):
        supervisor = int(_command(data, {"command": "down"})["pid"])
        _wait_let_go(data)
        _wait_ended(supervisor)
    say(choose("stopped", "已停止"))


def _wait_let_go(data: Path) -> None:
    deadline = time.monotonic() + DOWN_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            lock_folder(data).close()
        except CliError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise CliError(
        "STOP_TIMEOUT",
        f"the network did not stop within {DOWN_SECONDS_MAX:.0f} s",
        f"网络未能在 {DOWN_SECONDS_MAX:.0f} 秒内停止",
        "look into `guqiao dev logs`, then end the supervisor by its pid (`guqiao dev status`)",
        "请查看 `guqiao dev logs`，再按 `guqiao dev status` 中的 pid 结束",
        exit_code=EXIT_UNAVAILABLE,
    )


def _wait_ended(pid: int) -> None:
    """The supervisor has let go of the folder; its process is about to end."""
    deadline = time.monotonic() + END_SECONDS_MAX
    while time.monotonic() < deadline and is_alive(pid):
        time.sleep(POLL_SECONDS)


def status(data: Path, *, as_json: bool) -> None:
    """Show processes and endpoints."""
    network = load_network(data)
    with Progress(choose("asking the supervisor", "查询监管进程")):
        answer = _command(data, {"command": "status"})
    answer["endpoints"] = endpoints(network)
    if as_json:
        print_json(answer)
        return
    stuck = _chains_without_quorum(answer["processes"])
    rows = [
        (
            p["name"],
            p["state"],
            p["pid"] or "-",
            p["starts"],
            answer["endpoints"].get(p["name"], ""),
            _why(p, has_quorum=p["chain"] not in stuck),
        )
        for p in answer["processes"]
    ]
    rows.append(("postgres", answer["database"], "-", "-", "", ""))
    print_table(("PROCESS", "STATE", "PID", "STARTS", "GRPC", "WHY"), rows)


def reset(data: Path, *, confirmed: bool) -> None:
    """Delete the folder of a network that does not run, and the link that led to it."""
    load_network(data)
    lock_folder(data).close()
    folder = data.resolve()
    if not confirmed:
        raise CliError(
            "CONFIRMATION_MISSING",
            f"this deletes {folder} with both chains, all keys and the database",
            f"此操作将删除 {folder} 及其中的两条链、全部密钥和数据库",
            "repeat it with --yes if that is meant",
            "确认无误请加 --yes 重新执行",
            exit_code=EXIT_USAGE,
        )
    with Progress(choose(f"deleting {folder}", f"正在删除 {folder}")):
        shutil.rmtree(folder)
    if data.is_symlink():
        data.unlink()
    say(choose(f"{folder} deleted", f"{folder} 已删除"))


def logs(data: Path, process: str, lines: int) -> None:
    """Print the last log lines of one process, or of all."""
    network = load_network(data)
    known = [*process_names(), DATABASE]
    names = [process.replace("/", "-")] if process else known
    if names[0] not in known:
        raise _unknown_process(names[0])
    with Progress(choose("reading the logs", "读取日志")):
        last = {name: _last_lines(network.layout.log(name), lines) for name in names}
    for name, content in last.items():
        for line in content:
            print(line if process else f"{name}: {line}")


def _last_lines(path: Path, lines: int) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []


def node_command(data: Path, command: str, target: str) -> None:
    """Kill, stop or start one process, named CHAIN/N or DOMAIN/SERVICE."""
    load_network(data)
    name = target.replace("/", "-")
    if name not in process_names():
        raise _unknown_process(target)
    with Progress(f"{name}: {choose(*_DOING[command])}"):
        answer = _command(data, {"command": command, "process": name})
    if "error" in answer:
        raise CliError(
            answer.get("code", "PROCESS_STATE"),
            answer["error"],
            answer.get("zh", answer["error"]),
            "see `guqiao dev status`",
            "请查看 `guqiao dev status`",
            exit_code=EXIT_UNAVAILABLE if "code" in answer else EXIT_CONFLICT,
        )
    line = f"{name}: {answer['state']}"
    if answer["state"] == ProcessState.RESTORING:
        en, zh = restoring_texts(answer["why"])
        line += choose(f" ({en})", f"（{zh}）")
    say(line)


def _chains_without_quorum(processes: list[dict[str, Any]]) -> set[str]:
    """The chains of which so many replicas restore that the others are no quorum."""
    of = Counter(p["chain"] for p in processes)
    restoring = Counter(p["chain"] for p in processes if p["state"] == ProcessState.RESTORING)
    return {chain for chain, count in restoring.items() if of[chain] - count < quorum(of[chain])}


def _why(process: dict[str, Any], *, has_quorum: bool) -> str:
    """What stands beside a state; of a replica that restores, whether anybody must act."""
    if process["state"] != ProcessState.RESTORING:
        return str(process["why"])
    return choose(*restoring_texts(process["why"], has_quorum=has_quorum))


def endpoints(network: Network) -> dict[str, str]:
    """gRPC address by process."""
    return {name: network.address(f"{name}.grpc") for name in process_names()}


def _open_or_create(data: Path, *, new_ports: bool) -> Network:
    if not (data / "network.json").exists():
        return create_network(data)
    network = load_network(data)
    if new_ports:
        network = Network(network.layout, network.network_id, network.created_at, choose_ports())
        save_network(network)
    return with_all_ports(network)


async def _run(
    network: Network,
    kafka: dict[str, str],
    *,
    heartbeat: int | None,
    demo_data: bool,
    registers: bool,
) -> None:
    from guqiaoctl.commands.registering import register_market
    from guqiaoctl.network.bring_up import plan_network
    from guqiaoctl.supervisor.supervisor import Supervisor

    log_warnings_only()
    with Progress(choose("preparing the network", "准备网络")):
        plan = await asyncio.to_thread(plan_network, network, say, kafka, heartbeat)
    supervisor = Supervisor(plan, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.end)

    async def on_ready() -> None:
        if registers:
            with Progress(choose("registering the market's chain", "登记市场链")):
                await register_market(network, say)
        if demo_data:
            from guqiaoctl.commands.importing import import_demo_data

            await import_demo_data(network)
        (network.layout.folder / "run" / "ready").touch()
        _print_endpoints(network)

    (network.layout.folder / "run" / "ready").unlink(missing_ok=True)
    await supervisor.run(on_ready)


def _print_endpoints(network: Network) -> None:
    say(choose("the network is up", "网络已启动"))
    for name, address in endpoints(network).items():
        say(f"  {name:<22} grpc {address}   admin http://{network.address(f'{name}.admin')}/readyz")
    say(
        choose(
            "development only: keys are plain files; Ctrl-C or `guqiao dev down` stops everything",
            "仅供开发：密钥为明文文件；Ctrl-C 或 `guqiao dev down` 停止全部进程",
        )
    )


def _brokers(named: Sequence[str]) -> dict[str, str]:
    """Kafka's address by domain. A domain's bus is its own, so two domains need two brokers."""
    found: dict[str, str] = {}
    for text in named:
        domain, _, address = text.partition("=")
        host, _, port = address.rpartition(":")
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
        if domain not in CHAINS or not host or not is_port or address in found.values():
            raise CliError(
                "REQUEST_MALFORMED",
                f"{text!r} does not name a broker of one domain's own",
                f"{text!r} 未正确指定某一域自有的 Kafka 地址",
                f"give --kafka-bootstrap DOMAIN=HOST:PORT once a domain ({', '.join(CHAINS)})",
                f"请按域各给一次 --kafka-bootstrap 域=主机:端口（{'、'.join(CHAINS)}）",
                exit_code=EXIT_USAGE,
            )
        found[domain] = address
    return found


def _up_detached(data: Path, options: Sequence[str]) -> None:
    refuse_foreign(data)
    lock_folder(data).close()  # refuse at once where a network runs already
    make_folder(data / "run")
    ready = data / "run" / "ready"
    ready.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "guqiaoctl", "dev", "up", "--data", str(data), *options]
    output = data / "run" / "supervisor.log"
    with output.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    with output.open() as log:
        _follow(process, ready, log)


def _follow(process: subprocess.Popen[bytes], ready: Path, log: IO[str]) -> None:
    deadline = time.monotonic() + DETACHED_START_SECONDS_MAX
    _follow_first(process, log, deadline)
    while time.monotonic() < deadline:
        for line in log:
            say(line.rstrip())
        if ready.exists():
            return
        if process.poll() is not None:
            for line in log:
                say(line.rstrip())
            if process.returncode == 0:
                raise _ended_at_start()
            sys.exit(process.returncode)
        time.sleep(POLL_SECONDS)
    process.terminate()
    raise CliError(
        "START_FAILED",
        f"the network was not ready within {DETACHED_START_SECONDS_MAX:.0f} s",
        f"网络未能在 {DETACHED_START_SECONDS_MAX:.0f} 秒内就绪",
        "look into `guqiao dev logs`",
        "请查看 `guqiao dev logs`",
        exit_code=EXIT_UNAVAILABLE,
    )


def _follow_first(process: subprocess.Popen[bytes], log: IO[str], deadline: float) -> None:
    """From its first word on the supervisor itself tells what it does."""
    first = ""
    with Progress(choose("starting the supervisor", "正在启动监管进程")):
        while not first and process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            first = log.readline()
    if first:
        say(first.rstrip())


def _ended_at_start() -> CliError:
    return CliError(
        "NETWORK_DOWN",
        "the network was stopped before it was ready",
        "网络在就绪之前被停止",
        "start it again with `guqiao dev up`",
        "请用 `guqiao dev up` 重新启动",
        exit_code=EXIT_UNAVAILABLE,
    )


def _command(data: Path, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return asyncio.run(ask(data / "run", request))
    except NotRunningError:
        raise CliError(
            "NETWORK_DOWN",
            f"no network runs in {data}",
            f"{data} 中的网络未在运行",
            "start it with `guqiao dev up`",
            "请用 `guqiao dev up` 启动",
            exit_code=EXIT_UNAVAILABLE,
        ) from None
    except NoAnswerError as error:
        raise CliError(
            "SERVICE_UNAVAILABLE",
            f"the supervisor of {data} (pid {error}) does not answer",
            f"{data} 的监管进程（pid {error}）没有应答",
            f"see whether it is stopped; if it hangs, `kill -9 {error}` and `guqiao dev up` again",
            f"请检查该进程是否被暂停；若已挂起，请 `kill -9 {error}` 后重新执行 `guqiao dev up`",
            exit_code=EXIT_UNAVAILABLE,
        ) from None


def _unknown_process(name: str) -> CliError:
    known = ", ".join(process_names())
    return CliError(
        "PROCESS_UNKNOWN",
        f"there is no process {name!r}",
        f"没有名为 {name!r} 的进程",
        f"name one of: {known}",
        f"可选：{known}",
        exit_code=EXIT_NOT_FOUND,
    )
