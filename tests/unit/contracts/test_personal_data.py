"""Numbers of persons are found however they are written, and what the market needs is let be."""

from __future__ import annotations

import re
import uuid
from datetime import date, timedelta, timezone, tzinfo
from time import process_time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guqiao_sdk.market_identifiers import is_uscc, resident_birth_date
from guqiao_sdk.personal_characters import PLAIN
from guqiao_sdk.personal_data import PATH_LENGTH_MAX, Finding, Search, find_personal_data
from guqiao_sdk.personal_numbers import PersonalKind
from guqiao_sdk.proof.json_values import Json
from tests.fuzz.harness import CPU_SECONDS_A_BYTE, CPU_SECONDS_BASE

# All made up, each with its right check digit.
RESIDENT_ID = "11010519491231002X"
OLD_RESIDENT_ID = "110105491231002"
MOBILE = "13800138000"
CARD = "6222021234567890128"
NUMBERS = {
    RESIDENT_ID: PersonalKind.ID_NUMBER,
    OLD_RESIDENT_ID: PersonalKind.ID_NUMBER,
    MOBILE: PersonalKind.PHONE,
    "053188881234": PersonalKind.PHONE,
    CARD: PersonalKind.BANK_ACCOUNT,
}
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
USCC_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
REGIONS = ("110105", "370102", "440306", "650100", "810000", "911310")


def kind_in(text: Json, search: Search = Search.ANY_WRITING) -> PersonalKind | None:
    found = find_personal_data(text, search=search)
    return None if found is None else found.kind


def digits(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=least, max_size=most)


@st.composite
def resident_ids(draw: st.DrawFn) -> str:
    born = draw(st.dates(date(1900, 1, 1), date(2099, 12, 31))).strftime("%Y%m%d")
    begun = draw(st.sampled_from(REGIONS)) + born + draw(digits(3, 3))
    [last] = [last for last in "0123456789X" if resident_birth_date(begun + last)]
    return f"{begun}{draw(st.sampled_from([last, last.lower()]))}"


@st.composite
def old_resident_ids(draw: st.DrawFn) -> str:
    born = draw(st.dates(date(1900, 1, 1), date(1999, 12, 31))).strftime("%y%m%d")
    return f"{draw(st.sampled_from(REGIONS[:5]))}{born}{draw(digits(3, 3))}"


@st.composite
def mobiles(draw: st.DrawFn) -> list[str]:
    """The number in its groups."""
    number = f"1{draw(st.integers(3, 9))}{draw(digits(9, 9))}"
    return [number[:3], number[3:7], number[7:]]


@st.composite
def fixed_phones(draw: st.DrawFn) -> list[str]:
    area = draw(st.sampled_from(["010", "021", "0531", "0755", "0991"]))
    number = str(draw(st.integers(3, 9))) + draw(digits(7, 7))
    return [area, number[:4], number[4:]]


@st.composite
def cards(draw: st.DrawFn) -> str:
    begun = draw(st.sampled_from(["62", "4", "55", "9558", "2230"])) + draw(digits(11, 14))
    begun = begun[: draw(st.integers(15, 18))].ljust(15, "7")
    total = sum(
        sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(begun))
    )
    return begun + str(-total % 10)


@st.composite
def written(draw: st.DrawFn) -> tuple[PersonalKind, str]:
    """A number as a person might write it, and its kind."""
    separator = draw(st.sampled_from(["", " ", "-", " - ", "\u3000", "\u2011"]))
    kind = draw(st.sampled_from(PersonalKind))
    if kind is PersonalKind.ID_NUMBER:
        number = draw(resident_ids() | old_resident_ids())
        born = 14 if len(number) == 18 else 12
        number = separator.join((number[:6], number[6:born], number[born:]))
    elif kind is PersonalKind.PHONE:
        country = draw(st.sampled_from(["", "+86", "86", "0086"]))
        mobile = separator.join([*([country] if country else []), *draw(mobiles())])
        number = draw(st.just(mobile) | fixed_phones().map(separator.join))
    else:
        card = draw(cards())
        number = separator.join(card[at : at + 4] for at in range(0, len(card), 4))
    is_wide = draw(st.booleans())
    return kind, number.translate(FULL_WIDTH) if is_wide else number


