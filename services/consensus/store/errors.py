"""What can be wrong with a replica's storage. Each error names a code, the facts and a remedy."""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """`code` is a symbol of the rule catalogue."""

    code = "STORAGE"


class FatalStorageError(StorageError):
    """A write or fsync failed: what is on disk is unknown. The process must stop, never retry."""

    code = "STORAGE_FAILED"

    def __init__(self, operation: str, cause: str) -> None:
        super().__init__(
            f"{self.code}: {operation} failed ({cause}); stop the replica, check the disk, then"
            " start it again: it recovers from what is on disk"
        )
        self.operation = operation


class DiskFullError(StorageError):
    """Too little space to go on safely. Nothing was written."""

    code = "DISK_FULL"

    def __init__(self, folder: Path, *, free_bytes: int, reserve_bytes: int) -> None:
        super().__init__(
            f"{self.code}: {folder} has {free_bytes} bytes free, the reserve is {reserve_bytes};"
            " free or add space, the replica goes on by itself"
        )
        self.free_bytes = free_bytes
        self.reserve_bytes = reserve_bytes


class DataFolderInUseError(StorageError):
    """Another process has the folder open."""

    code = "DATA_FOLDER_IN_USE"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{self.code}: another process has {folder} open; stop it first")


class OtherNetworkError(StorageError):
    """The folder belongs to another chain or replica."""

    code = "DATA_FOLDER_OTHER_NETWORK"

    def __init__(self, folder: Path, *, found: str, expected: str) -> None:
        super().__init__(
            f"{self.code}: {folder} belongs to {found}, not to {expected}; choose another folder"
        )


class DamagedRecordError(StorageError):
    """A record that was durable reads back wrong. `height` is the block to fetch from peers.

    Nothing is cut off: the block is given back through `repair_block`, or through `fetched` when
    opening.
    """

    code = "STORAGE_RECORD_DAMAGED"

    def __init__(self, height: int, where: str) -> None:
        super().__init__(
            f"{self.code}: the record of block {height} is damaged ({where});"
            " fetch the block from other replicas"
        )
        self.height = height


class DamagedVotesError(StorageError):
    """Records of the core that were durable read back wrong: what was voted is unknown.

    A replica that voted again could contradict itself, so it must not vote with these keys.
    """

    code = "STORAGE_VOTES_DAMAGED"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{self.code}: vote records are damaged ({where}); replace this replica's vote key, or"
            " restore the folder from a disk copy taken after it last ran"
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
