"""Reads the members of a registration: whatever is missing or wrong is refused by its path."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from guqiao_sdk.market_identifiers import is_uscc
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal

TEXT_LENGTH_MAX: Final = 200
NUMBER_BOUND: Final = 1 << 53
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_EMPTY: Final[tuple[Json, ...]] = (None, "", [], {})


def invalid(field: str, fault: str) -> Refusal:
    """The refusal of what stands in a field."""
    return Refusal("CHAIN_FIELD_INVALID", field=field, fault=fault)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of the registration; `path` is what stands before its members' names."""

    values: Mapping[str, Json]
    path: str

    @staticmethod
    def of(value: Json, path: str, required: str, optional: str = "") -> Fields:
        """The object with all of `required`, none of them empty, and at most `optional` beside."""
        if not isinstance(value, dict):
            raise invalid(path.rstrip(".") or "registration", "not an object")
        for name in required.split():
            if value.get(name) in _EMPTY:
                raise Refusal("CHAIN_FIELD_MISSING", field=f"{path}{name}")
        for name in optional.split():
            if name not in value:
                raise Refusal("CHAIN_FIELD_MISSING", field=f"{path}{name}")
        for name in sorted(value.keys() - set(f"{required} {optional}".split())):
            raise Refusal("BODY_MALFORMED", field=f"{path}{name[:64]}", fault="unknown")
        return Fields(value, path)

    def part(self, name: str, required: str, optional: str = "") -> Fields:
        """An object within."""
        return Fields.of(self.values[name], f"{self.path}{name}.", required, optional)

    def rows(self, name: str, required: str, count_max: int, *, optional: str = "") -> list[Fields]:
        """An array of objects within."""
        return [
            Fields.of(value, f"{self.path}{name}[{number}].", required, optional)
            for number, value in enumerate(self.array(name, count_max))
        ]

    def array(self, name: str, count_max: int) -> list[Json]:
        """An array."""
        value = self.values[name]
        if not isinstance(value, list) or len(value) > count_max:
            raise self.wrong(name, f"not an array of at most {count_max} entries")
        return value

    def wrong(self, name: str, fault: str) -> Refusal:
        """The refusal of a member."""
        return invalid(f"{self.path}{name}", fault)

    def text(self, name: str, length_max: int = TEXT_LENGTH_MAX) -> str:
        """A string."""
        value = self.values[name]
        if not isinstance(value, str) or not 1 <= len(value) <= length_max:
            raise self.wrong(name, f"not a string of 1 to {length_max} characters")
        return value

    def matching(self, name: str, form: re.Pattern[str]) -> str:
        """A string of this form."""
        value = self.values[name]
        if not isinstance(value, str) or form.fullmatch(value) is None:
            raise self.wrong(name, f"not of the form {form.pattern}")
        return value

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """One of a list."""
        value = self.values[name]
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(name, f"none of {', '.join(sorted(allowed))}")
        return value

    def digest(self, name: str) -> str:
        """An SM3 digest in hex, not all zeros."""
        value = self.matching(name, _DIGEST)
        if not int(value, 16):
            raise self.wrong(name, "no digest is zero")
        return value

    def day(self, name: str) -> date:
        """A date like 2026-01-05."""
        value = self.matching(name, _DAY)
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise self.wrong(name, "there is no such day") from None

    def number(self, name: str, least: int, greatest: int = NUMBER_BOUND - 1) -> int:
        """An integer of a range."""
        value = self.values[name]
        if type(value) is not int or not least <= value <= greatest:
            raise self.wrong(name, f"not an integer from {least} to {greatest}")
        return value

    def uscc(self, name: str) -> str:
        """A unified social credit code with a right check character."""
        value = self.values[name]
        if not isinstance(value, str) or not is_uscc(value):
            raise Refusal("USCC_INVALID", field=f"{self.path}{name}")
        return value