def surroundings() -> st.SearchStrategy[str]:
    """Text that neither continues a number nor says that it is an amount."""
    return st.text(st.characters(exclude_categories=["Cs"])).filter(
        lambda text: (
            not set(text.translate(FULL_WIDTH)) & wide_neighbours
            and not set(text.translate(PLAIN)) & set("0123456789X+\u00a5")
        )
    )


wide_neighbours = set("0123456789 ()-+.¥$元股分份".translate(FULL_WIDTH)) | set("¥\u2010\u2011\t")


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("search", Search)
@given(written(), surroundings(), surroundings())
def test_every_number_of_a_person_is_found_within_any_text(
    search: Search, number: tuple[PersonalKind, str], before: str, after: str
) -> None:
    """But for what is a credit code, or would be one with a letter before or behind it."""
    kind, text = number
    words = re.findall("[0-9A-Z]+", (before + text + after).translate(PLAIN))
    assume(not any(map(is_uscc, words)))
    assert kind_in(before + text + after, search) is not None
    assert kind_in({"a": [0, {"b": before + text + after}]}, search) is not None
    assert kind_in(text, search) is kind


@given(digits(1, 4), st.sampled_from(sorted(NUMBERS)))
def test_digits_more_are_another_number(more: str, number: str) -> None:
    longer = more + number if number != RESIDENT_ID else more + number[:-1]
    assume(len(longer) not in (15, 16, 17, 18, 19))
    assume(not longer.startswith(("86", "0086")))
    assert kind_in(longer) is None


@pytest.mark.parametrize("search", Search)
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("身份证号：11010519491231002X。", PersonalKind.ID_NUMBER),
        ("ID11010519491231002xyz", PersonalKind.ID_NUMBER),
        ("1101 0519 4912 3100 2X", PersonalKind.ID_NUMBER),
        ("110105 491231 002", PersonalKind.ID_NUMBER),
        ("110105240229002", PersonalKind.ID_NUMBER),
        ("911310199003070019", PersonalKind.ID_NUMBER),
        ("电话:13800138000,13900139000", PersonalKind.PHONE),
        ("(+86)138 0013 8000", PersonalKind.PHONE),
        ("2025-09-01 138-0013-8000", PersonalKind.PHONE),
        ("138\u200b0013\u200b8000", PersonalKind.PHONE),
        ("（0531）8888 1234 转 801", PersonalKind.PHONE),
        ("+86 531 8888 1234", PersonalKind.PHONE),
        ("0531 8888123", PersonalKind.PHONE),
        ("4111 1111 1111 1111 12 户", PersonalKind.BANK_ACCOUNT),
        ("622202 1234567890128", PersonalKind.BANK_ACCOUNT),
        ("6222 0212 3456 7890 128", PersonalKind.BANK_ACCOUNT),
        ("卡号6222021234567890128", PersonalKind.BANK_ACCOUNT),
        ("9558 0300 2000 0000", PersonalKind.BANK_ACCOUNT),
    ],
)
def test_what_people_write_is_found(text: str, kind: PersonalKind, search: Search) -> None:
    assert kind_in(text, search) is kind


@pytest.mark.parametrize("search", Search)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "110105194912310021",  # Another check character.
        "11010519490230002X",  # No such day.
        "10010519491231002X",  # No such province.
        "110105180012310022",  # No such century.
        "110105490230002",
        "110105230229002",
        "110105000229002",
        "110105490015002",
        "100105491231002",
        "12800138000",
        "6222021234567890127",
        "0222021234567890127",
        "13800138000元",
        "13800138000 股",
        "¥13800138000",
        "￥4111111111111111",
        "13800138000.00",
        "13,800,138,000",
        "0000000000000000",
        "2025 2026 2027 2028",
        "鲁登字 010-20250901",
        "91370199MA9900001C",
        "Q123456789",
        "370001.ESVUFR2501",
        "did:rem:shandong:91370199MA9900200L",
        "2025-09-01T10:00:00+08:00",
        "20250901000123",
        "1767578400000",
        "ab12c13800138000",
        "vault:7",
        "400-888-1234",
        "95588",
        "192.168.100.100",
    ],
)
def test_what_is_no_number_of_a_person_is_let_be(text: str, search: Search) -> None:
    assert kind_in(text, search) is None


