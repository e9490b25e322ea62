"""The data folder: one process, one chain, one replica; and whether its index can be trusted.

The index is written without fsync. It holds after `kill -9`, but not after the machine went down:
unless it was closed cleanly, or written since this boot, it is built again from the segments.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.store.errors import (
    DataFolderInUseError,
    DiskFullError,
    OtherNetworkError,
)
from services.consensus.store.segment import sync_folder

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CLEAN: Final = "closed cleanly"


class DataFolder:
    """An opened, locked data folder."""

    def __init__(self, path: Path, genesis: Genesis, replica: int | None) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take_lock()
            self.salt = self._identify(genesis, replica)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def segments(self) -> Path:
        """Where the segment files are."""
        return self.path / "segments"

    @property
    def index(self) -> Path:
        """Where the index is."""
        return self.path / "index"

    def begin_session(self) -> bool:
        """Return whether the index can be trusted; remove it where it cannot."""
        session = self.path / "session"
        left = session.read_text() if session.exists() else ""
        boot = _boot_id()
        trusted = self.index.exists() and left in {_CLEAN, boot} and left != ""
        if not trusted:
            self.remove_index()
        write_durably(session, boot)
        return trusted

    def remove_index(self) -> None:
        """Remove the index, which can be built again."""
        shutil.rmtree(self.index, ignore_errors=True)

    def end_session(self) -> None:
        """Say that the index was made durable and closed."""
        write_durably(self.path / "session", _CLEAN)

    def release(self) -> None:
        """Let another process in."""
        os.close(self._lock)

    def check_reserve(self, reserve_bytes: int) -> None:
        """Raise `DiskFullError` where less than the reserve is free."""
        figures = os.statvfs(self.path)
        free = figures.f_bavail * figures.f_frsize
        if free < reserve_bytes:
            raise DiskFullError(self.path, free_bytes=free, reserve_bytes=reserve_bytes)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataFolderInUseError(self.path) from error

    def _identify(self, genesis: Genesis, replica: int | None) -> int:
        """Check whose folder this is, or take it; return the salt of its checksums."""
        path = self.path / "identity.json"
        expected: dict[str, object] = {
            "chain_id": genesis.chain_id,
            "genesis_hash": genesis.hash().hex(),
            "replica": replica,
        }
        if not path.exists():
            salt = secrets.randbits(32)
            write_durably(path, json.dumps({**expected, "salt": salt}))
            return salt
        found = json.loads(path.read_text())
        salt = int(found.pop("salt"))
        if found != expected:
            raise OtherNetworkError(self.path, found=_shown(found), expected=_shown(expected))
        return salt


def write_durably(path: Path, text: str) -> None:
    """Write a small file so that it has the old content or the new one, whatever happens."""
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def _boot_id() -> str:
    """This boot of the machine; empty, and so never trusted, where the system does not tell."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""


def _shown(identity: dict[str, object]) -> str:
    return (
        f"chain {identity['chain_id']}, genesis {str(identity['genesis_hash'])[:16]},"
        f" replica {identity['replica']}"
    )
