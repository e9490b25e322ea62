"""A soak (T-20): four real replicas under steady load, a fault each minute, and what they hold.

`python -m tests.endurance.soak --minutes 4 --rate 60`; without `--rate` the load is 70 % of what
the machine holds, measured first. It overwrites rows that exist: the state stays as large as it is.
Replica 3 is killed and started again, the others are paused by turns; of these, which run all the
time, memory, files, threads and tasks must not grow. What was acknowledged must be in the chain.
`--leak 200` plants a leak of so many bytes a transaction, and the run must fail. The last line of
standard output is one JSON object. Exit code 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.machine import revision
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import GuqiaoError
from tests.endurance.readings import Reading, minutes, not_flat, read, slope, too_few
from tests.endurance.soaked_replica import LEAK, tasks_file
from tests.partitions.campaign import Record, ViolationError
from tests.plugins.chain_network import ADMIN, OBSERVER, PARAMETERS, ROOT, ChainNetwork

KILLED: Final = 3
ALWAYS: Final = (0, 1, 2)
WARM_SECONDS: Final = 90.0
FAULT_EVERY_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 3.0
READ_EVERY_SECONDS: Final = 1.0
LEVEL_SECONDS_MAX: Final = 120.0
SUBMIT_SECONDS: Final = 30.0
UNDER_WAY_MAX: Final = 256
ROWS: Final = 200
MEASURED_SECONDS: Final = 20.0
SHARE: Final = 0.7
CARRIED_SHARE_MIN: Final = 0.9


@dataclass(slots=True)
class Soak:
    """A running network, its load, and what was read of it."""

    network: ChainNetwork
    clients: list[ChainClient]
    """Of each replica one that asks it first, and then the others."""
    watchers: list[ChainClient]
    """Of each replica one that asks nobody else."""
    record: Record = field(default_factory=Record)
    readings: dict[int, list[Reading]] = field(default_factory=lambda: {n: [] for n in ALWAYS})
    faults: dict[str, int] = field(default_factory=lambda: {"paused": 0, "killed": 0})
    offered: int = 0
    measured: int = 0
    """Transactions that were acknowledged between the first reading and the last."""

    async def play(self, seconds: float, rate: float | None) -> float:
        """Warm up, then load, faults and readings for so long; returns the rate of the load."""
        rate = SHARE * await self._held() if rate is None else rate
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(self._load(rate, WARM_SECONDS + seconds))
            await self._warm()
            reading, before = tasks.create_task(self._read()), len(self.record.told)
            await self._fault_by_turns(seconds)
            await load
            reading.cancel()
            self.measured = len(self.record.told) - before
        return rate

    async def check(self) -> int:
        """All hold one chain, and what was acknowledged is in it; raises `ViolationError`. The
        height of the chain.
        """
        height = max(result.height for result in self.record.told.values())
        await self._level(height)
        first = self.watchers[0]
        for number in range(1, height + 1):
            self.record.take(0, await first.get_block(number))
        for replica, watcher in enumerate(self.watchers):
            self.record.take(replica, await watcher.get_block(height))
        self.record.check()
        return height

    async def _held(self) -> float:
        """Transactions a second that the network finishes when as many as may be are under way."""
        ends = time.monotonic() + MEASURED_SECONDS

        async def one_by_one(client: ChainClient) -> int:
            done = 0
            while time.monotonic() < ends:
                await self._submit(client)
                done += 1
            return done

        workers = (one_by_one(self.clients[n % len(self.clients)]) for n in range(UNDER_WAY_MAX))
        return sum(await asyncio.gather(*workers)) / MEASURED_SECONDS

    async def _load(self, rate: float, seconds: float) -> None:
        began, room = time.monotonic(), asyncio.Semaphore(UNDER_WAY_MAX)
        before = self.offered
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                await room.acquire()
                task = tasks.create_task(self._submit(self.clients[number % len(self.clients)]))
                task.add_done_callback(lambda _: room.release())
        took = time.monotonic() - began
        if (self.offered - before) / took < CARRIED_SHARE_MIN * rate:
            raise ViolationError(f"{self.offered - before} in {took:.0f} s: less than was offered")

    async def _submit(self, client: ChainClient) -> None:
        """Until its outcome is known."""
        self.offered += 1
        number, deadline = self.offered, time.monotonic() + LEVEL_SECONDS_MAX
        transaction = None
        while time.monotonic() < deadline:
            with suppress(GuqiaoError):
                transaction = transaction or await client.build(
                    "table", "set", {f"row/{number % ROWS}": number}
                )
                result = await client.submit(transaction, timeout_seconds=SUBMIT_SECONDS)
                self.record.told[result.transaction_id] = result
                return
            self.record.unsure += 1
            await asyncio.sleep(READ_EVERY_SECONDS)
        raise ViolationError(f"no outcome of request {number}")

    async def _warm(self) -> None:
        """Each fault, on each replica: what it makes them hold, they hold before they are read."""
        began = time.monotonic()
        for number in ALWAYS:
            await self._pause(number)
            await self._level((await self._latest(self.clients[0])) + 1)
        await self._kill()
        await self._level((await self._latest(self.clients[0])) + 1)
        self.faults = dict.fromkeys(self.faults, 0)
        await asyncio.sleep(max(0.0, began + WARM_SECONDS - time.monotonic()))

    async def _fault_by_turns(self, seconds: float) -> None:
        """One in the middle of each minute; after it all come level again."""
        began = time.monotonic()
        for number in itertools.count():
            at = (number + 0.5) * FAULT_EVERY_SECONDS
            if at > seconds:
                break
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            if number % 2:
                await self._kill()
            else:
                await self._pause(ALWAYS[number // 2 % len(ALWAYS)])
            await self._level((await self._latest(self.clients[0])) + 1)
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    async def _pause(self, number: int) -> None:
        process = self.network.replicas[number].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        self.faults["paused"] += 1

    async def _kill(self) -> None:
        self.network.kill(KILLED)
        await asyncio.sleep(PAUSE_SECONDS)
        self.network.start(KILLED)
        await self.network.wait_ready(KILLED)
        self.faults["killed"] += 1

    async def _read(self) -> None:
        began = time.monotonic()
        while True:
            for number, readings in self.readings.items():
                replica = self.network.replicas[number]
                assert replica.process is not None
                at = time.monotonic() - began
                readings.append(read(replica.process.pid, tasks_file(replica.config), at))
            await asyncio.sleep(READ_EVERY_SECONDS)

    async def _latest(self, client: ChainClient) -> int:
        return (await client.latest()).height

    async def _level(self, height: int) -> None:
        """Until every replica has the height."""
        deadline = time.monotonic() + LEVEL_SECONDS_MAX
        for number, watcher in enumerate(self.watchers):
            while True:
                with suppress(GuqiaoError):
                    if await self._latest(watcher) >= height:
                        break
                if time.monotonic() > deadline:
                    raise ViolationError(f"replica {number}: {self.network.log(number)}")
                await asyncio.sleep(READ_EVERY_SECONDS)


async def soak(folder: Path, seconds: float, rate: float | None) -> dict[str, Any]:
    """The report of one soak."""
    network = ChainNetwork.create(
        folder,
        roles={ADMIN: ("identity_admin", "observer"), OBSERVER: ("observer",)},
        contracts=(("identity", 1), ("table", 1)),
        parameters=PARAMETERS,
    )
    network.module = "tests.endurance.soaked_replica"
    network.start()
    try:
        await network.wait_ready()
        ends = [network.endpoint(number) for number in range(len(network.replicas))]
        orders = [ends[number:] + ends[:number] for number in range(len(ends))]
        played = Soak(
            network,
            clients=[network.client(ADMIN, endpoints=order) for order in orders],
            watchers=[network.client(endpoints=[end]) for end in ends],
        )
        rate = await played.play(seconds, rate)
        height = await played.check()
        return _judged(played, rate, height)
    finally:
        await network.close()


def _judged(played: Soak, rate: float, height: int) -> dict[str, Any]:
    slopes = {number: slope(readings) for number, readings in played.readings.items()}
    found = [
        f"replica {number} grows by {each.median:.2f} % an hour, {each.most:.2f} is the most"
        for number, each in slopes.items()
        if each.verdict == "grows"
    ]
    for number, readings in played.readings.items():
        found += [f"replica {number}: {each}" for each in not_flat(readings)]
    found += [f"no replica was {kind}" for kind, count in played.faults.items() if not count]
    found += filter(None, [too_few(played.measured)])
    return {
        "rate": round(rate, 1),
        "acknowledged": len(played.record.told),
        "measured": played.measured,
        "submitted_again": played.record.unsure,
        "height": height,
        "faults": played.faults,
        "rss_percent_an_hour": {n: asdict(each) for n, each in slopes.items()},
        "rss": {n: each.verdict for n, each in slopes.items()},
        "own_bytes_each_minute": {n: minutes(each) for n, each in played.readings.items()},
        "first": {n: asdict(each[0]) for n, each in played.readings.items()},
        "last": {n: asdict(each[-1]) for n, each in played.readings.items()},
        "found": found,
    }


def main() -> int:
    """Soak as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, help="transactions a second, instead of 70 %%")
    parser.add_argument("--leak", type=int, default=0, help="bytes a transaction, planted")
    asked = parser.parse_args()
    os.environ[LEAK] = str(asked.leak)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = asyncio.run(soak(Path(folder), 60 * asked.minutes, asked.rate))
        except (ViolationError, ExceptionGroup) as error:
            report = {"found": [repr(error)]}
    seconds = round(time.monotonic() - began, 1)
    print(
        json.dumps(
            {"commit": revision(ROOT), "minutes": asked.minutes} | report | {"seconds": seconds}
        )
    )
    for line in report["found"]:
        print(line, file=sys.stderr)
    return 1 if report["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
