"""The LMDB index: where blocks lie, the current state, its tree, and what is looked up by id.

All of it follows from the segment files and can be built again from them. It is written without
fsync: one transaction a block, with the position up to which the segments are in it, so that after
`kill -9` it is whole and merely behind.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.canonical import Reader, Writer
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.receipt import Event, is_final
from guqiao_sdk.proof.state_proof import EMPTY, StateProof, key_hash, value_hash
from services.consensus.domain.ledger.keys import EXECUTED_PREFIX, executed_ids
from services.consensus.domain.ledger.state_parts import Prefix, StatePart, read_part
from services.consensus.domain.ledger.state_tree import (
    PageReader,
    TreeUpdate,
    apply,
    changes_of,
    prove,
)
from services.consensus.store.blocks import StoredBlock
from services.consensus.store.segment import START, Position
from services.consensus.store.tables import Tables, Transaction

PROVABLE_HEIGHTS: Final = 1_024
"""State is provable for this many certified heights back."""

TABLES: Final = (
    "meta",
    "headers",
    "positions",
    "certificates",
    "transactions",
    "objects",
    "state",
    "keys",
    "pages",
    "versions",
    "stale",
    "old_values",
    "old_keys",
    "executed",
    "core",
    "found",
)
_OF_STATE: Final = (
    "state",
    "keys",
    "pages",
    "versions",
    "stale",
    "old_values",
    "old_keys",
    "executed",
    "found",
)
"""What follows from the state alone, and what waits for a block before it."""

_PAGES_KEPT_MAX: Final = 8_192
"""Pages of the tree kept in memory, some 10 MB: the upper levels are read in every block."""


class Index:
    """The tables of one replica. One writer; any number of readers."""

    def __init__(
        self, folder: Path, salt: int = 0, on_damage: Callable[[], None] = lambda: None
    ) -> None:
        self._tables = Tables(folder, TABLES, salt, on_damage)
        self._pages_kept: dict[bytes, bytes] = {}

    def check(self) -> None:
        """Read everything once; raises `IndexDamagedError`."""
        self._tables.check()

    def sync(self) -> None:
        """Make what was written durable."""
        self._tables.sync()

    def close(self) -> None:
        """Close the files."""
        self._tables.close()

    @property
    def bytes_used(self) -> int:
        """How long its file is."""
        return self._tables.bytes_used

    def begin(self, *, write: bool = False) -> AbstractContextManager[Transaction]:
        """Begin a transaction; use it in a `with` statement."""
        return self._tables.begin(write=write)

    def snapshot(self) -> Transaction:
        """A reading transaction that lasts until it is aborted."""
        return self._tables.snapshot()

    # --- Reading -----------------------------------------------------------------------------

    def get(self, transaction: Transaction, table: str, key: bytes) -> bytes | None:
        """Return the value of `key` in `table`, or None; an empty key is nowhere."""
        return self._tables.get(transaction, table, key)

    def marker(self, transaction: Transaction) -> Position:
        """Return the position up to which the segments are in the index."""
        value = self.get(transaction, "meta", b"marker")
        return START if value is None else Position.from_bytes(value)

    def last_height(self, transaction: Transaction) -> int | None:
        """Return the last block's height, None before genesis is in."""
        return self._number(transaction, b"last_height")

    def last_certified(self, transaction: Transaction) -> int:
        """Return the greatest height below and at which every block is certified; 0 is genesis."""
        return self._number(transaction, b"last_certified") or 0

    def known_certified(self, transaction: Transaction) -> int:
        """Return the greatest height whose certificate is here, with or without its block."""
        return self._number(transaction, b"known_certified") or 0

    def adopted_height(self, transaction: Transaction) -> int:
        """Return the last height whose state came from others, without the blocks before it."""
        return self._number(transaction, b"adopted") or 0

    def restarted(self, transaction: Transaction) -> int:
        """Return the epoch of the last restart that the index was made with; 0: none."""
        return self._number(transaction, b"restarted") or 0

    def compacted(self, transaction: Transaction) -> Position:
        """Return where the core's records were last compacted: earlier ones are void."""
        value = self.get(transaction, "meta", b"compacted")
        return START if value is None else Position.from_bytes(value)

    def header(self, transaction: Transaction, height: int) -> BlockHeader | None:
        """Return the header of `height`, or None."""
        value = self.get(transaction, "headers", _u64(height))
        return None if value is None else BlockHeader.decode(value)

    def certificate(self, transaction: Transaction, height: int) -> FinalityCertificate | None:
        """Return the certificate of `height`, or None."""
        value = self.get(transaction, "certificates", _u64(height))
        return None if value is None else FinalityCertificate.decode(value)

    def position(self, transaction: Transaction, height: int) -> Position | None:
        """Return where the block of `height` lies, or None."""
        value = self.get(transaction, "positions", _u64(height))
        return None if value is None else Position.from_bytes(value)

    def place(self, transaction: Transaction, table: str, key: bytes) -> tuple[int, int] | None:
        """Return (height, index in the block) from `transactions` or `objects`, or None."""
        value = self.get(transaction, table, key)
        if value is None:
            return None
        return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:12], "big")

    def core_records(self, transaction: Transaction) -> Iterator[bytes]:
        """Yield the core's records since the last compaction, in the order written."""
        return (value for _, value in self._tables.scan(transaction, "core"))

    def core_bytes(self, transaction: Transaction) -> int:
        """Return the bytes of `core_records`, in whole pages."""
        return self._tables.table_bytes(transaction, "core")

    def scan_state(self, transaction: Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the current state's entries under `prefix`, by bytes of the key."""
        for key, value in self._tables.scan(transaction, "state", prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def version(self, transaction: Transaction, height: int) -> tuple[int | None, bytes] | None:
        """Return (tree version, state root) of `height`, or None when it is no longer kept."""
        value = self.get(transaction, "versions", _u64(height))
        if value is None:
            return None
        root = value[8:]
        return (None if root == EMPTY else int.from_bytes(value[:8], "big")), root

    def prove(
        self, transaction: Transaction, height: int, key: bytes
    ) -> tuple[bytes | None, StateProof] | None:
        """Return the value at `key` after block `height` and its proof; None when pruned."""
        version = self.version(transaction, height)
        if version is None:
            return None
        proof = prove(self._page_reader(transaction), version[0], key)
        if proof.terminal is None or proof.terminal[0] != key_hash(key):
            return None, proof
        value = self._value_at(transaction, height, key)
        if value is None or value_hash(value) != proof.terminal[1]:
            raise self._tables.damage("the state differs from its tree")
        return value, proof

    def part(
        self, transaction: Transaction, height: int, prefix: Prefix, bytes_max: int
    ) -> StatePart | None:
        """Return the part of the state after block `height` under `prefix`; None when pruned."""
        version = self.version(transaction, height)
        if version is None:
            return None

        def entry_of(place: bytes) -> tuple[bytes, bytes]:
            key = self.get(transaction, "keys", place)
            value = None if key is None else self._value_at(transaction, height, key)
            if key is None or value is None:
                raise self._tables.damage("the state differs from its tree")
            return key, value

        read = self._page_reader(transaction)
        return read_part(read, version[0], prefix, entry_of, bytes_max=bytes_max)

    # --- Writing -----------------------------------------------------------------------------

    def update_tree(
        self, transaction: Transaction, height: int, writes: Mapping[bytes, bytes | None]
    ) -> TreeUpdate:
        """Compute the tree that the write set of block `height` makes, without keeping it."""
        before = self.version(transaction, height - 1) if height else (None, EMPTY)
        assert before is not None, "the tree of the last height is always kept"
        return apply(self._page_reader(transaction), before[0], changes_of(writes), height)

    def put_block(
        self, transaction: Transaction, block: StoredBlock, position: Position, update: TreeUpdate
    ) -> None:
        """Take a block in: its place, ids, write set and tree."""
        height = block.header.height
        key = _u64(height)
        self._put(transaction, "headers", key, block.header.encode())
        self._put(transaction, "positions", key, position.to_bytes())
        self._put(transaction, "meta", b"last_height", key)
        self.drop_found(transaction, height)
        self._put_places(transaction, block)
        self._put_state(transaction, block)
        pages = [(name, update.pages[name]) for name in sorted(update.pages)]
        self._tables.append(transaction, "pages", pages)
        self._keep_pages(update)
        version = _u64(update.version or 0) + update.root
        self._put(transaction, "versions", key, version)
        if update.stale:
            self._put(transaction, "stale", key, bytes(Writer().blobs(update.stale)))
        self._advance(transaction)

    def adopt(
        self,
        transaction: Transaction,
        header: BlockHeader,
        parts: Iterable[Sequence[tuple[bytes, bytes]]],
    ) -> bytes:
        """Hold the state of `parts`, that after `header`, instead of the present one, with nothing
        of its past. Returns its root, which the caller compares; `put_head` follows.

        One part at a time is in memory: a state may be larger than it.
        """
        certified = self.last_certified(transaction)
        for void in range(certified + 1, (self.last_height(transaction) or 0) + 1):
            # Executed here, and never certified here: the chain may have gone on without it.
            self._tables.delete(transaction, "headers", _u64(void))
            self._tables.delete(transaction, "positions", _u64(void))
        for table in _OF_STATE:
            self._tables.clear(transaction, table)
        self._pages_kept.clear()
        height, update = _u64(header.height), TreeUpdate(EMPTY, None)
        for part in parts:
            update = apply(
                self._page_reader(transaction),
                update.version,
                changes_of(dict(part)),
                header.height,
            )
            for name, page in update.pages.items():
                self._put(transaction, "pages", name, page)
            for key, value in part:
                self._put(transaction, "state", key, value)
                self._put(transaction, "keys", key_hash(key), key)
                if key.startswith(EXECUTED_PREFIX):
                    self._put_executed(transaction, height, None, value)
        self._put(transaction, "versions", height, _u64(update.version or 0) + update.root)
        self._put(transaction, "meta", b"last_height", height)
        self._put(transaction, "meta", b"last_certified", height)
        self._put(transaction, "meta", b"adopted", height)
        return update.root

    def put_head(
        self, transaction: Transaction, header: BlockHeader, certificate: FinalityCertificate
    ) -> None:
        """Keep a certified header whose block is not here."""
        self._put(transaction, "headers", _u64(header.height), header.encode())
        self.put_certificate(transaction, header.height, certificate)

    def put_certificate(
        self, transaction: Transaction, height: int, certificate: FinalityCertificate
    ) -> None:
        """Keep a certificate; its block may still be missing."""
        self._put(transaction, "certificates", _u64(height), certificate.encode())
        if height > (self._number(transaction, b"known_certified") or 0):
            self._put(transaction, "meta", b"known_certified", _u64(height))
        self._advance(transaction)

    def _advance(self, transaction: Transaction) -> None:
        """Move the certified head as far as blocks and certificates go; prune behind it what is no
        longer provable.
        """
        certified = self.last_certified(transaction)
        last = self.last_height(transaction) or 0
        head = certified
        while head < last and self.get(transaction, "certificates", _u64(head + 1)) is not None:
            head += 1
        if head > certified:
            self._put(transaction, "meta", b"last_certified", _u64(head))
            for oldest in range(certified + 1, head + 1):
                self._prune(transaction, oldest - PROVABLE_HEIGHTS + 1)

    def put_found(self, transaction: Transaction, height: int, position: Position) -> None:
        """Note a block that stands in the segments while one before it is missing."""
        self._put(transaction, "found", _u64(height), position.to_bytes())

    def drop_found(self, transaction: Transaction, height: int) -> None:
        """It is taken in, or is of no use."""
        self._tables.delete(transaction, "found", _u64(height))

    def found(self, transaction: Transaction, height: int) -> tuple[int, Position] | None:
        """Return the first block that was found at or above `height`, and its place."""
        for key, value in self._tables.scan(transaction, "found", _u64(height)):
            return int.from_bytes(key, "big"), Position.from_bytes(value)
        return None

    def put_core(self, transaction: Transaction, position: Position, payload: bytes) -> None:
        """Keep one record of the core."""
        self._put(transaction, "core", position.to_bytes(), payload)

    def clear_core(self, transaction: Transaction) -> None:
        """Forget the core's records: a compaction stands for them."""
        self._tables.clear(transaction, "core")

    def set_compacted(self, transaction: Transaction, position: Position) -> None:
        """Say where the last compaction begins."""
        self._put(transaction, "meta", b"compacted", position.to_bytes())

    def put_compacted(
        self, transaction: Transaction, position: Position, payloads: Sequence[bytes]
    ) -> None:
        """Keep the records that stand in one record of a compaction, at `position`."""
        for number, payload in enumerate(payloads):
            key = position.to_bytes() + number.to_bytes(4, "big")
            self._put(transaction, "core", key, payload)

    def move(self, transaction: Transaction, height: int, position: Position) -> None:
        """Let a block that is in the index be read from elsewhere."""
        self._put(transaction, "positions", _u64(height), position.to_bytes())

    def set_restarted(self, transaction: Transaction, epoch: int) -> None:
        """Say with which restart the index was made."""
        if epoch != self.restarted(transaction):
            self._put(transaction, "meta", b"restarted", _u64(epoch))

    def set_marker(self, transaction: Transaction, position: Position) -> None:
        """Say up to where the segments are in the index."""
        self._put(transaction, "meta", b"marker", position.to_bytes())

    def _put(self, transaction: Transaction, table: str, key: bytes, value: bytes) -> None:
        self._tables.put(transaction, table, key, value)

    def _number(self, transaction: Transaction, name: bytes) -> int | None:
        value = self.get(transaction, "meta", name)
        return None if value is None else int.from_bytes(value, "big")

    def _keep_pages(self, update: TreeUpdate) -> None:
        """Remember what the next block is going to read. A key never stands for other content; if
        this transaction fails to commit, the process ends.
        """
        kept = self._pages_kept
        for stale in update.stale:
            kept.pop(stale, None)
        kept.update(update.pages)
        for key in list(itertools.islice(kept, max(len(kept) - _PAGES_KEPT_MAX, 0))):
            del kept[key]

    def _page_reader(self, transaction: Transaction) -> PageReader:
        kept = self._pages_kept

        def read(key: bytes) -> bytes:
            known = kept.get(key)
            if known is not None:
                return known
            page = self._tables.get(transaction, "pages", key)
            if page is None:
                raise self._tables.damage("a page that the tree refers to is missing")
            return page

        return read

    def _put_places(self, transaction: Transaction, block: StoredBlock) -> None:
        height = _u64(block.header.height)
        for number, receipt in enumerate(block.read_receipts()):
            place = height + number.to_bytes(4, "big")
            transaction_id = receipt.transaction_id
            if is_final(receipt) or not self._is_final(transaction, transaction_id):
                final = place + bytes([is_final(receipt)])
                self._put(transaction, "transactions", transaction_id, final)
            for event in receipt.events:
                object_id = _object_id(event)
                if object_id is not None:
                    self._put(transaction, "objects", object_id, place)

    def _is_final(self, transaction: Transaction, transaction_id: bytes) -> bool:
        known = self.get(transaction, "transactions", transaction_id)
        return known is not None and known[-1] == 1

    def _put_state(self, transaction: Transaction, block: StoredBlock) -> None:
        height, changed = _u64(block.header.height), list[bytes]()
        for key, value in block.write_set.items():
            old = self.get(transaction, "state", key)
            if key.startswith(EXECUTED_PREFIX):
                self._put_executed(transaction, height, old, value)
            if old is None and value is not None:
                self._put(transaction, "keys", key_hash(key), key)
            if old is not None:
                old_key = _old_key(key) + height
                self._put(transaction, "old_values", old_key, old)
                changed.append(old_key)
            if value is None:
                self._tables.delete(transaction, "state", key)
            else:
                self._put(transaction, "state", key, value)
        if changed:
            self._put(transaction, "old_keys", height, bytes(Writer().blobs(changed)))

    def _put_executed(
        self, transaction: Transaction, height: bytes, old: bytes | None, new: bytes | None
    ) -> None:
        for transaction_id in executed_ids(old or b""):
            self._tables.delete(transaction, "executed", transaction_id)
        for transaction_id in executed_ids(new or b""):
            self._put(transaction, "executed", transaction_id, height)

    def _value_at(self, transaction: Transaction, height: int, key: bytes) -> bytes | None:
        prefix = _old_key(key)
        following = self._tables.scan(transaction, "old_values", prefix + _u64(height + 1))
        key_after, value_after = next(following, (b"", b""))
        if key_after.startswith(prefix):
            return value_after
        return self.get(transaction, "state", key)

    def _prune(self, transaction: Transaction, oldest: int) -> None:
        """Drop what only heights below `oldest` need: what block `oldest` replaced."""
        if oldest < 1:
            return
        key = _u64(oldest)
        stale = self.get(transaction, "stale", key)
        if stale is not None:
            for page in Reader(stale).blobs():
                self._tables.delete(transaction, "pages", page)
            self._tables.delete(transaction, "stale", key)
        replaced = self.get(transaction, "old_keys", key)
        if replaced is not None:
            for old_key in Reader(replaced).blobs():
                self._tables.delete(transaction, "old_values", old_key)
                self._drop_key(transaction, old_key)
            self._tables.delete(transaction, "old_keys", key)
        self._tables.delete(transaction, "versions", _u64(oldest - 1))

    def _drop_key(self, transaction: Transaction, old_key: bytes) -> None:
        """Forget a key whose last value was just dropped: no height that is kept has it."""
        prefix = old_key[:-8]
        later = next(self._tables.scan(transaction, "old_values", prefix), (b"", b""))[0]
        key = prefix[2:]
        if not later.startswith(prefix) and self.get(transaction, "state", key) is None:
            self._tables.delete(transaction, "keys", key_hash(key))


def _object_id(event: Event) -> bytes | None:
    """The id of the data object that a packet carries, if it carries one."""
    if event.topic != "packet.sent":
        return None
    match json.loads(event.body):
        case {"payload": {"header": {"content": {"object_id": str(object_id)}}}}:
            encoded = object_id.encode()
            return encoded if 0 < len(encoded) <= 511 else None
    return None


def _old_key(key: bytes) -> bytes:
    """With its length first, so that the heights of one key stand together."""
    return len(key).to_bytes(2, "big") + key


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")
