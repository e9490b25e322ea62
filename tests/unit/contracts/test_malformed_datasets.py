"""One bad row costs one row: it is named where it begins, and nothing that only follows from it is
called malformed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guqiao_sdk.market_dataset import MarketDataset, RowProblem
from guqiao_sdk.market_reader import misnumbered, read_dataset
from guqiao_sdk.market_shapes import ShapeError
from guqiao_sdk.market_text import csv_rows, misplaced, parse_json
from tests.unit.contracts.register_market import DATA, dataset, problems_of

Change = Callable[[bytes], bytes]


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset that is well formed, to be spoilt."""
    copy = tmp_path / "market"
    shutil.copytree(DATA / "market-basic", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    return copy


def change_line(folder: Path, file: str, line: int, change: Change) -> None:
    path = folder / file
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_bytes(b"\n".join(lines))


def without_malformed(folder: Path) -> MarketDataset:
    kept = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(kept, MarketDataset), kept
    return kept


def causes(problems: list[RowProblem]) -> list[tuple[str, int, str]]:
    return [(row.file, row.line, row.field) for row in problems if not row.cause]


def in_field(number: int, change: Change) -> Change:
    """A change of the field with this number, counted from 1, of a line of CSV."""

    def changed(line: bytes) -> bytes:
        fields = line.split(b",")
        fields[number - 1] = change(fields[number - 1])
        return b",".join(fields)

    return changed


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (in_field(3, lambda name: b'"' + name), "name", "an opening quotation mark without a"),
        (in_field(3, lambda name: name + b'"'), "name", "a quotation mark where none may stand"),
        (in_field(3, lambda name: b'"' + name + b'"x'), "name", "a quotation mark where none may"),
        (in_field(11, lambda day: b'"' + day), "established_on", "an opening quotation mark"),
        (in_field(3, lambda name: b"\xff" + name), "name", "not UTF-8"),
        (in_field(3, lambda name: name[:4]), "name", "not UTF-8"),
        (in_field(5, lambda region: region[:5] + b"\xb2"), "region", "not UTF-8"),
        (in_field(3, lambda name: name + b"\r"), "name", "a carriage return"),
        (in_field(11, lambda day: day + b"\r"), "established_on", "a carriage return"),
        (in_field(3, lambda name: name + b"\0"), "name", "the character U+0000"),
        (in_field(3, lambda name: name + b","), "", "12 fields where 11 belong"),
        (lambda line: line.replace(b",", b";"), "", "1 fields where 11 belong"),
        (lambda line: b"", "", "1 fields where 11 belong"),
    ],
)
def test_a_csv_row_is_named_where_it_begins_and_the_rest_is_read(
    folder: Path, change: Change, field: str, problem: str
) -> None:
    change_line(folder, "companies.csv", 4, change)
    (first, *others) = problems_of(folder)
    assert (first.file, first.line, first.field) == ("companies.csv", 4, field)
    assert first.problem.startswith(problem)
    assert all(row.cause or "in line 4" in row.problem for row in others)
    complete = dataset("market-basic").companies
    assert without_malformed(folder).companies == (*complete[:2], *complete[3:])


@pytest.mark.parametrize("line", [2, 5, 12])
def test_a_quotation_mark_costs_one_row_although_later_rows_are_quoted(
    folder: Path, line: int
) -> None:
    """The stray mark pairs with one of a later row: neither that row nor those between suffer."""
    change_line(folder, "companies.csv", 8, in_field(3, lambda name: b'"' + name + b',""Co"""'))
    change_line(folder, "companies.csv", 9, in_field(3, lambda name: b'"' + name + b'\nof it"'))
    assert isinstance(read_dataset(folder), MarketDataset)
    change_line(folder, "companies.csv", line, in_field(3, lambda name: b'"' + name))
    assert causes(problems_of(folder))[0] == ("companies.csv", line, "name")
    names = [company["name"] for company in without_malformed(folder).companies]
    assert len(names) == len(dataset("market-basic").companies) - 1
    assert sum(name.endswith(',"Co"') or name.endswith("\nof it") for name in names) == 2


def test_a_row_behind_a_field_of_two_lines_is_named_by_its_own_line(folder: Path) -> None:
    change_line(folder, "companies.csv", 2, in_field(3, lambda name: b'"' + name + b'\nof it"'))
    change_line(folder, "companies.csv", 5, in_field(6, lambda form: b"partnership"))
    assert causes(problems_of(folder)) == [("companies.csv", 5, "form")]


