"""Members of a node's JSON, read strictly: exact types, one spelling of hex, bounded sizes.

Members that are not asked for are ignored: what counts is under the hash of what is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json

MALFORMED: Final = "OBSERVED_ANSWER_MALFORMED"
NUMBER_BOUND: Final = 1 << 63
HASH_BYTES: Final = 32

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}")


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object; `piece` names it in refusals."""

    piece: str
    values: Mapping[str, Json]

    @staticmethod
    def of(piece: str, value: Json) -> Fields:
        """The members of an object; raises `ProofError` for any other value."""
        if not isinstance(value, dict):
            raise ProofError(piece, "it is no JSON object", MALFORMED)
        return Fields(piece, value)

    def text(self, name: str, length_max: int) -> str:
        """A text of at most so many characters."""
        value = self._member(name)
        if not isinstance(value, str):
            raise ProofError(self.piece, f"{name} is no text", MALFORMED)
        if len(value) > length_max:
            raise ProofError(
                self.piece, f"{name} has more than {length_max} characters or items", MALFORMED
            )
        return value

    def integer(self, name: str, bound: int = NUMBER_BOUND) -> int:
        """An integer from 0 up to below `bound`."""
        return whole(self.piece, name, self._member(name), bound)

    def decimal(self, name: str) -> str:
        """A number that the node writes as text, in the one way it can be written: at most 20
        digits.
        """
        text = self.text(name, 20)
        if not _DECIMAL.fullmatch(text):
            raise ProofError(self.piece, f"{name} is no whole number in range", MALFORMED)
        return text

    def hexed(self, name: str, size_max: int) -> bytes:
        """Bytes behind 0x."""
        text = self.text(name, 2 + 2 * size_max)
        if not text.startswith("0x"):
            raise ProofError(self.piece, f"{name} is not in lower-case hex", MALFORMED)
        return unhex(self.piece, name, text[2:])

    def hashed(self, name: str) -> bytes:
        """A hash of 32 bytes."""
        value = self.hexed(name, HASH_BYTES)
        if len(value) != HASH_BYTES:
            raise ProofError(self.piece, f"{name} is not of the right size", MALFORMED)
        return value

    def rows(self, name: str, count_max: int) -> list[Json]:
        """A list of at most so many items."""
        value = self._member(name)
        if not isinstance(value, list):
            raise ProofError(self.piece, f"{name} is no list", MALFORMED)
        if len(value) > count_max:
            raise ProofError(
                self.piece, f"{name} has more than {count_max} characters or items", MALFORMED
            )
        return value

    def _member(self, name: str) -> Json:
        if name not in self.values:
            raise ProofError(self.piece, f"{name} is missing", MALFORMED)
        return self.values[name]


def unhex(piece: str, name: str, text: Json) -> bytes:
    """Bytes in lower-case hex without prefix."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise ProofError(piece, f"{name} is not in lower-case hex", MALFORMED)
    return bytes.fromhex(text)


def whole(piece: str, name: str, value: Json, bound: int = NUMBER_BOUND) -> int:
    """An integer from 0 up to below `bound`."""
    if type(value) is not int or not 0 <= value < bound:
        raise ProofError(piece, f"{name} is no whole number in range", MALFORMED)
    return value
