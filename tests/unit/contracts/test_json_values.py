"""The strict reader and the canonical writer: what every replica must judge alike."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import (
    DEPTH_BOUND,
    INTEGER_BOUND,
    Json,
    JsonError,
    JsonFault,
    canonical_json,
    parse_json_strict,
)

INTEGERS = st.integers(min_value=-INTEGER_BOUND + 1, max_value=INTEGER_BOUND - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def read(data: bytes, depth_max: int = 32, size_max: int = 10_000) -> Json:
    return parse_json_strict(data, depth_max=depth_max, size_max=size_max)


@given(VALUES)
def test_what_is_written_canonically_is_read_back_unchanged(value: Json) -> None:
    data = canonical_json(value)
    assert read(data, DEPTH_BOUND, len(data)) == value
    assert canonical_json(read(data, DEPTH_BOUND, len(data))) == data


BRACKETS_IN_TEXT = st.text(st.sampled_from('[]{}"\\,:a'), max_size=8)
WIDE: st.SearchStrategy[Json] = st.recursive(
    INTEGERS | BRACKETS_IN_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(BRACKETS_IN_TEXT, inner, max_size=4)
    ),
    max_leaves=40,
)


def depth_of(value: Json) -> int:
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
    return 0


@given(WIDE, st.integers(1, 4))
@settings(max_examples=1000)
def test_a_value_is_too_deep_by_its_nesting_alone_however_wide_it_is(
    value: Json, depth_max: int
) -> None:
    data = json.dumps([value] * 3).encode()
    if depth_of(value) + 1 <= depth_max:
        assert read(data, depth_max, len(data)) == [value] * 3
    else:
        with pytest.raises(JsonError) as caught:
            read(data, depth_max, len(data))
        assert caught.value.fault is JsonFault.TOO_DEEP


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_give_a_value_or_a_json_error(data: bytes) -> None:
    check_against_the_lenient_reader(data)


FRAGMENTS = [
    *'[]{},:"\\-019.eE',
    *("-0", "1.5", "1e3", "NaN", "-Infinity", "true", "null", "\\ud83d", "\\ude00", '"a"', '"a":1'),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "\ufeff", "\t", "股"),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=24))
@settings(max_examples=1000)
def test_any_row_of_json_fragments_gives_a_value_or_a_json_error(fragments: list[str]) -> None:
    check_against_the_lenient_reader("".join(fragments).encode())


@given(VALUES, st.data())
def test_a_spoiled_byte_gives_a_value_or_a_json_error(value: Json, data: st.DataObject) -> None:
    spoiled = bytearray(canonical_json(value))
    place = data.draw(st.integers(min_value=0, max_value=len(spoiled) - 1))
    spoiled[place] = data.draw(st.integers(min_value=0, max_value=255))
    check_against_the_lenient_reader(bytes(spoiled))


def check_against_the_lenient_reader(data: bytes) -> None:
    """What we accept, Python's own reader accepts with the same value; and it is canonical."""
    try:
        value = read(data)
    except JsonError:
        return
    assert value == json.loads(data.decode())
    assert read(canonical_json(value)) == value


