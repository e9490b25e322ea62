"""Objects in a folder of this machine: written whole and durably, for the owner only."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, sync_folder, write_beside
from guqiao_sdk.object_store.errors import StoreFullError, StoreUnavailableError
from guqiao_sdk.object_store.port import (
    OBJECT_BYTES_MAX,
    ObjectFacts,
    check_reference,
    exists,
    unknown,
)

_MODE: Final = 0o600
_SHARD_DIGITS: Final = 2
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FolderStore:
    """`ObjectStore` over a folder, which is made with the first object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, reference: str, content: bytes) -> None:
        """See `ObjectStore`."""
        await asyncio.to_thread(self._put, self._path(reference), content)

    async def get(self, reference: str) -> bytes:
        """See `ObjectStore`."""
        return await asyncio.to_thread(self._get, self._path(reference))

    async def delete(self, reference: str) -> None:
        """See `ObjectStore`."""
        await asyncio.to_thread(self._delete, self._path(reference))

    async def stat(self, reference: str) -> ObjectFacts | None:
        """See `ObjectStore`."""
        path = self._path(reference)
        with naming(self._folder):
            try:
                found = await asyncio.to_thread(os.lstat, path)
            except FileNotFoundError:
                return None
        return ObjectFacts(found.st_size)

    def _path(self, reference: str) -> Path:
        check_reference(reference)
        return self._folder / reference[:_SHARD_DIGITS] / reference

    def _put(self, path: Path, content: bytes) -> None:
        with naming(self._folder):
            make_folder(path.parent)
            put_new(path, content)

    def _get(self, path: Path) -> bytes:
        with naming(self._folder):
            try:
                return read_file(path, OBJECT_BYTES_MAX)
            except FileNotFoundError:
                raise unknown(path.name) from None

    def _delete(self, path: Path) -> None:
        with naming(self._folder):
            path.with_name(path.name + ".new").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)


def put_new(path: Path, content: bytes) -> None:
    """Write a file durably, whole or not at all; raises `BodyExistsError` where there is one."""
    new = path.with_name(path.name + ".new")
    try:
        write_beside(path, content, _MODE)
        os.link(new, path)  # Unlike a rename, it takes nobody's place.
    except FileExistsError:
        raise exists(path.name) from None
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_file(path: Path, bytes_max: int) -> bytes:
    """Return the content of a regular file, which no link leads to; of a longer one the first
    `bytes_max` bytes and one more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        return file.read(bytes_max + 1)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """What the system says within this block is about the store in `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _FULL:
            raise StoreFullError(
                f"the store {folder} has no room ({reason})", f"存储 {folder} 空间不足（{reason}）"
            ) from error
        raise StoreUnavailableError(
            f"the store {folder} cannot be used ({reason})", f"无法使用存储 {folder}（{reason}）"
        ) from error