BROKEN_EVENTS = [
    (lambda line: line.replace(b'"kind":"', b'"kind":"\xff', 1), "evidence[0].kind", "not UTF-8"),
    (lambda line: line.replace(b'"time"', b'"ti\xc3me"', 1), "", "not UTF-8"),
    (lambda line: b"\xfe" + line, "", "not UTF-8"),
    (lambda line: line.replace(b'+08:00"', b"+08:00", 1), "time", "not JSON: "),
    (lambda line: line[:-4], "evidence", "not JSON: Unterminated string"),
    (lambda line: line.replace(b'"kind":"', b'"kind":"\0', 1), "evidence", "not JSON: Invalid"),
    (lambda line: line.replace(b'"kind":"', b'"kind":"\r', 1), "evidence", "a carriage return"),
    (lambda line: line + b"\r", "", "a carriage return"),
    (lambda line: line.replace(b'"kind":', b'"kind":"x","kind":', 1), "evidence[0].kind", "the m"),
    (lambda line: line.replace(b'"kind":"', b'"kind":"\\u0000', 1), "evidence[0].kind", "the char"),
    (lambda line: b'{"seq":4,"time":' + b"[" * 100_000, "time", "nested too deep"),
    (lambda line: line.replace(b'"seq":4', b'"seq":1e400', 1), "seq", "1e400 is not an integer"),
    (lambda line: line.replace(b'"seq":4', b'"seq":' + b"4" * 9_999, 1), "seq", "4444"),
    (lambda line: line.replace(b'"seq":4', b'"seq":NaN', 1), "seq", "NaN is not an integer"),
    (lambda line: b"", "", "not JSON: "),
    (lambda line: b"null", "type", "not a type of event"),
    (lambda line: line + line, "evidence", "not JSON: Extra data"),
]


@pytest.mark.parametrize(("change", "field", "problem"), BROKEN_EVENTS)
def test_an_event_is_named_by_line_and_field_and_the_rest_is_read(
    folder: Path, change: Change, field: str, problem: str
) -> None:
    change_line(folder, "events.jsonl", 4, change)
    (row,) = problems_of(folder)
    assert (row.file, row.line, row.field) == ("events.jsonl", 4, field)
    assert row.problem.startswith(problem)
    assert [event.seq for event in without_malformed(folder).events] == [
        seq for seq in range(1, 207) if seq != 4
    ]


def test_every_malformed_row_of_every_file_is_named_at_once(folder: Path) -> None:
    change_line(folder, "companies.csv", 5, in_field(3, lambda name: b'"' + name))
    change_line(folder, "investors.csv", 6, lambda line: b"\xff" + line)
    change_line(folder, "investors.csv", 9, lambda line: line + b"\r")
    change_line(folder, "products.csv", 2, in_field(6, lambda value: b"much"))
    change_line(folder, "trading_days.txt", 7, lambda day: day + b"\r")
    change_line(folder, "events.jsonl", 30, lambda line: line[:-1])
    change_line(folder, "events.jsonl", 206, lambda line: line + b"\xff")
    assert causes(problems_of(folder)) == [
        ("companies.csv", 5, "name"),
        ("investors.csv", 6, "investor_ref"),
        ("investors.csv", 9, "counted_holders"),
        ("products.csv", 2, "par_value_fen"),
        ("trading_days.txt", 7, "day"),
        ("events.jsonl", 30, "evidence"),
        ("events.jsonl", 206, "evidence"),
    ]


def test_what_refers_to_a_malformed_row_is_a_consequence_behind_all_causes(folder: Path) -> None:
    """Products of the company, and the events of both, are neither malformed nor imported."""
    change_line(folder, "companies.csv", 2, in_field(5, lambda region: b"nowhere"))
    change_line(folder, "events.jsonl", 206, lambda line: b"")
    problems = problems_of(folder)
    assert causes(problems) == [("companies.csv", 2, "region"), ("events.jsonl", 206, "")]
    followers = [row for row in problems if row.cause]
    assert problems == [*problems[:2], *followers]
    assert followers[0] == RowProblem(
        *("products.csv", 2, "company_ref", "refers to companies.csv:2", "companies.csv:2")
    )
    assert {row.cause for row in followers} == {"companies.csv:2", "products.csv:2"}
    assert {row.field for row in followers[1:]} == {"company_ref", "product_code"}
    kept = without_malformed(folder)
    assert kept.left_out == tuple(problems)
    left_out = {row.line for row in problems if row.file == "events.jsonl"}
    assert [event.seq for event in kept.events] == [
        seq for seq in range(1, 207) if seq not in left_out
    ]
    assert len(kept.events) == 206 - len(left_out)
    assert not any(event.body.get("company_ref") == "C00001" for event in kept.events)


