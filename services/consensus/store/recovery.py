"""Bringing the index up to the segments: after a crash from its marker, after its loss from zero.

A first pass looks at every record and judges the damage; a second takes the records in. A torn tail
is cut. Damage in what was durable is never cut: the block comes from peers, and where votes are
lost the replica does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.proof.canonical import MalformedError, Reader
from guqiao_sdk.proof.header import FinalityCertificate
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.errors import DamagedRecordError, DamagedVotesError
from services.consensus.store.index import Index, Transaction
from services.consensus.store.segment import Damage, Position, Record, RecordType, Segments

_NOWHERE: Final = Position(0, 0)


@dataclass(slots=True)
class _Survey:
    """What the first pass saw."""

    damages: list[Damage] = field(default_factory=list)
    repairs: dict[int, Position] = field(default_factory=dict)
    last_barrier: Position = _NOWHERE
    last_compaction: Position = _NOWHERE


def recover(index: Index, segments: Segments, fetched: Mapping[int, StoredBlock]) -> None:
    """Take into the index what the segments hold beyond its marker."""
    with index.begin() as transaction:
        marker = index.marker(transaction)
    survey = _survey(segments, marker)
    torn = [damage for damage in survey.damages if _is_torn(damage, survey, segments)]
    cut = torn[0].position if torn else None
    durable = [damage for damage in survey.damages if cut is None or damage.position < cut]
    _check_votes(durable, survey)
    segments.settle(cut)
    for height, block in fetched.items():
        payload = block.encode()
        survey.repairs[height] = segments.append(RecordType.REPAIRED_BLOCK, height, payload)
    segments.sync()
    _Intake(index, segments, survey).run(marker)
    _check_last(index, durable)


def _survey(segments: Segments, start: Position) -> _Survey:
    survey = _Survey()
    for item in segments.scan(start):
        if isinstance(item, Damage):
            survey.damages.append(item)
        elif item.type is RecordType.BARRIER:
            survey.last_barrier = item.position
        elif item.type is RecordType.CORE_COMPACTED:
            survey.last_compaction = item.position
        elif item.type is RecordType.REPAIRED_BLOCK:
            survey.repairs[item.height] = item.position
    return survey


def _is_torn(damage: Damage, survey: _Survey, segments: Segments) -> bool:
    """Whether nothing that was durable can have stood there."""
    return (
        damage.position.segment == segments.end.segment
        and damage.position <= segments.end
        and damage.position > survey.last_barrier
        and damage.end.segment == damage.position.segment
    )


def _check_votes(durable: list[Damage], survey: _Survey) -> None:
    harmless = {RecordType.BLOCK, RecordType.REPAIRED_BLOCK, RecordType.CERTIFICATE}
    for damage in durable:
        if damage.type in harmless or damage.type is RecordType.BARRIER:
            continue
        if damage.position > survey.last_compaction:
            raise DamagedVotesError(f"segment {damage.position.segment}, {damage.position.offset}")


def _check_last(index: Index, durable: list[Damage]) -> None:
    """A damaged block above all others leaves no gap; it is missing all the same."""
    with index.begin() as transaction:
        last = index.last_height(transaction)
    for damage in durable:
        if damage.type is RecordType.BLOCK and damage.height > (-1 if last is None else last):
            raise DamagedRecordError(damage.height, f"segment {damage.position.segment}")


class _Intake:
    """The second pass."""

    def __init__(self, index: Index, segments: Segments, survey: _Survey) -> None:
        self._index = index
        self._segments = segments
        self._repairs = survey.repairs

    def run(self, marker: Position) -> None:
        """Take in every record from `marker` on, in one transaction each."""
        for item in self._segments.scan(marker):
            if isinstance(item, Record):
                if item.type is RecordType.BLOCK:
                    self._fill_gap(item.height)
                with self._index.begin(write=True) as transaction:
                    self._take(transaction, item)
                    self._index.set_marker(transaction, item.end)
        self._fill_gap(None)

    def _take(self, transaction: Transaction, record: Record) -> None:
        match record.type:
            case RecordType.CORE:
                self._index.put_core(transaction, record.position, record.payload)
            case RecordType.CORE_COMPACTED:
                payloads = Reader(record.payload).blobs()
                self._index.compact_core(transaction, record.position, payloads)
            case RecordType.BLOCK:
                self._take_block(transaction, record)
            case RecordType.REPAIRED_BLOCK:
                if self._index.position(transaction, record.height) is not None:
                    self._index.move(transaction, record.height, record.position)
            case RecordType.CERTIFICATE:
                certificate = FinalityCertificate.decode(record.payload)
                self._index.put_certificate(transaction, record.height, certificate)
            case RecordType.BARRIER:
                pass

    def _fill_gap(self, before: int | None) -> None:
        """Take in repaired blocks up to `before`, or as far as they go."""
        while True:
            with self._index.begin(write=True) as transaction:
                last = self._index.last_height(transaction)
                height = 0 if last is None else last + 1
                if before is not None and height >= before:
                    return
                position = self._repairs.get(height)
                if position is None and before is None:
                    return
                if position is None:
                    raise DamagedRecordError(height, "it is missing from the segments")
                record = self._segments.read(position)
                if isinstance(record, Damage):
                    raise DamagedRecordError(height, "its repair is damaged too")
                self._take_block(transaction, record)

    def _take_block(self, transaction: Transaction, record: Record) -> None:
        index, height = self._index, record.height
        last = index.last_height(transaction)
        if last is not None and height <= last:
            return
        try:
            block = StoredBlock.decode(record.payload)
            block.check_roots()
        except MalformedError as error:
            raise DamagedRecordError(height, str(error)) from error
        if last is not None:
            parent = index.header(transaction, last)
            if parent is None or block.header.parent != parent.hash():
                raise DamagedRecordError(height, "its parent is another block")
        update = index.update_tree(transaction, height, block.write_set)
        if update.root != block.header.state_root:
            raise DamagedRecordError(height, "its write set leads to another state root")
        index.put_block(transaction, block, record.position, update)
