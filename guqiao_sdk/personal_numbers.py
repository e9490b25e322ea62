"""What numbers of natural persons look like, and the search for them in groups of digits.

Judged are numbers in ASCII or full-width characters, in groups with spaces or hyphens, alone or
within a sentence; what letters of the same word surround is judged if that word holds no other
digits. Chains whose contracts were deployed by early versions replay by this search, so what it
finds is never changed; `personal_writing` goes further.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from guqiao_sdk.market_identifiers import is_uscc, resident_birth_date

DIGITS_LEAST: Final = 11
"""No number that is looked for has fewer digits."""

PASSED_BY: Final = 32
SHAPES: Final = 8
"""Characters that cost as little as one where digits are few, and how often each is looked at where
they are dense.
"""

Pay = Callable[[int], None]


class PersonalKind(StrEnum):
    """What kind of number it is."""

    ID_NUMBER = "ID_NUMBER"
    PHONE = "PHONE"
    BANK_ACCOUNT = "BANK_ACCOUNT"


# --- Numbers as they are written ----------------------------------------------------------------

_PLAIN: Final[dict[int, str | None]] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # Full-width forms of ASCII.
    **dict.fromkeys((0x09, 0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-"),
    **dict.fromkeys((0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF), None),  # Not seen at all.
    0xFFE5: "\u00a5",
}
"""By code point: digits, letters, spaces and hyphens as ASCII has them."""

_DIGITS: Final = "0123456789"
_ALL_DIGITS: Final = _DIGITS + "".join(chr(code) for code in range(0xFF10, 0xFF1A))

_GAP: Final = r"[ ()\-]{1,3}"
_DENSE: Final = re.compile(r"[0-9]{2}(?:[ ()\-]{0,3}[0-9Xx]){9,}")
"""Where a number may be: outside of it digits are too few or too far apart."""

UUID: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
MIXED: Final = re.compile(r"(?<![0-9A-Za-z])(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[0-9A-Za-z]{12,}")
_HEX: Final = re.compile(r"[0-9a-f]{32,}|[0-9A-F]{32,}")
RUN: Final = re.compile(r"[0-9]+")
_NOT_A_DIGIT: Final = re.compile(r"[^0-9]+")
_SUM_FOLLOWS: Final = re.compile(r"\.[0-9]{2}(?![0-9A-Za-z])| ?[元股分份]")


def shape(form: str, gap: str = _GAP) -> re.Pattern[str]:
    """Finds numbers of a form, those that overlap too: each match is empty, its group the number.
    A space in `form` is a `gap` between groups of digits, a tilde a gap or none.
    """
    spelled = form.replace(" ", "\0").replace("~", "\0?").replace("\0", f"(?:{gap})")
    return re.compile(f"(?<![0-9])(?=({spelled})(?![0-9]))")


def kind_in_groups(text: str, pay: Pay | None) -> PersonalKind | None:
    """The kind of the first number of a person in `text`, or None; `pay` is told what is next."""
    if pay is not None:
        pay(1 + len(text) // PASSED_BY)
    if len(text) < DIGITS_LEAST:
        return None
    if sum(map(text.count, _DIGITS if text.isascii() else _ALL_DIGITS)) < DIGITS_LEAST:
        return None
    if pay is not None:
        pay(len(text))
    plain = MIXED.sub(own_digits, UUID.sub("#", text.translate(_PLAIN)))
    for dense in _DENSE.finditer(plain):
        if pay is not None:
            pay(SHAPES * len(dense.group()))
        kind = _kind_within(plain, *dense.span())
        if kind is not None:
            return kind
    return None


def own_digits(found: re.Match[str]) -> str:
    """A word of letters and digits, or nothing to find where it is a digest, a credit code or has
    digits in several places.
    """
    word = found.group()
    is_code = is_uscc(word) and not is_resident_id(word)
    is_other = is_code or _HEX.fullmatch(word) or len(RUN.findall(word)) > 1
    return "#" if is_other else word


def _kind_within(plain: str, start: int, end: int) -> PersonalKind | None:
    for found in _RESIDENT_ID.finditer(plain, start, end):
        if is_resident_id(joined(found[1])):
            return PersonalKind.ID_NUMBER
    for kind, shape, is_one in _WEAKER:
        for found in shape.finditer(plain, start, end):
            if is_one(found) and not is_sum(plain, *found.span(1)):
                return kind
    return None


def joined(written: str) -> str:
    """The digits, with the X that may end them."""
    ending = "X" if written[-1] in ("x", "X") else ""
    return _NOT_A_DIGIT.sub("", written) + ending


def is_sum(plain: str, start: int, end: int) -> bool:
    """Whether what stands around a number makes it an amount of money or a count of shares."""
    return plain[start - 1 : start] == "\u00a5" or _SUM_FOLLOWS.match(plain, end) is not None


# --- Identity numbers (GB 11643) ----------------------------------------------------------------

_PROVINCES: Final = re.compile(
    "1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]",
)
"""GB/T 2260, with the codes for residents of Hong Kong, Macao and Taiwan."""

_RESIDENT_ID: Final = shape(
    "[0-9]{6}~[0-9]{8}~[0-9]{3}~[0-9Xx]|[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4} [0-9][0-9Xx]"
)
OLD_RESIDENT_ID_FORM: Final = "[0-9]{6}~[0-9]{6}~[0-9]{3}"
_OLD_RESIDENT_ID: Final = shape(OLD_RESIDENT_ID_FORM)


def is_resident_id(number: str) -> bool:
    """Eighteen characters: region, birth date from 1900 to 2099, check character. A permanent
    resident from abroad has 9 before the province. A credit code may, rarely, be one as well: then
    it is taken for the person's number.
    """
    if len(number) != 18 or number[6:8] not in ("19", "20"):
        return False
    province = number[1:3] if number[0] == "9" else number[:2]
    return _PROVINCES.fullmatch(province) is not None and resident_birth_date(number) is not None


def is_old_resident_id(found: re.Match[str]) -> bool:
    """Fifteen digits, as given out until 1999: no check character, and a year of two digits."""
    digits = joined(found[1])
    return _PROVINCES.match(digits) is not None and is_day(f"19{digits[6:12]}")


def is_day(digits: str) -> bool:
    """Eight digits of a day of the years 1900 to 2099."""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    if not (1900 <= year < 2100 and 1 <= month <= 12):
        return False
    is_leap = year % 4 == 0 and year != 1900
    return (
        1 <= day <= (31, 29 if is_leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    )


# --- Telephones ---------------------------------------------------------------------------------

MOBILE_FORM: Final = "(?:(?:00)?86~)?1[3-9][0-9](?:~[0-9]{4}~[0-9]{4}| [0-9]{3} [0-9]{5})"
FIXED_FORM: Final = (
    "(?:(?<=[+])86~|0086~|0)"
    "(?:(?:10|2[0-9])~([2-9][0-9]{3}~[0-9]{4})|[3-9][0-9]{2}~([2-9][0-9]{2,3}~[0-9]{4}))"
)
_MOBILE: Final = shape(MOBILE_FORM)
_FIXED: Final = shape(FIXED_FORM)


def is_fixed(found: re.Match[str]) -> bool:
    """Area and number. What stands for a day is no number: 010-20250901 is of a document."""
    number = joined(found[2] or found[3])
    return len(number) < 8 or not is_day(number)


# --- Bank accounts ------------------------------------------------------------------------------

CARD_FORM: Final = (
    "(?:[3-9][0-9]|2[2-7])[0-9]{2}(?:[0-9]{2}~[0-9]{10,13}| [0-9]{4} [0-9]{4} [0-9]{4})"
)
LONG_CARD_FORM: Final = "(?:[3-9][0-9]|2[2-7])[0-9]{2} [0-9]{4} [0-9]{4} [0-9]{4} [0-9]{1,3}"
_CARD: Final = shape(CARD_FORM)
_LONG_CARD: Final = shape(LONG_CARD_FORM)
"""ISO/IEC 7812: cards of banks begin with 3 to 9, or with 22 to 27."""

_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def is_bank_card(found: re.Match[str]) -> bool:
    """Sixteen to nineteen digits with the check digit of ISO/IEC 7812, and no credit code."""
    digits = joined(found[1])
    written = digits.encode()
    doubled = written[-2::-2].translate(_DOUBLED)
    total = sum(written[-1::-2]) + sum(doubled) - ord("0") * len(written)
    return total % 10 == 0 and not is_uscc(digits)


_WEAKER: Final[
    tuple[tuple[PersonalKind, re.Pattern[str], Callable[[re.Match[str]], bool]], ...]
] = (
    (PersonalKind.BANK_ACCOUNT, _CARD, is_bank_card),
    (PersonalKind.BANK_ACCOUNT, _LONG_CARD, is_bank_card),
    (PersonalKind.ID_NUMBER, _OLD_RESIDENT_ID, is_old_resident_id),
    (PersonalKind.PHONE, _MOBILE, bool),
    (PersonalKind.PHONE, _FIXED, is_fixed),
)
"""What an amount of money may look like; a card in fours may hold what looks like a telephone."""
