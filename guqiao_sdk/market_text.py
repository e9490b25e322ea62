"""The text of a dataset's files: lines, CSV rows and JSON values, and what is wrong with them.

Any bytes are taken. What is wrong is told of the line where it begins, and the lines behind it are
read as if it were not there. Bytes that are not UTF-8 stay in the text as lone surrogates until it
is known which field holds them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.market_shapes import ShapeError

INTEGER_LENGTH_MAX: Final = 20
"""Characters of an integer; more can only be out of range."""

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of a line that is read. What a transaction holds fits, even where each character is escaped."""

LINE_BYTES_KEPT: Final = 1024 * 1024
"""Of a line that is longer: its beginning tells which field makes it so."""

LINE_TOO_LONG: Final = f"too long: the line has more than {LINE_BYTES_MAX} bytes"

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_FIELD = re.compile(r'"([^"]*+(?:""[^"]*+)*+)"|([^",]*)')
_MEMBER = re.compile(r'\s*[{,]\s*("((?:[^"\\]|\\.)*+)")\s*:\s*', re.DOTALL)
_ELEMENT = re.compile(r"\s*[\[,]\s*()(?!\])")


class NotJsonError(ShapeError):
    """The text is not JSON from this line of it on."""

    def __init__(self, line: int, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.line = line


def read_lines(path: Path) -> tuple[list[str], set[int]]:
    """Return what stands between the LFs of a file, each line decoded for itself, and which lines,
    counted from 1, are too long: only their beginning is kept.
    """
    lines, too_long = [""], set[int]()
    with path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX + 1):
            last = line[-1:]
            if len(line) > LINE_BYTES_MAX and last != b"\n":
                too_long.add(len(lines))
                line = line[:LINE_BYTES_KEPT]
                while last != b"\n" and (more := file.readline(LINE_BYTES_KEPT)):
                    last = more[-1:]
            lines[-1] = line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
            if last == b"\n":
                lines.append("")
    return lines, too_long


def check_characters(field: str, written: str) -> None:
    """Refuse what no text of a dataset's file holds."""
    if _NOT_UTF8.search(written):
        raise ShapeError(field, "not UTF-8")
    if "\r" in written:
        raise ShapeError(field, "a carriage return, where lines end with LF alone")


def csv_rows(
    lines: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[int, list[str] | ShapeError]]:
    """Yield each row's first line, counted from 1, and its fields or what is wrong with it.

    A quoted field may hold line ends (RFC 4180). But a row over several lines is believed only when
    it is whole; otherwise its first line alone is malformed, and the next line is a row again: a
    quotation mark too many costs one row, not all those behind it.
    """
    at = 0
    while at < len(lines):
        end = _row_end(lines, at)
        row = _fields("\n".join(lines[at:end]), names)
        if end - at > 1 and (isinstance(row, ShapeError) or len(row) != len(names)):
            end = at + 1
            row = _fields(lines[at], names)
        yield at + 1, row
        at = end


def last_field(row: str, names: Sequence[str]) -> str:
    """The name of the field in which a row that was cut off ends."""
    fields = _fields(row, names)
    if isinstance(fields, ShapeError):
        return fields.field
    return names[len(fields) - 1] if len(fields) <= len(names) else ""


def loose_fields(line: str) -> list[str]:
    """The fields of a line that is not CSV, as they most likely are meant."""
    return [field.strip('"') for field in line.split(",")]


def parse_json(written: str) -> Any:
    """Parse JSON in which a number is an integer and a member occurs once; raises `ShapeError`."""
    try:
        value = _DECODER.decode(written)
        for fault in _faults(value, "", spoiled=_NOT_UTF8.search(written) is not None):
            raise fault
    except json.JSONDecodeError as error:
        member = broken_member(written)
        check_characters(member, written)
        problem = f"not JSON: {error.msg} at character {error.colno}"
        raise NotJsonError(error.lineno, member, problem) from None
    except RecursionError:
        raise ShapeError(broken_member(written), "nested too deep") from None
    check_characters("", written)
    return value


