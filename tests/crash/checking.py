"""What every campaign checks of a folder afterwards, against what was acknowledged and the truth.

The truth is the same blocks executed in memory: the writer's chain is a function of the height.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.header import BlockHeader
from services.consensus.store import ChainStore
from tests.crash.beside import Beside
from tests.crash.writer import Acknowledged
from tests.integration.ledger.store_builder import GENESIS, NO_FSYNC, open_store, payloads_of
from tests.unit.ledger.chain_builder import MemoryChain

TRUTH_BLOCKS_MAX: Final = 2_000


class Truth:
    """The headers that execution in memory gives, as far as they were asked for."""

    def __init__(self) -> None:
        self._memory = MemoryChain(GENESIS)
        self._headers = [self._memory.header]

    def header(self, height: int) -> BlockHeader:
        """The one header of this height."""
        assert height <= TRUTH_BLOCKS_MAX
        while len(self._headers) <= height:
            payloads = payloads_of(len(self._headers), count=2)
            self._memory.execute(*payloads, time_ms=self._memory.header.block_time_ms + 1)
            self._headers.append(self._memory.header)
        return self._headers[height]


@cache
def truth() -> Truth:
    """One for the whole process."""
    return Truth()


def check_folder(folder: Path, acknowledged: Acknowledged) -> int:
    """Nothing acknowledged is lost, doubled or different; returns the last height."""
    store = open_store(folder)
    try:
        check_store(store, acknowledged)
        is_new = store.promise.sequence is None and not acknowledged.voted
        assert is_new or not store.promise.forgotten, "a crash forgets no votes"
        assert store.scrub(0, store.last_height) == []
        store.verify_state()
        beside = Beside(folder, store, lambda _: NO_FSYNC)
        beside.check(nonces=acknowledged.nonces, evidence=acknowledged.evidence)
        assert beside.has_diverged or not acknowledged.has_diverged, "it would vote again"
        beside.close()
        return store.last_height
    finally:
        store.close()


def check_store(store: ChainStore, acknowledged: Acknowledged) -> None:
    """Every height that is here is the true one; every acknowledged one is here."""
    assert store.last_height >= max(acknowledged.headers, default=0), (
        "an acknowledged block is lost"
    )
    for height in range(store.last_height + 1):
        header = store.get_header(height)
        assert header == truth().header(height), f"block {height} is another one"
    for height, digest in acknowledged.headers.items():
        assert truth().header(height).hash().hex() == digest
    if acknowledged.voted:
        votes = [int(record.split()[1]) for record in store.records()]
        assert max(votes, default=0) >= acknowledged.voted, "an acknowledged vote is lost"


def log_durably(path: Path, line: str) -> None:
    """The client's own record of what it was told: on disk before it counts."""
    with path.open("a") as log:
        log.write(line + "\n")
        log.flush()
        os.fsync(log.fileno())
