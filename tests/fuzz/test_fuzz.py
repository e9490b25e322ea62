"""The fuzzing itself: its inputs reach behind the outer layers, and it finds what it looks for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from tests.fuzz import harness, mutations
from tests.fuzz.harness import FindingError, Target, fuzz, inputs, judge
from tests.fuzz.shape import Kind, observe
from tests.fuzz.targets import targets

INPUTS = 400


def encode(values: tuple[tuple[int, bytes], ...]) -> bytes:
    writer = Writer().u32(len(values))
    for number, content in values:
        writer.blob(bytes(Writer().u8(number).blob(content)))
    return bytes(writer)


def decode(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """A list of entries, each encoded in a byte string of its own."""
    reader = Reader(data)
    entries = [Reader(reader.blob()) for _ in range(reader.count(100))]
    values = tuple((each.u8(), each.blob()) for each in entries)
    for each in [*entries, reader]:
        each.end()
    return values


SAMPLE = encode(((1, b"abc"), (2, b""), (3, b"x" * 40)))


def target(changed: Callable[[bytes], Any], **also: Any) -> Target:
    return Target("entries", changed, (MalformedError,), [SAMPLE], mutations.of_fields, **also)


def findings(changed: Callable[[bytes], Any], **also: Any) -> list[str]:
    return [each.why for each in fuzz(target(changed, **also), 0, INPUTS).findings]


def test_every_field_of_a_sample_is_seen_nested_ones_too() -> None:
    shape = observe(SAMPLE, decode)
    assert len(shape.lengths()) == 2 * 3
    assert sum(each.kind is Kind.INTEGER for each in shape.fields) == 1 + 3
    contents = {SAMPLE[each.end : each.content_end] for each in shape.lengths()}
    assert {b"abc", b"", b"x" * 40} < contents


def test_a_change_within_a_nested_byte_string_keeps_the_outer_lengths_right() -> None:
    shape, random, reached = observe(SAMPLE, decode), Random(1), 0
    for _ in range(100):
        try:
            reached += decode(mutations._resize(random, shape, [shape])) != decode(SAMPLE)
        except MalformedError:
            continue
    assert reached > 20


def test_a_good_decoder_survives_and_both_accepts_and_refuses() -> None:
    outcome = fuzz(target(decode, encode=encode), 0, INPUTS)
    assert outcome.findings == []
    assert outcome.counts["accepted"] > 20
    assert outcome.counts["MalformedError"] > 20


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others() -> None:
    def heard(seed: int) -> list[bytes]:
        return list(inputs(target(decode), seed, 50))

    assert heard(1) == heard(1) != heard(2)


def test_an_untyped_error_behind_the_outer_layers_is_found() -> None:
    def untyped(data: bytes) -> Any:
        return [bytes(100)[number] for number, _ in decode(data)]

    assert any("IndexError" in why for why in findings(untyped))


def test_a_second_spelling_is_found() -> None:
    def lax(data: bytes) -> Any:
        return tuple((number % 128, content) for number, content in decode(data))

    assert any("not how the value is written" in why for why in findings(lax, encode=encode))


def test_a_count_that_is_believed_costs_memory_and_is_found() -> None:
    def trusting(data: bytes) -> Any:
        reader = Reader(data)
        reserved = bytearray(min(reader.u32(), 2**26))
        return reserved, decode(data)

    assert any("bytes of memory" in why for why in findings(trusting))


@pytest.mark.parametrize("native", [False, True])
def test_what_a_library_of_c_builds_of_empty_messages_is_seen_where_it_decodes(
    native: bool,
) -> None:
    block = peer_pb2.BlockResponse(blocks=[ledger_pb2.Block(receipts=[b"r"])])
    sample = peer_pb2.PeerFrame(block_response=block).SerializeToString()
    read = peer_pb2.PeerFrame.FromString
    trusting = Target("frames", read, (DecodeError,), [sample], mutations.of_wire, native=native)
    found = [each.why for each in fuzz(trusting, 0, 0).findings]
    assert all("bytes of resident memory" in why for why in found)
    assert bool(found) == native


def test_time_that_an_input_of_a_few_bytes_takes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(data: bytes) -> Any:
        return sum(range(4_000_000)) if len(data) > len(SAMPLE) else decode(data)

    monkeypatch.setattr(harness, "CPU_SECONDS_BASE", 0.001)
    with pytest.raises(FindingError, match="of processor time"):
        judge(target(slow), SAMPLE + bytes(1))


def test_a_refused_sample_is_no_sample() -> None:
    with pytest.raises(FindingError, match="a good sample is refused"):
        fuzz(Target("entries", decode, (MalformedError,), [b"\xff"], mutations.of_bytes), 0, 1)


def test_a_decoder_of_what_is_signed_need_accept_no_change() -> None:
    def sealed(data: bytes) -> Any:
        if data != SAMPLE:
            raise MalformedError("the seal does not fit")

    unchanged = list(inputs(target(sealed), 0, INPUTS)).count(SAMPLE)
    outcome = fuzz(target(sealed), 0, INPUTS)
    assert outcome.findings == []
    assert outcome.counts["accepted"] == 1 + unchanged


def test_every_target_has_a_name_of_its_own() -> None:
    names = [each.name for each in targets()]
    assert sorted(set(names)) == sorted(names)
