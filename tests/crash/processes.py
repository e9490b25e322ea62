"""Campaign: `kill -9` of replica processes under load, one after the other (T-10, D1, D2).

Clients in this process, which no kill meets, write down durably what they were told: only what is
committed, at its place, under a header with a quorum's signatures that the client verified itself.
Some replicas fall again while they start. In the end all four hold it all, once, at its place.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import SignedTransaction
from tests.crash.checking import log_durably
from tests.partitions.campaign import Record
from tests.plugins.chain_network import ADMIN, OBSERVER, PARAMETERS, ChainNetwork, _is_ready

CLIENTS: Final = 2
N: Final = 4
SUBMIT_SECONDS: Final = 4.0
KNOWN_SECONDS_MAX: Final = 180.0
"""An outcome that is not known is known so long after the last kill (reliability.md 2.2)."""
UP_SECONDS_MAX: Final = 0.4
START_SECONDS_MAX: Final = 1.5
POLL_SECONDS: Final = 0.05


def run(folder: Path, *, kills: int, seed: int) -> dict[str, int]:
    """Kill so often; raises `AssertionError` or `ViolationError` where anything is wrong."""
    return asyncio.run(_run(folder, kills, random.Random(seed)))


async def _run(folder: Path, kills: int, chance: random.Random) -> dict[str, int]:
    network = ChainNetwork.create(
        folder / "chain",
        roles={ADMIN: ("identity_admin", "observer"), OBSERVER: ("observer",)},
        parameters={**PARAMETERS, "view_timeout_ms": 400},
    )
    network.start()
    try:
        await network.wait_ready()
        load = Load(network, folder / "acknowledged.log")
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(load.run(number))
            early = await _kill(network, kills, chance)
            load.is_over.set()
        await check(network, load.record)
        return {
            "kills": kills,
            "kills before ready": early,
            "acknowledged": len(load.record.told),
        }
    finally:
        await network.close()


async def _kill(network: ChainNetwork, kills: int, chance: random.Random) -> int:
    """One at a time: the others are a quorum. Returns how many fell before they were ready."""
    early = victim = 0
    for number in range(kills):
        if number % 2 == 1:  # It started after the kill before, and falls in its start.
            # The first comes at once: on any machine one falls into a start.
            await asyncio.sleep(chance.uniform(0.0, START_SECONDS_MAX) if early else 0.0)
            early += not await asyncio.to_thread(_is_ready, network.replicas[victim].admin_port)
        else:
            await network.wait_ready()
            await asyncio.sleep(chance.uniform(0.0, UP_SECONDS_MAX))
            victim = chance.randrange(N)
        network.kill(victim)
        network.start(victim)
    await network.wait_ready()
    return early


async def check(network: ChainNetwork, record: Record) -> None:
    """Every replica has every block that anybody was told of, and all have the same."""
    last = max(result.height for result in record.told.values())
    for number in range(N):
        client = network.client(endpoints=[network.endpoint(number)])
        deadline = time.monotonic() + KNOWN_SECONDS_MAX
        while (await client.latest()).height < last:
            assert time.monotonic() < deadline, network.log(number)
            await asyncio.sleep(POLL_SECONDS)
        for height in range(1, last + 1):
            record.take(number, await client.get_block(height))
    record.check()


@dataclass(slots=True)
class Load:
    """Clients that submit without pause until `is_over`."""

    network: ChainNetwork
    log: Path
    record: Record = field(default_factory=Record)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    made: int = 0

    async def run(self, number: int) -> None:
        """One transaction after the other, each until its outcome is known."""
        order = [self.network.endpoint(each % N) for each in range(number, number + N)]
        client = self.network.client(ADMIN, endpoints=order)
        while not self.is_over.is_set():
            transaction = await self._made(client)
            if transaction is not None:
                await self._submit(client, transaction)

    async def _submit(self, client: ChainClient, transaction: SignedTransaction) -> None:
        deadline: float | None = None
        while True:
            with suppress(GuqiaoError):
                told = await client.submit(transaction, timeout_seconds=SUBMIT_SECONDS)
                proven = await client.get_transaction(transaction.id())
                break
            self.record.unsure += 1
            if self.is_over.is_set():
                deadline = deadline or time.monotonic() + KNOWN_SECONDS_MAX
                assert time.monotonic() < deadline, f"no outcome of {transaction.id().hex()}"
            await asyncio.sleep(POLL_SECONDS)
        place = proven.result.height, proven.result.index
        assert place == (told.height, told.index), "two answers on one transaction"
        header_hash, signers = proven.header.hash(), len(proven.certificate.signatures)
        assert signers >= self.network.trust.replica_set.quorum
        line = f"{transaction.id().hex()} {place[0]} {place[1]} {header_hash.hex()} {signers}"
        log_durably(self.log, line)
        assert self.record.headers.setdefault(place[0], header_hash) == header_hash
        self.record.told[transaction.id()] = told

    async def _made(self, client: ChainClient) -> SignedTransaction | None:
        self.made += 1
        identity: dict[str, Json] = {
            "did": f"{client.signer.organisation}.k{self.made:06d}",
            "organisation": client.signer.organisation,
            "roles": ["observer"],
            "keys": [],
        }
        with suppress(GuqiaoError):
            return await client.build("identity", "register_identity", {"identity": identity})
        await asyncio.sleep(POLL_SECONDS)
        return None
