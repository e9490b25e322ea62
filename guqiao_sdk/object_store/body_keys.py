"""The data keys and salts of stored bodies, each wrapped in a file of its own, apart from bodies.

Erasing a body is destroying its record here: what is left anywhere of the body then opens for
nobody, and what the chain holds of it fits no text that could be guessed. A record is overwritten
before a mark takes its place, and the mark stays, so that erasing again ends in the same state.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, sync_folder, write_beside
from guqiao_sdk.gm.errors import GmDecryptError, KeyFileError
from guqiao_sdk.gm.keyfile import read_guarded
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm4 import KEY_SIZE, NONCE_SIZE, TAG_SIZE
from guqiao_sdk.object_store.errors import BodyErasedError, BodyKeyDamagedError
from guqiao_sdk.object_store.folder import naming, put_new, read_file
from guqiao_sdk.object_store.port import check_reference, unknown
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


class BodyKeys:
    """Records below a folder, under a key-encryption key of 16 bytes. Every change is durable when
    its call returns.
    """

    def __init__(self, folder: Path, wrapping_key: bytes, provider: GmProvider) -> None:
        self._folder = folder
        self._wrapping_key = wrapping_key
        self._provider = provider

    def make(self, reference: str) -> DataKey:
        """Draw and keep key and salt of a new body; raises `BodyExistsError`."""
        path = self._path(reference)
        made = DataKey(secrets.token_bytes(KEY_SIZE), secrets.token_bytes(SALT_BYTES))
        nonce = secrets.token_bytes(NONCE_SIZE)
        wrapped = self._provider.sm4_gcm_encrypt(
            self._wrapping_key, nonce, made.key + made.salt, _bound(reference)
        )
        with naming(self._folder):
            make_folder(self._folder)
            put_new(path, _MAGIC + nonce + wrapped)
        return made

    def find(self, reference: str) -> DataKey:
        """Return key and salt, or raise `BodyUnknownError`, `BodyErasedError` or
        `BodyKeyDamagedError`.
        """
        record = self._read(reference)
        if _is_erased(record):
            raise BodyErasedError(
                f"the body {reference} was erased: its key is no more",
                f"正文 {reference} 已被删除：密钥已销毁",
            )
        if len(record) != _RECORD_BYTES or not record.startswith(_MAGIC):
            raise _damaged(reference)
        at = len(_MAGIC) + NONCE_SIZE
        nonce, wrapped = record[len(_MAGIC) : at], record[at:]
        try:
            secret = self._provider.sm4_gcm_decrypt(
                self._wrapping_key, nonce, wrapped, _bound(reference)
            )
        except GmDecryptError:
            raise _damaged(reference) from None
        return DataKey(secret[:KEY_SIZE], secret[KEY_SIZE:])

    def destroy(self, reference: str) -> None:
        """Destroy key and salt for good; once more changes nothing. Raises `BodyUnknownError`."""
        path = self._path(reference)
        if self._read(reference) == _ERASED:
            return
        with naming(self._folder):
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                size = max(_RECORD_BYTES, os.fstat(descriptor).st_size)
                os.pwrite(descriptor, bytes(size), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            write_beside(path, _ERASED, _MODE).replace(path)
            sync_folder(self._folder)

    def _read(self, reference: str) -> bytes:
        path = self._path(reference)
        with naming(self._folder):
            try:
                return read_file(path, _RECORD_BYTES)
            except FileNotFoundError:
                raise unknown(reference) from None

    def _path(self, reference: str) -> Path:
        return self._folder / check_reference(reference)


def make_wrapping_key(path: Path) -> None:
    """Write a new key-encryption key for its owner only; an existing one stays as it is, also one
    that another process makes meanwhile.
    """
    make_folder(path.parent)
    own = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    new = write_beside(own, secrets.token_bytes(KEY_SIZE).hex().encode(), _MODE)
    try:
        os.link(new, path)
    except FileExistsError:
        return
    finally:
        new.unlink()
    sync_folder(path.parent)


def load_wrapping_key(path: Path) -> bytes:
    """Read a key-encryption key; raises `KeyFileError`, also where others can read the file."""
    content = read_guarded(path)
    try:
        key = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE or key.hex().encode() != content:
        raise KeyFileError(
            f"key file {path.name} refused: it is not {KEY_SIZE} bytes in lower-case hex",
            f"拒绝密钥文件 {path.name}：内容不是 {KEY_SIZE} 字节的小写十六进制",
        )
    return key


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