def zones() -> st.SearchStrategy[tzinfo]:
    minutes = st.integers(-14 * 60, 14 * 60)
    return minutes.map(lambda each: timezone(timedelta(minutes=each)))


@st.composite
def credit_codes(draw: st.DrawFn) -> str:
    letters = draw(st.sampled_from([USCC_LETTERS, "0123456789"]))
    begun = draw(st.sampled_from(["91", "12", "51", "A1"])) + draw(
        st.text(letters, min_size=15, max_size=15)
    )
    codes = [begun + last for last in USCC_LETTERS if is_uscc(begun + last)]
    assume(codes and resident_birth_date(codes[0]) is None)
    return codes[0]


@pytest.mark.req("G2-17-7")
@pytest.mark.parametrize("search", Search)
@given(
    st.one_of(
        credit_codes(),
        st.tuples(st.sampled_from("QRS"), digits(9, 9)).map("".join),
        st.from_regex(r"[0-9]{6}\.[A-Z]{6}[0-9]{4}", fullmatch=True),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.binary(min_size=32, max_size=32).map(lambda data: data.hex().upper()),
        st.uuids().map(str),
        st.dates().map(date.isoformat),
        st.dates().map(lambda day: f"{day.year}/{day.month}/{day.day}"),
        st.dates().map(lambda day: f"{day.year}.{day.month}.{day.day}"),
        st.datetimes(timezones=zones()).map(lambda time: time.isoformat(timespec="seconds")),
        st.datetimes().map(str),
        st.datetimes().map(lambda time: f"{time:%H:%M:%S.%f}"),
        st.integers(0, 10**18).map(lambda amount: f"{amount:,}".replace(",", " ")),
        st.integers(0, 10**11).map(lambda amount: f"{amount // 10**4}.{amount % 10**4:04}"),
        st.ip_addresses(v=4).map(str),
        st.lists(st.integers(0, 999).map(str), max_size=9).map("、".join),
        st.tuples(st.integers(2000, 2099), st.integers(1, 9999)).map(
            lambda file: f"〔{file[0]}〕{file[1]}号"
        ),
        st.integers(0, 10**18).map(lambda amount: f"{amount:,}"),
        st.integers(0, 10**18).map(lambda amount: f"{amount}元"),
        st.integers(0, 10**18).map(lambda amount: f"{amount // 100}.{amount % 100:02}"),
        st.integers(0, 10**18).map(lambda count: f"共 {count} 股"),
        st.integers(0, 10**9).map(str),
    ),
    surroundings(),
    surroundings(),
)
def test_no_code_digest_date_or_amount_is_taken_for_a_person(
    search: Search, text: str, before: str, after: str
) -> None:
    assert kind_in(f"{before}：{text}，{after}", search) is None or resident_id_in(text)


def resident_id_in(text: str) -> bool:
    """Whether an amount has, by chance, all that makes an identity number."""
    digits = re.sub("[^0-9]", "", text)
    return any(resident_birth_date(digits[at : at + 18]) is not None for at in range(len(digits)))


def test_names_of_members_are_judged_and_never_shown() -> None:
    assert find_personal_data({"a": {MOBILE: 1}}) == Finding(PersonalKind.PHONE, "$.a.*")
    assert find_personal_data([1, {"b": ["x", CARD]}]) == Finding(
        PersonalKind.BANK_ACCOUNT, "$[1].b[1]"
    )


