"""The nonce file: durable before it answers, cut only at a torn end, closed to all after a failed
write, and after damage to whatever it may have held.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import ServiceError
from services.chassis.file_operations import FileOperations
from services.chassis.grpc_server import nonces_file
from services.chassis.grpc_server.nonces_file import (
    FORGET_EVERY_MS,
    RETRY_SECONDS,
    FileNonceStore,
    Remembered,
)
from services.chassis.grpc_server.request_signature import NONCE_SECONDS

DID = "did:rem:shandong:SD000001"
NOW = 1_700_000_000_000


PAUSE_OVER = itertools.count().__next__
"""A clock on which the pause is over whenever it is looked at."""


@dataclass(slots=True)
class Disk:
    """What the test makes of the disk under the store while it is open."""

    fsync: Callable[[int], None] = os.fsync
    write: Callable[[int, bytes], int] = os.write

    def operations(self) -> FileOperations:
        return FileOperations(
            fsync=lambda file: self.fsync(file), write=lambda file, data: self.write(file, data)
        )


def store(
    path: Path,
    now_ms: int = NOW,
    monotonic: Callable[[], float] = PAUSE_OVER,
    disk: Disk | None = None,
) -> FileNonceStore:
    files = (disk or Disk()).operations()
    return FileNonceStore(path, now_ms=lambda: now_ms, monotonic=monotonic, files=files)


async def test_a_nonce_is_new_once(tmp_path: Path) -> None:
    with store(tmp_path / "n") as nonces:
        assert await nonces.remember(DID, "aa", NOW + 1)
        assert not await nonces.remember(DID, "aa", NOW + 1)
        assert await nonces.remember("did:rem:shandong:SD000002", "aa", NOW + 1)


async def test_a_nonce_survives_a_crash_the_moment_it_is_acknowledged(tmp_path: Path) -> None:
    with store(tmp_path / "n") as nonces:
        await nonces.remember(DID, "aa", NOW + 1)
        copy = tmp_path / "copy"
        copy.write_bytes((tmp_path / "n").read_bytes())  # what a crash now would leave
    with store(copy) as reopened:
        assert not await reopened.remember(DID, "aa", NOW + 1)


async def test_an_answer_waits_for_fsync(tmp_path: Path) -> None:
    synced: list[int] = []

    def fsync(file: int) -> None:
        os.fsync(file)
        synced.append(file)

    disk = Disk()
    with store(tmp_path / "n", disk=disk) as nonces:
        disk.fsync = fsync
        await nonces.remember(DID, "aa", NOW + 1)
        assert len(synced) == 1


async def test_of_many_who_send_one_nonce_at_once_exactly_one_is_first(tmp_path: Path) -> None:
    with store(tmp_path / "n") as nonces:
        answers = await asyncio.gather(*(nonces.remember(DID, "aa", NOW + 1) for _ in range(50)))
        assert sorted(answers) == [False] * 49 + [True]


async def test_all_of_many_nonces_at_once_are_on_disk(tmp_path: Path) -> None:
    with store(tmp_path / "n") as nonces:
        names = [f"{number:032x}" for number in range(200)]
        assert all(await asyncio.gather(*(nonces.remember(DID, n, NOW + 1) for n in names)))
    with store(tmp_path / "n") as nonces:
        assert not any(await asyncio.gather(*(nonces.remember(DID, n, NOW + 1) for n in names)))


async def test_a_last_line_without_its_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with store(path) as nonces:
        await nonces.remember(DID, "aa", NOW + 1)
    path.write_bytes(path.read_bytes()[:-1])
    with store(path) as nonces:
        assert not await nonces.remember(DID, "aa", NOW + 1)


async def test_a_torn_last_line_is_cut_and_the_rest_stands(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with store(path) as nonces:
        await nonces.remember(DID, "aa", NOW + 1)
        await nonces.remember(DID, "bb", NOW + 1)
    path.write_bytes(path.read_bytes()[:-20])
    with store(path) as nonces:
        assert not await nonces.remember(DID, "aa", NOW + 1)
        assert await nonces.remember(DID, "bb", NOW + 1)


def test_two_processes_cannot_hold_one_file(tmp_path: Path) -> None:
    with store(tmp_path / "n"), pytest.raises(ServiceError) as caught:
        store(tmp_path / "n")
    assert caught.value.code == "DATA_FOLDER_IN_USE"


async def test_expired_nonces_leave_the_file_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with store(path) as nonces:
        await nonces.remember(DID, "old", NOW + 1)
        await nonces.remember(DID, "new", NOW + 1 + FORGET_EVERY_MS)
    with store(path, now_ms=NOW + FORGET_EVERY_MS) as nonces:
        assert len(path.read_bytes().splitlines()) == 1
        assert not await nonces.remember(DID, "new", NOW + 1 + FORGET_EVERY_MS)


async def test_a_long_file_is_compacted_while_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonces_file, "COMPACT_LINES_MIN", 10)
    now = NOW
    path = tmp_path / "n"
    with FileNonceStore(path, now_ms=lambda: now) as nonces:
        for number in range(100):
            now += FORGET_EVERY_MS
            assert await nonces.remember(DID, str(number), now + 3 * FORGET_EVERY_MS)
        assert len(path.read_bytes().splitlines()) <= 20
    with FileNonceStore(path, now_ms=lambda: now) as nonces:
        assert not await nonces.remember(DID, "99", now)


async def test_what_expires_is_forgotten_while_the_file_is_short(tmp_path: Path) -> None:
    """In memory, at the end of its period; until then, and not a moment less, it is known."""
    now = NOW
    with FileNonceStore(tmp_path / "n", now_ms=lambda: now) as nonces:
        for number in range(300):
            now += FORGET_EVERY_MS // 10
            expires = now + 2 * FORGET_EVERY_MS
            assert await nonces.remember(DID, str(number), expires)
            assert nonces.held <= 40
        for number in range(280, 300):
            assert not await nonces.remember(DID, str(number), expires)


@pytest.mark.parametrize("expires_in_ms", [0, 1, FORGET_EVERY_MS - 1, FORGET_EVERY_MS])
async def test_no_nonce_is_forgotten_before_it_expires(tmp_path: Path, expires_in_ms: int) -> None:
    now = NOW
    with FileNonceStore(tmp_path / "n", now_ms=lambda: now) as nonces:
        await nonces.remember(DID, "aa", NOW + expires_in_ms)
        now = NOW + expires_in_ms
        for periods in range(3):  # Periods that begin end those that are over.
            await nonces.remember(DID, f"{periods}", now + periods * FORGET_EVERY_MS)
        assert not await nonces.remember(DID, "aa", NOW + expires_in_ms)


def test_a_nonce_costs_few_bytes() -> None:
    """T-20: those of many minutes are held at once."""
    remembered = Remembered()
    tracemalloc.start()
    try:
        for number in range(2_000):
            remembered.add(number.to_bytes(32, "big"), NOW + number * 100, NOW)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(remembered) == 2_000
    assert held_bytes / len(remembered) < 180


async def test_after_a_failed_write_nothing_is_accepted(tmp_path: Path) -> None:
    def fail(_file: int) -> None:
        raise OSError(28, "No space left on device")

    disk = Disk()
    with store(tmp_path / "n", disk=disk) as nonces:
        disk.fsync = fail
        with pytest.raises(ServiceError) as caught:
            await nonces.remember(DID, "aa", NOW + 1)
        assert caught.value.code == "DISK_FULL"
        with pytest.raises(ServiceError):
            await nonces.remember(DID, "bb", NOW + 1)
        disk.fsync = os.fsync
        assert not await nonces.remember(DID, "aa", NOW + 1), "refused, and used all the same"


async def test_once_the_disk_has_room_again_nonces_are_kept_and_none_is_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "n"

    def half_of_it(file: int, data: bytes) -> int:
        if len(data) > 40:
            return os.write(file, data[:40])
        raise OSError(28, "No space left on device")

    disk = Disk()
    with store(path, disk=disk) as nonces:
        assert await nonces.remember(DID, "before", NOW + 1)
        disk.write = half_of_it
        for name in ("torn", "later"):
            with pytest.raises(ServiceError):
                await nonces.remember(DID, name, NOW + 1)
        disk.write = os.write
        assert await nonces.remember(DID, "after", NOW + 1)
        assert await nonces.remember(DID, "again", NOW + 1)
    assert sorted(os.listdir(tmp_path)) == ["n", "n.lock"]
    with store(path) as nonces:
        for name in ("before", "torn", "later", "after", "again"):
            assert not await nonces.remember(DID, name, NOW + 1)


async def test_a_broken_file_is_written_anew_once_a_pause_and_shown_until_then(
    tmp_path: Path,
) -> None:
    """A full disk must not cost a whole list for every call that is refused."""
    tries: list[int] = []
    clock = [0.0]

    def fail(file: int) -> None:
        tries.append(file)
        raise OSError(28, "No space left on device")

    disk = Disk()
    with store(tmp_path / "n", monotonic=lambda: clock[0], disk=disk) as nonces:
        assert await nonces.trouble() is None
        disk.fsync = fail
        for name in ("aa", "bb", "cc"):
            with pytest.raises(ServiceError):
                await nonces.remember(DID, name, NOW + 1)
        assert len(tries) == 1
        clock[0] += RETRY_SECONDS
        with pytest.raises(ServiceError):
            await nonces.remember(DID, "dd", NOW + 1)
        assert len(tries) == 2
        disk.fsync = os.fsync
        assert "is the disk full?" in str(await nonces.trouble())
        clock[0] += RETRY_SECONDS
        assert await nonces.trouble() is None, "asking is a try: no calls come to a pod not ready"
        assert await nonces.remember(DID, "ee", NOW + 1)
    with store(tmp_path / "n") as nonces:
        for name in ("aa", "bb", "cc", "dd", "ee"):
            assert not await nonces.remember(DID, name, NOW + 1)


async def test_a_full_store_refuses_rather_than_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonces_file, "LIVE_NONCES_MAX", 2)
    with store(tmp_path / "n") as nonces:
        await nonces.remember(DID, "aa", NOW + 1)
        await nonces.remember(DID, "bb", NOW + 1)
        with pytest.raises(ServiceError) as caught:
            await nonces.remember(DID, "cc", NOW + 1)
        assert caught.value.code == "QUEUE_FULL"
        assert not await nonces.remember(DID, "aa", NOW + 1)


@settings(max_examples=50)
@given(
    names=st.lists(st.sampled_from("abcdef"), max_size=12),
    restarts=st.sets(st.integers(0, 12), max_size=3),
)
def test_it_answers_as_a_set_would_whatever_the_restarts(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], restarts: set[int]
) -> None:
    path = tmp_path_factory.mktemp("nonces") / "n"

    async def run() -> None:
        seen: set[str] = set()
        nonces = store(path)
        for position, name in enumerate(names):
            if position in restarts:
                nonces.close()
                nonces = store(path)
            assert await nonces.remember(DID, name, NOW + 1) is (name not in seen)
            seen.add(name)
        nonces.close()

    asyncio.run(run())


LATER = NOW + 300_000
"""The stamp of a request signed then cannot have been seen at NOW: it would lie too far ahead."""


def expiry(stamp_ms: int) -> int:
    return stamp_ms + NONCE_SECONDS * 1_000


async def use(path: Path) -> None:
    """A file with three nonces."""
    with store(path) as nonces:
        for name in ("aa", "bb", "cc"):
            assert await nonces.remember(DID, name, expiry(NOW))


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.req("G2-16-1", "G2-13-2")
@pytest.mark.parametrize("bit", range(8))
async def test_any_flipped_bit_is_noticed_and_no_nonce_is_taken_twice(
    tmp_path: Path, bit: int
) -> None:
    path = tmp_path / "n"
    await use(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(flipped(content, at, bit))
        with store(path) as nonces:
            assert nonces.was_damaged, (at, bit)
            for name in ("aa", "bb", "cc"):
                with pytest.raises(ServiceError, match="NONCES_DAMAGED"):
                    await nonces.remember(DID, name, expiry(NOW))


@pytest.mark.req("G2-16-1", "G2-13-2")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: bytes(len(content)),
        lambda content: bytes(40) + content[40:],
        lambda content: b"\xff" * 4096,
        lambda content: content[:200] + content[201:],
        lambda content: b"nonsense\n" + content,
        lambda content: content + bytes(64),
    ],
    ids=["zeros", "a zeroed part", "rubbish", "a missing byte", "a foreign line", "zeros behind"],
)
async def test_a_damaged_file_refuses_what_it_may_have_held_and_nothing_more(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "n"
    await use(path)
    spoilt = damage(path.read_bytes())
    path.write_bytes(spoilt)
    with store(path) as nonces:
        assert nonces.was_damaged
        assert "300 s" in str(await nonces.trouble())
        for stamp_ms in (NOW - 1, NOW, LATER):
            with pytest.raises(ServiceError) as refused:
                await nonces.remember(DID, f"new{stamp_ms}", expiry(stamp_ms))
            assert (refused.value.code, refused.value.fields) == (
                "NONCES_DAMAGED",
                {"seconds": 300},
            )
        assert await nonces.remember(DID, "late", expiry(LATER + 1))
    assert path.with_suffix(".damaged").read_bytes() == spoilt, "it is kept for whoever looks"
    with store(path, now_ms=NOW + 1_000) as nonces:
        assert not nonces.was_damaged
        assert "299 s" in str(await nonces.trouble()), "a restart takes nothing back"
        with pytest.raises(ServiceError):
            await nonces.remember(DID, "aa", expiry(NOW))
    with store(path, now_ms=LATER + 1) as nonces:
        assert await nonces.trouble() is None
        assert await nonces.remember(DID, "fresh", expiry(LATER + 1))
        assert not await nonces.remember(DID, "late", expiry(LATER + 1))


async def test_lines_of_earlier_software_have_no_checksum_and_count(tmp_path: Path) -> None:
    path = tmp_path / "n"
    await use(path)
    content = path.read_bytes()
    path.write_bytes(b"".join(line[:-9] + b"\n" for line in content.splitlines()))
    with store(path) as nonces:
        assert not nonces.was_damaged
        assert not await nonces.remember(DID, "aa", expiry(NOW))


@pytest.mark.parametrize("number", range(1, 5))
async def test_a_start_that_fails_leaves_the_damage_to_be_found_again(
    tmp_path: Path, number: int
) -> None:
    """Each operation of the rewriting fails in turn."""
    path, calls = tmp_path / "n", list[str]()
    path.write_bytes(bytes(50))

    def due(kind: str) -> None:
        calls.append(kind)
        if len(calls) == number:
            raise OSError(5, "Input/output error")

    def write(file: int, data: bytes) -> int:
        due("write")
        return os.write(file, data)

    def fsync(file: int) -> None:
        due("fsync")
        os.fsync(file)

    def rename(old: Path, new: Path) -> None:
        due("rename")
        os.replace(old, new)

    files = FileOperations(write=write, fsync=fsync, rename=rename)
    with pytest.raises(OSError, match="Input/output"):
        FileNonceStore(path, now_ms=lambda: NOW, files=files)
    assert calls == ["write", "fsync", "rename", "fsync"][:number]
    with store(path) as nonces, pytest.raises(ServiceError, match="NONCES_DAMAGED"):
        await nonces.remember(DID, "aa", expiry(NOW))
