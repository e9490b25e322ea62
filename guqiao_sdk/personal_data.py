"""Finds numbers of natural persons in data: identity numbers, telephones and bank accounts.

They have no place on a chain (G2-17-7): what is on it cannot be erased. Contracts, the SDK and the
command line judge by this module, so it is pure, takes time linear in what it is given, and asks no
Unicode table: two versions of Python that differ in one would part the replicas of a chain.

Judged is every text, member names included, as people write such numbers: in ASCII or full-width
characters, in groups with spaces or hyphens, alone or within a sentence. Whole numbers are amounts
and counts, of which one in a few would look like a telephone; they are judged where the caller says
that they stand for a text. What letters of the same word surround is judged if that word holds no
other digits. Names and addresses of persons have no form that can be recognised, and bank accounts
without a check digit have none either: keeping those off a chain is the matter of templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guqiao_sdk.market_identifiers import is_uscc, resident_birth_date
from guqiao_sdk.proof.json_values import Json

PATH_LENGTH_MAX: Final = 256
"""Characters of a finding's path; what is longer is cut off."""

DIGITS_LEAST: Final = 11
"""No number that is looked for has fewer digits."""

SHAPES: Final = 8
"""So often is a place with digits enough looked at, about."""


class PersonalKind(StrEnum):
    """What kind of number it is."""

    ID_NUMBER = "ID_NUMBER"
    PHONE = "PHONE"
    BANK_ACCOUNT = "BANK_ACCOUNT"


@dataclass(frozen=True, slots=True)
class Finding:
    """A number of a person. `path` is where: `$.a[3]`, or `$.a.*` for the name of a member of
    `$.a`. The number itself is not in it.
    """

    kind: PersonalKind
    path: str


def find_personal_data(
    value: Json, *, with_numbers: bool = False, pay: Callable[[int], None] | None = None
) -> Finding | None:
    """The first number of a person in `value`, or None. With `with_numbers` whole numbers are read
    as the texts that they are written as. `pay` is told what the next part of the search costs, in
    characters that are looked at; what it raises ends the search.
    """
    pending: list[tuple[str, Json]] = [("$", value)]
    while pending:
        path, part = pending.pop()
        if isinstance(part, dict):
            for name in part:
                kind = _kind_in(name, pay)
                if kind is not None:
                    return Finding(kind, _at(path, ".*"))
            members = [(_at(path, f".{name[:64]}"), each) for name, each in part.items()]
            pending.extend(reversed(members))
        elif isinstance(part, list):
            rows = [(_at(path, f"[{number}]"), each) for number, each in enumerate(part)]
            pending.extend(reversed(rows))
        elif isinstance(part, str) or (with_numbers and type(part) is int):
            kind = _kind_in(str(part), pay)
            if kind is not None:
                return Finding(kind, path)
    return None


def _at(path: str, place: str) -> str:
    return (path + place)[:PATH_LENGTH_MAX]


# --- Numbers as they are written ----------------------------------------------------------------

