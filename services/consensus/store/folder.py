"""The data folder: one process, one chain, one replica; and whether its index can be trusted.

The index is written without fsync. It holds after `kill -9`, but not after the machine went down:
unless it was closed cleanly, or written since this boot, it is built again from the segments. So is
one that was being read through when the process fell: a damaged index can take the process along.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guqiao_sdk.files import make_folder
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.store.errors import (
    DataFolderInUseError,
    DiskFullError,
    IdentityDamagedError,
    OtherNetworkError,
)
from services.consensus.store.files import FileOperations
from services.consensus.store.segment import START, Position

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CLEAN: Final = "closed cleanly"
_CHECKING: Final = "checking the index in boot "
_DISTRUSTED: Final = "the index is damaged"
_IDENTITIES: Final = ("identity.json", "identity.copy.json")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose folder it is."""

    chain_id: str
    genesis_hash: bytes
    replica: int | None

    def __str__(self) -> str:
        genesis = self.genesis_hash.hex()[:16]
        return f"chain {self.chain_id}, genesis {genesis}, replica {self.replica}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a folder says of itself: whose it is, and the salt of its checksums."""

    owner: Owner
    salt: int

    @property
    def replica(self) -> int | None:
        """The replica's number; None for an observer."""
        return self.owner.replica


@dataclass(frozen=True, slots=True)
class LastSession:
    """How the process before this one ended: `same_boot` where all that it wrote is there;
    `reached` is how long the segments were at a clean close.
    """

    index_trusted: bool
    same_boot: bool
    reached: Position


class DataFolder:
    """An opened, locked data folder."""

    def __init__(
        self, path: Path, genesis: Genesis, replica: int | None, files: FileOperations
    ) -> None:
        make_folder(path)
        self.path = path
        self._files = files
        self.index_distrusted = False
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

    def begin_session(self) -> LastSession:
        """Say how the last session ended; remove an index that cannot be trusted.

        `accept_index` must follow once the index was read through.
        """
        path = self._session
        left = path.read_bytes().decode(errors="replace") if path.exists() else ""
        boot = _boot_id()
        reached = _clean_end(left)
        left = _CLEAN if reached is not None else left
        trusted = self.index.exists() and left in {_CLEAN, boot} and left != ""
        if not trusted:
            self.remove_index()
        self._write_session(_CHECKING + boot)
        known = {_CLEAN, boot, _CHECKING + boot, _DISTRUSTED + boot} if boot else {_CLEAN}
        return LastSession(trusted, left in known, reached or START)

    def accept_index(self) -> None:
        """The index was read through, or is new."""
        self.index_distrusted = False
        self._write_session(_boot_id())

    def distrust_index(self) -> None:
        """The index is damaged: the next session builds it anew."""
        self.index_distrusted = True
        self._write_session(_DISTRUSTED + _boot_id())

    def remove_index(self) -> None:
        """Remove the index, which can be built again."""
        shutil.rmtree(self.index, ignore_errors=True)

    def end_session(self, end: Position) -> None:
        """Say that the index was made durable and closed, and where the segments end."""
        self._write_session(f"{_CLEAN} {end.segment} {end.offset}")

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
        paths = [self.path / name for name in _IDENTITIES]
        expected = Owner(genesis.chain_id, genesis.hash(), replica)
        read = [_read_identity(path) for path in paths]
        whole = [identity for identity in read if identity is not None]
        if not whole and (any(path.exists() for path in paths) or self.segments.exists()):
            raise IdentityDamagedError(self.path)
        identity = whole[0] if whole else Identity(expected, secrets.randbits(32))
        _check_owner(self.path, identity.owner, expected)
        for path, kept in zip(paths, read, strict=True):
            if kept is None:
                self._files.replace_durably(path, _identity_bytes(identity))
        return identity.salt

    @property
    def _session(self) -> Path:
        return self.path / "session"

    def _write_session(self, text: str) -> None:
        self._files.replace_durably(self._session, text.encode())


def _clean_end(session: str) -> Position | None:
    """Where the segments ended when they were closed cleanly; None where they were not."""
    words = session.removeprefix(_CLEAN).split() if session.startswith(_CLEAN) else []
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    return Position(int(words[0]), int(words[1]))


def is_in_use(path: Path) -> bool:
    """Whether a process has the folder open."""
    lock = path / "lock"
    if not lock.exists():
        return False
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_identity(path: Path, genesis: Genesis) -> Identity:
    """What a folder of this chain says of itself, without opening it.

    Raises `OtherNetworkError`, and `IdentityDamagedError` where it says nothing.
    """
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    whole = [each for name in _IDENTITIES if (each := _read_identity(path / name)) is not None]
    if not whole:
        raise IdentityDamagedError(path)
    owner = whole[0].owner
    _check_owner(path, owner, Owner(genesis.chain_id, genesis.hash(), owner.replica))
    return whole[0]


def _check_owner(path: Path, found: Owner, expected: Owner) -> None:
    if found != expected:
        raise OtherNetworkError(path, found=str(found), expected=str(expected))


def _identity_bytes(identity: Identity) -> bytes:
    owner = identity.owner
    members: dict[str, object] = {
        "chain_id": owner.chain_id,
        "genesis_hash": owner.genesis_hash.hex(),
        "replica": owner.replica,
        "salt": identity.salt,
    }
    body = json.dumps(members, sort_keys=True)
    return json.dumps({**members, "checksum": zlib.crc32(body.encode())}).encode()


def _read_identity(path: Path) -> Identity | None:
    """The identity; None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            return None
        checksum = value.pop("checksum", None)
        if zlib.crc32(json.dumps(value, sort_keys=True).encode()) != checksum:
            return None
        match value:
            case {
                "chain_id": str(chain),
                "genesis_hash": str(genesis),
                "replica": (int() | None) as replica,
                "salt": int(salt),
            }:
                return Identity(Owner(chain, bytes.fromhex(genesis), replica), salt)
    except (ValueError, RecursionError):
        return None
    return None


def _boot_id() -> str:
    """This boot of the machine; empty, and so never trusted, where the system does not tell."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
