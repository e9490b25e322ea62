"""The one-machine network for a test, supervised in the test's own process: eight replicas and all
services as real processes in a temporary folder.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from guqiaoctl.commands.registering import register_market
from guqiaoctl.network.bring_up import NO_KAFKA, plan_network
from guqiaoctl.network.layout import Network, create_network, lock_folder
from guqiaoctl.supervisor.control import ask
from guqiaoctl.supervisor.supervisor import Supervisor


def _say(text: str) -> None:
    """Nobody listens."""


@asynccontextmanager
async def one_machine(folder: Path, kafka: Mapping[str, str] = NO_KAFKA) -> AsyncIterator[Network]:
    """A network that is up inside the block; nothing of it is left after."""
    lock = lock_folder(folder)
    network = create_network(folder)
    plan = await asyncio.to_thread(plan_network, network, _say, kafka)
    supervisor = Supervisor(plan, _say)
    ready = asyncio.Event()

    async def on_ready() -> None:
        await register_market(network, _say)
        ready.set()

    running = asyncio.ensure_future(supervisor.run(on_ready))
    waiting = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield network
    except BaseException:
        _show_complaints(network)
        raise
    finally:
        waiting.cancel()
        supervisor.end()
        await running
        lock.close()


def _show_complaints(network: Network) -> None:
    """What the processes logged besides their ordinary course, for whoever reads the failure."""
    for path in sorted((network.layout.folder / "logs").glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        for line in [line for line in lines if '"level": "info"' not in line][-6:]:
            print(f"{path.stem}: {line[:400]}")


async def command(network: Network, name: str, process: str) -> None:
    """`kill`, `stop` or `start` one process."""
    request = {"command": name, "process": process}
    answer = await ask(network.layout.folder / "run", request)
    assert "error" not in answer, answer


def spans(network: Network, process: str) -> list[dict[str, Any]]:
    """The spans that a process has written so far."""
    path = network.layout.folder / "traces" / f"{process}.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # The last one may not be whole yet.
