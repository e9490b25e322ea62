"""Episodes of faults on four real replicas under load, and what must hold after each (S1, S7, D1).

One network plays all its episodes. Clients submit without pause and log what they are told; they
reach every replica, cut off or not. After each fault all replicas must come level with one header
at each height, and whatever a client was told must be in the chain, where it was told, once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction
from tests.partitions.clocks import RIGHT, Clocks, why_not
from tests.partitions.hosts import Host
from tests.partitions.shapes import SHAPES, N, Shape, Step
from tests.partitions.switch import Switch, Wires, address
from tests.plugins.chain_network import (
    ADMIN,
    OBSERVER,
    PARAMETERS,
    ChainNetwork,
    Place,
)

CLIENTS: Final = 3
SUBMIT_SECONDS: Final = 6.0
DECIDE_SECONDS_MAX: Final = 30.0
LEVEL_SECONDS_MAX: Final = 60.0
START_SECONDS_MAX: Final = 90.0
POLL_SECONDS: Final = 0.1


class ViolationError(Exception):
    """Something that must hold does not."""


@dataclass(slots=True)
class Record:
    """What clients were told, and what the chain was found to hold."""

    told: dict[bytes, TransactionResult] = field(default_factory=dict)
    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    headers: dict[int, bytes] = field(default_factory=dict)
    unsure: int = 0

    def take(self, number: int, block: VerifiedBlock) -> None:
        """A block as one replica holds it."""
        known = self.headers.setdefault(block.height, block.header.hash())
        if known != block.header.hash():
            raise ViolationError(f"replica {number} holds another block {block.height}")
        for index, receipt in enumerate(block.receipts):
            if receipt.outcome is Outcome.APPLIED:
                place = block.height, index
                if self.places.setdefault(receipt.transaction_id, place) != place:
                    raise ViolationError(f"{receipt.transaction_id.hex()} took effect twice")

    def check(self) -> None:
        """Everything that was told is there; raises `ViolationError`."""
        for transaction_id, result in self.told.items():
            if self.places.get(transaction_id) != (result.height, result.index):
                raise ViolationError(f"{transaction_id.hex()} is not where it was told to be")


@dataclass(slots=True)
class Campaign:
    """A running network, its switch, and one client of each replica."""

    network: ChainNetwork
    switch: Switch
    clocks: Clocks | None
    chance: random.Random
    watchers: list[ChainClient]
    record: Record = field(default_factory=Record)
    checked: list[int] = field(default_factory=lambda: [0] * N)
    met: Counter[str] = field(default_factory=Counter)
    made: int = 0

    async def play(self, name: str) -> Counter[str]:
        """One episode; returns how many packets, processes and clocks each fault met, and how often
        clocks jumped, one or several at once. Raises `ViolationError`.
        """
        self.met.clear()
        shape = SHAPES[name](self.chance, await self._primary())
        told = len(self.record.told)
        before, is_over = self.switch.set({}), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(self._load(number, is_over))
            await self._fault(shape, before)
            met = self.switch.set({}) - before
            is_over.set()
        if len(self.record.told) == told:
            raise ViolationError("no client was told anything in this episode")
        height = max(result.height for result in self.record.told.values())
        await asyncio.gather(*(self._level(number, height) for number in range(N)))
        self.record.check()
        return met + self.met

    async def _primary(self) -> int:
        return int((await self.network.client(ADMIN).get_status()).primary)

    async def _fault(self, shape: Shape, before: Counter[str]) -> None:
        for step in shape.steps:
            self.switch.set(step.wires)
            self._signal(step.paused, signal.SIGSTOP)
            self._set_clocks(step.astray, step.clock_seconds)
            try:
                await self._show(step)
                await asyncio.sleep(step.seconds)
                if shape.deciding:
                    await self._decide(shape.deciding)
                if step is shape.steps[-1] and not self.met[shape.fired]:
                    await self._fires(step.wires, shape.fired, before)
            finally:
                self._signal(step.paused, signal.SIGCONT)
                self._set_clocks(step.astray, RIGHT)

    async def _show(self, step: Step) -> None:
        """Until who is paused has stopped, and who lives by a clock astray judges callers by it."""
        deadline = time.monotonic() + DECIDE_SECONDS_MAX
        for number in step.paused | step.astray:
            while not await self._shows(number, step):
                if time.monotonic() > deadline:
                    raise ViolationError(f"replica {number} shows nothing of the fault")
                await asyncio.sleep(POLL_SECONDS)
        self.met["paused"] += len(step.paused)
        self.met["clock"] += len(step.astray)

    async def _shows(self, number: int, step: Step) -> bool:
        return self._has_stopped(number) if number in step.paused else await self._is_astray(number)

    def _has_stopped(self, number: int) -> bool:
        process = self.network.replicas[number].process
        assert process is not None
        status = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
        return status.rpartition(")")[2].split()[0] == "T"

    async def _is_astray(self, number: int) -> bool:
        try:
            await self.watchers[number].latest()
        except GuqiaoError as error:
            return error.code == "REQUEST_EXPIRED"
        return False

    async def _fires(self, wires: Wires, fault: str, before: Counter[str]) -> None:
        """A fault that met no packet yet lasts until it has: else the episode shows nothing."""
        deadline = time.monotonic() + DECIDE_SECONDS_MAX
        while not (self.switch.set(wires) - before)[fault]:
            if time.monotonic() > deadline:
                raise ViolationError(f"no packet met the fault {fault!r}")
            await asyncio.sleep(POLL_SECONDS)

    async def _decide(self, deciding: Collection[int]) -> None:
        """A quorum that is connected goes on, with as many changes of view as it takes, and clients
        are told so: the fault has lasted a while, so it is no block from before that counts.
        """
        start = max([(await self.watchers[number].latest()).height for number in deciding])
        deadline = time.monotonic() + DECIDE_SECONDS_MAX
        while await self._certified(deciding) <= start or not self._was_told_above(start):
            if time.monotonic() > deadline:
                raise ViolationError(f"{sorted(deciding)} are connected and decided nothing")
            await asyncio.sleep(POLL_SECONDS)

    def _was_told_above(self, height: int) -> bool:
        return any(result.height > height for result in reversed(self.record.told.values()))

    async def _certified(self, numbers: Collection[int]) -> int:
        """The height that all of these have certified, as far as they answer: one whose clock is
        not right yet refuses every caller.
        """
        heights = []
        for number in numbers:
            try:
                heights.append((await self.watchers[number].latest()).height)
            except GuqiaoError:
                return 0
        return min(heights)

    def _signal(self, numbers: Collection[int], which: signal.Signals) -> None:
        for number in numbers:
            process = self.network.replicas[number].process
            assert process is not None
            os.kill(process.pid, which)

    def _set_clocks(self, numbers: Collection[int], seconds: int) -> None:
        if numbers:
            assert self.clocks is not None, "there are no clocks to set"
            self.clocks.set(numbers, seconds)
            self.met["clock jumps"] += 1

    async def _load(self, number: int, is_over: asyncio.Event) -> None:
        """One transaction after the other; one whose outcome is not known is submitted again."""
        order = [self.network.endpoint(each % N) for each in range(number, number + N)]
        client = self.network.client(ADMIN, endpoints=order)
        deadline: float | None = None
        while not is_over.is_set():
            transaction = await self._made(client)
            if transaction is None:
                await asyncio.sleep(POLL_SECONDS)
            while transaction is not None:
                with suppress(GuqiaoError):
                    result = await client.submit(transaction, timeout_seconds=SUBMIT_SECONDS)
                    self.record.told[result.transaction_id] = result
                    break
                self.record.unsure += 1
                if is_over.is_set():
                    deadline = deadline or time.monotonic() + LEVEL_SECONDS_MAX
                    if time.monotonic() > deadline:
                        raise ViolationError(f"no outcome of {transaction.id().hex()}")
                await asyncio.sleep(POLL_SECONDS)
        await client.close()

    async def _made(self, client: ChainClient) -> SignedTransaction | None:
        """The next transaction; none while no replica tells where the chain stands."""
        self.made += 1
        identity: dict[str, Json] = {
            "did": f"{client.signer.organisation}.u{self.made:06d}",
            "organisation": client.signer.organisation,
            "roles": ["observer"],
            "keys": [],
        }
        with suppress(GuqiaoError):
            return await client.build("identity", "register_identity", {"identity": identity})
        return None

    async def _level(self, number: int, height: int) -> None:
        """Until this replica has the height; then its blocks are compared with the others'."""
        deadline = time.monotonic() + LEVEL_SECONDS_MAX
        while await self._certified([number]) < height:
            if time.monotonic() > deadline:
                raise ViolationError(
                    f"replica {number} does not come level: {self.network.log(number)}"
                )
            await asyncio.sleep(POLL_SECONDS)
        while self.checked[number] < height:
            block = await self.watchers[number].get_block(self.checked[number] + 1)
            self.record.take(number, block)
            self.checked[number] += 1


