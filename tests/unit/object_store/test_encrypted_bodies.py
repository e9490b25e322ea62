"""Bodies beside the chain: nothing of them on the disk, any change found, and erased for good."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.object_store import encrypted
from guqiao_sdk.object_store.body_keys import BodyKeys
from guqiao_sdk.object_store.encrypted import BodyDescription, EncryptedStore, body_digest
from guqiao_sdk.object_store.errors import (
    BodyErasedError,
    BodyExistsError,
    BodyKeyDamagedError,
    BodySizeError,
    BodyTamperedError,
    BodyUnknownError,
    StoreUnavailableError,
)
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.port import ObjectFacts, ObjectStore, new_reference
from guqiao_sdk.object_store.wrapping_keys import load_wrapping_key, make_wrapping_key

BODY = "证件号码：370199190001010017".encode() * 40
WRAPPING_KEY = b"w" * 16


def keys_in(tmp_path: Path, provider: GmProvider, key: bytes = WRAPPING_KEY) -> BodyKeys:
    return BodyKeys(tmp_path / "keys", lambda: (key,), provider)


@pytest.fixture
def keys(tmp_path: Path, provider: GmProvider) -> BodyKeys:
    return keys_in(tmp_path, provider)


@pytest.fixture
def bodies(store: ObjectStore, keys: BodyKeys, provider: GmProvider) -> EncryptedStore:
    return EncryptedStore(store, keys, provider)


@pytest.fixture
def folder_bodies(tmp_path: Path, keys: BodyKeys, provider: GmProvider) -> EncryptedStore:
    return EncryptedStore(FolderStore(tmp_path / "objects"), keys, provider)


def files_of(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def body_file(tmp_path: Path, reference: str) -> Path:
    return tmp_path / "objects" / reference[:2] / reference


@pytest.mark.req("G2-17-1", "G2-17-8")
async def test_a_body_comes_back_as_described(bodies: EncryptedStore) -> None:
    described = await bodies.put(BODY)
    assert described.size == len(BODY)
    assert await bodies.get(described.reference, described.digest) == BODY


@pytest.mark.req("G2-17-1", "G2-17-7")
async def test_a_read_of_the_disk_shows_ciphertext(
    folder_bodies: EncryptedStore, tmp_path: Path
) -> None:
    await folder_bodies.put(BODY)
    files = files_of(tmp_path)
    assert len([path for path in files if path.suffix != ".lock"]) == 2
    for path in files:
        content = path.read_bytes()
        assert b"370199" not in content
        assert "证件".encode() not in content
        assert WRAPPING_KEY not in content


@pytest.mark.req("G2-17-8")
async def test_the_digest_is_salted_so_that_no_text_can_be_tried_on_it(
    folder_bodies: EncryptedStore, keys: BodyKeys
) -> None:
    first, second = await folder_bodies.put(BODY), await folder_bodies.put(BODY)
    assert first.digest != second.digest
    assert sm3(BODY) not in (first.digest, second.digest)
    assert first.digest == body_digest(keys.find(first.reference).salt, BODY)


@pytest.mark.req("G2-17-8")
@pytest.mark.parametrize("place", [0, 14, 20, 30, -17, -1])
async def test_a_changed_byte_of_a_body_is_found(
    folder_bodies: EncryptedStore, tmp_path: Path, place: int
) -> None:
    described = await folder_bodies.put(BODY)
    path = body_file(tmp_path, described.reference)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(BodyTamperedError) as caught:
        await folder_bodies.get(described.reference, described.digest)
    assert caught.value.code == "BODY_TAMPERED"


@pytest.mark.req("G2-17-8")
async def test_another_body_is_found_whatever_its_place(
    folder_bodies: EncryptedStore, tmp_path: Path
) -> None:
    first, second = await folder_bodies.put(BODY), await folder_bodies.put(b"another")
    with pytest.raises(BodyTamperedError):
        await folder_bodies.get(first.reference, second.digest)
    body_file(tmp_path, first.reference).write_bytes(
        body_file(tmp_path, second.reference).read_bytes()
    )
    with pytest.raises(BodyTamperedError):
        await folder_bodies.get(first.reference, first.digest)
    for content in (b"", b"guqiao-body/1\n", b"x" * 100):
        body_file(tmp_path, first.reference).write_bytes(content)
        with pytest.raises(BodyTamperedError):
            await folder_bodies.get(first.reference, first.digest)


@pytest.mark.req("G2-17-8")
async def test_who_has_the_wrapping_key_cannot_slip_in_another_body(
    folder_bodies: EncryptedStore,
    tmp_path: Path,
    provider: GmProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another body with a key record of its own authenticates; the digest on chain does not fit."""
    described = await folder_bodies.put(BODY)
    body_file(tmp_path, described.reference).unlink()
    (tmp_path / "keys" / described.reference).unlink()
    monkeypatch.setattr(encrypted, "new_reference", lambda: described.reference)
    forged = await folder_bodies.put(b"another body")
    assert await folder_bodies.get(forged.reference, forged.digest) == b"another body"
    with pytest.raises(BodyTamperedError):
        await folder_bodies.get(described.reference, described.digest)


