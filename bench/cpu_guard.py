"""A guard for CI: CPU time a transaction, over four replicas in one process, in units of SM2
verifications measured beside it. Never wall time, so neighbours on the machine matter little.

    python -m bench.cpu_guard            # fails when more than 20 % above bench/cpu_guard.json
    python -m bench.cpu_guard --record   # after a change that is meant to cost, or that saves

The replicas are the released driver, intake, core, execution and store; gRPC, the links' TLS and
the client are not in it (`make bench` measures those). Every replica verifies every transaction, so
four verifications is what cannot be saved.
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
WORSE_MAX: Final = 1.2
REPLICAS: Final = 4
KEYS: Final = 20_000
ROWS_A_CALL: Final = 1_000
WINDOW: Final = 300
TRANSACTIONS: Final = 1_500
ROUNDS: Final = 3
VERIFICATIONS: Final = 300
PATIENT_MS: Final = 300_000
"""No time-out fires, however slow the machine is."""


def verify_seconds(provider: GmProvider) -> float:
    """CPU time of one verification now."""
    private = provider.keygen()
    signature = provider.sign(private, MESSAGE)
    begun = time.process_time()
    for _ in range(VERIFICATIONS):
        assert provider.verify(private.public_key, MESSAGE, signature)
    return (time.process_time() - begun) / VERIFICATIONS


async def submit_all(chain: MemoryChain, transactions: Sequence[SignedTransaction]) -> None:
    """Keep a window of them in flight, each at another replica, until all are final."""
    room = asyncio.Semaphore(WINDOW)

    async def submit(number: int, transaction: SignedTransaction) -> None:
        async with room:
            await chain.members[number % REPLICAS].submissions.submit(transaction, wait_final=True)

    async with asyncio.TaskGroup() as tasks:
        for number, transaction in enumerate(transactions):
            tasks.create_task(submit(number, transaction))


async def measure() -> dict[str, object]:
    """The figures of some rounds."""
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
                before, begun = verify_seconds(network.provider), time.process_time()
                await submit_all(chain, transactions)
                spent = time.process_time() - begun
                verify = (before + verify_seconds(network.provider)) / 2
                rounds.append((spent / TRANSACTIONS, verify))
            blocks = chain.members[0].finality.certified_height
    units = [spent / verify for spent, verify in rounds]
    return {
        "verifications_per_transaction": round(statistics.median(units), 2),
        "spread": [round(min(units), 2), round(max(units), 2)],
        "cpu_us_per_tx": round(statistics.median(spent for spent, _ in rounds) * 1e6, 1),
        "sm2_verify_cpu_us": round(statistics.median(verify for _, verify in rounds) * 1e6, 1),
        "blocks": blocks,
    }


def main() -> None:
    """Measure; compare or record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep what is measured now")
    record = parser.parse_args().record
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure())
    units = figures["verifications_per_transaction"]
    assert isinstance(units, float)
    if record:
        RECORDED.write_text(json.dumps({"verifications_per_transaction": units}) + "\n")
    allowed = WORSE_MAX * json.loads(RECORDED.read_text())["verifications_per_transaction"]
    print(json.dumps({**figures, "allowed": round(allowed, 2), "ok": units <= allowed}))
    if units > allowed:
        sys.exit(1)


if __name__ == "__main__":
    main()