@asynccontextmanager
async def campaign(folder: Path, seed: int) -> AsyncIterator[Campaign]:
    """Four hosts, a switch between them, and a replica on each, by a clock of its own if any."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host(number)) for number in range(N)]
        switch = stack.enter_context(Switch([host.device for host in hosts], seed))
        clocks = None if why_not() else Clocks.right(folder / "clocks", N)
        network = ChainNetwork.create(
            folder / "chain",
            roles={ADMIN: ("identity_admin", "observer"), OBSERVER: ("observer",)},
            parameters={**PARAMETERS, "view_timeout_ms": 400},
            places=[Place(address(host.number), _prefix(host, clocks)) for host in hosts],
        )
        network.start()
        try:
            endpoints = [[network.endpoint(number)] for number in range(N)]
            watchers = [network.client(endpoints=one) for one in endpoints]
            await asyncio.gather(*(_answers(watcher) for watcher in watchers))
            yield Campaign(network, switch, clocks, random.Random(seed), watchers)
        finally:
            await network.close()


def _prefix(host: Host, clocks: Clocks | None) -> tuple[str, ...]:
    return (*host.prefix, *(() if clocks is None else clocks.prefix(host.number)))


async def _answers(watcher: ChainClient) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            await watcher.latest()
            return
        except GuqiaoError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_SECONDS)
