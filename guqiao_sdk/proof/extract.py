"""An extract: one file that proves offline what stood, or did not stand, in a chain's state.

It holds a certified header and facts: a key, the value under it or that there is none, and the path
in the sparse Merkle tree of that state (design.md section 7). Keys ascend and none comes twice, so
that one set of facts is one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.bundle import CertifiedHeader, certified_sections, read_certified
from guqiao_sdk.proof.canonical import MalformedError, Reader, Writer
from guqiao_sdk.proof.framing import Container, malformed, numbered, read_section
from guqiao_sdk.proof.state_proof import StateProof

START_MAGIC: Final = b"GUQIAOX1"
END_MAGIC: Final = b"1XOAIQUG"
FACTS_MAX: Final = 256
KEY_BYTES_MAX: Final = 1_024
VALUE_BYTES_MAX: Final = 2 * 1024 * 1024

_CERTIFIED: Final = ("header", "certificate", "set_changes")
_FACT: Final = "fact"
CONTAINER: Final = Container(START_MAGIC, END_MAGIC, len(_CERTIFIED) + FACTS_MAX)


@dataclass(frozen=True, slots=True)
class Fact:
    """What stands under a key; `value` is None where nothing does."""

    key: bytes
    value: bytes | None
    proof: StateProof

    def encode(self) -> bytes:
        """The canonical encoding."""
        writer = Writer().blob(self.key).u8(int(self.value is not None))
        return bytes(writer.blob(self.value or b"").blob(self.proof.encode()))

    @staticmethod
    def decode(data: bytes) -> Fact:
        """Read `encode`'s bytes; raises `MalformedError`."""
        reader = Reader(data)
        key, is_there = reader.blob(KEY_BYTES_MAX), reader.u8()
        value = reader.blob(VALUE_BYTES_MAX)
        proof = StateProof.decode(reader.blob())
        reader.end()
        if is_there > 1 or (value and not is_there):
            raise MalformedError("a value where none is said to be")
        return Fact(key, value if is_there else None, proof)


@dataclass(frozen=True, slots=True)
class Extract:
    """Facts of one state, 1 to 256, and the header that it is under."""

    certified: CertifiedHeader
    facts: tuple[Fact, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        contents = [*certified_sections(self.certified), *(each.encode() for each in self.facts)]
        return CONTAINER.pack(list(zip(_names(len(self.facts)), contents, strict=True)))

    @staticmethod
    def decode(data: bytes) -> Extract:
        """Read a file's bytes, without the checksum; raises `NotABundleError`, or `ProofError` that
        names the section.
        """
        sections = CONTAINER.unpack(data)
        names = [name for name, _ in sections]
        count = len(names) - len(_CERTIFIED)
        if count < 1 or names != _names(count):
            raise malformed(f"its sections are {', '.join(names)[:300]}")
        content = dict(sections)
        facts = tuple(
            read_section(content, numbered(_FACT, number), Fact.decode)
            for number in range(1, count + 1)
        )
        keys = [each.key for each in facts]
        if keys != sorted(set(keys)):
            raise malformed("its keys do not ascend")
        return Extract(read_certified(content, *_CERTIFIED), facts)


def is_extract(data: bytes) -> bool:
    """Whether a file is more of an extract than of any other proof."""
    return data.startswith(START_MAGIC) or data.endswith(END_MAGIC)


def _names(facts: int) -> list[str]:
    return [*_CERTIFIED, *(numbered(_FACT, number) for number in range(1, facts + 1))]
