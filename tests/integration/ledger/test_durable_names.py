"""A file is durable under its name only when its folder is, too: after a power cut a name that was
not made durable may be gone, and with it all that was acknowledged in the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.consensus.store import FileOperations, StoreOptions
from tests.integration.ledger.store_builder import grow, open_store, segment_files

SEGMENT_BYTES = 16 * 1024


class Noted:
    """The operations of a store in their order, by path; nothing is made durable in truth."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Path]] = []
        self._paths: dict[int, Path] = {}

    def operations(self) -> FileOperations:
        return FileOperations(open=self._open, fsync=self._fsync, rename=self._rename)

    def after(self, kind: str, path: Path) -> Iterator[tuple[str, Path]]:
        """What was done after the first such operation."""
        return iter(self.done[self.done.index((kind, path)) + 1 :])

    def _open(self, path: Path, flags: int, mode: int) -> int:
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = path
        self.done.append(("open", path))
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        self.done.append(("fsync", self._paths[descriptor]))

    def _rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)
        self.done.append(("rename", new))


@pytest.mark.req("G2-13-2")
def test_a_segments_name_is_durable_before_anything_in_it_is(tmp_path: Path) -> None:
    noted = Noted()
    options = StoreOptions(
        reserve_bytes=0, segment_bytes_max=SEGMENT_BYTES, files=noted.operations()
    )
    store = open_store(tmp_path, options=options)
    grow(store, 12)
    store.close()
    segments = segment_files(tmp_path)
    assert len(segments) > 3
    for segment in segments:
        later = list(noted.after("open", segment))
        assert later.index(("fsync", segment.parent)) < later.index(("fsync", segment))


@pytest.mark.req("G2-13-2")
def test_a_small_file_is_durable_before_it_has_its_name_and_its_name_afterwards(
    tmp_path: Path,
) -> None:
    noted = Noted()
    noted.operations().replace_durably(tmp_path / "promise", b"content")
    new = tmp_path / "promise.new"
    wanted = [("open", new), ("fsync", new), ("rename", tmp_path / "promise")]
    wanted += [("open", tmp_path), ("fsync", tmp_path)]
    assert noted.done == wanted
    assert (tmp_path / "promise").read_bytes() == b"content"