@pytest.mark.req("G2-17-7")
async def test_an_erased_body_is_gone_for_good(bodies: EncryptedStore, tmp_path: Path) -> None:
    described, other = await bodies.put(BODY), await bodies.put(b"other")
    await bodies.erase(described.reference)
    for _ in range(2):
        with pytest.raises(BodyErasedError) as caught:
            await bodies.get(described.reference, described.digest)
        assert caught.value.code == "BODY_ERASED"
        await bodies.erase(described.reference)
    assert await bodies.get(other.reference, other.digest) == b"other"


@pytest.mark.req("G2-17-7")
async def test_a_copy_of_an_erased_body_is_worth_nothing(
    folder_bodies: EncryptedStore, tmp_path: Path
) -> None:
    described = await folder_bodies.put(BODY)
    path = body_file(tmp_path, described.reference)
    copy = path.read_bytes()
    record = (tmp_path / "keys" / described.reference).read_bytes()
    await folder_bodies.erase(described.reference)
    assert not path.exists()
    path.write_bytes(copy)
    with pytest.raises(BodyErasedError):
        await folder_bodies.get(described.reference, described.digest)
    left = b"".join(each.read_bytes() for each in files_of(tmp_path / "keys"))
    assert not any(record[at : at + 8] in left for at in range(30, len(record) - 8))


async def test_nothing_unknown_is_erased(bodies: EncryptedStore) -> None:
    with pytest.raises(BodyUnknownError):
        await bodies.erase(new_reference())


