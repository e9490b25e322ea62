"""Any page of the index may be damaged: the index is built again from the segments, and a replica
that a damaged page ended once starts the next time (design, section 5: it can be rebuilt).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.integration.ledger.store_builder import grow, open_store

PAGE_BYTES: Final = 4_096
LAST: Final = 12
STARTS_MAX: Final = 3
"""One may end by an exception, the next by an assertion of the library; then the index is gone."""

Fill = Callable[[int], bytes]


def zeros(page: int) -> bytes:
    return bytes(PAGE_BYTES)


def ones(page: int) -> bytes:
    return b"\xff" * PAGE_BYTES


def chance(page: int) -> bytes:
    return random.Random(page).randbytes(PAGE_BYTES)


def starts(folder: Path) -> bool:
    """Whether a process of its own opens the folder, finds all of it and takes another block."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            store = open_store(folder)
            assert store.last_height >= LAST
            store.verify_state()
            grow(store, store.last_height + 1)
            store.close()
        except BaseException:  # The child must never go on as the test.
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return status == 0


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed") / "data"
    store = open_store(folder)
    grow(store, LAST)
    store.close()
    return folder


@pytest.mark.req("G2-07-3", "G2-13-2")
@pytest.mark.parametrize("fill", [zeros, ones, chance])
def test_a_replica_starts_again_whichever_page_of_its_index_is_damaged(
    closed: Path, tmp_path: Path, fill: Fill
) -> None:
    pages = (closed / "index" / "data.mdb").stat().st_size // PAGE_BYTES
    dead = []
    for page in range(pages):
        folder = tmp_path / str(page)
        shutil.copytree(closed, folder)
        with (folder / "index" / "data.mdb").open("r+b") as file:
            file.seek(page * PAGE_BYTES)
            file.write(fill(page))
        if not any(starts(folder) for _ in range(STARTS_MAX)):
            dead.append(page)
        shutil.rmtree(folder)
    assert pages > 20, "so small an index shows little"
    assert dead == []
