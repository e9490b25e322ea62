"""How many bytes of disk a transaction takes for good: of the index, and of the segment files.

Two writes and one signature a transaction. What the index keeps of the last 1,024 heights is
bounded, and left out here. Prints one JSON object as its last line.

    python -m bench.index_size [--blocks 200] [--transactions 20] [--keys 1000]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Final
from unittest.mock import patch

from bench.ledger_speed import Bench, transaction
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.store import index as store_index

HEIGHTS_KEPT: Final = 2


def run(blocks: int, transactions: int, keys: int) -> dict[str, object]:
    """Overwrite every key some times, then count what `blocks` more take."""
    chance = random.Random(1)
    with (
        patch.object(store_index, "PROVABLE_HEIGHTS", HEIGHTS_KEPT),
        tempfile.TemporaryDirectory() as folder,
    ):
        bench = Bench(Path(folder))

        def grow(count: int) -> tuple[int, int]:
            for _ in range(count):
                _certified_block(bench, chance, transactions, keys)
            files = (Path(folder) / "segments").iterdir()
            return bench.store.index_bytes, sum(path.stat().st_size for path in files)

        before = grow(3 * keys // transactions)
        after = grow(blocks)
        bench.store.close()
    index, segments = ((late - early) for early, late in zip(before, after, strict=True))
    return {
        "blocks": blocks,
        "transactions_per_block": transactions,
        "keys": keys,
        "index_bytes_per_transaction": round(index / (blocks * transactions)),
        "segment_bytes_per_transaction": round(segments / (blocks * transactions)),
    }


def _certified_block(bench: Bench, chance: random.Random, transactions: int, keys: int) -> None:
    height = bench.store.last_height + 1
    pairs = [chance.sample(range(keys), 2) for _ in range(transactions)]
    rows = [{f"row/{key}": height for key in pair} for pair in pairs]
    bench.block(tuple(transaction(n, dict(put), height) for n, put in enumerate(rows)))
    signatures = tuple((replica, bytes(64)) for replica in range(3))
    certificate = FinalityCertificate(bench.store.last_header.hash(), signatures)
    bench.store.put_certificate(height, certificate)


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--transactions", type=int, default=20)
    parser.add_argument("--keys", type=int, default=1_000)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.blocks, arguments.transactions, arguments.keys)))


if __name__ == "__main__":
    main()
