"""Drives a `ChainStore` with the small chain of the ledger's unit tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.transaction import Payload
from services.consensus.domain.ledger.admission import read_transaction
from services.consensus.domain.ledger.execution import execute_block
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.state_parts import PART_BYTES_MAX, StateBuild
from services.consensus.store import ChainStore, FileOperations, StoreOptions
from services.consensus.store.segment import Position, Segments
from services.consensus.store.state_intake import Snapshot
from tests.unit.ledger.chain_builder import (
    CATALOGUE,
    genesis_json,
    genesis_of,
    payload_of,
    signed,
    verify,
)

GENESIS = genesis_of(genesis_json())


def no_fsync(_: int) -> None:
    """For tests in which nothing loses power."""


NO_FSYNC = FileOperations(fsync=no_fsync)
OPTIONS = StoreOptions(reserve_bytes=0, files=NO_FSYNC)


def open_store(
    folder: Path, *, options: StoreOptions = OPTIONS, genesis: Genesis = GENESIS
) -> ChainStore:
    return ChainStore.open(folder, genesis, replica=0, options=options)


def payloads_of(height: int, count: int = 3) -> list[Payload]:
    """The same for a height, always; some refuse, each overwrites some keys of earlier ones."""
    return [
        payload_of(
            "write",
            {
                "put": {f"k{(height * 7 + number) % 20}": height, f"own/{height}/{number}": number},
                "delete": [f"own/{height - 2}/{number}"],
                "send": ["data_object"],
                **({"refuse": "NO"} if (height + number) % 5 == 0 else {}),
            },
            request_id=f"00000000-0000-0000-{height:04x}-{number:012x}",
            expires_height=height + 100,
        )
        for number in range(count)
    ]


def commit(store: ChainStore, *payloads: Payload) -> BlockHeader:
    """Execute and store one block; durable when this returns."""
    parent = store.last_header
    batch = Batch(parent.block_time_ms + 1, tuple(signed(entry).encode() for entry in payloads))
    with store.state_reader() as state:
        result = execute_block(
            state,
            genesis=GENESIS,
            catalogue=CATALOGUE,
            parent=parent,
            batch=batch,
            transactions=[read_transaction(encoded) for encoded in batch.transactions],
            verify=verify,
        )
    header = store.commit_block(result)
    store.sync()
    return header


def certificate_of(header: BlockHeader) -> FinalityCertificate:
    """The store keeps certificates; whether they hold, others judge before."""
    return FinalityCertificate(header.hash(), ((0, bytes(64)), (1, bytes(64)), (2, bytes(64))))


def grow(store: ChainStore, last: int, *, certify: bool = True) -> None:
    """Commit the blocks up to `last`, each with a core record before it."""
    for height in range(store.last_height + 1, last + 1):
        store.append_records([f"vote {height}".encode()])
        header = commit(store, *payloads_of(height))
        if certify:
            store.put_certificate(height, certificate_of(header))


def segment_files(folder: Path) -> list[Path]:
    return sorted((folder / "segments").glob("*.seg"))


def edit_file(path: Path, change: Callable[[bytearray], None]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


def flip(data: bytearray, offset: int) -> None:
    data[offset] ^= 0x40


def salt_of(folder: Path) -> int:
    return int(json.loads((folder / "identity.json").read_text())["salt"])


def position_of(folder: Path, kind: RecordType, height: int, nth: int = 0) -> Position:
    segments = Segments(folder / "segments", salt=salt_of(folder), files=NO_FSYNC)
    found = [
        item.position
        for item in segments.scan(Position(1, 0))
        if item.type is kind and item.height == height
    ]
    segments.close()
    return found[nth]


def take_state(
    store: ChainStore, ahead: ChainStore, height: int, bytes_max: int = PART_BYTES_MAX
) -> Snapshot:
    """Every part of the state that another store had at `height`, kept; to be adopted next."""
    header, certificate = ahead.get_header(height), ahead.get_certificate(height)
    assert header is not None
    assert certificate is not None
    build, parts = StateBuild(header.state_root, [0]), list[Position]()
    with ahead.state_reader() as state:
        while asked := build.ask():
            for source, prefix in asked:
                part = state.part(height, prefix, bytes_max)
                assert part is not None
                if entries := build.take(source, part):
                    parts.append(store.keep_state_part(entries))
    assert build.finished
    return Snapshot(header, certificate, (), tuple(parts))
