"""The restarts that a replica goes by: one small file each, beside the segments.

Whoever puts one here has judged its approvals. With the file the restart is in force, in one step:
blocks above its height of an earlier epoch are void from then on, and an index that was made
without it is built again. The file is nothing that peers must believe; the state of the chain is.
It begins with its checksum: a key that lost a bit would be another replica set, and nobody's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder
from guqiao_sdk.proof.canonical import MalformedError, digest
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.restart import Restart
from services.consensus.store.errors import RestartDamagedError
from services.consensus.store.files import FileOperations

_FOLDER: Final = "restarts"
_SUFFIX: Final = ".restart"
CHECKSUM_BYTES: Final = 32


class Restarts:
    """The restarts of one data folder, in the order of their epochs."""

    def __init__(self, folder: Path, files: FileOperations) -> None:
        self._folder = folder / _FOLDER
        self._files = files
        self.known = tuple(_read(path) for path in sorted(self._folder.glob(f"*{_SUFFIX}")))

    @property
    def last_epoch(self) -> int:
        """The epoch that the last restart begins; 0 where there was none."""
        return max((each.statement.epoch for each in self.known), default=0)

    def keep(self, restart: Restart) -> None:
        """Put a restart in force, durably."""
        make_folder(self._folder)
        self._files.sync_folder(self._folder.parent)
        epoch = restart.statement.epoch
        path = self._folder / f"{epoch:020d}{_SUFFIX}"
        self._files.replace_durably(path, _file_bytes(restart))
        others = [each for each in self.known if each.statement.epoch != epoch]
        self.known = tuple(sorted((*others, restart), key=lambda each: each.statement.epoch))

    def makes_void(self, header: BlockHeader) -> bool:
        """Whether the block of this header was executed and never certified before a restart."""
        return any(
            header.height > each.statement.height and header.epoch < each.statement.epoch
            for each in self.known
        )


def _file_bytes(restart: Restart) -> bytes:
    encoded = restart.encode()
    return _checksum(encoded) + encoded


def _checksum(encoded: bytes) -> bytes:
    return digest("guqiao/restart-file/1", encoded)


def _read(path: Path) -> Restart:
    data = path.read_bytes()
    checksum, encoded = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    try:
        if _checksum(encoded) != checksum:
            raise MalformedError("its checksum is another one")
        return Restart.decode(encoded)
    except MalformedError as error:
        raise RestartDamagedError(path, str(error)) from error
