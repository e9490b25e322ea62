"""The chain under test: replica processes on loopback, a filled state, a small market."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import Load, Tally
from bench.machine import cpu_seconds
from bench.signing import Signed, sign_all, signer_of
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.errors import GuqiaoError
from guqiao_sdk.market_dataset import DatasetEvent, MarketDataset
from guqiao_sdk.market_reader import read_dataset
from guqiao_sdk.proof.quorum import quorum
from guqiaoctl.network.genesis import VERSIONS
from tests.plugins.chain_network import OBSERVER, PARAMETERS, ROOT, ChainNetwork

ROWS_A_CALL: Final = 100
FILL_WINDOW: Final = 20
FILL_SIGNED_AT_ONCE: Final = 1_000
START_SECONDS_MAX: Final = 180.0
PRIMARY_POLL_SECONDS: Final = 0.02
PRIMARY_SECONDS_MAX: Final = 60.0
DATASET: Final = ROOT / "data" / "market-basic"
REGISTRATION: Final = "initial_registration"
CONTRACTS: Final = ("identity", "packets", "register", "table")
"""Each in the version that new networks begin with."""

OPERATOR_ROLES: Final = ("observer", "market_admin", "operator_maker", "registration_institution")


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
        if len(tally.finals) != len(items):
            raise RuntimeError(
                f"{len(tally.finals)} of {len(items)} applied, "
                f"refused {dict(tally.refusals)}, not applied {dict(tally.not_applied)}"
            )
        return tally

    async def view(self) -> int | None:
        """The highest view that a running replica is in or changes to; None where none answers."""
        return max((status.view for status in await self._statuses()), default=None)

    async def primary(self) -> int:
        """Whom a quorum of the running replicas works with now. One that left the view alone, while
        another did not go along after all, waits beside them for the next (V2 of the protocol).
        Raises `RuntimeError` where no quorum comes to agree.
        """
        size = len(self.network.replicas)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PRIMARY_SECONDS_MAX
        statuses: list[node.GetNetworkStatusResponse] = []
        while loop.time() < deadline:
            statuses = await self._statuses()
            working = Counter(
                (each.view, each.primary) for each in statuses if not each.changing_view
            )
            for (_, primary), count in working.most_common(1):
                if count >= quorum(size):
                    return primary
            await asyncio.sleep(PRIMARY_POLL_SECONDS)
        said = "; ".join(
            f"{each.replica} in view {each.view} of {each.primary} at {each.height}"
            + (", changing view" if each.changing_view else "")
            for each in statuses
        )
        raise RuntimeError(f"no quorum of {size} replicas works with one primary: {said}")

    async def _statuses(self) -> list[node.GetNetworkStatusResponse]:
        """Of the running replicas that answer."""
        found = []
        for replica in self.network.replicas:
            if replica.process is not None:
                with suppress(GuqiaoError):
                    found.append(await self.client.get_status(replica.number))
        return found

    def wipe(self, number: int) -> None:
        """Remove everything that a stopped replica has stored."""
        shutil.rmtree(self.network.replicas[number].folder)


async def start_chain(folder: Path, pool: ProcessPoolExecutor, *, size: int, keys: int) -> Chain:
    """Replicas of as many legal entities, for `fill` to write `keys` rows; none is left where one
    does not start.
    """
    network = ChainNetwork.create(
        folder,
        size=size,
        roles={OBSERVER: OPERATOR_ROLES},
        contracts=[(name, VERSIONS.get(name, 1)) for name in CONTRACTS],
        parameters=PARAMETERS,
        destination="csrc",
    )
    network.module = "bench.replica"
    try:
        network.start()
        await network.wait_ready(seconds_max=START_SECONDS_MAX)
    except BaseException:
        await network.close()
        raise
    return Chain(network, network.client(), pool, keys)


async def fill(chain: Chain) -> None:
    """Write the rows that the state shall have; each call is signed when it is about to go."""
    firsts = range(0, chain.keys, ROWS_A_CALL)
    rows = [range(first, min(first + ROWS_A_CALL, chain.keys)) for first in firsts]
    calls = [Call("table", "set", {f"row/{row}": 0 for row in each}) for each in rows]
    for start in range(0, len(calls), FILL_SIGNED_AT_ONCE):
        await chain.submit_all(calls[start : start + FILL_SIGNED_AT_ONCE], FILL_WINDOW)


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
    return transfers_after(event)


def transfers_after(event: DatasetEvent) -> list[Call]:
    """Transfers of one share between the holders that an initial registration names, each way in
    turn: all must be accepted.
    """
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
