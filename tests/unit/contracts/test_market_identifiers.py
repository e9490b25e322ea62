"""Credit codes and identity numbers, by the standards' own examples and by spoiling them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.market_identifiers import identity_valid_from, is_uscc, resident_birth_date

USCC_VALID = ("91370199MA9900001C", "91370199MA990001X4", "91370199MA99000284")
USCC_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@pytest.mark.parametrize("code", USCC_VALID)
def test_published_credit_codes_are_valid(code: str) -> None:
    assert is_uscc(code)


@given(st.sampled_from(USCC_VALID), st.integers(0, 17), st.sampled_from(USCC_LETTERS))
def test_a_credit_code_with_one_other_character_is_invalid(
    code: str, place: int, letter: str
) -> None:
    spoiled = code[:place] + letter + code[place + 1 :]
    assert is_uscc(spoiled) == (spoiled == code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "91370199MA9900001",
        "91370199MA9900001CC",
        "91370199ma9900001c",
        "91370199MA990000IC",
        " 91370199MA9900001",
        "９1370199MA9900001C",
    ],
)
def test_a_credit_code_of_another_form_is_invalid(code: str) -> None:
    assert not is_uscc(code)


def test_the_standards_identity_number_gives_its_birth_date() -> None:
    assert resident_birth_date("11010519491231002X") == "1949-12-31"


@given(st.text(max_size=20))
def test_any_text_is_judged_without_failing(text: str) -> None:
    assert is_uscc(text) in (True, False)
    resident_birth_date(text)


@pytest.mark.parametrize(
    "number",
    [
        "11010519491231002x",  # A lower-case check character.
        "110105194912310021",  # Another check character.
        "11010519490230002X",  # No such day.
        "1101051949123100２X",  # A digit that is not ASCII.
        "11010519491231002",
        "11010519491231002XX",
        "",
    ],
)
def test_a_wrong_identity_number_has_no_birth_date(number: str) -> None:
    assert resident_birth_date(number) is None


def test_the_day_must_be_in_the_calendar_even_if_the_check_character_fits() -> None:
    digits = "11010520230229001"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    assert resident_birth_date(digits + "10X98765432"[total % 11]) is None


@pytest.mark.req("N0-14")
def test_the_statement_tells_a_birth_date_only_if_it_lies_within_the_period() -> None:
    def stated(id_type: str, number: str, start: str = "2025-09-01") -> str | None:
        return identity_valid_from(id_type, number, as_of=start)

    assert stated("resident_id", "11010519491231002X") == "2025-09-01"
    assert stated("resident_id", "11010519491231002X", "1900-01-01") == "1949-12-31"
    assert stated("resident_id", "110105194912310021") is None
    assert stated("uscc", "91370199MA9900001C") == "2025-09-01"
    assert stated("uscc", "91370199MA9900001D") is None
    assert stated("product_record", "anything") == "2025-09-01"
