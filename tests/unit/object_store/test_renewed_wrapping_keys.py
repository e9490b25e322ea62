"""A key-encryption key is renewed: every body opens all the way, and the old key opens nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from guqiao_sdk.gm.errors import KeyFileError
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.object_store import wrapping_keys
from guqiao_sdk.object_store.body_keys import BodyKeys, Wrapped
from guqiao_sdk.object_store.encrypted import EncryptedStore
from guqiao_sdk.object_store.errors import BodyErasedError, BodyKeyDamagedError
from guqiao_sdk.object_store.folder import FolderStore
from guqiao_sdk.object_store.wrapping_keys import (
    Renewal,
    load_wrapping_key,
    make_wrapping_key,
    renew_wrapping_key,
    wrapping_keys_in_force,
)
from tests.plugins.flipping import flipped

BODIES = [b"first", b"second", b"third"]


class PowerCutError(Exception):
    """The power is gone."""


class Shelf:
    """A key, its records and bodies, as a process that begins finds them."""

    def __init__(self, folder: Path, provider: GmProvider) -> None:
        self.folder = folder
        self.provider = provider
        self.kek = folder / "bodies.kek"
        make_wrapping_key(self.kek)

    @property
    def keys(self) -> BodyKeys:
        return BodyKeys(
            self.folder / "keys", lambda: wrapping_keys_in_force(self.kek), self.provider
        )

    @property
    def store(self) -> EncryptedStore:
        return EncryptedStore(FolderStore(self.folder / "objects"), self.keys, self.provider)

    def opens_with(self, key: bytes, reference: str) -> bool:
        try:
            BodyKeys(self.folder / "keys", lambda: (key,), self.provider).find(reference)
        except BodyKeyDamagedError:
            return False
        return True


@pytest.fixture
def shelf(tmp_path: Path, provider: GmProvider) -> Shelf:
    return Shelf(tmp_path, provider)


@pytest.mark.req("G2-17-1", "G2-17-8")
async def test_all_bodies_open_under_the_new_key_alone(shelf: Shelf) -> None:
    described = [await shelf.store.put(body) for body in BODIES]
    await shelf.store.erase(described[0].reference)
    old, told = load_wrapping_key(shelf.kek), list[tuple[int, int]]()
    done = renew_wrapping_key(shelf.kek, shelf.keys, lambda *at: told.append(at))
    assert done == Renewal(wrapped=2, erased=1, damaged=())
    assert told == [(1, 3), (2, 3), (3, 3)]
    (new,) = wrapping_keys_in_force(shelf.kek)
    assert new != old
    for each, body in list(zip(described, BODIES, strict=True))[1:]:
        assert await shelf.store.get(each.reference, each.digest) == body
        assert not shelf.opens_with(old, each.reference)
    with pytest.raises(BodyErasedError):
        await shelf.store.get(described[0].reference, described[0].digest)


@pytest.mark.req("G2-17-8")
async def test_a_backup_of_the_old_key_and_records_opens_no_newer_record(
    shelf: Shelf, tmp_path: Path
) -> None:
    kept = await shelf.store.put(BODIES[0])
    backup = tmp_path / "backup"
    shutil.copytree(shelf.folder / "keys", backup)
    old = load_wrapping_key(shelf.kek)
    renew_wrapping_key(shelf.kek, shelf.keys)
    newer = await shelf.store.put(BODIES[1])
    assert not shelf.opens_with(old, newer.reference)
    new = load_wrapping_key(shelf.kek)
    of_backup = BodyKeys(backup, lambda: (new,), shelf.provider)
    with pytest.raises(BodyKeyDamagedError):
        of_backup.find(kept.reference)


@pytest.mark.parametrize("after", range(len(BODIES) + 1))
async def test_a_renewal_that_is_interrupted_goes_on_and_everything_opens_meanwhile(
    shelf: Shelf, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many records; after the last one before the new key takes the old one's place."""
    described = [await shelf.store.put(body) for body in BODIES]
    old = load_wrapping_key(shelf.kek)

    def stop(*_: object) -> NoReturn:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(wrapping_keys, "_replace", stop)
        with pytest.raises(PowerCutError):
            renew_wrapping_key(shelf.kek, shelf.keys, lambda done, of: done > after and stop())
    half = wrapping_keys_in_force(shelf.kek)
    assert (len(half), half[1]) == (2, old)
    late = await shelf.store.put(b"made meanwhile")
    assert not shelf.opens_with(old, late.reference)
    for each, body in zip(described, BODIES, strict=True):
        assert await shelf.store.get(each.reference, each.digest) == body
    await shelf.store.erase(described[0].reference)
    done = renew_wrapping_key(shelf.kek, shelf.keys)
    assert done == Renewal(wrapped=len(BODIES), erased=1, damaged=())
    assert wrapping_keys_in_force(shelf.kek) == half[:1], (
        "it goes on with the key that it had drawn"
    )
    for each, body in [*zip(described, BODIES, strict=True)][1:]:
        assert await shelf.store.get(each.reference, each.digest) == body
    assert await shelf.store.get(late.reference, late.digest) == b"made meanwhile"


async def test_the_old_key_is_overwritten(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.store.put(BODIES[0])
    (tmp_path / "same").hardlink_to(shelf.kek)
    size = shelf.kek.stat().st_size
    renew_wrapping_key(shelf.kek, shelf.keys)
    assert (tmp_path / "same").read_bytes() == bytes(size)


async def test_what_neither_key_opens_is_named_and_both_are_kept_until_it_is_mended(
    shelf: Shelf,
) -> None:
    described = [await shelf.store.put(body) for body in BODIES]
    damaged, lost = (each.reference for each in described[:2])
    records = {each: shelf.folder / "keys" / each for each in (damaged, lost)}
    backup = records[damaged].read_bytes()
    for record in records.values():
        record.write_bytes(flipped(record.read_bytes()))
    done = renew_wrapping_key(shelf.kek, shelf.keys)
    assert (done.wrapped, done.damaged) == (1, tuple(sorted([damaged, lost])))
    assert len(wrapping_keys_in_force(shelf.kek)) == 2
    records[damaged].write_bytes(backup)
    await shelf.store.erase(lost)
    assert renew_wrapping_key(shelf.kek, shelf.keys) == Renewal(2, 1, ())
    assert len(wrapping_keys_in_force(shelf.kek)) == 1
    assert await shelf.store.get(damaged, described[0].digest) == BODIES[0]
    assert await shelf.store.get(described[2].reference, described[2].digest) == BODIES[2]


def test_without_the_old_key_nothing_is_renewed(shelf: Shelf) -> None:
    shelf.kek.unlink()
    with pytest.raises(KeyFileError):
        renew_wrapping_key(shelf.kek, shelf.keys)
    assert not list(shelf.folder.glob("*.next"))


async def test_a_record_is_erased_or_wrapped_and_never_comes_back(shelf: Shelf) -> None:
    """Whoever wraps has read the record within the lock, so an erasure is before or after."""
    kept = await shelf.store.put(BODIES[0])
    renew_wrapping_key(shelf.kek, shelf.keys)
    await shelf.store.erase(kept.reference)
    assert shelf.keys.wrap_anew(kept.reference) is Wrapped.ERASED
    with pytest.raises(BodyErasedError):
        shelf.keys.find(kept.reference)
