"""Where the fields of canonical bytes lie, found by watching the production's own reader.

No format is described a second time: `observe` decodes a good sample while `Reader` is watched, and
gets every integer, count, length and byte string with its place, those of nested encodings too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from guqiao_sdk.proof.canonical import Reader

LENGTH_BYTES = 4


class Kind(StrEnum):
    """What stands in a field."""

    INTEGER = "integer"
    LENGTH = "length"
    RAW = "raw"


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """Bytes `start` to `end` of the sample; `content_end` is where what a length counts ends."""

    start: int
    end: int
    kind: Kind
    content_end: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """A sample and its fields in order."""

    data: bytes
    fields: tuple[Field, ...]

    def lengths(self) -> list[Field]:
        """The length prefixes."""
        return [each for each in self.fields if each.kind is Kind.LENGTH]


def observe(data: bytes, decode: Callable[[bytes], Any]) -> Shape:
    """Decode a good sample and note its fields."""
    with _watched() as seen:
        # A copy that nobody else holds, so that a reader over it is known by its identity.
        whole = bytes(bytearray(data))
        seen.bases[id(whole)] = 0
        seen.kept.append(whole)
        decode(whole)
    return Shape(data, tuple(sorted(seen.fields)))


class _Seen:
    def __init__(self) -> None:
        self.fields: set[Field] = set()
        self.bases: dict[int, int] = {}
        self.kept: list[bytes] = []
        self.depth = 0


@contextmanager
def _watched() -> Iterator[_Seen]:
    seen, raw = _Seen(), Reader.raw
    names = ("u8", "u32", "u64", "blob", "count")
    originals = {name: getattr(Reader, name) for name in names}

    def watch(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(reader: Reader, *arguments: int) -> Any:
            base = seen.bases.get(id(reader._data))
            start = reader._position
            seen.depth += 1
            try:
                value = original(reader, *arguments)
            finally:
                seen.depth -= 1
            if base is not None and (seen.depth == 0 or name == "blob"):
                _note(seen, base, start, reader._position, name, value)
            return value

        return watched

    for name, original in [*originals.items(), ("raw", raw)]:
        setattr(Reader, name, watch(name, original))
    try:
        yield seen
    finally:
        for name, original in [*originals.items(), ("raw", raw)]:
            setattr(Reader, name, original)


def _note(seen: _Seen, base: int, start: int, end: int, name: str, value: Any) -> None:
    if name == "blob":
        content = start + LENGTH_BYTES
        seen.fields.add(Field(base + start, base + content, Kind.LENGTH, base + end))
        seen.bases[id(value)] = base + content
        seen.kept.append(value)
    elif name == "raw":
        seen.fields.add(Field(base + start, base + end, Kind.RAW))
    else:
        seen.fields.add(Field(base + start, base + end, Kind.INTEGER))
