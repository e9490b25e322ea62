"""A replica as released, with a table among its contracts, that says each second, in a file beside
its settings, how many tasks its event loop has: `python -m tests.endurance.soaked_replica serve
--config FILE`.

What remembers for minutes, or so many that ten minutes fill it, is shorter here, so that it is full
before the first reading: the time that a request may take and its nonce is remembered, and how many
signatures that held. GUQIAO_SOAK_LEAK_BYTES in the environment plants a leak: so many bytes of each
transaction stay for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from unittest.mock import patch

from bench.table_contract import Table
from guqiao_sdk.proof.json_values import Json
from services.chassis.endings import run_to_the_end
from services.chassis.grpc_server import nonces_file, request_signature
from services.chassis.logging import configure_logging
from services.chassis.settings import load_settings
from services.chassis.supervised import die_with_parent
from services.consensus import app, signing
from services.consensus.domain.contracts.catalogue import standard_catalogue
from services.consensus.domain.contracts.host import Host, Method
from services.consensus.settings import Settings

TOLD_EVERY_SECONDS: Final = 1.0
REQUEST_SECONDS: Final = 15
FORGET_EVERY_MS: Final = 5_000
NONCE_LINES: Final = 500
SIGNATURES: Final = 1_000
LEAK: Final = "GUQIAO_SOAK_LEAK_BYTES"


class LeakingTable(Table):
    """A table that keeps something of each call."""

    def __init__(self, leaked_bytes: int) -> None:
        self._leaked_bytes = leaked_bytes
        self._kept: list[bytearray] = []

    def methods(self) -> Mapping[str, Method]:
        """As the table's."""
        return {name: partial(self._call, method) for name, method in super().methods().items()}

    def _call(self, method: Method, host: Host, body: Mapping[str, Json]) -> None:
        self._kept.append(bytearray(self._leaked_bytes))
        method(host, body)


def tasks_file(config: Path) -> Path:
    """Where a replica with these settings says it."""
    return config.with_suffix(".tasks")


def shorten(stack: ExitStack) -> None:
    """Let what remembers be full within the soak's first minute."""
    shorter: dict[ModuleType, dict[str, Any]] = {
        request_signature: {"WINDOW_SECONDS": REQUEST_SECONDS, "NONCE_SECONDS": REQUEST_SECONDS},
        nonces_file: {"FORGET_EVERY_MS": FORGET_EVERY_MS, "COMPACT_LINES_MIN": NONCE_LINES},
        signing: {"VERIFIED_VOTES_MAX": SIGNATURES},
        app: {"Admission": partial(signing.Admission, size_max=SIGNATURES)},
    }
    for module, values in shorter.items():
        stack.enter_context(patch.multiple(module, **values))


async def _serve(settings: Settings, told: Path) -> None:
    telling = asyncio.create_task(_tell(told))
    leaked_bytes = int(os.environ.get(LEAK, "0"))
    table = LeakingTable(leaked_bytes) if leaked_bytes else Table()
    try:
        await app.serve(settings, standard_catalogue().plus(table))
    finally:
        telling.cancel()


async def _tell(told: Path) -> None:
    while True:
        written = told.with_suffix(".new")
        written.write_text(str(len(asyncio.all_tasks())))
        written.replace(told)
        await asyncio.sleep(TOLD_EVERY_SECONDS)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--config", type=Path, required=True)
    die_with_parent()
    config = parser.parse_args().config
    settings = load_settings(Settings, config)
    configure_logging(domain=settings.domain, service="consensus", level="WARNING")
    with ExitStack() as stack:
        shorten(stack)
        run_to_the_end(lambda: _serve(settings, tasks_file(config)), "consensus")


if __name__ == "__main__":
    main()
