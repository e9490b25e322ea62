"""Campaign: the power of all replicas goes at once, under load (T-11).

Four replica processes keep their folders on one loop-mounted ext4. All are stopped in the same
moment, so that none outlives the power; then the file system is shut down without writing its log,
they are killed, and start again from what was synced. Clients, whom the cut does not meet, write
down what they were told: it is all there afterwards, once, at its place.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Final

from tests.crash.power_cut import OTHER_BOOT, make_image, mount, shut_down, unmount
from tests.crash.processes import POLL_SECONDS, UP_SECONDS_MAX, Load, check
from tests.plugins.chain_network import (
    ADMIN,
    OBSERVER,
    PARAMETERS,
    ChainNetwork,
    ReplicaProcess,
    _is_ready,
)

CLIENTS: Final = 2
IMAGE_BYTES: Final = 1024 * 1024 * 1024
WORK_SECONDS_MAX: Final = 180.0
TOLD_MIN: Final = 5


def run(folder: Path, *, cuts: int, seed: int) -> dict[str, int]:
    """Cut so often; raises `AssertionError` or `ViolationError` where anything is wrong."""
    image, place = folder / "disk.img", folder / "disk"
    make_image(image, IMAGE_BYTES)
    place.mkdir()
    mount(image, place)
    try:
        return asyncio.run(_run(image, place, folder / "told.log", cuts, random.Random(seed)))
    finally:
        unmount(place)


async def _run(
    image: Path, place: Path, log: Path, cuts: int, chance: random.Random
) -> dict[str, int]:
    network = ChainNetwork.create(
        place / "chain",
        roles={ADMIN: ("identity_admin", "observer"), OBSERVER: ("observer",)},
        parameters={**PARAMETERS, "view_timeout_ms": 400},
    )
    os.sync()  # Keys and settings were there before.
    network.start()
    try:
        load, early = Load(network, log), 0
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(load.run(number))
            for number in range(cuts):
                if number % 2 == 0:
                    await _work_on(network, load)
                await asyncio.sleep(chance.uniform(0.0, UP_SECONDS_MAX))
                early += await _cut(network, image, place)
            await network.wait_ready()
            load.is_over.set()
        await check(network, load.record)
        told = len(load.record.told)
        return {"power cuts": cuts, "power cuts before ready": early, "acknowledged": told}
    finally:
        await network.close()


async def _work_on(network: ChainNetwork, load: Load) -> None:
    """Every other cut finds clients at work; the rest fall into the start after the one before."""
    await network.wait_ready()
    told, deadline = len(load.record.told), time.monotonic() + WORK_SECONDS_MAX
    while len(load.record.told) < told + TOLD_MIN:
        assert time.monotonic() < deadline, f"nothing is final: {network.log(0)}"
        await asyncio.sleep(POLL_SECONDS)


async def _cut(network: ChainNetwork, image: Path, place: Path) -> bool:
    """Returns whether some replica was not ready."""
    ports = [replica.admin_port for replica in network.replicas]
    ready = [await asyncio.to_thread(_is_ready, port) for port in ports]
    await asyncio.to_thread(_lose_power, network, image, place)
    network.start()
    return not all(ready)


def _lose_power(network: ChainNetwork, image: Path, place: Path) -> None:
    for replica in network.replicas:
        os.kill(_pid(replica), signal.SIGSTOP)
    for replica in network.replicas:
        # Stopped are all of its threads: one within a call to the disk ends that first.
        os.waitid(os.P_PID, _pid(replica), os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    shut_down(place)
    network.kill(*range(len(network.replicas)))
    unmount(place)
    mount(image, place)
    for session in (place / "chain").glob("*/session"):
        session.write_text(OTHER_BOOT)


def _pid(replica: ReplicaProcess) -> int:
    assert replica.process is not None
    return replica.process.pid
