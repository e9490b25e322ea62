"""The chain under test: replica processes on loopback, a filled state, a small market."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import Load, Tally
from bench.machine import cpu_seconds
from bench.signing import Signed, sign_all, signer_of
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.market_dataset import MarketDataset
from guqiao_sdk.market_reader import read_dataset
from services.consensus.domain.contracts.register.roles import OPERATION_ROLES
from tests.plugins.chain_network import OBSERVER, PARAMETERS, ROOT, ChainNetwork

ROWS_A_CALL: Final = 100
FILL_WINDOW: Final = 20
START_SECONDS_MAX: Final = 180.0
SETTLE_SECONDS: Final = 0.2
SETTLE_SECONDS_MAX: Final = 120.0
DATASET: Final = ROOT / "data" / "market-basic"
REGISTRATION: Final = "initial_registration"


@dataclass(slots=True)
class Chain:
    """A running chain and what drives it."""

    network: ChainNetwork
    client: ChainClient
    pool: ProcessPoolExecutor
    keys: int

    @property
    def pids(self) -> list[int]:
        """The processes of the replicas that run."""
        processes = (replica.process for replica in self.network.replicas)
        return [process.pid for process in processes if process is not None]

    def cpu_seconds(self) -> float:
        """CPU time of all replicas so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    async def sign(self, calls: Sequence[Call], *, in_envelopes: bool = False) -> list[Signed]:
        """Transactions of the operator that live as long as they may from now on."""
        position = await self.client.latest()
        identity = self.network.identities[OBSERVER]
        signer = signer_of(identity, self.network.chain_id, position.height, position.block_time_ms)
        return await asyncio.to_thread(
            sign_all, self.pool, signer, calls, in_envelopes=in_envelopes
        )

    def load(
        self, items: Sequence[Signed], replicas: Sequence[int] = (), *, in_a_row: int = 1
    ) -> Load:
        """A run against these replicas, or all; each gets so many items before the next."""
        numbers = replicas or range(len(self.network.replicas))
        targets = [
            (number, f"127.0.0.1:{self.network.replicas[number].grpc_port}") for number in numbers
        ]
        identity = self.network.identities[OBSERVER]
        return Load(
            self.network.chain_id,
            targets,
            identity,
            self.network.provider,
            items,
            in_a_row=in_a_row,
        )

    async def submit_all(self, calls: Sequence[Call], window: int) -> Tally:
        """Submit and wait until each is final and applied."""
        items = await self.sign(calls)
        load = self.load(items)
        tally = await load.until_done(window)
        if tally.not_applied or len(tally.finals) != len(items):
            raise RuntimeError(
                f"{len(tally.finals)} of {len(items)} final, {tally.not_applied} refused"
            )
        return tally

    async def settled(self) -> int:
        """Until every running replica has the same height and nothing waits; that height."""
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            running = [r.number for r in self.network.replicas if r.process is not None]
            statuses = [await self.client.get_status(number) for number in running]
            heights = {status.height for status in statuses} | {
                status.executed_height for status in statuses
            }
            if len(heights) == 1 and not any(status.pending_transactions for status in statuses):
                return heights.pop()
            await asyncio.sleep(SETTLE_SECONDS)
        raise RuntimeError("the replicas do not settle")

    def wipe(self, number: int) -> None:
        """Remove everything that a stopped replica has stored."""
        shutil.rmtree(self.network.replicas[number].folder)


async def start_chain(folder: Path, pool: ProcessPoolExecutor, *, size: int, keys: int) -> Chain:
    """Replicas of as many legal entities, with `keys` rows in the state."""
    network = ChainNetwork.create(
        folder,
        size=size,
        roles={OBSERVER: ("observer", "market_admin", *sorted(OPERATION_ROLES))},
        contracts=[(name, 1) for name in ("identity", "packets", "register", "table")],
        parameters=PARAMETERS,
        destination="csrc",
    )
    network.module = "bench.replica"
    network.start()
    await network.wait_ready(seconds_max=START_SECONDS_MAX)
    chain = Chain(network, network.client(), pool, keys)
    await chain.submit_all(
        [
            Call(
                "table",
                "set",
                {f"row/{row}": 0 for row in range(first, min(first + ROWS_A_CALL, keys))},
            )
            for first in range(0, keys, ROWS_A_CALL)
        ],
        FILL_WINDOW,
    )
    return chain


async def prepare_market(chain: Chain) -> list[Call]:
    """A market's reference data, accounts and one registered company's shares; returns transfers of
    one share between its holders, each way in turn, that all must be accepted.
    """
    dataset = read_dataset(DATASET)
    assert isinstance(dataset, MarketDataset)
    calls = [Call("register", name, body) for name, body in dataset.reference_calls(_digest)]
    for event in dataset.events:
        calls.append(Call("register", event.type, event.body, event.time))
        if event.type == REGISTRATION:
            break
    for call in calls:
        await chain.submit_all([call], 1)
    roster = event.body["roster"]
    nature = roster[-1]["nature"]
    holders = [row["account"] for row in roster if row["nature"] == nature]
    pairs = [(a, b) for a in holders for b in holders if a != b]
    return [
        Call(
            "register",
            "transfer",
            {
                "reason": "gift",
                "product_code": event.body["product_code"],
                "nature": nature,
                "seller": seller,
                "buyer": buyer,
                "shares": 1,
                "price_fen": 0,
                "evidence": [{"kind": "gift_contract", "digest": "ab" * 32}],
            },
            event.time,
        )
        for seller, buyer in pairs
    ]


def _digest(id_type: str, id_number: str) -> str:
    return hashlib.sha256(f"bench|{id_type}|{id_number}".encode()).hexdigest()
