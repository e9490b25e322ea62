"""What can be wrong with a replica's storage. Each error names a code, the facts and a remedy."""

from __future__ import annotations

import errno
from pathlib import Path


class StorageError(Exception):
    """`code` is a symbol of the rule catalogue; `subject` is what it is about, in no language."""

    code = "STORAGE"
    subject = ""


class FatalStorageError(StorageError):
    """A write or fsync failed: what is on disk is unknown. The process must stop, never retry."""

    code = "STORAGE_FAILED"

    def __init__(self, operation: str, cause: str) -> None:
        super().__init__(
            f"{self.code}: {operation} failed ({cause}); stop the replica, check the disk, then"
            " start it again: it recovers from what is on disk"
        )
        self.operation = operation


class IndexFullError(FatalStorageError):
    """The index has filled the addresses that were reserved for it. The process must stop."""

    code = "INDEX_FULL"

    def __init__(self, bytes_max: int) -> None:
        StorageError.__init__(
            self,
            f"{self.code}: the index has filled the {bytes_max} bytes of addresses that were"
            " reserved when it was opened; start the replica again: it reserves more, and what the"
            " index lacks is taken from the segments",
        )
        self.operation = "writing the index"
        self.bytes_max = bytes_max


class DiskFullError(StorageError):
    """Too little space to go on safely. Nothing was written."""

    code = "DISK_FULL"

    def __init__(self, folder: Path, *, free_bytes: int, reserve_bytes: int) -> None:
        super().__init__(
            f"{self.code}: {folder} has {free_bytes} bytes free, the reserve is {reserve_bytes}"
        )
        self.free_bytes = free_bytes
        self.reserve_bytes = reserve_bytes


class DataFolderInUseError(StorageError):
    """Another process has the folder open."""

    code = "DATA_FOLDER_IN_USE"

    def __init__(self, folder: Path) -> None:
        self.subject = str(folder)
        super().__init__(f"{self.code}: another process has {folder} open")


class OtherNetworkError(StorageError):
    """The folder belongs to another chain or replica."""

    code = "DATA_FOLDER_OTHER_NETWORK"

    def __init__(self, folder: Path, *, found: str, expected: str) -> None:
        self.subject = f"{folder}: {found}"
        super().__init__(f"{self.code}: {folder} belongs to {found}, not to {expected}")


class DamagedRecordError(StorageError):
    """A record that was durable reads back wrong. `height` is the block to fetch from peers.

    Nothing is cut off: `ChainStore.repair_block` takes the block again.
    """

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, height: int, where: str) -> None:
        super().__init__(
            f"{self.code}: the record of block {height} is damaged ({where});"
            " it is fetched from other replicas"
        )
        self.height = height


class DamagedSegmentError(StorageError):
    """A sealed segment does not read back as written, or is gone: it is not archived."""

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, segment: str, offset: int) -> None:
        self.subject = segment
        super().__init__(
            f"{self.code}: {segment} is damaged or missing at offset {offset} and is not archived;"
            " archive another replica, or let this one fetch its data folder anew from the others"
        )


class SegmentArchivedError(StorageError):
    """A segment was removed from the data folder, and its archive cannot be read from here."""

    code = "SEGMENT_ARCHIVED"

    def __init__(self, link: Path) -> None:
        self.segment = link.name
        self.archive = str(link.readlink())
        self.subject = self.archive
        super().__init__(
            f"{self.code}: {self.segment} is archived as {self.archive}, which cannot be read;"
            " make the archive readable there, or bring it back with `guqiao archive restore`"
        )


class ArchiveConflictError(StorageError):
    """Two files that must be the same are not. Nothing was overwritten."""

    code = "ARCHIVE_CONFLICT"

    def __init__(self, path: Path, why: str) -> None:
        self.subject = str(path)
        super().__init__(f"{self.code}: {path}: {why}; move one of the two away")


class ArchiveInUseError(StorageError):
    """Another command writes to the archive."""

    code = "ARCHIVE_IN_USE"

    def __init__(self, archive: Path) -> None:
        self.subject = str(archive)
        super().__init__(f"{self.code}: another command writes to {archive}; wait for its end")


class IdentityDamagedError(StorageError):
    """Both copies of the folder's identity are damaged: its records cannot be told from rubbish."""

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, folder: Path) -> None:
        self.subject = str(folder)
        super().__init__(
            f"{self.code}: both copies of identity.json in {folder} are damaged; move the folder"
            " away and start again: the replica fetches everything from the others"
        )


class RestartDamagedError(StorageError):
    """The file of a restart does not read back: which epoch is in force is not known."""

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, path: Path, why: str) -> None:
        self.subject = str(path)
        super().__init__(
            f"{self.code}: {path} is damaged ({why}); remove it and apply the restart again with"
            " `guqiao restart apply`"
        )


class RestartMissingError(StorageError):
    """The index was made with a restart whose file is gone."""

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, folder: Path, epoch: int) -> None:
        self.subject = str(folder)
        super().__init__(
            f"{self.code}: {folder} went by a restart that began epoch {epoch}, and its file is"
            " gone; put it back into the folder restarts before the replica starts"
        )


class IndexDamagedError(StorageError):
    """The index does not read back as written. It is built again from the segments."""

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{self.code}: the index is damaged ({what}); start the replica again,"
            " it builds the index anew from the segments"
        )


class StateDivergenceError(StorageError):
    """The state kept here is not the one that the certified header names: the index was altered."""

    code = "STATE_DIVERGENCE"

    def __init__(self, height: int) -> None:
        super().__init__(
            f"{self.code}: the state after block {height} does not give its state root;"
            " stop the replica, remove its index folder and start it again"
        )
        self.height = height


def raise_if_full(error: OSError) -> None:
    """Raise a full disk as it is; everything else is for the caller to call a failed disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error
