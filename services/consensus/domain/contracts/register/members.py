"""The form of a body: every member present, of its type, and none that nobody asked for.

One reader for all methods. A wrong form is `BODY_MALFORMED` with the field's path; an integer that
leaves the market's range is `VALUE_OUT_OF_RANGE`. Whether a value makes sense is not asked here,
nor how long a text or an array is: what fits a transaction is judged by the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Final, NoReturn, TypeVar

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Refusal

VALUE_BOUND: Final = 1 << 53
"""Every amount and count n has |n| < 2^53, so that any reader's numbers hold it exactly."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Row = TypeVar("Row")


def is_date(text: str) -> bool:
    """Tell whether `text` is a calendar date, YYYY-MM-DD."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class Members:
    """The members of one object, each to be taken once; `finish` refuses what is left over."""

    __slots__ = ("_body", "_path", "_taken")

    def __init__(self, body: Mapping[str, Json], path: str = "") -> None:
        self._body = body
        self._path = path
        self._taken: set[str] = set()

    def take(self, name: str) -> Json:
        """Return the member `name`, of any type."""
        if name not in self._body:
            self.refuse(name, "missing")
        self._taken.add(name)
        return self._body[name]

    def text(self, name: str, *, length_max: int | None = None) -> str:
        """Return a string; of any content and length, because a reference may lead nowhere."""
        value = self.take(name)
        if not isinstance(value, str):
            self.refuse(name, "not a string")
        if length_max is not None and len(value) > length_max:
            self.refuse(name, f"not a string of at most {length_max} characters")
        return value

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return a string out of a closed list."""
        value = self.take(name)
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, "not one of " + ", ".join(sorted(choices)))
        return value

    def integer(self, name: str) -> int:
        """Return an integer within the market's range."""
        value = self.take(name)
        if type(value) is not int:
            self.refuse(name, "not an integer")
        if not -VALUE_BOUND < value < VALUE_BOUND:
            raise Refusal("VALUE_OUT_OF_RANGE", field=self._path + name, value=str(value))
        return value

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            self.refuse(name, "not a boolean")
        return value

    def date(self, name: str) -> str:
        """Return a calendar date, YYYY-MM-DD."""
        value = self.take(name)
        if not isinstance(value, str) or not is_date(value):
            self.refuse(name, "not a date")
        return value

    def date_or_none(self, name: str) -> str | None:
        """Return a calendar date, or None for null."""
        return None if self.take(name) is None else self.date(name)

    def digest(self, name: str) -> str:
        """Return a digest: 64 lower-case hexadecimal digits."""
        value = self.take(name)
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            self.refuse(name, "not 64 lower-case hexadecimal digits")
        return value

    def texts(self, name: str, *, count_max: int | None = None) -> tuple[str, ...]:
        """Return an array of strings, which may be empty."""
        texts: list[str] = []
        for value in self._array(name, 0, count_max):
            if not isinstance(value, str):
                self.refuse(name, "not an array of strings")
            texts.append(value)
        return tuple(texts)

    def dates(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """Return an array of dates, ascending."""
        dates = self.texts(name, count_max=count_max)
        if not all(map(is_date, dates)) or list(dates) != sorted(set(dates)):
            self.refuse(name, "not dates in ascending order")
        return dates

    def members(self, name: str) -> Members:
        """Return the reader of an object."""
        value = self.take(name)
        if not isinstance(value, dict):
            self.refuse(name, "not an object")
        return Members(value, f"{self._path}{name}.")

    def rows(
        self,
        name: str,
        read: Callable[[Members], Row],
        *,
        count_min: int = 1,
        count_max: int | None = None,
    ) -> tuple[Row, ...]:
        """Return an array of objects, each read whole by `read`."""
        rows: list[Row] = []
        for index, value in enumerate(self._array(name, count_min, count_max)):
            if not isinstance(value, dict):
                self.refuse(f"{name}[{index}]", "not an object")
            reader = Members(value, f"{self._path}{name}[{index}].")
            rows.append(read(reader))
            reader.finish()
        return tuple(rows)

    def names(self) -> tuple[str, ...]:
        """Return the member names, sorted, of an object whose names are data."""
        return tuple(sorted(self._body))

    def finish(self) -> None:
        """Refuse members that nobody took."""
        for name in sorted(self._body):
            if name not in self._taken:
                self.refuse(name, "unknown")

    def refuse(self, name: str, fault: str) -> NoReturn:
        """Refuse the body because of member `name`."""
        raise Refusal("BODY_MALFORMED", field=self._path + name, fault=fault)

    def _array(self, name: str, count_min: int, count_max: int | None) -> list[Json]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) < count_min:
            self.refuse(name, f"not an array of at least {count_min} elements")
        if count_max is not None and len(value) > count_max:
            self.refuse(name, f"not an array of at most {count_max} elements")
        return value
