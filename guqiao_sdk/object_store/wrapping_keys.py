"""The key-encryption key under which the keys of bodies are wrapped, and its renewal.

While it is renewed the next one lies beside it. Interrupted anywhere, renewing again goes on with
that one; when no record is wrapped under the old one any more, the next takes its place and the old
one is overwritten. What is left of the old one in a backup opens nothing but older backups.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder, sync_folder, write_beside
from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.keyfile import read_guarded
from guqiao_sdk.gm.sm4 import KEY_SIZE
from guqiao_sdk.object_store.body_keys import BodyKeys, Wrapped

_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Renewal:
    """How many records are wrapped under the new key, how many were erased before, and which are
    damaged: neither key opens those. Where there are any, both keys are kept.
    """

    wrapped: int
    erased: int
    damaged: tuple[str, ...]


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


def wrapping_keys_in_force(path: Path) -> tuple[bytes, ...]:
    """The keys in force, the newest first: two while the key is renewed; raises `KeyFileError`."""
    following = _next(path)
    if following.exists():
        return load_wrapping_key(following), load_wrapping_key(path)
    return (load_wrapping_key(path),)


def renew_wrapping_key(
    path: Path, keys: BodyKeys, on_record: Callable[[int, int], object] = lambda done, of: None
) -> Renewal:
    """Draw a new key, wrap every record under it, and destroy the old one, unless a record is
    damaged: a backup of it may be under the old one. `on_record` is told how many of how many are
    done. Raises `KeyFileError`, `StoreUnavailableError`, `StoreFullError`.
    """
    load_wrapping_key(path)
    with keys.locked():
        make_wrapping_key(_next(path))
    references = keys.references()
    counted, damaged = Counter[Wrapped](), list[str]()
    for done, reference in enumerate(references, 1):
        came = keys.wrap_anew(reference)
        counted[came] += 1
        if came is Wrapped.DAMAGED:
            damaged.append(reference)
        on_record(done, len(references))
    if not damaged:
        with keys.locked():
            _replace(path)
    wrapped = counted[Wrapped.ANEW] + counted[Wrapped.ALREADY]
    return Renewal(wrapped, counted[Wrapped.ERASED], tuple(damaged))


def _replace(path: Path) -> None:
    """The next key takes the place of the old one, whose bytes are then overwritten. Another
    process may have done so meanwhile.
    """
    if not _next(path).exists():
        return
    old = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _next(path).replace(path)
        sync_folder(path.parent)
        os.pwrite(old, bytes(os.fstat(old).st_size), 0)
        os.fsync(old)
    finally:
        os.close(old)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")
