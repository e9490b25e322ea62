"""What durable files ask of the operating system, as values: a test gives others that fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileOperations:
    """Each may raise `OSError`."""

    open: Callable[[Path, int, int], int] = os.open
    read: Callable[[int, int, int], bytes] = os.pread
    """At most so many bytes of a descriptor, from an offset."""
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