def test_accounts_of_a_malformed_investor_are_consequences_wherever_they_stand(
    folder: Path,
) -> None:
    change_line(folder, "investors.csv", 2, in_field(9, lambda count: b"0"))
    followers = [row for row in problems_of(folder) if row.cause]
    assert {row.cause for row in followers} == {"investors.csv:2"}
    named = "".join(sorted({row.field.split("[")[0] for row in followers}))
    assert "investor_ref" in named
    remaining = (str(event.body) for event in without_malformed(folder).events)
    assert not any("Q900000013" in body or "I00001" in body for body in remaining)


def test_an_unknown_company_is_a_cause_only_where_no_malformed_row_may_be_it(folder: Path) -> None:
    change_line(folder, "products.csv", 3, in_field(2, lambda company: b"C99999"))
    assert [row.problem for row in problems_of(folder) if not row.cause] == ["not in companies.csv"]
    change_line(folder, "companies.csv", 2, lambda line: b"one,two")
    problems = problems_of(folder)
    assert [row.problem for row in problems if not row.cause] == ["2 fields where 11 belong"]
    products = [row for row in problems if row.file == "products.csv"]
    assert [row.line for row in products] == [2, 3]
    assert {(row.problem, row.cause) for row in products} == {
        ("found nowhere, unless in companies.csv:2, which cannot be read", "companies.csv:2")
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b",", b",,", 1),
        lambda line: b",".join(line.split(b",")[:3]),
        lambda line: b"\x00" + line,
        lambda line: b"\xff" + line,
        lambda line: line + b",more",
    ],
)
@pytest.mark.parametrize("file", ["companies.csv", "investors.csv", "products.csv"])
def test_what_may_refer_to_a_row_whose_key_cannot_be_read_is_never_sent(
    folder: Path, file: str, change: Callable[[bytes], bytes]
) -> None:
    """Sent without the row, it would stand refused on the chain for ever."""
    whole = read_dataset(folder)
    assert isinstance(whole, MarketDataset)
    change_line(folder, file, 2, change)
    [cause] = [row for row in problems_of(folder) if not row.cause]
    assert (cause.file, cause.line) == (file, 2)
    kept = without_malformed(folder)
    gone = {
        "companies.csv": {"company_ref": whole.companies[0]["company_ref"]},
        "investors.csv": {
            name: whole.investors[0][name] for name in ("investor_ref", "investor_code")
        },
        "products.csv": {"product_code": whole.products[0]["product_code"]},
    }[file]
    sent = [json.dumps(event.body) for event in kept.events]
    assert not [body for body in sent for value in gone.values() if f'"{value}"' in body]
    assert len(sent) == len(kept.events) < 206
    assert len(sent) + sum(row.file == "events.jsonl" for row in kept.left_out) == 206


Lines = list[bytes]


@pytest.mark.parametrize(
    ("change", "named", "gone"),
    [
        (lambda lines: [*lines[:9], b"", *lines[9:]], [10], set()),
        (lambda lines: [*lines[:9], lines[8], *lines[9:]], [10], set()),
        (lambda lines: [*lines[:9], *lines[10:]], [10], {10}),
        (lambda lines: [*lines[:9], *lines[12:]], [10], {10, 11, 12}),
        (lambda lines: lines[3:], [1], {1, 2, 3}),
        (lambda lines: [*lines[:9], lines[9] + lines[10], *lines[11:]], [10, 11], {10, 11}),
        (
            lambda lines: [*lines[:9], b"x", b"y", lines[11], b"z", *lines[12:]],
            *([10, 11, 13], {10, 11}),
        ),
        (lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]], [11], {10}),
        (lambda lines: [*lines[:9], lines[10], *lines[12:-1], lines[9], b""], [11, 205], {10, 12}),
    ],
)
def test_a_line_too_many_or_too_few_is_named_once_and_only_wrong_lines_are_left_out(
    folder: Path, change: Callable[[Lines], Lines], named: list[int], gone: set[int]
) -> None:
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))
    assert [row.line for row in problems_of(folder)] == named
    kept = without_malformed(folder)
    assert [event.seq for event in kept.events] == [n for n in range(1, 207) if n not in gone]


