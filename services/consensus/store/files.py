"""The file operations of a replica's store, as values: a test gives others that fail.

Whatever the segments, the promise and the small files of the folder write goes through here. The
index writes by itself (LMDB), and can be built again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.consensus.store.errors import FatalStorageError, raise_if_full


@dataclass(frozen=True, slots=True)
class FileOperations:
    """What the store asks of the operating system; each may raise `OSError`."""

    open: Callable[[Path, int, int], int] = os.open
    write: Callable[[int, bytes], int] = os.write
    fsync: Callable[[int], None] = os.fsync
    truncate: Callable[[int, int], None] = os.ftruncate
    rename: Callable[[Path, Path], None] = os.replace

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`, however little goes at once."""
        written = self.write(descriptor, data)
        while written < len(data):
            written += self.write(descriptor, data[written:])

    def sync_folder(self, folder: Path) -> None:
        """Make the folder's entries durable."""
        descriptor = self.open(folder, os.O_RDONLY | os.O_DIRECTORY, 0)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace_durably(self, path: Path, data: bytes) -> None:
        """Write a small file so that it has the old content or the new one, whatever happens.

        A failure is final, as with a segment; a full disk stays an `OSError`.
        """
        temporary = path.with_name(path.name + ".new")
        try:
            descriptor = self.open(temporary, _FRESH, 0o600)
            try:
                self.write_all(descriptor, data)
                self.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.rename(temporary, path)
            self.sync_folder(path.parent)
        except OSError as error:
            raise_if_full(error)
            raise FatalStorageError(f"writing {path.name}", str(error)) from error


_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

SYSTEM_FILES: Final = FileOperations()
