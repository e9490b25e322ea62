"""What both stores do alike, and how each fails: whole or not at all, and with a code."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.object_store import folder as folder_module
from guqiao_sdk.object_store import port, s3
from guqiao_sdk.object_store.errors import (
    BodyExistsError,
    BodyUnknownError,
    ObjectStoreError,
    ReferenceInvalidError,
    StoreFullError,
    StoreUnavailableError,
)
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.port import ObjectFacts, ObjectStore, new_reference
from guqiao_sdk.object_store.s3 import S3Settings, S3Store

pytestmark = pytest.mark.req("G2-17-7")

NO_REFERENCES = (
    "", "..", "../../etc/passwd", "/etc/passwd", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "/",
    "0" * 32 + "\n", "0" * 30 + "..", "é" * 32, "0" * 32 + ".new", "０" * 32,
)  # fmt: skip


async def test_what_is_put_comes_back_until_it_is_deleted(store: ObjectStore) -> None:
    first, second = new_reference(), new_reference()
    await store.put(first, b"\0\xffone")
    await store.put(second, b"two")
    assert await store.get(first) == b"\0\xffone"
    assert await store.stat(first) == ObjectFacts(5)
    await store.delete(first)
    assert await store.stat(first) is None
    with pytest.raises(BodyUnknownError) as caught:
        await store.get(first)
    assert caught.value.code == "BODY_UNKNOWN"
    assert await store.get(second) == b"two"
    await store.delete(first)


async def test_nothing_is_replaced(store: ObjectStore) -> None:
    reference = new_reference()
    await store.put(reference, b"first")
    with pytest.raises(BodyExistsError) as caught:
        await store.put(reference, b"second")
    assert caught.value.code == "BODY_EXISTS"
    assert await store.get(reference) == b"first"


@pytest.mark.parametrize("reference", NO_REFERENCES)
async def test_no_reference_is_a_path(store: ObjectStore, reference: str) -> None:
    for call in (
        store.get(reference), store.put(reference, b"x"), store.delete(reference),
        store.stat(reference),
    ):  # fmt: skip
        with pytest.raises(ReferenceInvalidError) as caught:
            await call
        assert caught.value.code == "BODY_REFERENCE_INVALID"


async def test_more_than_the_bound_is_never_read(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (folder_module, s3):
        monkeypatch.setattr(module, "OBJECT_BYTES_MAX", 10)
    reference = new_reference()
    await store.put(reference, b"x" * 5_000)
    assert await store.get(reference) == b"x" * 11


def test_references_are_drawn_at_random() -> None:
    drawn = {new_reference() for _ in range(100)}
    assert len(drawn) == 100
    assert all(port.check_reference(each) == each for each in drawn)


def files_below(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


# --- The folder -----------------------------------------------------------------------------------


async def test_objects_are_for_their_owner_only(tmp_path: Path) -> None:
    store, reference = FolderStore(tmp_path / "objects"), new_reference()
    await store.put(reference, b"body")
    for path in (tmp_path / "objects").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "link"])
async def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store, reference = FolderStore(tmp_path / "objects"), new_reference()

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(StoreFullError) as caught:
            await store.put(reference, b"body")
    assert caught.value.code == "OBJECT_STORE_FULL"
    assert files_below(tmp_path) == []
    await store.put(reference, b"body")
    assert await store.get(reference) == b"body"


async def test_what_an_interrupted_put_left_is_no_object_and_in_nobodys_way(tmp_path: Path) -> None:
    store, reference = FolderStore(tmp_path / "objects"), new_reference()
    place = tmp_path / "objects" / reference[:2]
    place.mkdir(parents=True)
    (place / f"{reference}.new").write_bytes(b"half a bo")
    assert await store.stat(reference) is None
    await store.put(reference, b"body")
    assert await store.get(reference) == b"body"
    assert [each.name for each in place.iterdir()] == [reference]


async def test_deleting_takes_what_an_interrupted_put_left_too(tmp_path: Path) -> None:
    store, reference = FolderStore(tmp_path / "objects"), new_reference()
    place = tmp_path / "objects" / reference[:2]
    place.mkdir(parents=True)
    (place / f"{reference}.new").write_bytes(b"half a bo")
    await store.delete(reference)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
async def test_only_files_are_objects(tmp_path: Path, kind: str) -> None:
    store, reference = FolderStore(tmp_path / "objects"), new_reference()
    path = tmp_path / "objects" / reference[:2] / reference
    path.parent.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"elsewhere")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "secret")
        case "folder":
            path.mkdir()
        case _:
            os.mkfifo(path)
    with pytest.raises(StoreUnavailableError) as caught:
        await store.get(reference)
    assert caught.value.code == "OBJECT_STORE_UNAVAILABLE"


async def test_a_store_that_is_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"a file")
    store = FolderStore(tmp_path / "objects")
    for call in (store.put(new_reference(), b"x"), store.get(new_reference())):
        with pytest.raises(StoreUnavailableError):
            await call


# --- The bucket -----------------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there_is_no_unknown_body(s3_settings: S3Settings) -> None:
    store = S3Store(replace(s3_settings, bucket="another"))
    for call in (store.put(new_reference(), b"x"), store.get(new_reference())):
        with pytest.raises(StoreUnavailableError, match="no such bucket"):
            await call


async def test_a_store_that_is_away_says_so_without_its_secrets(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "RETRIES_MAX", 0)
    store = S3Store(replace(s3_settings, endpoint="http://127.0.0.1:9"))
    with pytest.raises(StoreUnavailableError) as caught:
        await store.put(new_reference(), b"x")
    assert caught.value.code == "OBJECT_STORE_UNAVAILABLE"
    assert "secret" not in f"{caught.value} {caught.value.zh} {s3_settings}"


def test_a_full_bucket_is_told_by_its_own_code(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    failed: ObjectStoreError = store._failed(OSError("PUT: 507 Insufficient Storage"))
    assert (type(failed), failed.code) == (StoreFullError, "OBJECT_STORE_FULL")
    assert isinstance(store._failed(OSError("PUT: 500")), StoreUnavailableError)


async def test_objects_of_two_prefixes_do_not_meet(s3_settings: S3Settings) -> None:
    one, other = S3Store(s3_settings), S3Store(replace(s3_settings, prefix="beijing"))
    reference = new_reference()
    await one.put(reference, b"body")
    assert await other.stat(reference) is None
