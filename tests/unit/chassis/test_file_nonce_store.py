"""The nonce file: durable before it answers, cut only at a torn end, closed to all after a failed
write.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import ServiceError
from services.chassis.grpc_server import nonces_file
from services.chassis.grpc_server.nonces_file import RETRY_SECONDS, FileNonceStore, NonceFileError

DID = "did:rem:shandong:SD000001"
NOW = 1_700_000_000_000


PAUSE_OVER = itertools.count().__next__
"""A clock on which the pause is over whenever it is looked at."""


def store(
    path: Path, now_ms: int = NOW, monotonic: Callable[[], float] = PAUSE_OVER
) -> FileNonceStore:
    return FileNonceStore(path, now_ms=lambda: now_ms, monotonic=monotonic)


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


async def test_an_answer_waits_for_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        real(file)
        synced.append(file)

    with store(tmp_path / "n") as nonces:
        monkeypatch.setattr(os, "fsync", fsync)
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


async def test_a_torn_last_line_is_cut_and_the_rest_stands(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with store(path) as nonces:
        await nonces.remember(DID, "aa", NOW + 1)
        await nonces.remember(DID, "bb", NOW + 1)
    path.write_bytes(path.read_bytes()[:-10])
    with store(path) as nonces:
        assert not await nonces.remember(DID, "aa", NOW + 1)
        assert await nonces.remember(DID, "bb", NOW + 1)


def test_damage_before_the_end_refuses_to_open(tmp_path: Path) -> None:
    path = tmp_path / "n"
    path.write_bytes(b"17 " + b"a" * 64 + b"\n" + b"17 " + b"z" * 64 + b"\n")
    with pytest.raises(NonceFileError) as caught:
        store(path)
    assert caught.value.line == 2


def test_a_file_that_refused_to_open_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "n"
    path.write_bytes(b"nonsense\n")
    with pytest.raises(NonceFileError):
        store(path)
    path.unlink()
    store(path).close()


def test_two_processes_cannot_hold_one_file(tmp_path: Path) -> None:
    with store(tmp_path / "n"), pytest.raises(ServiceError) as caught:
        store(tmp_path / "n")
    assert caught.value.code == "DATA_FOLDER_IN_USE"


async def test_expired_nonces_leave_the_file_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "n"
    with store(path) as nonces:
        await nonces.remember(DID, "old", NOW + 1)
        await nonces.remember(DID, "new", NOW + 1_000)
    with store(path, now_ms=NOW + 500):
        assert len(path.read_bytes().splitlines()) == 1


async def test_a_long_file_is_compacted_while_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonces_file, "COMPACT_LINES_MIN", 10)
    now = NOW
    path = tmp_path / "n"
    with FileNonceStore(path, now_ms=lambda: now) as nonces:
        for number in range(100):
            now += 1
            assert await nonces.remember(DID, str(number), now + 3)
        assert len(path.read_bytes().splitlines()) <= 20
    with FileNonceStore(path, now_ms=lambda: now) as nonces:
        assert not await nonces.remember(DID, "99", now)


async def test_after_a_failed_write_nothing_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with store(tmp_path / "n") as nonces:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            with pytest.raises(ServiceError) as caught:
                await nonces.remember(DID, "aa", NOW + 1)
            assert caught.value.code == "DISK_FULL"
            with pytest.raises(ServiceError):
                await nonces.remember(DID, "bb", NOW + 1)
        assert not await nonces.remember(DID, "aa", NOW + 1), "refused, and used all the same"


async def test_once_the_disk_has_room_again_nonces_are_kept_and_none_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n"
    write = os.write
    full: list[bool] = []

    def half_of_it(file: int, data: memoryview) -> int:
        if not full:
            return write(file, data)
        if len(data) > 40:
            return write(file, data[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half_of_it)
    with store(path) as nonces:
        assert await nonces.remember(DID, "before", NOW + 1)
        full.append(True)
        for name in ("torn", "later"):
            with pytest.raises(ServiceError):
                await nonces.remember(DID, name, NOW + 1)
        full.clear()
        assert await nonces.remember(DID, "after", NOW + 1)
        assert await nonces.remember(DID, "again", NOW + 1)
    assert sorted(os.listdir(tmp_path)) == ["n", "n.lock"]
    with store(path) as nonces:
        for name in ("before", "torn", "later", "after", "again"):
            assert not await nonces.remember(DID, name, NOW + 1)


async def test_a_broken_file_is_written_anew_once_a_pause_and_shown_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not cost a whole list for every call that is refused."""
    tries: list[int] = []
    clock = [0.0]

    def fail(file: int) -> None:
        tries.append(file)
        raise OSError(28, "No space left on device")

    with store(tmp_path / "n", monotonic=lambda: clock[0]) as nonces:
        assert await nonces.trouble() is None
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            for name in ("aa", "bb", "cc"):
                with pytest.raises(ServiceError):
                    await nonces.remember(DID, name, NOW + 1)
            assert len(tries) == 1
            clock[0] += RETRY_SECONDS
            with pytest.raises(ServiceError):
                await nonces.remember(DID, "dd", NOW + 1)
            assert len(tries) == 2
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


@settings(max_examples=50, deadline=None)
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
