"""The framing of files that prove something: named sections between magics, and a checksum.

The checksum finds accidents, the cryptography finds forgers. Only one sequence of sections and one
encoding of each is such a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.errors import ProofError

CHECKSUM_BYTES: Final = 32
MAGIC_BYTES: Final = 8
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
FRAMING: Final = "framing"

_Value = TypeVar("_Value")


class NotABundleError(ValueError):
    """The file begins and ends like something else: the wrong file, not a broken proof."""


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of file: what it begins and ends with, 8 bytes each, and its most sections."""

    start: bytes
    end: bytes
    sections_max: int

    def pack(self, sections: Sequence[tuple[str, bytes]]) -> bytes:
        """Magic, section count, sections, checksum, magic."""
        writer = Writer().raw(self.start).u32(len(sections))
        for name, content in sections:
            writer.text(name).blob(content)
        framed = bytes(writer)
        return framed + sm3(framed) + self.end

    def unpack(self, data: bytes) -> list[tuple[str, bytes]]:
        """The sections; raises `NotABundleError`, or `ProofError` where the framing is damaged. The
        checksum is not asked: `check_checksum` comes after the proofs, which say more.
        """
        starts, ends = data.startswith(self.start), data.endswith(self.end)
        if not starts and not ends:
            raise NotABundleError("neither the start nor the end of a proof bundle is there")
        if len(data) > FILE_BYTES_MAX:
            raise malformed(f"{len(data)} bytes, at most {FILE_BYTES_MAX} allowed")
        if not starts:
            raise malformed("the start magic is damaged or missing")
        if not ends:
            raise malformed("the end magic is damaged or missing: the file is cut off or changed")
        reader = Reader(data[MAGIC_BYTES:-MAGIC_BYTES])
        try:
            count = reader.count(self.sections_max)
            sections = [(reader.text(64), reader.blob(FILE_BYTES_MAX)) for _ in range(count)]
            reader.raw(CHECKSUM_BYTES)
            reader.end()
        except MalformedError as error:
            raise malformed(str(error)) from error
        return sections


def check_checksum(data: bytes) -> None:
    """Raise `ProofError` unless the checksum is that of the bytes before it."""
    end = len(data) - MAGIC_BYTES - CHECKSUM_BYTES
    if end < 0 or sm3(data[:end]) != data[end : end + CHECKSUM_BYTES]:
        raise malformed("the checksum is not that of the content")


def read_section(
    content: Mapping[str, bytes], name: str, decode: Callable[[bytes], _Value]
) -> _Value:
    """The value of a section; raises `ProofError`, which names it."""
    try:
        return decode(content[name])
    except MalformedError as error:
        raise ProofError(f"section {name}", str(error), "BUNDLE_MALFORMED") from error


def numbered(name: str, number: int) -> str:
    """The name of the section of this number, from 1; the first has none: mostly it is the only."""
    return name if number == 1 else f"{name}.{number}"


def malformed(detail: str) -> ProofError:
    """For a file whose framing or sequence of sections is not right."""
    return ProofError(FRAMING, detail, "BUNDLE_MALFORMED")
