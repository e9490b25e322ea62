"""A replica's durable store: segment files as the truth, an LMDB index that follows from them."""

from services.consensus.store.blocks import StoredBlock, TransactionPlace
from services.consensus.store.chain_store import ChainStore
from services.consensus.store.errors import (
    DamagedRecordError,
    DataFolderInUseError,
    DiskFullError,
    FatalStorageError,
    IdentityDamagedError,
    IndexDamagedError,
    IndexFullError,
    OtherNetworkError,
    SegmentArchivedError,
    StateDivergenceError,
    StorageError,
)
from services.consensus.store.files import FileOperations
from services.consensus.store.options import StoreOptions
from services.consensus.store.promise import Promise
from services.consensus.store.recovery import FoundBlock
from services.consensus.store.snapshot import StateSnapshot

__all__ = [
    "ChainStore",
    "DamagedRecordError",
    "DataFolderInUseError",
    "DiskFullError",
    "FatalStorageError",
    "FileOperations",
    "FoundBlock",
    "IdentityDamagedError",
    "IndexDamagedError",
    "IndexFullError",
    "OtherNetworkError",
    "Promise",
    "SegmentArchivedError",
    "StateDivergenceError",
    "StateSnapshot",
    "StorageError",
    "StoreOptions",
    "StoredBlock",
    "TransactionPlace",
]
