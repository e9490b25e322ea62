"""A stored block has one spelling: what its writer would not have written is malformed."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.canonical import MalformedError, Writer
from services.consensus.store.blocks import StoredBlock
from tests.unit.proof.test_canonical_decoders import HEADER, RECEIPT

BLOCK = StoredBlock(HEADER, Batch(5, (b"one",)), (RECEIPT.encode(),), {b"k": b"v", b"gone": None})
WRITE = bytes(Writer().blob(b"k").u8(1).blob(b"v"))


def test_it_is_read_back_as_it_was_written() -> None:
    assert StoredBlock.decode(BLOCK.encode()) == BLOCK


def test_a_value_that_is_neither_there_nor_gone_is_malformed() -> None:
    encoded = BLOCK.encode()
    for is_there in (2, 255):
        changed = WRITE.replace(b"\x01\x00\x00\x00\x01v", bytes([is_there]) + b"\x00\x00\x00\x01v")
        with pytest.raises(MalformedError, match="neither"):
            StoredBlock.decode(encoded.replace(WRITE, changed))


def test_a_key_that_is_written_twice_is_malformed() -> None:
    encoded = BLOCK.encode()
    other = bytes(Writer().blob(b"gone").u8(0))
    with pytest.raises(MalformedError, match="written twice"):
        StoredBlock.decode(encoded.replace(other, WRITE))
