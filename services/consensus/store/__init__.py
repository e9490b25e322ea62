"""A replica's durable store: segment files as the truth, an LMDB index that follows from them."""

from services.consensus.store.blocks import StoredBlock
from services.consensus.store.chain_store import (
    ChainStore,
    StateSnapshot,
    StoreOptions,
    TransactionPlace,
)
from services.consensus.store.errors import (
    DamagedRecordError,
    DamagedVotesError,
    DataFolderInUseError,
    DiskFullError,
    FatalStorageError,
    OtherNetworkError,
    StateDivergenceError,
    StorageError,
)

__all__ = [
    "ChainStore",
    "DamagedRecordError",
    "DamagedVotesError",
    "DataFolderInUseError",
    "DiskFullError",
    "FatalStorageError",
    "OtherNetworkError",
    "StateDivergenceError",
    "StateSnapshot",
    "StorageError",
    "StoreOptions",
    "StoredBlock",
    "TransactionPlace",
]
