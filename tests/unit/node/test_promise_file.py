"""The promise of votes: what its file says is believed only whole, and only in our own spelling."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from services.consensus.domain.messages import Digest, Record, SequenceNumber, View
from services.consensus.ledger import reach_of
from services.consensus.store.promise import Promise
from services.consensus.store.segment import Position
from tests.unit.consensus.protocol import PAY, prepared_certificate, signer, view_change

PROMISE = Promise(view=3, sequence=70, reached=Position(2, 4_096), floor=2, epoch=1)


def file_with(value: Any) -> bytes:
    """Bytes whose checksum is right, whatever they say."""
    body = json.dumps(value).encode()
    return body + b"\n%08x\n" % zlib.crc32(body)


def members(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(PROMISE.encode().partition(b"\n")[0])
    return {**value, **changes}


def test_a_promise_is_read_back_as_it_was_written() -> None:
    assert Promise.decode(PROMISE.encode()) == PROMISE
    assert Promise.decode(file_with(members())) == PROMISE


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize("position", range(0, len(PROMISE.encode()), 7))
def test_a_changed_byte_makes_it_a_damaged_one(position: int) -> None:
    data = bytearray(PROMISE.encode())
    data[position] ^= 1
    assert Promise.decode(bytes(data)) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        members(later="a member that this software does not know"),
        {name: value for name, value in members().items() if name != "reached"},
        members(reached=5),
        members(reached=[1, 2, 3]),
        {**dict(reversed(members().items()))},
    ],
)
def test_what_other_software_wrote_counts_as_damaged_and_stops_nothing(value: Any) -> None:
    """So the replica is silent for a while, as after any loss of its votes."""
    assert Promise.decode(file_with(value)) is None


DIGEST = Digest(PAY.digest())
VIEW, HEIGHT = View(5), SequenceNumber(40)


@pytest.mark.req("G2-07-1")
@pytest.mark.parametrize(
    ("record", "reach"),
    [
        (signer(1).pre_prepare(VIEW, HEIGHT, PAY), (VIEW, HEIGHT)),
        (signer(2).prepare(VIEW, HEIGHT, DIGEST), (VIEW, HEIGHT)),
        (prepared_certificate(VIEW, HEIGHT, DIGEST), (VIEW, HEIGHT)),
        (signer(2).commit(VIEW, HEIGHT, DIGEST), (VIEW, HEIGHT)),
        (signer(2).checkpoint(HEIGHT, DIGEST), (0, HEIGHT)),
        (view_change(2, VIEW, HEIGHT), (VIEW, 0)),
        (signer(1).new_view(VIEW, (), ((HEIGHT, DIGEST),)), (VIEW, 0)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_promise_covers_each_record_by_view_and_sequence_number(
    record: Record, reach: tuple[int, int]
) -> None:
    """ledger.md, the rule of silence, step 1."""
    assert reach_of([record]) == reach
    earlier = signer(2).commit(View(1), SequenceNumber(7), DIGEST)
    assert reach_of([earlier, record]) == (max(reach[0], 1), max(reach[1], 7))