_PLAIN: Final[dict[int, str | None]] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # Full-width forms of ASCII.
    **dict.fromkeys((0x09, 0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-"),
    **dict.fromkeys((0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF), None),  # Not seen at all.
    0xFFE5: "\u00a5",
}
"""By code point: digits, letters, spaces and hyphens as ASCII has them."""

_GAP: Final = r"[ ()\-]{1,3}"
_DENSE: Final = re.compile(r"[0-9]{2}(?:[ ()\-]{0,3}[0-9Xx]){9,}")
"""Where a number may be: outside of it digits are too few or too far apart."""

_UUID: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
_MIXED: Final = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[0-9A-Za-z]{12,}")
_HEX: Final = re.compile(r"[0-9a-f]{32,}|[0-9A-F]{32,}")
_RUN: Final = re.compile(r"[0-9]+")
_NOT_A_DIGIT: Final = re.compile(r"[^0-9]+")
_SUM_FOLLOWS: Final = re.compile(r"\.[0-9]{2}(?![0-9A-Za-z])| ?[元股分份]")


def _shape(form: str) -> re.Pattern[str]:
    """Finds numbers of a form, those that overlap too: each match is empty, its group the number.
    A space in `form` is a gap between groups of digits, a tilde a gap or none.
    """
    spelled = form.replace(" ", "_").replace("~", "_?").replace("_", f"(?:{_GAP})")
    return re.compile(f"(?<![0-9])(?=({spelled})(?![0-9]))")


def _kind_in(text: str, pay: Callable[[int], None] | None) -> PersonalKind | None:
    plain = text.translate(_PLAIN)
    if sum(map(plain.count, "0123456789")) < DIGITS_LEAST:
        return None
    if pay is not None:
        pay(len(text))
    plain = _MIXED.sub(_own_digits, _UUID.sub("#", plain))
    for dense in _DENSE.finditer(plain):
        if pay is not None:
            pay(SHAPES * len(dense.group()))
        kind = _kind_within(plain, *dense.span())
        if kind is not None:
            return kind
    return None


def _own_digits(found: re.Match[str]) -> str:
    """A word of letters and digits, or nothing to find where it is a digest, a credit code or has
    digits in several places.
    """
    word = found.group()
    is_code = is_uscc(word) and not _is_resident_id(word)
    is_other = is_code or _HEX.fullmatch(word) or len(_RUN.findall(word)) > 1
    return "#" if is_other else word


def _kind_within(plain: str, start: int, end: int) -> PersonalKind | None:
    for found in _RESIDENT_ID.finditer(plain, start, end):
        if _is_resident_id(_joined(found[1])):
            return PersonalKind.ID_NUMBER
    for kind, shape, is_one in _WEAKER:
        for found in shape.finditer(plain, start, end):
            if is_one(found) and not _is_sum(plain, *found.span(1)):
                return kind
    return None


def _joined(written: str) -> str:
    """The digits, with the X that may end them."""
    ending = "X" if written[-1] in ("x", "X") else ""
    return _NOT_A_DIGIT.sub("", written) + ending


def _is_sum(plain: str, start: int, end: int) -> bool:
    """Whether what stands around a number makes it an amount of money or a count of shares."""
    return plain[start - 1 : start] == "\u00a5" or _SUM_FOLLOWS.match(plain, end) is not None


# --- Identity numbers (GB 11643) ----------------------------------------------------------------

_PROVINCES: Final = re.compile(
    "1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]",
)
"""GB/T 2260, with the codes for residents of Hong Kong, Macao and Taiwan."""

_RESIDENT_ID: Final = _shape(
    "[0-9]{6}~[0-9]{8}~[0-9]{3}~[0-9Xx]|[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4} [0-9][0-9Xx]"
)
_OLD_RESIDENT_ID: Final = _shape("[0-9]{6}~[0-9]{6}~[0-9]{3}")


def _is_resident_id(number: str) -> bool:
    """Eighteen characters: region, birth date from 1900 to 2099, check character. A permanent
    resident from abroad has 9 before the province. A credit code may, rarely, be one as well: then
    it is taken for the person's number.
    """
    if len(number) != 18 or number[6:8] not in ("19", "20"):
        return False
    province = number[1:3] if number[0] == "9" else number[:2]
    return _PROVINCES.fullmatch(province) is not None and resident_birth_date(number) is not None


def _is_old_resident_id(found: re.Match[str]) -> bool:
    """Fifteen digits, as given out until 1999: no check character, and a year of two digits."""
    digits = _joined(found[1])
    return _PROVINCES.match(digits) is not None and _is_day(f"19{digits[6:12]}")


def _is_day(digits: str) -> bool:
    """Eight digits of a day of the years 1900 to 2099."""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if not (1900 <= year < 2100 and 1 <= month <= 12):
        return False
    is_leap = year % 4 == 0 and year != 1900
    return (
        1 <= day <= (31, 29 if is_leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    )


# --- Telephones ---------------------------------------------------------------------------------

_MOBILE: Final = _shape("(?:(?:00)?86~)?1[3-9][0-9](?:~[0-9]{4}~[0-9]{4}| [0-9]{3} [0-9]{5})")
_FIXED: Final = _shape(
    "(?:(?<=[+])86~|0086~|0)"
    "(?:(?:10|2[0-9])~([2-9][0-9]{3}~[0-9]{4})|[3-9][0-9]{2}~([2-9][0-9]{2,3}~[0-9]{4}))"
)


def _is_fixed(found: re.Match[str]) -> bool:
    """Area and number. What stands for a day is no number: 010-20250901 is of a document."""
    number = _joined(found[2] or found[3])
    return len(number) < 8 or not _is_day(number)


# --- Bank accounts ------------------------------------------------------------------------------

_CARD: Final = _shape(
    "(?:[3-9][0-9]|2[2-7])[0-9]{2}(?:[0-9]{2}~[0-9]{10,13}| [0-9]{4} [0-9]{4} [0-9]{4})"
)
_LONG_CARD: Final = _shape("(?:[3-9][0-9]|2[2-7])[0-9]{2} [0-9]{4} [0-9]{4} [0-9]{4} [0-9]{1,3}")
"""ISO/IEC 7812: cards of banks begin with 3 to 9, or with 22 to 27."""

_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def _is_bank_card(found: re.Match[str]) -> bool:
    """Sixteen to nineteen digits with the check digit of ISO/IEC 7812, and no credit code."""
    digits = _joined(found[1])
    written = digits.encode()
    doubled = written[-2::-2].translate(_DOUBLED)
    total = sum(written[-1::-2]) + sum(doubled) - ord("0") * len(written)
    return total % 10 == 0 and not is_uscc(digits)


_WEAKER: Final[
    tuple[tuple[PersonalKind, re.Pattern[str], Callable[[re.Match[str]], bool]], ...]
] = (
    (PersonalKind.BANK_ACCOUNT, _CARD, _is_bank_card),
    (PersonalKind.BANK_ACCOUNT, _LONG_CARD, _is_bank_card),
    (PersonalKind.ID_NUMBER, _OLD_RESIDENT_ID, _is_old_resident_id),
    (PersonalKind.PHONE, _MOBILE, bool),
    (PersonalKind.PHONE, _FIXED, _is_fixed),
)
"""What an amount of money may look like; a card in fours may hold what looks like a telephone."""
