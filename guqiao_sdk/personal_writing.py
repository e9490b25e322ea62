"""The search for numbers of natural persons in whatever way their digits are written.

Every decimal digit is one (Arabic, mathematical, superscript, in a circle), and what is not seen
between two digits is not there. Between them may stand any punctuation, spaces and ends of lines:

* an identity number is found in any groups: its date and check character make it one;
* other numbers are found in their usual groups with any gap, and digit by digit;
* a telephone and an old identity number also in any groups with the same point, stroke or other
  mark in each gap, and a telephone in pairs; a card also with the same unusual mark.

Lists of counts, dates, amounts and addresses look like the rest, so that is let be. Chains replay
by this search, so what it finds is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.personal_characters import (
    DIGITS,
    GAPS,
    LIST,
    OTHER,
    PLAIN,
    POINT,
    SLASH,
    SPACE,
)
from guqiao_sdk.personal_numbers import (
    CARD_FORM,
    DIGITS_LEAST,
    FIXED_FORM,
    LONG_CARD_FORM,
    MIXED,
    MOBILE_FORM,
    OLD_RESIDENT_ID_FORM,
    PASSED_BY,
    RUN,
    UUID,
    Pay,
    PersonalKind,
    is_bank_card,
    is_fixed,
    is_old_resident_id,
    is_resident_id,
    is_sum,
    joined,
    own_digits,
    shape,
)

READ_BY: Final = 8
SHAPES: Final = 24
"""Characters beyond ASCII that cost as little as one where digits are few, and how often each is
looked at where they are dense.
"""

_ASCII_DIGITS: Final = "0123456789"
_ANY_DIGITS: Final = frozenset(map(chr, DIGITS))
_PLAIN: Final = {chr(code): found or "" for code, found in PLAIN.items()}
_GAP: Final = f"[{re.escape(GAPS)}]"
_GAPS: Final = re.compile(f"{_GAP}{{2,}}")
_DENSE: Final = re.compile(f"[0-9](?:{_GAP}?[0-9Xx]){{{DIGITS_LEAST - 1},}}")
"""Where a number may be: outside of it digits are too few, or letters stand between them."""

_RESIDENT_ID: Final = shape(
    "[1-9]" + "~[0-9]" * 5 + "~(?:1~9|2~0)" + "~[0-9]" * 9 + "~[0-9Xx]", _GAP
)

_Holds = Callable[[re.Match[str]], bool]


def kind_in_any_writing(text: str, pay: Pay | None) -> PersonalKind | None:
    """The kind of the first number of a person in `text`, or None; `pay` is told what is next."""
    if pay is not None:
        pay(1 + len(text) // (PASSED_BY if text.isascii() else READ_BY))
    if len(text) < DIGITS_LEAST or _count_of_digits(text) < DIGITS_LEAST:
        return None
    if pay is not None:
        pay(len(text))
    shown = UUID.sub("#", "".join(map(_PLAIN.get, text, text)))
    plain = MIXED.sub(own_digits, _GAPS.sub(_one_gap, shown))
    for dense in _DENSE.finditer(plain):
        if pay is not None:
            pay(SHAPES * len(dense.group()))
        kind = _kind_within(plain, *dense.span())
        if kind is not None:
            return kind
    return None


def _count_of_digits(text: str) -> int:
    if text.isascii():
        return sum(map(text.count, _ASCII_DIGITS))
    return sum(map(_ANY_DIGITS.__contains__, text))


def _one_gap(found: re.Match[str]) -> str:
    """For several marks the first that is no space; a point with others is no decimal point."""
    marks = found.group()
    mark = marks.strip(SPACE)[:1] or SPACE
    return LIST if mark == POINT and marks.strip(POINT) else mark


def _kind_within(plain: str, start: int, end: int) -> PersonalKind | None:
    for found in _RESIDENT_ID.finditer(plain, start, end):
        if is_resident_id(joined(found[1])):
            return PersonalKind.ID_NUMBER
    for kind, form, holds in _USUAL:
        for found in form.finditer(plain, start, end):
            if holds(found) and not is_sum(plain, *found.span(1)):
                return kind
    for row, begins, ends in _rows(plain, start, end):
        kind_of_row = _kind_of(row)
        if kind_of_row is not None and not is_sum(plain, begins, ends):
            return kind_of_row
    return PersonalKind.PHONE if _is_in_pairs(plain, start, end) else None


# --- Usual groups -------------------------------------------------------------------------------

_PRICE: Final = re.compile(r"[0-9]{7}\.[0-9]{4}")
"""An amount in four decimal places has as many digits as a telephone."""


def _is_mobile(found: re.Match[str]) -> bool:
    return _PRICE.fullmatch(found[1]) is None


_USUAL: Final[tuple[tuple[PersonalKind, re.Pattern[str], _Holds], ...]] = (
    (PersonalKind.BANK_ACCOUNT, shape(CARD_FORM, _GAP), is_bank_card),
    (PersonalKind.BANK_ACCOUNT, shape(LONG_CARD_FORM, _GAP), is_bank_card),
    (PersonalKind.ID_NUMBER, shape(OLD_RESIDENT_ID_FORM, _GAP), is_old_resident_id),
    (PersonalKind.PHONE, shape(MOBILE_FORM, _GAP), _is_mobile),
    (PersonalKind.PHONE, shape(FIXED_FORM, _GAP), is_fixed),
)


# --- Other groups -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """Groups of digits with the same `gap` between any two, or of one digit each with any gaps, and
    no further such group beside them.
    """

    groups: tuple[str, ...]
    gap: str

    @property
    def digits(self) -> str:
        return "".join(self.groups)

    @property
    def is_spelled(self) -> bool:
        """Digit by digit."""
        return len(self.digits) == len(self.groups)


_SPELLED: Final = re.compile(f"(?<![0-9])[0-9](?:{_GAP}[0-9](?![0-9])){{{DIGITS_LEAST - 1},}}")
_MARKED: Final = tuple(
    re.compile(f"(?<![0-9])[0-9]+(?:{re.escape(mark)}[0-9]+)+") for mark in (POINT, SLASH, OTHER)
)
_PAIRS: Final = re.compile(
    f"(?<![0-9])1(?:(?P<gap>{_GAP})[3-9][0-9](?:(?P=gap)[0-9]{{2}}){{4}}"
    f"|[3-9](?P<other>{_GAP})[0-9]{{2}}(?:(?P=other)[0-9]{{2}}){{3}}(?P=other)[0-9])(?![0-9])"
)


def _rows(plain: str, start: int, end: int) -> Iterator[tuple[_Row, int, int]]:
    """Rows of enough digits with where they stand: spelled ones, and those with the same mark."""
    for found in _SPELLED.finditer(plain, start, end):
        yield _row(found, ""), found.start(), found.end()
    for pattern in _MARKED:
        for found in pattern.finditer(plain, start, end):
            if found.end() - found.start() > DIGITS_LEAST:
                yield _row(found, _GAP_IN.findall(found[0])[0]), found.start(), found.end()


_GAP_IN: Final = re.compile(_GAP)


def _row(found: re.Match[str], gap: str) -> _Row:
    return _Row(tuple(RUN.findall(found[0])), gap)


def _is_in_pairs(plain: str, start: int, end: int) -> bool:
    """Whether a telephone stands in pairs, the odd digit first or last, and no more beside it."""
    for found in _PAIRS.finditer(plain, start, end):
        gap = found["gap"] or found["other"]
        begins, ends = found.span()
        before, after = plain[max(0, begins - 2) : begins], plain[ends : ends + 2]
        goes_on = (before[1:] == gap and before[:1].isdigit()) or (
            after[:1] == gap and after[1:].isdigit()
        )
        if gap != LIST and not goes_on and not is_sum(plain, *found.span()):
            return True
    return False


def _in_any_groups(row: _Row) -> bool:
    """Whether a telephone, or an identity number of fifteen digits, may be written so."""
    return row.is_spelled or not _is_something_else(row)


def _is_card(row: _Row) -> bool:
    return row.is_spelled or (row.gap == OTHER and not _is_something_else(row))


def _is_spelled(row: _Row) -> bool:
    return row.is_spelled


_YEAR: Final = re.compile("(?:19|20)[0-9]{2}")
_OBJECT_IDENTIFIERS: Final = ("1", "3", "6", "1")
"""How those of organisations begin (ISO/IEC 9834)."""


def _is_something_else(row: _Row) -> bool:
    """An amount, what has a year in it, the address of a machine, an object identifier."""
    groups = row.groups
    is_decimal = row.gap == POINT and len(groups) == 2
    is_in_thousands = len(groups[0]) <= 3 and all(len(each) == 3 for each in groups[1:])
    is_dated = any(_YEAR.fullmatch(each) for each in groups)
    is_address = len(groups) == 4 and all(
        len(each) <= 3 and each == str(int(each)) and int(each) < 256 for each in groups
    )
    is_identifier = groups[:4] == _OBJECT_IDENTIFIERS
    return is_decimal or is_in_thousands or is_dated or is_address or is_identifier


_WHOLE: Final[tuple[tuple[PersonalKind, re.Pattern[str], Callable[[_Row], bool]], ...]] = (
    (PersonalKind.BANK_ACCOUNT, re.compile("((?:[3-9][0-9]|2[2-7])[0-9]{14,17})"), _is_card),
    (PersonalKind.ID_NUMBER, re.compile("([0-9]{15})"), _in_any_groups),
    (PersonalKind.PHONE, re.compile("(?:(?:00)?86)?1[3-9][0-9]{9}"), _in_any_groups),
    (PersonalKind.PHONE, re.compile("0(?:10|2[0-9]|[3-9][0-9]{2})[2-9][0-9]{6,7}"), _is_spelled),
)
_HOLDS: Final[dict[PersonalKind, _Holds]] = {
    PersonalKind.BANK_ACCOUNT: is_bank_card,
    PersonalKind.ID_NUMBER: is_old_resident_id,
    PersonalKind.PHONE: bool,
}


def _kind_of(row: _Row) -> PersonalKind | None:
    digits = row.digits
    for kind, form, may_be in _WHOLE:
        whole = form.fullmatch(digits)
        if whole and may_be(row) and _HOLDS[kind](whole):
            return kind
    return None
