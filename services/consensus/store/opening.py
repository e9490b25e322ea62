"""Opening the index of a data folder: whole and of this folder's restarts, or empty; and when the
next session must not trust it.
"""

from __future__ import annotations

import lmdb

from services.consensus.store.errors import IndexDamagedError, RestartMissingError
from services.consensus.store.folder import DataFolder
from services.consensus.store.index import Index
from services.consensus.store.restarts import Restarts


def open_index(folder: DataFolder, trusted: bool, restarts: Restarts) -> tuple[Index, bool]:
    """The index, read through; or an empty one where it is damaged, or was made without the last
    restart.
    """
    try:
        index = Index(folder.index, folder.salt, folder.distrust_index)
        try:
            index.check()
        except IndexDamagedError:
            index.close()
            raise
    except (lmdb.Error, IndexDamagedError):
        folder.remove_index()
        index, trusted = Index(folder.index, folder.salt, folder.distrust_index), False
    with index.begin() as transaction:
        made_with, is_new = index.restarted(transaction), index.last_height(transaction) is None
    if made_with > restarts.last_epoch:
        index.close()
        raise RestartMissingError(folder.path, made_with)
    if made_with < restarts.last_epoch and not is_new:
        index.close()
        folder.remove_index()
        index, trusted = Index(folder.index, folder.salt, folder.distrust_index), False
    folder.accept_index()
    return index, trusted


def distrust_after(error: lmdb.Error, folder: DataFolder) -> None:
    """What the library could not read or write is built anew by the next session, unless it was the
    disk that failed: reading the index through meets no page that is free or lists free ones.
    """
    if not isinstance(error, lmdb.DiskError):
        folder.distrust_index()
