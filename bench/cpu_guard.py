"""A guard for CI: CPU time a transaction, over four replicas in one process, in units of SM2
verifications measured beside it. Never wall time, so neighbours on the machine matter little.

    python -m bench.cpu_guard            # fails where the least round is above what is allowed
    python -m bench.cpu_guard --record   # after a change that is meant to cost, or that saves

The replicas are the released driver, intake, core, execution and store; gRPC, the links' TLS and
the client are not in it (`make bench` measures those). Every replica verifies every transaction, so
four verifications is what cannot be saved.

The figure of a run is its least round: neighbours let blocks hold fewer transactions and caches
less, which makes a round dearer by up to a tenth and none cheaper, while a change that costs makes
all dearer. How dear Python is beside a verification differs from one kind of processor to another:
record anew, from a revision that passed, where the kind that runs this has changed.

What is allowed: one that costs `NOTICED` times as much must fail, wherever the honest runs lie that
were recorded, and each of those must pass. So the figure is the median of several runs, and
`SLACK` above it is allowed: about the root of `NOTICED`, as far from the dearest honest run as from
the cheapest one made dearer. A record whose runs lie too far apart for both is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench.machine import MESSAGE, open_pool
from bench.signing import overwrite_rows, sign_all, signer_of
from bench.table_contract import Table
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import Call, transaction_from_message
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.transaction import SignedTransaction
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.identity import IdentityContract
from services.consensus.domain.ledger.genesis_json import parse_genesis
from tests.integration.node.memory_chain import MemoryChain, now_ms
from tests.plugins.chain_network import OBSERVER, PARAMETERS, ChainNetwork

RECORDED: Final = Path(__file__).parent / "cpu_guard.json"
NOTICED: Final = 1.2
SLACK: Final = 1.1
RECORDED_RUNS: Final = 3
REPLICAS: Final = 4
KEYS: Final = 20_000
ROWS_A_CALL: Final = 1_000
WINDOW: Final = 300
TRANSACTIONS: Final = 1_500
ROUNDS: Final = 7
PROBE_PAUSE_SECONDS: Final = 0.1
PROBED_AT_ONCE: Final = 30
PATIENT_MS: Final = 300_000
"""No time-out fires, however slow the machine is."""


class Probe:
    """What a verification costs in CPU time, looked at between the work itself, so that neighbours
    who make the machine's caches and cores slower make both dearer.
    """

    def __init__(self, provider: GmProvider) -> None:
        private = provider.keygen()
        self._provider, self._key = provider, private.public_key
        self._signature = provider.sign(private, MESSAGE)
        self.seconds, self.count = 0.0, 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
            begun = time.thread_time()  # The replicas' threads go on meanwhile.
            for _ in range(PROBED_AT_ONCE):
                assert self._provider.verify(self._key, MESSAGE, self._signature)
            self.seconds += time.thread_time() - begun
            self.count += PROBED_AT_ONCE


async def submit_all(chain: MemoryChain, transactions: Sequence[SignedTransaction]) -> None:
    """Keep a window of them in flight, each at another replica, until all are final."""
    room = asyncio.Semaphore(WINDOW)

    async def submit(number: int, transaction: SignedTransaction) -> None:
        async with room:
            await chain.members[number % REPLICAS].submissions.submit(transaction, wait_final=True)

    async with asyncio.TaskGroup() as tasks:
        for number, transaction in enumerate(transactions):
            tasks.create_task(submit(number, transaction))


async def measure() -> tuple[float, dict[str, object]]:
    """The least of some rounds, and all their figures."""
    patient = {"view_timeout_ms": PATIENT_MS, "view_timeout_max_ms": PATIENT_MS}
    rounds: list[tuple[float, float]] = []
    with open_pool() as pool, tempfile.TemporaryDirectory() as folder:
        network = ChainNetwork.create(
            Path(folder),
            contracts=[("identity", 1), ("table", 1)],
            parameters={**PARAMETERS, **patient, "clock_bound_ms": PATIENT_MS},
        )
        signer = signer_of(network.identities[OBSERVER], network.chain_id, 0, now_ms())

        def signed(calls: Sequence[Call]) -> list[SignedTransaction]:
            requests = [item.request for item in sign_all(pool, signer, calls)]
            messages = [node.SubmitTransactionsRequest.FromString(raw) for raw in requests]
            return [transaction_from_message(message.transactions[0]) for message in messages]

        fill = [
            Call("table", "set", {f"row/{row}": 0 for row in range(first, first + ROWS_A_CALL)})
            for first in range(0, KEYS, ROWS_A_CALL)
        ]
        chain = MemoryChain(
            network.folder,
            parse_genesis(network.genesis),
            network.vote_keys,
            provider=network.provider,
            catalogue=Catalogue([Table(), IdentityContract()]),
        )
        async with chain:
            for number in range(REPLICAS):
                await chain.start(number)
            await submit_all(chain, signed(fill))
            await submit_all(chain, signed(list(overwrite_rows(WINDOW, KEYS, seed=0))))
            for number in range(1, ROUNDS + 1):
                transactions = signed(list(overwrite_rows(TRANSACTIONS, KEYS, seed=number)))
                probe, begun = Probe(network.provider), time.process_time()
                probing = asyncio.create_task(probe.run())
                await submit_all(chain, transactions)
                probing.cancel()
                spent = time.process_time() - begun - probe.seconds
                rounds.append((spent / TRANSACTIONS, probe.seconds / probe.count))
            blocks = chain.members[0].finality.certified_height
    units = [spent / verify for spent, verify in rounds]
    least = round(min(units), 2)
    return least, {
        "verifications_per_transaction": least,
        "rounds": [round(unit, 2) for unit in units],
        "cpu_us_per_tx": round(statistics.median(spent for spent, _ in rounds) * 1e6, 1),
        "sm2_verify_cpu_us": round(statistics.median(verify for _, verify in rounds) * 1e6, 1),
        "blocks": blocks,
    }


def allowed(recorded: float) -> float:
    """How many verifications a transaction may cost."""
    return SLACK * recorded


def record_of(runs: Sequence[float]) -> dict[str, object]:
    """What is kept of honest runs. Raises `ValueError` where one of them would fail, or would pass
    though it cost `NOTICED` times as much.
    """
    recorded = round(statistics.median(runs), 2)
    if not max(runs) <= allowed(recorded) < NOTICED * min(runs):
        raise ValueError(f"the runs {list(runs)} lie too far apart: record on a quieter machine")
    return {"verifications_per_transaction": recorded, "runs": list(runs)}


def main() -> None:
    """Measure; compare or record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--record", action="store_true", help=f"keep the median of {RECORDED_RUNS} runs"
    )
    record = parser.parse_args().record
    runs: list[float] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(RECORDED_RUNS if record else 1):
            units, figures = runner.run(measure())
            runs.append(units)
            print(json.dumps(figures), file=sys.stderr)
    if record:
        RECORDED.write_text(json.dumps(record_of(runs)) + "\n")
    limit = allowed(json.loads(RECORDED.read_text())["verifications_per_transaction"])
    print(json.dumps({**figures, "allowed": round(limit, 2), "ok": units <= limit}))
    if units > limit:
        sys.exit(1)


if __name__ == "__main__":
    main()