def test_a_gap_is_told_apart_from_what_is_left_out(folder: Path) -> None:
    path = folder / "events.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:9], *lines[10:49], b"x", *lines[50:]]))
    kept = without_malformed(folder)
    assert [(row.line, row.field, row.problem) for row in kept.gaps] == [
        (10, "seq", "11 where 10 belongs")
    ]
    assert [row.line for row in kept.left_out] == [49]
    assert [row.line for row in problems_of(folder)] == [10, 49], "otherwise both refuse it"


@given(st.data())
def test_numbers_are_right_exactly_where_nothing_is_named(data: st.DataObject) -> None:
    """Lines of a well-numbered file are dropped, doubled, moved, spoilt and renumbered."""
    numbers: list[int | None] = [*range(1, data.draw(st.integers(0, 8)) + 1)]
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(numbers)))
        match data.draw(st.sampled_from(["drop", "insert", "spoil"])):
            case "drop":
                del numbers[at : at + 1]
            case "insert":
                numbers.insert(at, data.draw(st.integers(-1, 12)))
            case "spoil":
                numbers[at : at + 1] = [None]
    events = {line: {"seq": seq} for line, seq in enumerate(numbers, 1) if seq is not None}
    found = misnumbered(events)
    assert len({line for line, _, _ in found}) == len(found)
    strays = {line for line, _, is_gap in found if not is_gap}
    kept = [event["seq"] for line, event in events.items() if line not in strays]
    assert kept == sorted(set(kept)), "what is left ascends"
    assert all(seq >= 1 for seq in kept)
    if None not in numbers:
        assert (found == []) == (numbers == [*range(1, len(numbers) + 1)])


def test_a_number_out_of_place_is_named_and_not_the_numbers_behind_it(folder: Path) -> None:
    for seq in (b"1", b"9", b"11", b"100", b"9007199254740991"):
        spoilt = b'"seq":' + seq + b","
        change_line(folder, "events.jsonl", 10, lambda line: line.replace(b'"seq":10,', spoilt))  # noqa: B023
        (row,) = problems_of(folder)
        assert (row.line, row.problem) == (10, f"{int(seq)} where 10 belongs")
        change_line(folder, "events.jsonl", 10, lambda line: line.replace(spoilt, b'"seq":10,'))  # noqa: B023
        assert isinstance(read_dataset(folder), MarketDataset)


def test_of_two_exchanged_events_the_later_is_named_beside_the_number_before_it(
    folder: Path,
) -> None:
    path = folder / "events.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:9], lines[10], lines[9], *lines[11:]]))
    (row,) = [row for row in problems_of(folder) if row.field == "seq"]
    assert (row.line, row.problem) == (11, "10 stands behind 11, and numbers ascend")


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "problem"),
    [
        ("events.jsonl", b"2025-09-02T09:59", b"2035-09-02T09:59", 3, "later than the lines after"),
        ("events.jsonl", b"2025-09-02T09:59", b"2015-09-02T09:59", 3, "earlier than the line bef"),
        ("trading_days.txt", b"2025-01-06", b"2052-01-06", 3, "later than the lines after it"),
        ("trading_days.txt", b"2025-01-06", b"2005-01-06", 3, "not later than the line before"),
        ("trading_days.txt", b"2025-01-06", b"2025-01-03", 3, "not later than the line before"),
    ],
)
def test_one_date_out_of_order_is_named_and_not_those_that_it_makes_look_so(
    folder: Path, file: str, old: bytes, new: bytes, line: int, problem: str
) -> None:
    change_line(folder, file, line, lambda written: written.replace(old, new))
    (row,) = problems_of(folder)
    assert (row.file, row.line) == (file, line)
    assert row.problem.startswith(problem)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda days: days.replace(b"2025-10-09\n", b"2025-10-09 \n"), "not a date YYYY-MM-DD"),
        (lambda days: days.replace(b"2025-10-09\n", b"2025-01-03\n"), "not later than the line"),
        (lambda days: days[: days.index(b"2025-10-09")] + b"2025/10/09\n", "not a date YYYY-MM"),
        (lambda days: b"\n", "not a date YYYY-MM-DD"),
        (lambda days: b"", "no day, where events need a calendar"),
    ],
)
def test_a_calendar_that_lacks_a_day_refuses_the_folder_and_blames_no_event(
    folder: Path, spoil: Callable[[bytes], bytes], problem: str
) -> None:
    """With a day less the rules judge otherwise, and a calendar is put on the chain once."""
    path = folder / "trading_days.txt"
    path.write_bytes(spoil(path.read_bytes()))
    for skip in (False, True):
        found = read_dataset(folder, leave_out_malformed=skip)
        assert isinstance(found, list)
        [row] = found
        assert (row.file, row.whole_file) == ("trading_days.txt", True)
        assert row.problem.startswith(problem)