def test_the_first_number_is_named() -> None:
    value: Json = {"a": ["", MOBILE], "b": RESIDENT_ID}
    assert find_personal_data(value) == Finding(PersonalKind.PHONE, "$.a[1]")


def test_whole_numbers_are_amounts() -> None:
    for number in (MOBILE, CARD, OLD_RESIDENT_ID):
        assert find_personal_data({"a": int(number)}) is None
        assert find_personal_data({"a": number}) is not None
    assert find_personal_data([True, False, None]) is None


def test_a_credit_code_of_digits_alone_is_no_card_whatever_its_digits_come_to() -> None:
    begun = (f"9137010000{number:07}" for number in range(9_999))
    codes = [code + last for code in begun for last in "0123456789" if is_uscc(code + last)]
    assert [code for code in codes if kind_in(code) is not None] == []
    spoiled = (code[:-1] + last for code in codes for last in "0123456789")
    assert {kind_in(code) for code in spoiled} == {None, PersonalKind.BANK_ACCOUNT}


def test_a_path_is_bounded() -> None:
    found = find_personal_data({"a" * 99: MOBILE})
    assert found is not None
    assert found.path == "$." + "a" * 64
    value: Any = MOBILE
    for _ in range(60):
        value = {"member" * 20: value}
    found = find_personal_data(value)
    assert found is not None
    assert len(found.path) == PATH_LENGTH_MAX


def test_a_credit_code_that_is_an_identity_number_as_well_is_taken_for_one() -> None:
    regions = (f"{first}{second:04}" for first in (11, 12, 51) for second in range(100, 3000))
    begun = (f"{region}19900307{number:03}" for region in regions for number in (1, 2, 3))
    both = next(
        number + last
        for number in begun
        for last in "0123456789"
        if is_uscc(number + last) and resident_birth_date(number + last)
    )
    assert kind_in(both) is PersonalKind.ID_NUMBER


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_any_value_is_judged_without_failing(value: Any) -> None:
    find_personal_data(value)


HOSTILE = [
    *("1234 ", "4111 ", "11   1   1   1   1 ", "1 ", "1", "a1 ", "a1", "110105 19491231 0021 "),
    *("11  ", "1234567890 x ", "110105194912310021 ", "4111111111111112 ", "86 ", "0531 9999 "),
    *("股权", "(", "１１１１ ", "110105-", "a", "- ", "1a", "aaaa1111"),
    *("1.", "1.3.8.0.0.1.3.8.0.0.0.1,", "13.8001.38000/", "12 ", "..", "٣", "1\u200b", "11X"),
]


@pytest.mark.parametrize("search", Search)
@pytest.mark.parametrize("part", HOSTILE)
def test_a_search_takes_time_in_proportion_to_the_text(part: str, search: Search) -> None:
    """Processor time, with the bound that decoders have; a quadratic search takes minutes."""
    text = (part * 65_536)[:65_536]
    begun = process_time()
    find_personal_data(text, search=search)
    assert process_time() - begun < CPU_SECONDS_BASE + CPU_SECONDS_A_BYTE * len(text)


def test_a_search_is_paid_for_before_it_is_made() -> None:
    def refuse(characters: int) -> None:
        raise OverflowError(characters)

    with pytest.raises(OverflowError):
        find_personal_data([MOBILE], pay=refuse)
    assert find_personal_data([7, True, None], pay=refuse) is None
    paid = list[int]()
    value: Json = ["2025-09-01", "股" * 64, "12345 67890 1"]
    find_personal_data(value, pay=paid.append, search=Search.GROUPS)
    assert paid == [1, 3, 1, 13, 8 * 13]
    paid.clear()
    find_personal_data(value, pay=paid.append)
    assert paid == [1, 1 + 64 // 8, 1, 13, 24 * 13]
    for search in Search:
        paid.clear()
        names: Json = {"x": ["5a" * 32, str(uuid.UUID(int=1))]}
        find_personal_data(names, pay=paid.append, search=search)
        assert paid == [1, 3, 64, 2, 36]
