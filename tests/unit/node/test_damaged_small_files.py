"""The small files of a replica: one that the disk changed stops nothing and is believed nowhere."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from services.consensus.store.folder import Identity, Owner, _identity_bytes, _read_identity

IDENTITY = Identity(Owner("shandong", b"g" * 32, 3), 7)


def identity_with(**changes: Any) -> bytes:
    """An identity with a right checksum, whatever it says."""
    value = {**json.loads(_identity_bytes(IDENTITY)), **changes}
    del value["checksum"]
    checksum = zlib.crc32(json.dumps(value, sort_keys=True).encode())
    return json.dumps({**value, "checksum": checksum}).encode()


def test_an_identity_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    path.write_bytes(identity_with())
    assert _read_identity(path) == IDENTITY
    path.write_bytes(identity_with(replica=None))
    assert _read_identity(path) == Identity(Owner("shandong", b"g" * 32, None), 7)


@pytest.mark.parametrize(
    "damaged",
    [
        identity_with(genesis_hash="no hex"),
        identity_with(replica="3"),
        identity_with(salt=None),
        b"[" * 100_000,
        b"7",
        b"\xff",
    ],
    ids=lambda data: str(data[:30]),
)
def test_an_identity_that_says_nothing_is_a_damaged_one(damaged: bytes, tmp_path: Path) -> None:
    """Then the copy counts, or the operator reads that both are damaged."""
    path = tmp_path / "identity.json"
    path.write_bytes(damaged)
    assert _read_identity(path) is None
