"""A replica's folder with many small segments and certificates that hold, to be archived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust
from services.consensus.domain.ledger.genesis import genesis_header
from services.consensus.store import ChainStore, StoreOptions
from services.consensus.store.archive import Step, add_sealed_segments
from services.consensus.store.files import FileOperations
from tests.integration.ledger.store_builder import (
    GENESIS,
    NO_FSYNC,
    commit,
    open_store,
    payloads_of,
)
from tests.unit.ledger.chain_builder import public_key, sign, verify

SEGMENT_BYTES_MAX = 12_000
COMPACT_EVERY = 5
NAMES = tuple(f"replica-{number}" for number in range(4))


def trust_of(checkpoints: Iterable[Checkpoint] = ()) -> Trust:
    """What an auditor believes: genesis, unless other checkpoints are given."""
    point = Checkpoint(GENESIS.epoch, 0, genesis_header(GENESIS).hash(), GENESIS.replica_set)
    points = tuple(checkpoints) or (point,)
    chain = ChainTrust(GENESIS.chain_id, GENESIS.hash(), points)
    return Trust("did:rem:testing:issuer", bytes(65), "2026-01-05T09:30:00+08:00", (chain,))


def certify(
    header: BlockHeader, names: Sequence[str] = NAMES, lineage: bytes = b""
) -> FinalityCertificate:
    """The first three sign."""
    message = checkpoint_sign_bytes(header, lineage)
    signatures = tuple((at, sign(public_key(name), message)) for at, name in enumerate(names[:3]))
    return FinalityCertificate(header.hash(), signatures)


def options(files: FileOperations = NO_FSYNC) -> StoreOptions:
    return StoreOptions(reserve_bytes=0, segment_bytes_max=SEGMENT_BYTES_MAX, files=files)


def reopen(folder: Path) -> ChainStore:
    return open_store(folder, options=options())


def grow(store: ChainStore, last: int) -> None:
    """Blocks, votes and certificates up to `last`; votes are compacted now and then."""
    if store.promise.sequence is None:
        store.end_silence()
    for height in range(store.last_height + 1, last + 1):
        store.cover_votes(0, height)
        store.append_records([f"vote {height}".encode()])
        store.put_certificate(height, certify(commit(store, *payloads_of(height))))
        if height % COMPACT_EVERY == 0:
            store.compact_records([f"vote {height}".encode()])


def make_replica(folder: Path, last: int) -> None:
    """A folder with blocks up to `last`, closed cleanly."""
    store = reopen(folder)
    grow(store, last)
    store.close()


def archive(data: Path, folder: Path, files: FileOperations = NO_FSYNC) -> Step:
    return add_sealed_segments(data, folder, GENESIS, verify, files=files)
