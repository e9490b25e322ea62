"""The command that says how much disk a transaction takes for good."""

from __future__ import annotations

from bench.index_size import run


def test_a_transaction_takes_room_in_the_index_and_in_the_segments() -> None:
    figures = run(blocks=30, transactions=4, keys=20)
    in_index = figures["index_bytes_per_transaction"]
    in_segments = figures["segment_bytes_per_transaction"]
    assert isinstance(in_index, int)
    assert isinstance(in_segments, int)
    assert in_index > 32, "its id alone is as long"
    assert in_segments > 200, "a signed transaction is longer"