@given(
    st.lists(st.lists(st.text('ab", \n', max_size=6), min_size=3, max_size=3), max_size=6),
    st.booleans(),
)
def test_rows_are_what_pythons_own_reader_finds(rows: list[list[str]], quoted: bool) -> None:
    text = io.StringIO(newline="")
    minimal = csv.writer(text, lineterminator="\n")
    all_quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    (all_quoted if quoted else minimal).writerows(rows)
    lines = text.getvalue().split("\n")[:-1]
    assert [fields for _, fields in csv_rows(lines, ["a", "b", "c"])] == rows


@given(st.lists(st.text('ab",', max_size=8), max_size=8))
def test_any_lines_are_rows_or_named_and_none_is_passed_over(lines: list[str]) -> None:
    seen = list(csv_rows(lines, ["a", "b"]))
    assert [line for line, _ in seen] == sorted({line for line, _ in seen})
    following_lines = [*(line for line, _ in seen[1:]), len(lines) + 1]
    for (line, fields), following in zip(seen, following_lines, strict=False):
        whole = following == line + 1 or (not isinstance(fields, ShapeError) and len(fields) == 2)
        assert whole, "only a row that is whole may take several lines"


@given(st.lists(st.sampled_from("abcde"), max_size=8), st.booleans())
def test_as_few_as_possible_are_out_of_order(values: list[str], repeats: bool) -> None:
    wrong = misplaced(values, repeats=repeats)
    kept = [value for index, value in enumerate(values) if index not in wrong]
    assert kept == (sorted(kept) if repeats else sorted(set(kept)))
    for count in range(len(wrong)):
        for fewer in itertools.combinations(range(len(values)), count):
            rest = [value for index, value in enumerate(values) if index not in fewer]
            assert rest != (sorted(rest) if repeats else sorted(set(rest)))


@given(st.binary(max_size=60) | st.text('[{"a:,1\\u\ud800\udcff}]').map(utf8))
def test_any_line_is_a_value_or_a_problem(data: bytes) -> None:
    with contextlib.suppress(ShapeError):
        parse_json(data.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("file", ["companies.csv", "products.csv", "events.jsonl"])
def test_bytes_spoilt_anywhere_are_named_and_never_stop_the_reader(folder: Path, file: str) -> None:
    chance = random.Random(file)
    path = folder / file
    sound = path.read_bytes()
    for _ in range(40):
        spoilt = bytearray(sound)
        for _ in range(chance.randrange(1, 6)):
            spoilt[chance.randrange(len(spoilt))] = chance.choice(b'"\r\n,\x00\xff{}[\\:')
        path.write_bytes(spoilt)
        kept = read_dataset(folder, leave_out_malformed=True)
        if isinstance(kept, MarketDataset):
            numbers = [event.seq for event in kept.events]
            assert numbers == sorted(set(numbers))
        else:
            assert any(row.whole_file for row in kept)


def test_a_megabyte_of_quotation_marks_is_read_in_one_go(folder: Path) -> None:
    """Each row opens a quotation: reading on at the next line must not cost the square."""
    count = 40_000
    lines = ['a,b,"c'] * count + ['a,b,"c""d'] * count
    rows = list(csv_rows(lines, ["a", "b", "c"]))
    assert len(rows) > count