STEPS: tuple[tuple[Any, str], ...] = (
    (os, "pwrite"), (os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"),
)  # fmt: skip


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("after", range(8))
async def test_an_erasure_cut_off_anywhere_is_finished_by_another(
    folder_bodies: EncryptedStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    torn: bool,
) -> None:
    described = await folder_bodies.put(BODY)
    copy = body_file(tmp_path, described.reference).read_bytes()
    with monkeypatch.context() as patched:
        cut = _cut_off(patched, after, torn=torn)
        try:
            await folder_bodies.erase(described.reference)
        except StoreUnavailableError:
            assert cut()
    try:
        assert await folder_bodies.get(described.reference, described.digest) == BODY
        assert after == 0, "the first step is the last at which it may still open"
    except (BodyErasedError, BodyKeyDamagedError):
        pass
    await folder_bodies.erase(described.reference)
    body_file(tmp_path, described.reference).write_bytes(copy)
    with pytest.raises(BodyErasedError):
        await folder_bodies.get(described.reference, described.digest)
    assert [each.name for each in (tmp_path / "keys").iterdir()] == [described.reference]


def _cut_off(patched: pytest.MonkeyPatch, after: int, *, torn: bool) -> Callable[[], bool]:
    """Let so many calls of the system through, then none; of a torn write, half is done."""
    calls = 0

    def wrap(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > after:
                if name == "pwrite" and torn:
                    descriptor, data, at = arguments
                    real(descriptor, data[: len(data) // 2], at)
                raise OSError(5, "cut off")
            return real(*arguments, **keywords)

        return call

    for owner, name in STEPS:
        patched.setattr(owner, name, wrap(getattr(owner, name), name))
    return lambda: calls > after


@pytest.mark.req("G2-17-7")
async def test_a_store_that_fails_leaves_no_key_that_opens(
    keys: BodyKeys, provider: GmProvider, tmp_path: Path
) -> None:
    class Failing:
        kept = b""

        async def put(self, reference: str, content: bytes) -> None:
            self.kept = content
            raise StoreUnavailableError("away", "不可用")

        async def get(self, reference: str) -> bytes:
            return self.kept

        async def delete(self, reference: str) -> None:
            return None

        async def stat(self, reference: str) -> ObjectFacts | None:
            return None

    bodies = EncryptedStore(Failing(), keys, provider)
    with pytest.raises(StoreUnavailableError):
        await bodies.put(BODY)
    (record,) = (tmp_path / "keys").iterdir()
    with pytest.raises(BodyErasedError):
        await bodies.get(record.name, bytes(32))


async def test_a_body_has_its_bounds(
    folder_bodies: EncryptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encrypted, "BODY_BYTES_MAX", 10)
    for body in (b"", b"x" * 11):
        with pytest.raises(BodySizeError) as caught:
            await folder_bodies.put(body)
        assert caught.value.code == "BODY_SIZE_INVALID"
    assert (await folder_bodies.put(b"x" * 10)).size == 10


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.req("G2-09-6")
async def test_another_wrapping_key_opens_no_body(
    folder_bodies: EncryptedStore, tmp_path: Path, provider: GmProvider
) -> None:
    described = await folder_bodies.put(BODY)
    with pytest.raises(BodyKeyDamagedError) as caught:
        keys_in(tmp_path, provider, b"o" * 16).find(described.reference)
    assert caught.value.code == "BODY_KEY_DAMAGED"


@pytest.mark.parametrize("place", range(0, 94, 9))
def test_a_damaged_key_record_is_never_taken_for_a_key(
    keys: BodyKeys, tmp_path: Path, place: int
) -> None:
    reference = new_reference()
    keys.make(reference)
    path = tmp_path / "keys" / reference
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(BodyKeyDamagedError):
        keys.find(reference)


def test_a_key_record_is_for_one_body(keys: BodyKeys, tmp_path: Path) -> None:
    first, second = new_reference(), new_reference()
    keys.make(first)
    with pytest.raises(BodyExistsError):
        keys.make(first)
    (tmp_path / "keys" / second).write_bytes((tmp_path / "keys" / first).read_bytes())
    with pytest.raises(BodyKeyDamagedError):
        keys.find(second)


@pytest.mark.req("G2-09-6")
def test_a_wrapping_key_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "safe" / "kek"
    make_wrapping_key(path)
    first = load_wrapping_key(path)
    make_wrapping_key(path)
    assert load_wrapping_key(path) == first
    assert len(first) == 16
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_wrapping_key(path)


@pytest.mark.parametrize(
    "content", [b"", b"ab" * 15, b"ab" * 17, b"AB" * 16, b"xy" * 16, b"\xff" * 32]
)
def test_a_wrapping_key_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kek"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="16 bytes"):
        load_wrapping_key(path)


def test_secrets_are_not_shown(keys: BodyKeys) -> None:
    made = keys.make(new_reference())
    assert repr(made) == "DataKey()"
    assert "digest" in repr(BodyDescription(b"d", 1, "r"))