@pytest.mark.parametrize(
    ("data", "fault", "where"),
    [
        (b'{"a":1,"b":{"a":2,"a":2}}', JsonFault.DUPLICATE_MEMBER, "member 'a'"),
        (b'{"\\u0061":1,"a":1}', JsonFault.DUPLICATE_MEMBER, "member 'a'"),
        (b"[1.0]", JsonFault.NOT_AN_INTEGER, "number 1.0"),
        (b"[1e3]", JsonFault.NOT_AN_INTEGER, "number 1e3"),
        (b"NaN", JsonFault.NOT_AN_INTEGER, "number NaN"),
        (b"[-Infinity]", JsonFault.NOT_AN_INTEGER, "number -Infinity"),
        (b"9223372036854775808", JsonFault.INTEGER_OUT_OF_RANGE, "number 9223372036854775808"),
        (b"-9223372036854775808", JsonFault.INTEGER_OUT_OF_RANGE, "number -9223372036854775808"),
        (b"1" * 5000, JsonFault.INTEGER_OUT_OF_RANGE, "number " + "1" * 40),
        (b"\xef\xbb\xbf{}", JsonFault.BYTE_ORDER_MARK, "byte 0"),
        (b'"\xff"', JsonFault.NOT_UTF8, "byte 1"),
        (b'"\xed\xa0\x80"', JsonFault.NOT_UTF8, "byte 1"),
        (b'{"a":["\\ud800"]}', JsonFault.LONE_SURROGATE, "$.a[0]"),
        (b'{"\\udc00x":1}', JsonFault.LONE_SURROGATE, "$.\\udc00x"),
        (b'{"a":["x\\u0000"]}', JsonFault.NUL, "$.a[0]"),
        (b'{"\\u0000":1}', JsonFault.NUL, "$.\\x00"),
        (b"[[[[1]]]]", JsonFault.TOO_DEEP, "character 3"),
        (b'["]]]",[[[]]]]', JsonFault.TOO_DEEP, "character 9"),
        (b"{} {}", JsonFault.SYNTAX, "character 3"),
        (b"", JsonFault.SYNTAX, "character 0"),
        (b"01", JsonFault.SYNTAX, "character 1"),
        (b'{"a":1,}', JsonFault.SYNTAX, "character 7"),
        (b'"\x01"', JsonFault.SYNTAX, "character 1"),
        ("\u0661".encode(), JsonFault.SYNTAX, "character 0"),
        (b"[" + b" " * 100 + b"]", JsonFault.TOO_LARGE, "byte 100"),
    ],
)
def test_each_fault_is_named_with_its_place(data: bytes, fault: JsonFault, where: str) -> None:
    size_max = 100 if fault is JsonFault.TOO_LARGE else 10_000
    with pytest.raises(JsonError) as caught:
        read(data, depth_max=3, size_max=size_max)
    assert (caught.value.fault, caught.value.where) == (fault, where)


def test_the_limits_themselves_are_allowed() -> None:
    assert read(b"[[[1]]]", depth_max=3) == [[[1]]]
    assert read(b'["[[[[[[", "\\"[[[["]', depth_max=1) == ["[[[[[[", '"[[[[']
    assert read(b"9223372036854775807") == INTEGER_BOUND - 1
    assert read(b"-9223372036854775807") == -INTEGER_BOUND + 1
    assert read(b"[]", size_max=2) == []
    assert read(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["x",{"a":['])
def test_bottomless_nesting_is_refused_and_never_overflows_the_stack(opening: bytes) -> None:
    data = opening * (4 * sys.getrecursionlimit())
    with pytest.raises(JsonError) as caught:
        read(data, depth_max=DEPTH_BOUND, size_max=len(data))
    assert caught.value.fault is JsonFault.TOO_DEEP


def test_members_are_sorted_by_code_point_and_text_is_not_escaped() -> None:
    value: Json = {"股": 1, "b": [True, None], "B": -5, "\U0001f600": "\u2028\n\x7f", "\uffff": ""}
    assert canonical_json(value).decode() == (
        '{"B":-5,"b":[true,null],"股":1,"\uffff":"","\U0001f600":"\u2028\\n\x7f"}'
    )


class Colour(IntEnum):
    RED = 1


def nested(levels: int) -> Json:
    value: Json = 0
    for _ in range(levels):
        value = [value]
    return value


def circular() -> object:
    loop: list[object] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: 1.0, JsonFault.NOT_AN_INTEGER),
        (lambda: {"a": math.nan}, JsonFault.NOT_AN_INTEGER),
        (lambda: INTEGER_BOUND, JsonFault.INTEGER_OUT_OF_RANGE),
        (lambda: [-INTEGER_BOUND], JsonFault.INTEGER_OUT_OF_RANGE),
        (lambda: "\ud800", JsonFault.LONE_SURROGATE),
        (lambda: {"\udfff": 1}, JsonFault.LONE_SURROGATE),
        (lambda: {"a": "x\0"}, JsonFault.NUL),
        (lambda: {1: 1}, JsonFault.NOT_A_JSON_VALUE),
        (lambda: (1, 2), JsonFault.NOT_A_JSON_VALUE),
        (lambda: b"x", JsonFault.NOT_A_JSON_VALUE),
        (lambda: Colour.RED, JsonFault.NOT_A_JSON_VALUE),
        (lambda: nested(DEPTH_BOUND + 1), JsonFault.TOO_DEEP),
        (circular, JsonFault.TOO_DEEP),
    ],
)
def test_the_writer_refuses_what_is_not_canonical(
    make: Callable[[], Json], fault: JsonFault
) -> None:
    with pytest.raises(JsonError) as caught:
        canonical_json(make())
    assert caught.value.fault is fault
    assert canonical_json(nested(DEPTH_BOUND)).startswith(b"[" * DEPTH_BOUND)
