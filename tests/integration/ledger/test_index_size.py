"""How far the index may grow: as far as its disk, so that the disk's reserve speaks first; and what
happens where that is over all the same.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from guqiao_sdk.rules import messages
from services.consensus.store import ChainStore, IndexFullError, tables
from services.consensus.store.tables import MAP_BYTES_MIN, MAP_BYTES_OF_DISK_MAX, map_bytes
from tests.integration.ledger.store_builder import (
    certificate_of,
    commit,
    grow,
    open_store,
    payloads_of,
)

MEBIBYTE = 1024 * 1024
STARTS_MAX = 8


def disk_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    figures = SimpleNamespace(f_blocks=size // 4_096, f_frsize=4_096)
    monkeypatch.setattr(os, "statvfs", lambda _: figures)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of one MiB at first, on whatever disk."""
    monkeypatch.setattr(tables, "MAP_BYTES_MIN", MEBIBYTE)
    monkeypatch.setattr(tables, "MAP_BYTES_OF_DISK_MAX", MEBIBYTE)


def fill(store: ChainStore) -> int:
    """Add blocks until the index is full; the height at which it was."""
    while True:
        height = store.last_height + 1
        store.append_records([b"vote %d" % height])
        header = commit(store, *payloads_of(height, count=20))
        store.put_certificate(height, certificate_of(header))


@pytest.mark.req("G2-13-2")
def test_the_index_may_grow_as_far_as_its_disk(tmp_path: Path) -> None:
    figures = os.statvfs(tmp_path)
    assert map_bytes(tmp_path) >= min(figures.f_blocks * figures.f_frsize, MAP_BYTES_OF_DISK_MAX)


@pytest.mark.req("G2-13-2")
def test_a_disk_that_has_grown_counts_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, MEBIBYTE)
    assert map_bytes(tmp_path) == MAP_BYTES_MIN, "a small disk may grow while a replica runs"
    disk_of(monkeypatch, 3 * MAP_BYTES_MIN + 4_096)
    assert map_bytes(tmp_path) == 4 * MAP_BYTES_MIN


@pytest.mark.req("G2-13-2")
def test_on_a_disk_beyond_all_addresses_the_index_may_double_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_of(monkeypatch, 1 << 60)
    assert map_bytes(tmp_path) == MAP_BYTES_OF_DISK_MAX
    with (tmp_path / "data.mdb").open("wb") as file:
        file.truncate(MAP_BYTES_OF_DISK_MAX)
    assert map_bytes(tmp_path) == 2 * MAP_BYTES_OF_DISK_MAX


@pytest.mark.req("G2-13-2")
@pytest.mark.usefixtures("narrow")
def test_a_full_index_ends_the_process_by_name_and_the_next_start_goes_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(IndexFullError, match=r"INDEX_FULL.*start the replica again"):
        fill(store)
    with pytest.raises(IndexFullError):
        store.append_records([b"later"])
    with pytest.raises(IndexFullError):
        store.close()
    store = open_store(tmp_path)
    height = store.last_height
    assert height > 0
    assert b"vote %d" % height in list(store.records())
    grow(store, height + 3)
    store.verify_state()
    assert store.index_bytes <= MEBIBYTE * 3, "what is used is told, not what is reserved"
    store.close()


@pytest.mark.req("G2-13-2")
def test_an_index_that_is_built_again_becomes_full_and_goes_on_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    for height in range(1, 41):
        store.append_records([b"vote %d" % height])
        header = commit(store, *payloads_of(height, count=20))
        store.put_certificate(height, certificate_of(header))
    store.close()
    shutil.rmtree(tmp_path / "index")
    monkeypatch.setattr(tables, "MAP_BYTES_MIN", MEBIBYTE // 2)
    monkeypatch.setattr(tables, "MAP_BYTES_OF_DISK_MAX", MEBIBYTE // 2)
    refused = 0
    for _ in range(STARTS_MAX):
        try:
            store = open_store(tmp_path)
        except IndexFullError:
            refused += 1
        else:
            break
    assert 0 < refused < STARTS_MAX
    assert (store.last_height, store.last_certified) == (40, 40)
    store.verify_state()
    store.close()


def test_what_it_says_is_said_in_both_languages() -> None:
    said = messages(IndexFullError.code)
    assert "重新启动" in said.remedy_zh
    assert "Start the replica again" in said.remedy_en
