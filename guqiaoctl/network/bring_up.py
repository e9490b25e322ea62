"""Turns a network folder into a plan that the supervisor can run:

keys, certificates, genesis, database, settings.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from guqiao_sdk.gm.provider import GmProvider, open_provider
from guqiaoctl.failures import EXIT_UNAVAILABLE, CliError
from guqiaoctl.network.genesis import ensure_genesis
from guqiaoctl.network.layout import Layout, Network
from guqiaoctl.network.pki import ensure_certificates, renew_crls
from guqiaoctl.network.settings_files import database_names, process_plans, write_settings
from guqiaoctl.network.trust_file import ensure_trust
from guqiaoctl.supervisor.supervisor import NetworkPlan
from services.chassis.postgres.launcher import EmbeddedPostgres

CRL_RENEWAL_SECONDS: Final = 86_400.0
SECRET_KEYS: Final = {"identity-digest.key": 32, "bodies.key": 16}

Report = Callable[[str], None]


def plan_network(network: Network, report: Report) -> NetworkPlan:
    """Make everything that is needed before the first process starts."""
    provider = open_provider()
    layout = network.layout
    check_ports(network)
    ensure_certificates(layout, provider, report)
    ensure_genesis(layout, provider, report)
    ensure_trust(layout, provider)
    _ensure_secrets(layout)
    (layout.folder / "traces").mkdir(exist_ok=True)
    postgres = EmbeddedPostgres(layout.folder / "postgres", network.ports["postgres"])

    async def start_database() -> None:
        await asyncio.to_thread(postgres.start)
        names = database_names()
        urls = await asyncio.gather(*(postgres.create_database(name) for name in names))
        write_settings(network, dict(zip(names, urls, strict=True)))

    async def stop_database() -> None:
        await asyncio.to_thread(postgres.stop)

    async def maintain() -> None:
        await _renew_daily(layout, provider)

    return NetworkPlan(
        layout.folder, process_plans(network), start_database, stop_database, maintain
    )


def check_ports(network: Network) -> None:
    """Refuse to start while something else listens on one of the network's ports."""
    for name, port in network.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise CliError(
                    "PORT_IN_USE",
                    f"something else listens on port {port}, which {name} needs",
                    f"端口 {port} 已被占用，{name} 需要使用",
                    "end it, or choose other ports with `guqiao dev up --new-ports`",
                    "请结束占用者，或用 `guqiao dev up --new-ports` 另选端口",
                    exit_code=EXIT_UNAVAILABLE,
                ) from None


async def _renew_daily(layout: Layout, provider: GmProvider) -> None:
    while True:
        await asyncio.sleep(CRL_RENEWAL_SECONDS)
        await asyncio.to_thread(renew_crls, layout, provider)


def _ensure_secrets(layout: Layout) -> None:
    """The registry's keys for identity digests and for bodies, in hex."""
    folder = layout.process("shandong-registry")
    for name, size in SECRET_KEYS.items():
        _write_once(folder / name, secrets.token_hex(size))


def _write_once(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
