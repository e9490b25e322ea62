"""Identifiers of the market: the unified social credit code and the resident identity number.

Pure functions of a string, for importers and for what searches texts. The register's rules have the
same in star/1, and tests hold both against each other. docs/market-dataset.md section 4 fixes what
is checked, and what is not.
"""

from __future__ import annotations

from datetime import date
from typing import Final

_USCC_LETTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS: Final = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_RESIDENT_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECK: Final = "10X98765432"
_LENGTH: Final = 18


def is_uscc(code: str) -> bool:
    """Tell whether `code` is a unified social credit code: GB 32100, form and check character."""
    if len(code) != _LENGTH or any(letter not in _USCC_LETTERS for letter in code):
        return False
    values = [_USCC_LETTERS.index(letter) for letter in code]
    total = sum(value * weight for value, weight in zip(values, _USCC_WEIGHTS, strict=False))
    return values[-1] == (31 - total % 31) % 31


def resident_birth_date(number: str) -> str | None:
    """Return the birth date in a resident identity number of GB 11643, or None if it is wrong.

    A number is right from that date on: whether the date has come is the caller's to ask.
    """
    digits = number[:-1]
    if len(number) != _LENGTH or not (digits.isascii() and digits.isdigit()):
        return None
    total = sum(
        int(digit) * weight for digit, weight in zip(digits, _RESIDENT_WEIGHTS, strict=True)
    )
    if number[-1] != _RESIDENT_CHECK[total % 11]:
        return None
    try:
        return date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14])).isoformat()
    except ValueError:
        return None


def identity_valid_from(id_type: str, id_number: str, *, as_of: str) -> str | None:
    """Return the date from which the identity holds, or None if it never does.

    This is the registration institution's statement: it tells the chain nothing about a birth
    date before `as_of`, and nothing else of the number.
    """
    match id_type:
        case "resident_id":
            birth_date = resident_birth_date(id_number)
            return None if birth_date is None else max(birth_date, as_of)
        case "uscc":
            return as_of if is_uscc(id_number) else None
        case _:
            return as_of
