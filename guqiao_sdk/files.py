"""Files that are written whole or not at all, and folders for their owner only."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner only, whatever the umask
    would allow: they hold keys, ledgers and logs.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write `content` durably to a file beside `path`; the caller puts it in place in one step."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return new


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: what was put there, renamed or removed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overwrite(path: Path, size: int) -> None:
    """Overwrite a file in place with zeros, at least `size` of them, durably; no link is followed.
    A file system or disk that writes elsewhere may keep the old bytes until they are reused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(max(size, os.fstat(descriptor).st_size)), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
