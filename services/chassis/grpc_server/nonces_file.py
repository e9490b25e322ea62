"""Nonces in a file: for processes without a database, such as a replica's client port.

One line a nonce (expiry, digest of DID and nonce, checksum), appended and synced before `remember`
answers; calls that wait at the same time share one fsync. In memory a nonce is its digest alone, in
a set of those that are forgotten at the same time: some 130 bytes. A torn last line was never
acknowledged and is cut off. Any other damage may hide a nonce that was used: the file is set aside,
what is whole of it goes into a new one, and with it until when every request is refused that may
have been answered before. After a failed write or fsync nothing is known about the file: calls are
refused until all nonces stand in a new one, which a call tries again after a pause, so that an
emptied disk is enough.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import structlog

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.signing import system_time_ms
from services.chassis.errors import ExhaustedError, FailedPreconditionError, UnavailableError
from services.chassis.file_operations import FileOperations
from services.chassis.grpc_server.request_signature import NONCE_SECONDS, NONCE_SECONDS_MAX

LIVE_NONCES_MAX: Final = 1_000_000
COMPACT_LINES_MIN: Final = 10_000
FORGET_EVERY_MS: Final = 60_000
"""Nonces are forgotten together, at the end of the period in which they expire."""
RETRY_SECONDS: Final = 1.0
"""Between two tries to write the whole list anew: it can be long, and calls go on asking."""

NONCE_TAG: Final = "guqiao/nonce/1"

LINES_NAMED_MAX: Final = 10
SYSTEM_FILES: Final = FileOperations()

_LOST: Final = bytes(32)
"""In place of a digest: every nonce that expires up to then may have been used before."""

_LINE: Final = re.compile(rb"([0-9]{1,16}) ([0-9a-f]{64})(?: ([0-9a-f]{8}))?")
"""Without a checksum: of earlier software."""

_TORN: Final = re.compile(
    rb"[0-9]{0,16}|[0-9]{1,16} [0-9a-f]{0,64}|[0-9]{1,16} [0-9a-f]{64} [0-9a-f]{0,8}"
)

_log = structlog.get_logger(__name__)


class Remembered:
    """Digests of nonces, by the period in which they expire. Any thread may ask for the `entries`,
    one changes them.
    """

    def __init__(self) -> None:
        self._by_period: dict[int, set[bytes]] = {}

    def __contains__(self, key: bytes) -> bool:
        return any(key in keys for keys in self._by_period.values())

    def __len__(self) -> int:
        return sum(map(len, self._by_period.values()))

    def add(self, key: bytes, expires_at_ms: int, now_ms: int) -> None:
        """Remember until the end of its period; a period that begins ends those that are over."""
        period = -(-expires_at_ms // FORGET_EVERY_MS)
        if period not in self._by_period:
            self.forget(now_ms)
        self._by_period.setdefault(period, set()).add(key)

    def forget(self, now_ms: int) -> None:
        """Let go of what has expired with all of its period."""
        for period in [each for each in self._by_period if each * FORGET_EVERY_MS < now_ms]:
            del self._by_period[period]

    def entries(self) -> list[tuple[bytes, int]]:
        """Each with when it is forgotten, in ms; each set is copied at once, calls go on."""
        return [
            (key, period * FORGET_EVERY_MS)
            for period, keys in list(self._by_period.items())
            for key in keys.copy()
        ]


class FileNonceStore:
    """A `NonceStore` over one append-only file, held by one process at a time."""

    def __init__(
        self,
        path: Path,
        now_ms: Callable[[], int] = system_time_ms,
        monotonic: Callable[[], float] = time.monotonic,
        files: FileOperations = SYSTEM_FILES,
    ) -> None:
        self._path = path
        self._files = files
        self._now_ms = now_ms
        self._remembered = Remembered()
        self._lost_until_ms = 0
        """Every nonce that expires up to then may have been used before."""
        self._waiting: deque[bytes] = deque()
        self._monotonic = monotonic
        self._broken = False
        self.was_damaged = False
        self._retry_at = 0.0
        self._file: int | None = None
        self._lines = 0
        self._compact_at = COMPACT_LINES_MIN
        self._lock_file = _lock(path)
        try:
            damaged = self._take_in(path)
            if damaged:
                self._refuse_what_may_be_lost(damaged)
            self._rewrite(self._entries())
        except BaseException:
            os.close(self._lock_file)
            raise
        # One thread, so that writes keep their order whatever happens to the calls that wait for
        # them.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nonces")

    def close(self) -> None:
        """Finish what was begun and let go of the file."""
        self._writer.shutdown(wait=True)
        assert self._file is not None, "opened with the store"
        os.close(self._file)
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def held(self) -> int:
        """How many nonces are remembered."""
        return len(self._remembered)

    async def trouble(self) -> str | None:
        """Why calls are refused now, if they are: for /readyz. Asking is a try, too, because no
        calls may come while it says so.
        """
        if self._broken:
            loop = asyncio.get_running_loop()
            await asyncio.shield(loop.run_in_executor(self._writer, self._flush, None))
        if self._broken:
            return f"{self._path.name} cannot be written: is the disk full?"
        seconds = self._refused_seconds()
        return f"NONCES_DAMAGED, requests are refused for {seconds} s" if seconds else None

    async def remember(self, did: str, nonce: str, expires_at_ms: int) -> bool:
        """True the first time, once it is on disk; False ever after."""
        if expires_at_ms <= self._lost_until_ms:
            raise UnavailableError("NONCES_DAMAGED", seconds=self._refused_seconds())
        key = digest(NONCE_TAG, did.encode(), nonce.encode())
        if key in self._remembered:
            return False
        if len(self._remembered) >= LIVE_NONCES_MAX:
            self._remembered.forget(self._now_ms())
            if len(self._remembered) >= LIVE_NONCES_MAX:
                raise ExhaustedError("QUEUE_FULL")
        self._remembered.add(key, expires_at_ms, self._now_ms())
        self._waiting.append(_line(key, expires_at_ms))
        snapshot = self._snapshot_if_long()
        written = asyncio.get_running_loop().run_in_executor(self._writer, self._flush, snapshot)
        # Shielded: a cancelled call does not withdraw a write that others may wait for.
        await asyncio.shield(written)
        if self._broken:
            raise UnavailableError("DISK_FULL", path=self._path.name)
        return True

    def _snapshot_if_long(self) -> list[tuple[bytes, int]] | None:
        """What to rewrite the file with, once it has doubled since the last time."""
        if self._lines < self._compact_at:
            return None
        self._remembered.forget(self._now_ms())
        self._compact_at = max(COMPACT_LINES_MIN, 2 * len(self._remembered))
        self._lines = 0  # Asked for once; the rewrite counts anew.
        return self._entries()

    def _flush(self, snapshot: list[tuple[bytes, int]] | None) -> None:
        """Runs in the writer thread: write all that waits with one fsync. The call before may have
        taken ours along.
        """
        # Taken one by one: a list that is swapped for another can still be appended to.
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not (lines or snapshot or self._broken):
            return
        if self._broken and self._monotonic() < self._retry_at:
            return  # Refused; the next try writes what waited with all the rest.
        if self._broken:  # The whole list, what waited included.
            snapshot, lines = self._entries(), []
        try:
            if snapshot is not None:
                self._rewrite(snapshot)
            assert self._file is not None, "opened with the store"
            self._files.write_all(self._file, b"".join(lines))
            self._files.fsync(self._file)
            self._lines += len(lines)
            self._broken = False
        except OSError:
            self._broken = True
            self._retry_at = self._monotonic() + RETRY_SECONDS

    def _refuse_what_may_be_lost(self, damaged: list[int]) -> None:
        """Keep the file for whoever looks into it, and until when nothing is taken that it may have
        held. Killed before the new file stands, the next start finds the damage again.
        """
        self.was_damaged = True
        aside = self._path.with_suffix(".damaged")
        aside.write_bytes(self._path.read_bytes())
        self._lost_until_ms = self._now_ms() + NONCE_SECONDS_MAX * 1_000
        _log.critical(
            "nonces.damaged",
            code="NONCES_DAMAGED",
            lines=damaged[:LINES_NAMED_MAX],
            kept=str(aside),
        )

    def _refused_seconds(self) -> int:
        """How long requests of this moment are refused still, their nonces may have been lost."""
        until_ms = self._lost_until_ms - NONCE_SECONDS * 1_000
        return max(-(-(until_ms - self._now_ms()) // 1_000), 0)

    def _take_in(self, path: Path) -> list[int]:
        """Remember what the file holds; the numbers of the lines that are damaged."""
        entries, damaged = _load(path)
        now_ms = self._now_ms()
        self._lost_until_ms = entries.pop(_LOST, 0)
        for key, expires_at_ms in entries.items():
            self._remembered.add(key, expires_at_ms, now_ms)
        self._remembered.forget(now_ms)
        return damaged

    def _entries(self) -> list[tuple[bytes, int]]:
        """What a new file holds."""
        lost = [(_LOST, self._lost_until_ms)] if self._lost_until_ms >= self._now_ms() else []
        return lost + self._remembered.entries()

    def _rewrite(self, entries: list[tuple[bytes, int]]) -> None:
        """Replace the file by one that holds `entries`, durably, and open it for appending."""
        replacement = self._path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        file = self._files.open(replacement, flags, 0o600)
        try:
            self._files.write_all(file, b"".join(_line(key, expiry) for key, expiry in entries))
            self._files.fsync(file)
            self._files.rename(replacement, self._path)
            self._files.sync_folder(self._path.parent)
        except BaseException:
            os.close(file)
            replacement.unlink(missing_ok=True)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file = file
        self._lines = len(entries)


def _line(key: bytes, expires_at_ms: int) -> bytes:
    content = f"{expires_at_ms} {key.hex()}".encode()
    return b"%b %08x\n" % (content, zlib.crc32(content))


def _load(path: Path) -> tuple[dict[bytes, int], list[int]]:
    """The entries that are whole, and the numbers of the lines that are damaged."""
    if not path.exists():
        return {}, []
    *lines, last = path.read_bytes().split(b"\n")
    entries, damaged = dict[bytes, int](), list[int]()
    for number, line in enumerate(lines, start=1):
        entry = _entry(line)
        if entry is None:
            damaged.append(number)
        else:
            entries.update([entry])
    if (torn := _entry(last)) is not None:
        entries.update([torn])
    elif _TORN.fullmatch(last) is None:
        damaged.append(len(lines) + 1)
    return entries, damaged


def _entry(line: bytes) -> tuple[bytes, int] | None:
    match = _LINE.fullmatch(line)
    if match is None or match[3] not in (None, b"%08x" % zlib.crc32(line[: match.end(2)])):
        return None
    return bytes.fromhex(match[2].decode()), int(match[1])


def _lock(path: Path) -> int:
    file = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise FailedPreconditionError("DATA_FOLDER_IN_USE", path=str(path.parent)) from None
    return file
