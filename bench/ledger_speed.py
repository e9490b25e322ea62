"""How long executing and storing a block of simple transactions takes, without signature checks.

W0's shape: one signature, two writes, a state of 10^5 keys. Prints one JSON object as its last
line; times are of this process's CPU, so that neighbours on the machine do not show.

    python -m bench.ledger_speed [--blocks 20] [--transactions 500] [--keys 100000]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from bench.table_contract import Table
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import Member, ReplicaSet
from guqiao_sdk.proof.transaction import Payload, SignedTransaction
from services.consensus.domain.contracts.catalogue import Catalogue
from services.consensus.domain.contracts.identity_record import IdentityRecord, KeyRecord
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import execute_block
from services.consensus.domain.ledger.genesis import (
    ContractActivation,
    Genesis,
    ProtocolParameters,
)
from services.consensus.store import ChainStore, StoreOptions

CLERK, MARKET = "did:rem:bench:clerk", "did:rem:bench:market"
KEY = b"\x04" + bytes(range(64))
FAR_MS = 1 << 50


def bench_genesis() -> Genesis:
    """Four replicas, one sender."""
    members = tuple(
        Member(number, b"\x04" + sm3(bytes([number])) * 2, f"E{number}", f"Entity {number}")
        for number in range(4)
    )
    key = KeyRecord(KEY, 0, FAR_MS, revoked=False)
    return Genesis(
        replica_set=ReplicaSet("bench", 0, members),
        parameters=ProtocolParameters(8, 500, 1_048_576, 5_000, 1_000, 8_000, 2_000, 1_000),
        genesis_time_ms=1,
        historic_import=False,
        destination=None,
        contracts=(ContractActivation("table", 1, 0),),
        identities=(IdentityRecord(CLERK, MARKET, frozenset(), True, {"k1": key}),),
        remote_chains=(),
    )


def transaction(number: int, rows: dict[str, Json], height: int) -> bytes:
    """One operation; its signature is never looked at here."""
    payload = Payload(
        chain="bench",
        maker=(CLERK, "k1"),
        checker=None,
        organisation=MARKET,
        request_id=f"00000000-0000-0000-{height:04x}-{number:012x}",
        expires_height=height + 10,
        expires_time_ms=FAR_MS,
        after=None,
        contract="table",
        method="set",
        business_time=None,
        body=rows,
    )
    return SignedTransaction(payload.to_bytes(), ((KEY, bytes(64)),)).encode()


class Bench:
    """A store, and the CPU time that each part of a block took, in seconds."""

    def __init__(self, folder: Path) -> None:
        self.genesis = bench_genesis()
        self.store = ChainStore.open(
            folder, self.genesis, replica=0, options=StoreOptions(reserve_bytes=0)
        )
        self.times: dict[str, list[float]] = {"read": [], "execute": [], "store": [], "wall": []}

    def block(self, encoded: tuple[bytes, ...]) -> None:
        """Read, execute and store one block durably."""
        wall, begin = time.perf_counter(), time.process_time()
        batch = Batch(self.store.last_header.block_time_ms + 1, encoded)
        transactions = [read_transaction(entry) for entry in encoded]
        read = time.process_time()
        with self.store.state_reader() as state:
            result = execute_block(
                state,
                genesis=self.genesis,
                catalogue=Catalogue([Table()]),
                parent=self.store.last_header,
                batch=batch,
                transactions=transactions,
                verify=lambda *_: False,
            )
        executed = time.process_time()
        self.store.commit_block(result)
        self.store.sync()
        assert all(receipt.accepted for receipt in result.receipts)
        self.times["read"].append(read - begin)
        self.times["execute"].append(executed - read)
        self.times["store"].append(time.process_time() - executed)
        self.times["wall"].append(time.perf_counter() - wall)


def run(blocks: int, transactions: int, keys: int) -> dict[str, object]:
    """Fill the state, then measure blocks that overwrite two random keys a transaction."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rows_each = 100
        for first in range(0, keys, 200 * rows_each):
            height = bench.store.last_height + 1
            groups = range(first, min(first + 200 * rows_each, keys), rows_each)
            rows = [{f"row/{group + i}": 0 for i in range(rows_each)} for group in groups]
            bench.block(tuple(transaction(n, dict(put), height) for n, put in enumerate(rows)))
        for times in bench.times.values():
            times.clear()
        for _ in range(blocks):
            height = bench.store.last_height + 1
            chosen = [chance.sample(range(keys), 2) for _ in range(transactions)]
            bench.block(
                tuple(
                    transaction(n, {f"row/{key}": height for key in pair}, height)
                    for n, pair in enumerate(chosen)
                )
            )
        memory = _anonymous_memory_mb()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        bench.store.close()
    cpu = {name: sorted(values)[len(values) // 2] for name, values in bench.times.items()}
    total = cpu["read"] + cpu["execute"] + cpu["store"]
    return {
        "blocks": blocks,
        "transactions_per_block": transactions,
        "keys": keys,
        "read_ms": round(cpu["read"] * 1_000, 1),
        "execute_ms": round(cpu["execute"] * 1_000, 1),
        "store_ms": round(cpu["store"] * 1_000, 1),
        "wall_ms": round(cpu["wall"] * 1_000, 1),
        "cpu_us_per_transaction": round(total / transactions * 1e6, 1),
        "folder_mb": round(size / 1e6, 1),
        "memory_anonymous_mb": memory,
    }


def _anonymous_memory_mb() -> float | None:
    """RssAnon: what is not a mapped file; None where the system does not tell."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("RssAnon:"):
            return round(int(line.split()[1]) / 1_000, 1)
    return None


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--transactions", type=int, default=500)
    parser.add_argument("--keys", type=int, default=100_000)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.blocks, arguments.transactions, arguments.keys)))


if __name__ == "__main__":
    main()
