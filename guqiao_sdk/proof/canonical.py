"""The canonical encoding: what is hashed and signed has exactly one spelling.

Integers are big-endian and of fixed width, byte strings carry a 32-bit length, lists a 32-bit
count. A reader accepts only what the writer would have written, so equal values and equal bytes are
one thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guqiao_sdk.gm.sm3 import sm3

BLOB_BYTES_MAX: Final = 16 * 1024 * 1024
LIST_COUNT_MAX: Final = 1_000_000


class MalformedError(ValueError):
    """Bytes that the canonical encoding would not have produced."""


class Writer:
    """Appends values in the canonical encoding; `bytes(writer)` gives the result."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> Writer:
        """Append an unsigned 8-bit integer."""
        self._parts.append(value.to_bytes(1, "big"))
        return self

    def u32(self, value: int) -> Writer:
        """Append an unsigned 32-bit integer."""
        self._parts.append(value.to_bytes(4, "big"))
        return self

    def u64(self, value: int) -> Writer:
        """Append an unsigned 64-bit integer."""
        self._parts.append(value.to_bytes(8, "big"))
        return self

    def raw(self, value: bytes) -> Writer:
        """Append bytes of a length that both sides know."""
        self._parts.append(value)
        return self

    def blob(self, value: bytes) -> Writer:
        """Append bytes behind their length."""
        self._parts.append(len(value).to_bytes(4, "big"))
        self._parts.append(value)
        return self

    def text(self, value: str) -> Writer:
        """Append UTF-8 text behind its length in bytes."""
        return self.blob(value.encode())

    def blobs(self, values: Sequence[bytes]) -> Writer:
        """Append a list of byte strings behind its count."""
        self.u32(len(values))
        for value in values:
            self.blob(value)
        return self

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Reads back what `Writer` wrote; anything else raises `MalformedError`."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def raw(self, length: int) -> bytes:
        """Read exactly `length` bytes."""
        end = self._position + length
        if end > len(self._data):
            raise MalformedError(f"{length} bytes wanted at {self._position}, the data ends first")
        value = self._data[self._position : end]
        self._position = end
        return value

    def u8(self) -> int:
        """Read an unsigned 8-bit integer."""
        return self.raw(1)[0]

    def u32(self) -> int:
        """Read an unsigned 32-bit integer."""
        return int.from_bytes(self.raw(4), "big")

    def u64(self) -> int:
        """Read an unsigned 64-bit integer."""
        return int.from_bytes(self.raw(8), "big")

    def blob(self, length_max: int = BLOB_BYTES_MAX) -> bytes:
        """Read a byte string of at most `length_max` bytes."""
        length = self.u32()
        if length > length_max:
            raise MalformedError(f"a byte string of {length} bytes, at most {length_max} allowed")
        return self.raw(length)

    def text(self, length_max: int = 65_536) -> str:
        """Read UTF-8 text of at most `length_max` bytes."""
        try:
            return self.blob(length_max).decode()
        except UnicodeDecodeError as error:
            raise MalformedError("text that is not UTF-8") from error

    def count(self, count_max: int = LIST_COUNT_MAX) -> int:
        """Read the count of a list, at most `count_max`."""
        value = self.u32()
        if value > count_max:
            raise MalformedError(f"a list of {value} entries, at most {count_max} allowed")
        return value

    def blobs(self, count_max: int = LIST_COUNT_MAX) -> tuple[bytes, ...]:
        """Read a list of byte strings."""
        return tuple(self.blob() for _ in range(self.count(count_max)))

    @property
    def has_more(self) -> bool:
        """Whether anything follows."""
        return self._position < len(self._data)

    def end(self) -> None:
        """Assert that nothing follows."""
        if self._position != len(self._data):
            raise MalformedError(f"{len(self._data) - self._position} bytes follow the end")


def tagged(tag: str, *parts: bytes) -> bytes:
    """Bytes for hashing or signing: a domain tag, then each part behind its length.

    The tag names the purpose and version, for example `guqiao/header/1`, so that bytes made for one
    purpose can never be taken for another.
    """
    pieces = []
    for part in (tag.encode(), *parts):
        pieces.append(len(part).to_bytes(4, "big"))
        pieces.append(part)
    return b"".join(pieces)


def digest(tag: str, *parts: bytes) -> bytes:
    """SM3 over `tagged(tag, *parts)`, 32 bytes."""
    return sm3(tagged(tag, *parts))
