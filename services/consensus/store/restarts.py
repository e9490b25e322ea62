"""The restarts that a replica goes by: one small file each, beside the segments.

Whoever puts one here has judged its approvals. With the file the restart is in force, in one step:
blocks above its height of an earlier epoch are void from then on, and an index that was made
without it is built again. The file is nothing that peers must believe; the state of the chain is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.restart import Restart
from services.consensus.store.errors import RestartDamagedError
from services.consensus.store.files import FileOperations

_FOLDER: Final = "restarts"
_SUFFIX: Final = ".restart"


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
        self._files.replace_durably(self._folder / f"{epoch:020d}{_SUFFIX}", restart.encode())
        others = [each for each in self.known if each.statement.epoch != epoch]
        self.known = tuple(sorted((*others, restart), key=lambda each: each.statement.epoch))

    def makes_void(self, header: BlockHeader) -> bool:
        """Whether the block of this header was executed and never certified before a restart."""
        return any(
            header.height > each.statement.height and header.epoch < each.statement.epoch
            for each in self.known
        )


def _read(path: Path) -> Restart:
    try:
        return Restart.decode(path.read_bytes())
    except MalformedError as error:
        raise RestartDamagedError(path, str(error)) from error
