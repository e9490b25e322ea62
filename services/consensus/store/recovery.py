"""Bringing the index up to the segments: after a crash from its marker, after its loss from zero.

A first pass looks at every record and judges the damage; a second takes the records in. A torn tail
is cut. Damage in what was durable is never cut: where a block is missing, those behind it are noted
as found and wait for it; where votes are lost, the promise says so before anything else happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError, Reader
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from services.consensus.domain.ledger.genesis import Genesis, genesis_header, genesis_state
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.core_log import began_at, take_compaction
from services.consensus.store.errors import DamagedRecordError, StateDivergenceError
from services.consensus.store.folder import LastSession
from services.consensus.store.index import Index
from services.consensus.store.promise import Promises
from services.consensus.store.restarts import Restarts
from services.consensus.store.segment import START, Damage, Position, Record, Segments
from services.consensus.store.state_intake import Snapshot, adopt
from services.consensus.store.tables import Transaction

_NOWHERE: Final = Position(0, 0)
_NO_VOTES: Final = {
    RecordType.BARRIER,
    RecordType.BLOCK,
    RecordType.REPAIRED_BLOCK,
    RecordType.CERTIFICATE,
    RecordType.STATE_PART,
    RecordType.SNAPSHOT,
}


@dataclass(frozen=True, slots=True)
class FoundBlock:
    """A block that stands in the segments and could not be taken in while an earlier one missed.
    One that was repaired has no write set and must be executed again.
    """

    record: Record
    block: StoredBlock

    @property
    def must_execute(self) -> bool:
        """Whether its write set is missing."""
        return self.record.type is RecordType.REPAIRED_BLOCK


@dataclass(slots=True)
class _Survey:
    """What the first pass saw."""

    damages: list[Damage] = field(default_factory=list)
    last_barrier: Position = _NOWHERE
    last_compaction: Position = _NOWHERE
    has_genesis: bool = False


def recover(
    index: Index,
    segments: Segments,
    promises: Promises,
    genesis: Genesis,
    last: LastSession,
    restarts: Restarts,
) -> list[Damage]:
    """Take into the index what the segments hold beyond its marker; return the damage that stays.
    What a restart makes void is passed over.

    Where the machine did not go down, a torn tail is a record cut short and nothing else.
    """
    with index.begin() as transaction:
        marker = index.marker(transaction)
        is_empty = index.last_height(transaction) is None
        survey = _survey(segments, marker)
        survey.last_compaction = max(survey.last_compaction, index.compacted(transaction))
    torn = [damage for damage in survey.damages if _is_torn(damage, survey, segments, last)]
    cut = torn[0].position if torn else None
    durable = [damage for damage in survey.damages if cut is None or damage.position < cut]
    reached = max(marker, promises.made.reached, last.reached)
    is_short = reached > (segments.end if cut is None else cut)
    is_new = is_empty and segments.end == START
    lost = is_new or is_short or _votes_are_lost(durable, survey)
    promises.settle(votes_lost=lost)
    is_last = any(damage.position.segment == segments.end.segment for damage in durable)
    segments.settle(cut, beyond=reached.segment if is_short or is_last else None)
    if is_empty and not survey.has_genesis:
        _put_genesis(index, segments, genesis)
    _Intake(index, segments, restarts).run(marker)
    return durable


def _survey(segments: Segments, start: Position) -> _Survey:
    survey = _Survey()
    for item in segments.scan(start):
        if isinstance(item, Damage):
            survey.damages.append(item)
        elif item.type is RecordType.BARRIER:
            survey.last_barrier = item.position
        elif item.type is RecordType.CORE_COMPACTED:
            survey.last_compaction = began_at(item)
        elif item.type is RecordType.BLOCK and item.height == 0:
            survey.has_genesis = True
    return survey


def _is_torn(damage: Damage, survey: _Survey, segments: Segments, last: LastSession) -> bool:
    """Whether nothing that was durable can have stood there."""
    return (
        damage.position.segment == segments.end.segment
        and damage.position <= segments.end
        and damage.position > survey.last_barrier
        and damage.end.segment == damage.position.segment
        and (damage.cut_short or not last.same_boot)
    )


def _votes_are_lost(durable: list[Damage], survey: _Survey) -> bool:
    return any(
        damage.type not in _NO_VOTES and damage.end > survey.last_compaction for damage in durable
    )


def _put_genesis(index: Index, segments: Segments, genesis: Genesis) -> None:
    header, state = genesis_header(genesis), genesis_state(genesis)
    block = StoredBlock(header, Batch(genesis.genesis_time_ms, ()), (), state)
    with index.begin(write=True) as transaction:
        update = index.update_tree(transaction, 0, state)
        assert update.root == header.state_root
        position = segments.append(RecordType.BLOCK, 0, block.encode())
        segments.sync()
        index.put_block(transaction, block, position, update)


class _Intake:
    """The second pass."""

    def __init__(self, index: Index, segments: Segments, restarts: Restarts) -> None:
        self._index = index
        self._segments = segments
        self._restarts = restarts

    def run(self, marker: Position) -> None:
        """Take in every record from `marker` on, in one transaction each."""
        for item in self._segments.scan(marker):
            if isinstance(item, Record):
                self._take_durably(item)
        with self._index.begin(write=True) as transaction:
            self._drop_uncertified(transaction)
            self._index.set_restarted(transaction, self._restarts.last_epoch)
            self._index.set_marker(transaction, self._segments.end)

    def _take_durably(self, record: Record) -> None:
        if record.type is RecordType.CORE_PART:
            return  # The marker stays before the parts until what names them is in.
        try:
            with self._index.begin(write=True) as transaction:
                self._take(transaction, record)
                self._index.set_marker(transaction, record.end)
        except DamagedRecordError:
            pass  # A block that does not hold is missing, like one that cannot be read.

    def _take(self, transaction: Transaction, record: Record) -> None:
        match record.type:
            case RecordType.CORE:
                self._index.put_core(transaction, record.position, record.payload)
            case RecordType.CORE_COMPACTED:
                take_compaction(self._index, self._segments, transaction, record)
            case RecordType.BLOCK:
                self._take_block(transaction, record)
            case RecordType.REPAIRED_BLOCK:
                self._take_repaired(transaction, record)
            case RecordType.CERTIFICATE:
                certificate = FinalityCertificate.decode(record.payload)
                self._index.put_certificate(transaction, record.height, certificate)
            case RecordType.SNAPSHOT:
                self._take_snapshot(transaction, record)
            case RecordType.BARRIER | RecordType.STATE_PART | RecordType.CORE_PART:
                pass

    def _take_repaired(self, transaction: Transaction, record: Record) -> None:
        if self._index.position(transaction, record.height) is not None:
            self._index.move(transaction, record.height, record.position)
        else:
            self._index.put_found(transaction, record.height, record.position)

    def _take_snapshot(self, transaction: Transaction, record: Record) -> None:
        """One whose parts do not give its root is missing, like a block that does not hold."""
        last = self._index.last_height(transaction)
        if last is None or record.height <= last:
            return
        try:
            snapshot = Snapshot.decode(record.payload)
            adopt(self._index, self._segments, transaction, snapshot)
        except (MalformedError, StateDivergenceError) as error:
            raise DamagedRecordError(record.height, str(error)) from error

    def _take_block(self, transaction: Transaction, record: Record) -> None:
        """Blocks behind a missing one wait until that one is restored."""
        if self._restarts.known and self._restarts.makes_void(_header_of(record)):
            return
        last = self._index.last_height(transaction)
        due = 0 if last is None else last + 1
        if record.height > due:
            self._index.put_found(transaction, record.height, record.position)
        elif record.height == due:
            take_block(self._index, transaction, record)

    def _drop_uncertified(self, transaction: Transaction) -> None:
        """What nobody certified is not waited for: the votes bring it back."""
        above = self._index.known_certified(transaction) + 1
        while (found := self._index.found(transaction, above)) is not None:
            self._index.drop_found(transaction, found[0])


def _header_of(record: Record) -> BlockHeader:
    try:
        return BlockHeader.decode(Reader(record.payload).blob())
    except MalformedError as error:
        raise DamagedRecordError(record.height, str(error)) from error


def take_block(index: Index, transaction: Transaction, record: Record) -> None:
    """Take the next block into the index; raises `DamagedRecordError` where it does not hold."""
    height = record.height
    try:
        block = StoredBlock.decode(record.payload)
        block.check_roots()
    except MalformedError as error:
        raise DamagedRecordError(height, str(error)) from error
    parent = index.header(transaction, height - 1) if height else None
    if height and (parent is None or block.header.parent != parent.hash()):
        raise DamagedRecordError(height, "its parent is another block")
    update = index.update_tree(transaction, height, block.write_set)
    if update.root != block.header.state_root:
        raise DamagedRecordError(height, "its write set leads to another state root")
    index.put_block(transaction, block, record.position, update)
