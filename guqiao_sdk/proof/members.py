"""Strict reading of JSON values: exactly these members, of exactly these kinds, or a refusal.

What is signed as canonical JSON is judged value by value, so its readers are strict: nothing is
converted, and nothing unknown is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import Json

NUMBER_BOUND: Final = 1 << 53
"""Numbers of JSON are exact below it for every reader."""
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")


@dataclass(frozen=True, slots=True)
class MemberReader:
    """Each method returns the value as what it must be, or raises what `refusal` makes of a
    sentence that names it.
    """

    refusal: Callable[[str], ProofError]

    def members(self, value: Json, name: str, wanted: str) -> Mapping[str, Json]:
        """An object with exactly the members that `wanted` names, separated by spaces."""
        if not isinstance(value, dict) or set(value) != set(wanted.split()):
            raise self.refusal(f"{name} has not exactly the members {wanted}")
        return value

    def array(self, value: Json, name: str, most: int, *, least: int = 1) -> list[Json]:
        """An array of so many entries."""
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise self.refusal(f"{name} is not an array of {least} to {most} entries")
        return value

    def text(self, value: Json, name: str, bytes_max: int) -> str:
        """A text that is not empty and has at most so many bytes in UTF-8."""
        if not isinstance(value, str) or not 1 <= len(value.encode()) <= bytes_max:
            raise self.refusal(f"{name} is not a text of 1 to {bytes_max} bytes")
        return value

    def match(self, pattern: re.Pattern[str], value: Json, name: str) -> str:
        """A text that is wholly of the form."""
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise self.refusal(f"{name} is not of the form {pattern.pattern}")
        return value

    def hex(self, value: Json, name: str, length: int | None = None) -> bytes:
        """Bytes in lower-case hex, so many where `length` says so."""
        found = bytes.fromhex(self.match(_HEX, value, name))
        if length is not None and len(found) != length:
            raise self.refusal(f"{name} is not {length} bytes in hex")
        return found

    def natural(self, value: Json, name: str) -> int:
        """An integer from 0 on, below `NUMBER_BOUND`; never a bool."""
        if type(value) is not int or not 0 <= value < NUMBER_BOUND:
            raise self.refusal(f"{name} is not an integer from 0 to 2^53 - 1")
        return value
