"""LMDB tables that notice their own damage: each value carries a checksum, each table a sum.

A checksum covers table, key and value, so neither altered nor misplaced bytes are ever returned;
the sum over a table's checksums shows entries that went missing. `check` reads everything once,
when the folder is opened. What does not add up is `IndexDamagedError`: the index is built again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import lmdb

from guqiao_sdk.files import make_folder
from services.consensus.store.errors import IndexDamagedError, IndexFullError

MAP_BYTES_MIN: Final = 64 * 1024 * 1024 * 1024
MAP_BYTES_OF_DISK_MAX: Final = 8 * 1024 * 1024 * 1024 * 1024
"""Of addresses alone no process has more than 128 TiB, and some open several folders."""

_READERS_MAX: Final = 256
_SUMS: Final = b"sums"
_CHECKSUM_BYTES: Final = 4
_ENTRY: Final = 1 << 32
"""Each entry adds this and its checksum to its table's sum."""
_SUM_MASK: Final = (1 << 64) - 1

Transaction: TypeAlias = lmdb.Transaction


class Tables:
    """Named tables in one environment. One writer; any number of readers."""

    def __init__(
        self, folder: Path, names: Sequence[str], salt: int, on_damage: Callable[[], None]
    ) -> None:
        make_folder(folder)
        # Only this process has the folder: what a fallen one left of the lock is of no use.
        (folder / "lock.mdb").unlink(missing_ok=True)
        self._bytes_max = map_bytes(folder)
        self._environment = lmdb.open(
            str(folder),
            map_size=self._bytes_max,
            max_dbs=len(names) + 1,
            max_readers=_READERS_MAX,
            sync=False,
            metasync=False,
        )
        self._on_damage = on_damage
        try:
            handles = {name: self._environment.open_db(name.encode()) for name in names}
            self._sums_table = self._environment.open_db(_SUMS)
        except lmdb.Error:
            self._environment.close()
            raise
        seeds = (zlib.crc32(name.encode(), salt) for name in names)
        self._tables = dict(zip(names, zip(handles.values(), seeds, strict=True), strict=True))
        self._sums: dict[str, int] = dict.fromkeys(names, 0)

    @property
    def bytes_used(self) -> int:
        """How much of the map is used; pages that became free count, for the file keeps them."""
        pages = self._environment.info()["last_pgno"] + 1
        return int(pages * self._environment.stat()["psize"])

    def table_bytes(self, transaction: Transaction, table: str) -> int:
        """The pages that the entries of a table fill."""
        figures = transaction.stat(self._tables[table][0])
        pages = figures["branch_pages"] + figures["leaf_pages"] + figures["overflow_pages"]
        return int(pages * figures["psize"])

    def sync(self) -> None:
        """Make what was written durable."""
        self._environment.sync(True)

    def close(self) -> None:
        """Close the files."""
        self._environment.close()

    @contextmanager
    def begin(self, *, write: bool = False) -> Iterator[Transaction]:
        """A transaction; a writing one is kept when the block ends without an error, and raises
        `IndexFullError` where the map has no room for it.
        """
        try:
            with self._environment.begin(write=write) as transaction:
                if write:
                    self._sums = self._read_sums(transaction)
                yield transaction
                if write:
                    sums = b"".join(total.to_bytes(8, "big") for total in self._sums.values())
                    transaction.put(_SUMS, sums, db=self._sums_table)
        except lmdb.MapFullError as error:
            raise IndexFullError(self._bytes_max) from error

    def snapshot(self) -> Transaction:
        """A reading transaction that lasts until it is aborted."""
        return self._environment.begin()

    def get(self, transaction: Transaction, table: str, key: bytes) -> bytes | None:
        """Return the value of `key` in `table`, or None; an empty key is nowhere."""
        if not key:
            return None
        handle, seed = self._tables[table]
        try:
            stored = transaction.get(key, db=handle)
        except lmdb.Error as error:
            raise self.damage(f"{table}: {error}") from error
        return None if stored is None else self._open(table, key, bytes(stored), seed)

    def scan(
        self, transaction: Transaction, table: str, start: bytes = b""
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries from `start` on, by bytes of the key."""
        handle, seed = self._tables[table]
        try:
            cursor = transaction.cursor(db=handle)
            if not (cursor.set_range(start) if start else cursor.first()):
                return
            for key, stored in cursor:
                yield bytes(key), self._open(table, bytes(key), bytes(stored), seed)
        except lmdb.Error as error:
            raise self.damage(f"{table}: {error}") from error

    def put(self, transaction: Transaction, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        handle, seed = self._tables[table]
        checksum = zlib.crc32(value, zlib.crc32(key, seed))
        stored = value + checksum.to_bytes(_CHECKSUM_BYTES, "big")
        with transaction.cursor(db=handle) as cursor:
            old = cursor.replace(key, stored)
        self._add(table, checksum, None if old is None else bytes(old))

    def append(
        self, transaction: Transaction, table: str, entries: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Put entries whose keys ascend and lie above all that are in the table."""
        handle, seed = self._tables[table]
        stored = []
        for key, value in entries:
            checksum = zlib.crc32(value, zlib.crc32(key, seed))
            stored.append((key, value + checksum.to_bytes(_CHECKSUM_BYTES, "big")))
            self._add(table, checksum, None)
        with transaction.cursor(db=handle) as cursor:
            cursor.putmulti(stored, append=True)

    def delete(self, transaction: Transaction, table: str, key: bytes) -> None:
        """Remove `key`, if it is there."""
        handle, _ = self._tables[table]
        with transaction.cursor(db=handle) as cursor:
            old = cursor.pop(key)
        if old is not None:
            removed = _ENTRY + int.from_bytes(old[-_CHECKSUM_BYTES:], "big")
            self._sums[table] = (self._sums[table] - removed) & _SUM_MASK

    def clear(self, transaction: Transaction, table: str) -> None:
        """Remove everything from `table`."""
        transaction.drop(self._tables[table][0], delete=False)
        self._sums[table] = 0

    def check(self) -> None:
        """Read everything; raises `IndexDamagedError` where something is altered or missing."""
        with self.begin() as transaction:
            expected = self._read_sums(transaction)
            for table in self._tables:
                found = self._sum(transaction, table, expected[table])
                if found != expected[table]:
                    raise self.damage(f"{table}: entries are missing")

    def damage(self, what: str) -> IndexDamagedError:
        """Note that the index is damaged; to be raised."""
        self._on_damage()
        return IndexDamagedError(what)

    def _sum(self, transaction: Transaction, table: str, expected: int) -> int:
        handle, seed = self._tables[table]
        total, room = 0, expected // _ENTRY + 1
        try:
            for key, stored in transaction.cursor(db=handle):
                value, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
                number = zlib.crc32(value, zlib.crc32(key, seed))
                room -= 1
                if number != int.from_bytes(checksum, "big") or room < 0:
                    raise self.damage(f"{table}: an altered entry")
                total += _ENTRY + number
        except lmdb.Error as error:
            raise self.damage(f"{table}: {error}") from error
        return total & _SUM_MASK

    def _open(self, table: str, key: bytes, stored: bytes, seed: int) -> bytes:
        value, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
        if zlib.crc32(value, zlib.crc32(key, seed)) != int.from_bytes(checksum, "big"):
            raise self.damage(f"{table}: an altered entry")
        return value

    def _add(self, table: str, checksum: int, old: bytes | None) -> None:
        change = _ENTRY + checksum
        if old is not None:
            change -= _ENTRY + int.from_bytes(old[-_CHECKSUM_BYTES:], "big")
        self._sums[table] = (self._sums[table] + change) & _SUM_MASK

    def _read_sums(self, transaction: Transaction) -> dict[str, int]:
        stored = transaction.get(_SUMS, db=self._sums_table)
        if stored is None:
            return dict.fromkeys(self._tables, 0)
        if len(stored) != 8 * len(self._tables):
            raise self.damage("its sums are altered")
        numbers = (int.from_bytes(stored[at : at + 8], "big") for at in range(0, len(stored), 8))
        return dict(zip(self._tables, numbers, strict=True))


def map_bytes(folder: Path) -> int:
    """How far the index in this folder may grow until it is opened again: as far as its disk, so
    that the disk is full before; on one that is larger than addresses should be spent on, twice as
    far as it has come. Addresses only: the file grows as it is filled.
    """
    figures = os.statvfs(folder)
    of_disk = min(figures.f_blocks * figures.f_frsize, MAP_BYTES_OF_DISK_MAX)
    file = folder / "data.mdb"
    come = file.stat().st_size if file.exists() else 0
    return _whole_steps(max(of_disk, 2 * come, 1))


def _whole_steps(size: int) -> int:
    return -(-size // MAP_BYTES_MIN) * MAP_BYTES_MIN