def misplaced(values: Sequence[Any], *, repeats: bool) -> set[int]:
    """The fewest indices without which the values, all texts or all numbers, ascend; of two equal
    choices the later line.

    So a single value out of place is found, and not those that it makes look so.
    """
    ranks = {value: -rank for rank, value in enumerate(sorted(set(values)))}
    place = bisect_right if repeats else bisect_left
    tails: list[int] = []
    ends: list[int] = []
    following: dict[int, int] = {}
    for index in reversed(range(len(values))):
        rank = ranks[values[index]]
        length = place(tails, rank)
        if length:
            following[index] = ends[length - 1]
        tails[length : length + 1] = [rank]
        ends[length : length + 1] = [index]
    kept = ends[-1:]
    while kept and kept[-1] in following:
        kept.append(following[kept[-1]])
    return set(range(len(values))) - set(kept)


def _row_end(lines: Sequence[str], at: int) -> int:
    """Behind the last line of the row: where quotation marks pair up, if they ever do."""
    is_open = False
    for end in range(at, len(lines)):
        is_open ^= lines[end].count('"') % 2 == 1
        if not is_open:
            return end + 1
    return at + 1


def _fields(row: str, names: Sequence[str]) -> list[str] | ShapeError:
    fields: list[str] = []
    position = 0
    while found := _FIELD.match(row, position):
        quoted, plain = found.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        position = found.end()
        if position == len(row):
            return fields
        if row[position] != ",":
            break
        position += 1
    name = names[len(fields) - 1] if len(fields) <= len(names) else ""
    if row[position] == '"' and fields[-1] == "":
        return ShapeError(name, "an opening quotation mark without a closing one")
    return ShapeError(name, "a quotation mark where none may stand")


def _faults(value: Any, place: str, *, spoiled: bool) -> Iterator[ShapeError]:
    """Yield what the decoder found wrong, each with its place."""
    match value:
        case ShapeError():
            yield ShapeError(place + value.field, value.problem)
        case dict():
            for name, part in value.items():
                if spoiled and _NOT_UTF8.search(name):
                    yield ShapeError(place, "not UTF-8")
                yield from _faults(part, f"{place}.{name}", spoiled=spoiled)
        case list():
            for index, part in enumerate(value):
                yield from _faults(part, f"{place}[{index}]", spoiled=spoiled)
        case str() if spoiled and _NOT_UTF8.search(value):
            yield ShapeError(place, "not UTF-8")


def broken_member(written: str) -> str:
    """The member of an object in or behind which it stops being JSON, where one can be told."""
    name, position = "", 0
    while found := _MEMBER.match(written, position):
        name = found[2]
        try:
            _, position = _DECODER.raw_decode(written, found.end())
        except (json.JSONDecodeError, RecursionError):
            break
    return name


def line_of(written: str, place: str) -> int:
    """The line, counted from 1, of the part of a JSON value at `place` (`.rules.holder_cap`,
    `.list[2]`), or of the innermost part around it that is there.
    """
    line, position = 1, 0
    left = f".{place}" if place and place[0] not in ".[" else place
    while left:
        for name, begin, value in _parts(written, position):
            if left == name or left.startswith((name + ".", name + "[")):
                line = written.count("\n", 0, begin) + 1
                left, position = left.removeprefix(name), value
                break
        else:
            break
    return line


def _parts(written: str, position: int) -> Iterator[tuple[str, int, int]]:
    """Yield each part of an object or array: its name, and where name and value begin."""
    index = 0
    while found := _MEMBER.match(written, position) or _ELEMENT.match(written, position):
        try:
            name = f".{json.loads(found[1])}" if found.re is _MEMBER else f"[{index}]"
            _, position = _DECODER.raw_decode(written, found.end())
        except (
            json.JSONDecodeError,
            RecursionError,
        ):  # It is told of a text that is not JSON, too.
            return
        yield name, found.start(1), found.end()
        index += 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | ShapeError:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    times = Counter(name for name, _ in pairs)
    twice = next(name for name, count in times.items() if count > 1)
    return ShapeError(f".{twice}", "the member occurs twice")


def _integer(written: str) -> int | ShapeError:
    if len(written) > INTEGER_LENGTH_MAX:
        return ShapeError("", f"{written[:40]} is an integer out of range")
    return int(written)


def _no_fraction(written: str) -> ShapeError:
    return ShapeError("", f"{written[:40]} is not an integer")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=_no_fraction,
    parse_constant=_no_fraction,
)
