"""The file operations of a replica's store, as values: a test gives others that fail.

Whatever the segments, the promise, the evidence and the small files of the folder write goes
through here. The index writes by itself (LMDB), and can be built again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from services.chassis.file_operations import FileOperations as Operations
from services.consensus.store.errors import FatalStorageError, raise_if_full


class FileOperations(Operations):
    """Those of the store, which knows what a failure means."""

    __slots__ = ()

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
