"""The data keys and salts of stored bodies, each wrapped in a file of its own, apart from bodies.

Erasing a body is destroying its record here: what is left anywhere of the body then opens for
nobody, and what the chain holds of it fits no text that could be guessed. A record is overwritten
before a mark takes its place, and the mark stays, so that erasing again ends in the same state.

A key-encryption key is renewed record by record. Meanwhile there are two, the newer beside the
older, and both open; whoever makes, destroys or wraps a record holds the lock of them all, so that
no process wraps under the older one afterwards and none brings an erased record back.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, overwrite, sync_folder, write_beside
from guqiao_sdk.gm.errors import GmDecryptError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm4 import KEY_SIZE, NONCE_SIZE, TAG_SIZE
from guqiao_sdk.object_store.errors import BodyErasedError, BodyKeyDamagedError
from guqiao_sdk.object_store.folder import naming, put_new, read_file
from guqiao_sdk.object_store.port import check_reference, is_reference, unknown
from guqiao_sdk.proof.canonical import tagged

SALT_BYTES: Final = 32

_MAGIC: Final = b"guqiao-body-key/1\n"
_ERASED: Final = b"guqiao-body-key/1 erased\n"
_SECRET_BYTES: Final = KEY_SIZE + SALT_BYTES
_RECORD_BYTES: Final = len(_MAGIC) + NONCE_SIZE + _SECRET_BYTES + TAG_SIZE
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class DataKey:
    """What opens one body and ties it to its digest."""

    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)


class Wrapped(StrEnum):
    """What wrapping a record anew came to."""

    ANEW = "anew"
    ALREADY = "already"
    ERASED = "erased"
    DAMAGED = "damaged"


class BodyKeys:
    """Records below a folder. `wrapping_keys` reads the key-encryption keys in force, of 16 bytes
    each, the newest first. Every change is durable when its call returns.
    """

    def __init__(
        self,
        folder: Path,
        wrapping_keys: Callable[[], tuple[bytes, ...]],
        provider: GmProvider,
    ) -> None:
        self._folder = folder
        self._wrapping_keys = wrapping_keys
        self._provider = provider

    def make(self, reference: str) -> DataKey:
        """Draw and keep key and salt of a new body; raises `BodyExistsError`."""
        path = self._path(reference)
        made = DataKey(secrets.token_bytes(KEY_SIZE), secrets.token_bytes(SALT_BYTES))
        with self.locked():
            make_folder(self._folder)
            put_new(path, self._wrapped(reference, made, self._wrapping_keys()[0]))
        return made

    def find(self, reference: str) -> DataKey:
        """Return key and salt, or raise `BodyUnknownError`, `BodyErasedError` or
        `BodyKeyDamagedError`.
        """
        path = self._path(reference)
        if not self._folder.exists():
            raise unknown(reference)
        with self.locked():
            record, wrapping_keys = self._read(path), self._wrapping_keys()
        if _is_erased(record):
            raise BodyErasedError(
                f"the body {reference} was erased: its key is no more",
                f"正文 {reference} 已被删除：密钥已销毁",
            )
        for wrapping_key in wrapping_keys:
            found = self._opened(reference, record, wrapping_key)
            if found is not None:
                return found
        raise _damaged(reference)

    def destroy(self, reference: str) -> None:
        """Destroy key and salt for good; once more changes nothing. Raises `BodyUnknownError`."""
        path = self._path(reference)
        if not self._folder.exists():
            raise unknown(reference)
        with self.locked():
            if self._read(path) == _ERASED:
                return
            overwrite(path, _RECORD_BYTES)
            write_beside(path, _ERASED, _MODE).replace(path)
            sync_folder(self._folder)

    def references(self) -> list[str]:
        """Those of all records, erased ones too, sorted."""
        with naming(self._folder):
            names = [each.name for each in self._folder.iterdir()] if self._folder.exists() else []
        return sorted(filter(is_reference, names))

    def wrap_anew(self, reference: str) -> Wrapped:
        """Wrap a record under the newest key; raises `BodyUnknownError`."""
        path = self._path(reference)
        with self.locked():
            record, (newest, *older) = self._read(path), self._wrapping_keys()
            if _is_erased(record):
                return Wrapped.ERASED
            if self._opened(reference, record, newest) is not None:
                return Wrapped.ALREADY
            for wrapping_key in older:
                found = self._opened(reference, record, wrapping_key)
                if found is not None:
                    write_beside(path, self._wrapped(reference, found, newest), _MODE).replace(path)
                    sync_folder(self._folder)
                    return Wrapped.ANEW
        return Wrapped.DAMAGED

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads or changes records or wrapping keys within this block."""
        with naming(self._folder):
            make_folder(self._folder.parent)
            lock = self._folder.with_name(f"{self._folder.name}.lock")
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _wrapped(self, reference: str, made: DataKey, wrapping_key: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_SIZE)
        wrapped = self._provider.sm4_gcm_encrypt(
            wrapping_key, nonce, made.key + made.salt, _bound(reference)
        )
        return _MAGIC + nonce + wrapped

    def _opened(self, reference: str, record: bytes, wrapping_key: bytes) -> DataKey | None:
        if len(record) != _RECORD_BYTES or not record.startswith(_MAGIC):
            return None
        at = len(_MAGIC) + NONCE_SIZE
        nonce, wrapped = record[len(_MAGIC) : at], record[at:]
        try:
            secret = self._provider.sm4_gcm_decrypt(wrapping_key, nonce, wrapped, _bound(reference))
        except GmDecryptError:
            return None
        return DataKey(secret[:KEY_SIZE], secret[KEY_SIZE:])

    def _read(self, path: Path) -> bytes:
        try:
            return read_file(path, _RECORD_BYTES)
        except FileNotFoundError:
            raise unknown(path.name) from None

    def _path(self, reference: str) -> Path:
        return self._folder / check_reference(reference)


def _bound(reference: str) -> bytes:
    return tagged("guqiao/body-key/1", reference.encode())


def _is_erased(record: bytes) -> bool:
    """Whether the mark is there, or the overwriting before it has begun."""
    return record == _ERASED or record.startswith(b"\0")


def _damaged(reference: str) -> BodyKeyDamagedError:
    return BodyKeyDamagedError(
        f"the key record of the body {reference} is damaged, or wrapped under another key",
        f"正文 {reference} 的密钥记录已损坏，或由另一把密钥封装",
    )
