"""Turns a network folder into a plan that the supervisor can run:

keys, certificates, genesis, database, settings.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.files import make_folder
from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiao_sdk.proof.errors import ProofError
from guqiaoctl.failures import EXIT_UNAVAILABLE, CliError
from guqiaoctl.network.files import SECRET, write_file
from guqiaoctl.network.genesis import check_genesis, ensure_genesis, key_problems
from guqiaoctl.network.layout import Layout, Network
from guqiaoctl.network.lists import publish_list
from guqiaoctl.network.node_ends import open_node_ends
from guqiaoctl.network.pki import check_issuers, ensure_certificates, renew_crls
from guqiaoctl.network.ports import is_free
from guqiaoctl.network.settings_files import (
    database_names,
    process_plans,
    write_replica_settings,
    write_service_settings,
)
from guqiaoctl.network.trust_file import ensure_trust
from guqiaoctl.output import choose, sentence
from guqiaoctl.supervisor.supervisor import NetworkPlan
from services.chassis.postgres.errors import PostgresError, StartFailedError
from services.chassis.postgres.launcher import EmbeddedPostgres

CRL_RENEWAL_SECONDS: Final = 86_400.0
CRL_RETRY_SECONDS: Final = 600.0
DATABASE_POLL_SECONDS: Final = 0.2
DATABASE_RETRY_SECONDS: Final = 2.0
DATABASE_STARTS_TRIED: Final = 3
"""Starts without a reason of its own that fail in a row before the log is shown."""

PREDECESSOR_SECONDS_MAX: Final = 20.0
PORT_POLL_SECONDS: Final = 0.1
NO_KAFKA: Final[Mapping[str, str]] = MappingProxyType({})
SECRET_KEYS: Final = {"identity-digest.key": 32, "bodies.key": 16}

Report = Callable[[str], None]


def plan_network(
    network: Network,
    report: Report,
    kafka: Mapping[str, str] = NO_KAFKA,
    heartbeat: int | None = None,
) -> NetworkPlan:
    """Make everything that is needed before the first process starts. `kafka` gives the bootstrap
    address of each domain whose bus is Apache Kafka, `heartbeat` the seconds that genesis is to
    name.
    """
    provider = open_provider()
    layout = network.layout
    check_ports(network, report)
    for name in ("ca", "processes", "traces"):
        make_folder(layout.folder / name)
    ensure_certificates(layout, provider, report)
    check_issuers(layout)
    ensure_genesis(layout, provider, report, heartbeat)
    check_genesis(layout)
    ensure_trust(layout, provider)
    for problem in key_problems(layout, provider):
        report(sentence(problem))  # The others can work meanwhile.
    _ensure_secrets(layout)
    write_replica_settings(network)
    postgres = EmbeddedPostgres(layout.folder / "postgres", network.ports["postgres"])

    database = _Database(postgres, report)

    async def start_database() -> None:
        await asyncio.to_thread(database.start)
        names = database_names()
        urls = await asyncio.gather(*(postgres.create_database(name) for name in names))
        write_service_settings(network, dict(zip(names, urls, strict=True)), kafka)

    async def stop_database() -> None:
        await asyncio.to_thread(database.stop)

    async def publish() -> str:
        return await publish_list(network, provider)

    async def maintain() -> None:
        await renew_daily(layout, provider, report, publish)

    groups = process_plans(network)
    return NetworkPlan(
        layout.folder,
        groups,
        start_database,
        stop_database,
        database.keep,
        maintain,
        lambda: postgres.running,
        tuple(sorted({f"{process.module}.app" for group in groups for process in group})),
        lambda: open_node_ends(network),
    )


class _Database:
    """PostgreSQL, started again when it ends by itself. Start and stop take turns."""

    def __init__(self, postgres: EmbeddedPostgres, report: Report) -> None:
        self._postgres = postgres
        self._report = report
        self._turn = threading.Lock()
        self._wanted = True

    def start(self) -> None:
        with self._turn:
            if self._wanted:
                self._postgres.start()

    def stop(self) -> None:
        self._wanted = False
        with self._turn:
            self._postgres.stop()

    async def keep(self) -> None:
        """Watch it until cancelled. What keeps it from starting is said once, and tried again."""
        said, failures = "", 0
        while True:
            await asyncio.sleep(DATABASE_POLL_SECONDS)
            if self._postgres.running:
                continue
            if not failures:
                self._report(
                    choose("postgres ended, starting it again", "postgres 已退出，重新启动")
                )
            try:
                await asyncio.to_thread(self._restart)
            except (PostgresError, OSError, subprocess.TimeoutExpired) as error:
                failures += 1
                text = _text_of(error)
                if text != said and not _may_pass(error, failures):
                    self._report(f"postgres: {text}")
                    said = text
                await asyncio.sleep(DATABASE_RETRY_SECONDS)
            else:
                said, failures = "", 0

    def _restart(self) -> None:
        with self._turn:
            if self._wanted:
                self._postgres.stop()
                self._postgres.start()


def _text_of(error: Exception) -> str:
    if isinstance(error, PostgresError):
        return choose(error.text_en, error.text_zh)
    return str(error)


def _may_pass(error: Exception, failures: int) -> bool:
    """Whether it may only have been struck again while it started: then its log is not shown."""
    return isinstance(error, StartFailedError) and failures < DATABASE_STARTS_TRIED


def check_ports(network: Network, report: Report) -> None:
    """Refuse to start while something else listens on one of the network's ports.

    After a supervisor was killed its processes take some seconds to end: they are waited for.
    """
    killed = network.layout.folder / "run" / "control.json"
    deadline = time.monotonic() + (PREDECESSOR_SECONDS_MAX if killed.exists() else 0.0)
    while (taken := _taken_port(network)) is not None:
        if time.monotonic() >= deadline:
            raise _port_in_use(*taken)
        if killed.exists():
            report(
                choose("the run before was killed; its processes end now", "等待上次运行的进程结束")
            )
            killed.unlink()
        time.sleep(PORT_POLL_SECONDS)


def _taken_port(network: Network) -> tuple[str, int] | None:
    return next((pair for pair in network.ports.items() if not is_free(pair[1])), None)


def _port_in_use(name: str, port: int) -> CliError:
    return CliError(
        "PORT_IN_USE",
        f"something else listens on port {port}, which {name} needs",
        f"端口 {port} 已被占用，{name} 需要使用",
        "end it, or choose other ports with `guqiao dev up --new-ports`",
        "请结束占用者，或用 `guqiao dev up --new-ports` 另选端口",
        exit_code=EXIT_UNAVAILABLE,
    )


async def renew_daily(
    layout: Layout, provider: GmProvider, report: Report, publish: Callable[[], Awaitable[str]]
) -> None:
    """Issue the revocation lists anew and publish the market's until cancelled. What keeps one from
    being written (a full disk) or published is said, and stops nothing: the list at hand is good
    for days.
    """
    wait = CRL_RENEWAL_SECONDS
    while True:
        await asyncio.sleep(wait)
        try:
            await asyncio.to_thread(renew_crls, layout, provider)
            failed = await publish()
        except OSError as error:
            failed = str(error.strerror)
        except (GuqiaoError, ProofError) as error:
            failed = error.code or str(error)
        wait = CRL_RETRY_SECONDS if failed else CRL_RENEWAL_SECONDS
        if failed:
            report(
                choose(
                    f"the revocation lists could not be renewed: {failed};"
                    f" trying again in {wait:.0f} s",
                    f"证书吊销列表未能更新：{failed}；{wait:.0f} 秒后重试",
                )
            )


def _ensure_secrets(layout: Layout) -> None:
    """The registry's keys for identity digests and for bodies, in hex."""
    folder = layout.process("shandong-registry")
    for name, size in SECRET_KEYS.items():
        if not (folder / name).exists():
            write_file(folder / name, f"{secrets.token_hex(size)}\n".encode(), SECRET)
