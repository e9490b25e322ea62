"""Numbers of persons are found in any writing of digits, by the search of its version alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.personal_characters import DIGITS, PLAIN
from guqiao_sdk.personal_data import Search, find_personal_data
from guqiao_sdk.personal_numbers import PersonalKind
from tests.unit.contracts.test_personal_data import (
    cards,
    fixed_phones,
    kind_in,
    mobiles,
    old_resident_ids,
    resident_ids,
)

BY_DIGIT = {
    digit: [chr(code) for code in DIGITS if DIGITS[code] == digit] for digit in "0123456789"
}
UNSEEN = [chr(code) for code, found in PLAIN.items() if found is None]
MARKS = [chr(code) for code, found in PLAIN.items() if found in tuple("-(,.:/_")]
SPACES = [chr(code) for code, found in PLAIN.items() if found == " "]
POINTS = [chr(code) for code, found in PLAIN.items() if found in tuple("./_")]


def in_fours(number: str) -> list[str]:
    return [number[at : at + 4] for at in range(0, len(number), 4)]


@st.composite
def disguised(draw: st.DrawFn, groups: list[str], gaps: st.SearchStrategy[str]) -> str:
    """The groups with gaps between them, in digits of any script, unseen characters between."""
    written = draw(gaps).join(groups)
    shown = [draw(st.sampled_from(BY_DIGIT.get(each, [each]))) for each in written]
    unseen = st.just("") | st.sampled_from(UNSEEN)
    return "".join(each + draw(unseen) for each in shown)


def gap() -> st.SearchStrategy[str]:
    """What people may put between groups: a mark, or spaces and ends of lines around it."""
    spaces = st.text(st.sampled_from(SPACES), max_size=2)
    return st.tuples(spaces, st.just("") | st.sampled_from(MARKS), spaces).map("".join)


def in_groups(number: str, *lengths: int) -> list[str]:
    groups, at = [], 0
    for length in lengths:
        groups.append(number[at : at + length])
        at += length
    return [*groups, number[at:]]


@st.composite
def usual(draw: st.DrawFn) -> tuple[PersonalKind, str]:
    kind, groups = draw(
        st.one_of(
            resident_ids().map(lambda id: (PersonalKind.ID_NUMBER, in_groups(id, 6, 8))),
            resident_ids().map(lambda id: (PersonalKind.ID_NUMBER, in_groups(id, 3, 3, 4, 2, 2))),
            old_resident_ids().map(lambda id: (PersonalKind.ID_NUMBER, in_groups(id, 6, 6))),
            mobiles().map(lambda groups: (PersonalKind.PHONE, groups)),
            fixed_phones().map(lambda groups: (PersonalKind.PHONE, groups)),
            cards().map(lambda card: (PersonalKind.BANK_ACCOUNT, in_fours(card))),
            cards().map(lambda card: (PersonalKind.BANK_ACCOUNT, in_groups(card, 6))),
        )
    )
    return kind, draw(disguised(groups, gap()))


@pytest.mark.req("G2-17-7")
@given(usual())
def test_usual_groups_are_found_with_any_gap_in_any_digits(found: tuple[PersonalKind, str]) -> None:
    kind, text = found
    assert kind_in(text) is kind


def numbers() -> st.SearchStrategy[str]:
    joined = mobiles().map("".join) | fixed_phones().map("".join)
    return joined | cards() | resident_ids() | old_resident_ids()


@pytest.mark.req("G2-17-7")
@given(st.data())
def test_a_number_spelled_digit_by_digit_is_found(data: st.DataObject) -> None:
    number = data.draw(numbers())
    text = data.draw(disguised(list(number), gap()))
    assert kind_in(text) is not None


@given(st.data())
def test_an_identity_number_is_found_in_any_groups_with_any_gaps(data: st.DataObject) -> None:
    number = data.draw(resident_ids())
    text = "".join(each + data.draw(st.just("") | gap()) for each in number)
    assert kind_in(f"证号{text}") is PersonalKind.ID_NUMBER


@given(mobiles(), st.sampled_from(POINTS), st.integers(1, 10), st.integers(1, 10))
def test_a_telephone_is_found_in_odd_groups(
    number: list[str], point: str, first: int, second: int
) -> None:
    digits = "".join(number)
    cut = sorted({first, second})
    groups = in_groups(digits, cut[0], *(cut[1] - cut[0] for _ in cut[1:]))
    is_decimal = len(groups) == 2 and PLAIN[ord(point)] == "."
    is_amount = is_decimal or [len(each) for each in groups[1:]] == [3] * (len(groups) - 1)
    is_dated = any(len(each) == 4 and each[:2] in ("19", "20") for each in groups)
    if not (is_amount or is_dated):
        assert kind_in(point.join(groups)) is PersonalKind.PHONE


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("138.0013.8000", PersonalKind.PHONE),
        ("138/0013/8000", PersonalKind.PHONE),
        ("138\r\n0013\r\n8000", PersonalKind.PHONE),
        ("13 80 01 38 00 0", PersonalKind.PHONE),
        ("1380.0138.000", PersonalKind.PHONE),
        ("“138”、“0013”、“8000”", PersonalKind.PHONE),
        ("+86.138.0013.8000", PersonalKind.PHONE),
        ("138.0013.8000，2025.09.01 起", PersonalKind.PHONE),
        ("١٣٨٠٠١٣٨٠٠٠", PersonalKind.PHONE),
        ("𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎", PersonalKind.PHONE),
        ("¹³⁸⁰⁰¹³⁸⁰⁰⁰", PersonalKind.PHONE),
        ("①③⑧⓪⓪①③⑧⓪⓪⓪", PersonalKind.PHONE),
        ("1\u20613\u20628\u20630\u20640\u00ad1\u200d3\ufe0f8000", PersonalKind.PHONE),
        ("1\ufe0f\u20e33\ufe0f\u20e38\ufe0f\u20e300138000", PersonalKind.PHONE),
        ("0531.8888.1234", PersonalKind.PHONE),
        ("110105.19491231.002X", PersonalKind.ID_NUMBER),
        ("110105/1949/12/31/002x", PersonalKind.ID_NUMBER),
        ("1101051949\n1231002Ⅹ", PersonalKind.ID_NUMBER),
        ("110105.491231.002", PersonalKind.ID_NUMBER),
        ("6222.0212.3456.7890.128", PersonalKind.BANK_ACCOUNT),
        ("6222021234\u2061567890128", PersonalKind.BANK_ACCOUNT),
        ("62220212*34567890128", PersonalKind.BANK_ACCOUNT),
    ],
)
def test_other_writings_are_found_by_the_later_search_alone(text: str, kind: PersonalKind) -> None:
    """Chains of earlier versions replay what they took."""
    assert kind_in(text) is kind
    assert kind_in(text, Search.GROUPS) is None


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize(
    "text",
    [
        "2025-09-01T10:00:00.123456789+08:00",
        "2025/09/01 13:45:30.123456",
        "13:45:30.12345",
        "2025.09.01—2026.08.31",
        "2025年9月1日至2026年8月31日",
        "13.1.2025/17.2.2025",
        "2025-09-01 10:00:00 ~ 2025-12-31 18:00:00",
        "1,380,013.8000",
        "1380013.8000",
        "13 800 138 000",
        "13.800.138.000",
        "15、20、25、30、100",
        "180、170、165、90",
        "15 20 25 30 100",
        "192.168.10.123",
        "1.3.6.1.4.1.12345",
        "1.2.156.10197.1.501",
        "鲁证监〔2025〕138号",
        "370000-202509-0138",
        "GB/T 32905-2016、GB/T 32907-2016",
        "3.14159265358979",
        "13.8001.38000元",
    ],
)
def test_what_only_looks_like_it_is_let_be(text: str) -> None:
    for search in Search:
        assert kind_in(text, search) is None


def test_the_place_of_a_disguised_number_is_told_and_not_the_number() -> None:
    found = find_personal_data({"content": ["", {"note": "138.0013.8000"}]})
    assert found is not None
    assert (found.kind, found.path) == (PersonalKind.PHONE, "$.content[1].note")
