"""The table of characters agrees with every Unicode table that Python brings, old and new."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from guqiao_sdk.personal_characters import DIGITS, GAPS, PLAIN

TABLES = (unicodedata, unicodedata.ucd_3_2_0)
"""This Python's, and the old one that every Python brings."""

IGNORABLE = {"Cn", "Lo"}
"""Of what is ignorable by default: not yet a character, or a filler that shows nothing."""


@pytest.mark.parametrize("table", TABLES)
def test_every_digit_of_the_table_is_that_digit_or_is_not_known_yet(
    table: unicodedata.UCD,
) -> None:
    for code, digit in DIGITS.items():
        if table.category(chr(code)) != "Cn":
            assert table.digit(chr(code)) == int(digit), hex(code)


def is_of_the_table(code: int) -> bool:
    """Whether what this Python knows was known when the table was taken."""
    version = tuple(map(int, unicodedata.unidata_version.split(".")))
    return version <= (14, 0, 0) or unicodedata.ucd_3_2_0.category(chr(code)) != "Cn"


@pytest.mark.req("G2-17-7")
def test_no_digit_mark_gap_or_unseen_character_is_missing() -> None:
    for code in filter(is_of_the_table, range(sys.maxunicode + 1)):
        letter = chr(code)
        category = unicodedata.category(letter)
        digit = unicodedata.digit(letter, None)
        if digit is not None:
            assert PLAIN.get(code, letter) == str(digit), hex(code)
        elif category in ("Mn", "Me", "Cf"):
            assert PLAIN[code] is None, hex(code)
        elif category[0] in "PZ":
            found = PLAIN[code]
            assert found is not None
            assert found in GAPS, hex(code)


def test_nothing_else_is_taken_for_one() -> None:
    kinds = {"Mn", "Me", "Cf", "Cc", *IGNORABLE}
    for code, found in PLAIN.items():
        category = unicodedata.category(chr(code))
        if found is None:
            assert category in kinds, hex(code)
        elif found in GAPS:
            assert category[0] in "PZSC", hex(code)
        elif found.isdigit():
            assert code in DIGITS


def test_letters_stay_as_they_are_and_full_width_ones_become_ascii() -> None:
    assert "股权a1Ａｚ，。".translate(PLAIN) == "股权a1Az,,"
    assert "￥＋".translate(PLAIN) == "\u00a5+"
