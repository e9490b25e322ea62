"""The core's records are written anew after so many heights or so many bytes, and read back one at
a time: a start holds what is not certified, however much the log holds.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guqiao_sdk.proof.batch import Batch
from services.consensus.compaction import COMPACT_BYTES, COMPACT_EVERY, Compaction
from services.consensus.domain.codec import decode_log_record, encode_log_record
from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import (
    LogRecord,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.epochs import Epochs
from tests.simulation.keys import replica_set
from tests.unit.consensus.protocol import GENESIS, PARAMETERS, START_MS, signer

MEBIBYTE = 1024 * 1024


class Ledger:
    """Keeps what it is told to compact."""

    def __init__(self) -> None:
        self.log = SimpleNamespace(appended_bytes=0, kept_bytes=0)
        self.store = SimpleNamespace(core_log=self.log)
        self.compacted: list[list[LogRecord]] = []

    def view_floor(self, epoch: int) -> View:
        return View(0)

    async def compact(self, records: list[LogRecord]) -> None:
        self.compacted.append(records)


def core_at(height: int) -> Core:
    record = signer(0).commit(View(0), SequenceNumber(height + 1), GENESIS.header_hash)
    found = SimpleNamespace(low_watermark=height, epoch=0, records=lambda: [record])
    return cast(Core, found)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def compaction(ledger: Ledger) -> Compaction:
    found = Compaction(cast(Any, ledger))
    found.start(core_at(7))
    return found


async def test_it_is_due_after_so_many_heights(compaction: Compaction, ledger: Ledger) -> None:
    assert not compaction.is_due(core_at(7 + COMPACT_EVERY - 1))
    late = core_at(7 + COMPACT_EVERY)
    assert compaction.is_due(late)
    await compaction.write(late)
    assert [len(each) for each in ledger.compacted] == [2], "the mark of the epoch, and the vote"
    assert not compaction.is_due(late)


@pytest.mark.req("G2-13-2")
def test_it_is_due_after_so_many_bytes_at_any_height(
    compaction: Compaction, ledger: Ledger
) -> None:
    ledger.log.appended_bytes = COMPACT_BYTES - 1
    assert not compaction.is_due(core_at(8))
    ledger.log.appended_bytes = COMPACT_BYTES
    assert compaction.is_due(core_at(8))


@pytest.mark.req("G2-13-2")
def test_where_much_is_kept_as_much_again_must_have_come(
    compaction: Compaction, ledger: Ledger
) -> None:
    ledger.log.appended_bytes, ledger.log.kept_bytes = 2 * COMPACT_BYTES, 3 * COMPACT_BYTES
    assert not compaction.is_due(core_at(8))
    ledger.log.appended_bytes = 3 * COMPACT_BYTES
    assert compaction.is_due(core_at(8))


async def test_it_is_due_when_it_is_asked_for_once(compaction: Compaction) -> None:
    compaction.ask()
    assert compaction.is_due(core_at(7))
    await compaction.write(core_at(7))
    assert not compaction.is_due(core_at(7))


def epochs_over(certified: int, log: Iterator[bytes]) -> Epochs:
    memory = SimpleNamespace(
        genesis=SimpleNamespace(epoch=0),
        must_restore=False,
        head=lambda: replace(GENESIS, sequence=SequenceNumber(certified)),
        records=lambda: map(decode_log_record, log),
        set_at=lambda _: replica_set(4),
    )
    return Epochs(ReplicaId(0), cast(Any, memory), {}, PARAMETERS, lambda: START_MS)


def proposals(count: int) -> Iterator[bytes]:
    for sequence in range(1, count + 1):
        batch = Batch(START_MS + sequence, (bytes(MEBIBYTE),))
        digest = GENESIS.header_hash
        yield encode_log_record(
            PrePrepare(View(0), SequenceNumber(sequence), batch, digest, bytes(64))
        )


@pytest.mark.req("G2-07-1", "G2-13-2")
def test_a_start_holds_the_batches_that_are_not_certified_and_no_others() -> None:
    epochs = epochs_over(60, proposals(62))
    tracemalloc.start()
    try:
        records = epochs.records()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [each.sequence for each in records if isinstance(each, PrePrepare)] == [61, 62]
    assert peak < 12 * MEBIBYTE, "of 62 batches of a MiB each"


def test_a_view_that_was_left_is_remembered_whatever_is_certified() -> None:
    left = signer(0).view_change(View(1), SequenceNumber(0), None, ())
    epochs = epochs_over(60, iter([encode_log_record(left)]))
    assert epochs.records() == [left]
