"""The dataset reader: well-formed folders are read, malformed ones are named row by row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.market_dataset import CHUNK_BYTES_MAX, MarketDataset, RowProblem, row_chunks
from guqiao_sdk.market_reader import read_dataset
from tests.unit.contracts.register_market import DATA, dataset, identity_digest, problems_of


def copy_of(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    shutil.copytree(DATA / "market-basic", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    return folder


def spoil(folder: Path, file: str, change: Callable[[bytes], bytes]) -> list[RowProblem]:
    path = folder / file
    path.write_bytes(change(path.read_bytes()))
    return problems_of(folder)


def spoil_event(folder: Path, line: int, **members: Any) -> list[RowProblem]:
    path = folder / "events.jsonl"
    lines = path.read_text().split("\n")
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), **members}, ensure_ascii=False)
    path.write_text("\n".join(lines))
    return problems_of(folder)


@pytest.mark.parametrize(("name", "count"), [("market-basic", 206), ("market-tiny", 330)])
def test_a_published_dataset_is_well_formed_and_yields_its_events(name: str, count: int) -> None:
    market = dataset(name)
    events = market.events
    assert [event.seq for event in events] == list(range(1, count + 1))
    assert not {"seq", "time", "type", "request_id"} & {*events[0].body}
    assert "evidence" in events[0].body


def test_rows_come_in_chunks_of_bounded_count_and_size_and_a_large_row_alone() -> None:
    rows: list[dict[str, Any]] = [{"name": "x" * size} for size in (10, 10, 10, 500, 40, 40, 40)]
    sizes = [[len(row["name"]) for row in chunk] for chunk in row_chunks(rows, **BOUNDS)]
    assert sizes == [[10, 10], [10], [500], [40], [40], [40]]
    assert list(row_chunks([], **BOUNDS)) == []


BOUNDS = {"count_max": 2, "bytes_max": 100}


def test_a_field_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    path = folder / "companies.csv"
    lines = path.read_text(encoding="utf-8").split("\n")
    fields = lines[1].split(",")
    fields[2] = "长" * 300_000
    path.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]), encoding="utf-8")
    read = read_dataset(folder)
    assert isinstance(read, MarketDataset), read
    assert read.companies[0]["name"] == fields[2]
    bodies = [body for method, body in read.reference_calls(identity_digest)]
    sizes = [len(json.dumps(body, ensure_ascii=False).encode()) for body in bodies]
    assert [size > CHUNK_BYTES_MAX for size in sizes].count(True) == 1


@pytest.mark.parametrize(("escape", "named"), [(b"\\ud800", "surrogate"), (b"\\u0000", "U+0000")])
def test_what_no_text_may_hold_is_malformed(tmp_path: Path, escape: bytes, named: str) -> None:
    def escaped(content: bytes) -> bytes:
        return content.replace(b'"kind":"identity_check"', b'"kind":"x' + escape + b'"', 1)

    (problem,) = spoil(copy_of(tmp_path), "events.jsonl", escaped)
    assert (problem.field, named in problem.problem) == ("evidence[0].kind", True)


def test_reference_calls_come_in_chunks_and_hold_no_name_or_number_of_an_investor() -> None:
    market = dataset("market-basic")
    many = replace(market, investors=market.investors * 4)
    calls = list(many.reference_calls(identity_digest))
    assert [method for method, _ in calls] == [
        *("configure_market", "put_trading_days", "put_trading_days", "put_companies"),
        *("put_products", "put_investors", "put_investors"),
    ]
    chunks = [body["investors"] for method, body in calls if method == "put_investors"]
    assert [len(chunk) for chunk in chunks] == [200, 4 * 67 - 200]
    first = market.investors[0]
    assert chunks[0][0]["identity_digest"] == identity_digest(first["id_type"], first["id_number"])
    assert not {"name", "id_number"} & {*chunks[0][0]}


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "field"),
    [
        ("companies.csv", b"C00002,", b"C00001,", 3, "company_ref"),
        ("companies.csv", b",370602,", b",37060,", 2, "region"),
        ("companies.csv", b",joint_stock,", b",partnership,", 2, "form"),
        ("companies.csv", b",200600000,", b",2006000.00,", 2, "registered_capital_fen"),
        ("companies.csv", b",2017-05-29", b",2017-05-32", 2, "established_on"),
        ("companies.csv", b",2017-05-29", b"", 2, ""),
        ("companies.csv", b"company_ref,", b"ref,", 1, ""),
        ("companies.csv", b"\n", b"\r\n", 1, ""),
        ("investors.csv", b",Q900000013,", b",Q90000001,", 2, "investor_code"),
        ("investors.csv", b"Q900000039,Q", b"Q900000039,S", 4, "id_type"),
        ("investors.csv", b",QUALIFIED,,1", b",QUALIFIED,,0", 2, "counted_holders"),
        ("investors.csv", b",QUALIFIED,,1", b",QUALIFIED,never,1", 2, "suitability_valid_to"),
        ("products.csv", b",C00001,", b",C99999,", 2, "company_ref"),
        ("products.csv", b",2006000\n", b",9007199254740992\n", 2, "registered_shares"),
        ("trading_days.txt", b"2025-01-03", b"2025-01-02", 2, "day"),
        ("trading_days.txt", b"2025-01-03", b"20250103", 2, "day"),
        ("market.json", b'"holder_cap": 200', b'"holder_cap": 200.0', 17, "rules.holder_cap"),
        ("market.json", b'"holder_cap": 200', b'"holder_cap": "200"', 17, "rules.holder_cap"),
        ("market.json", b"half_up_to_fen", b"bankers", 20, "rules.dividend_rounding"),
        ("market.json", b"dataset/1", b"dataset/2", 2, "format"),
        ("market.json", b'"forms"', b'"form"', 25, "share_natures.21.form"),
        ("market.json", b'"3702"', b"3702", 15, "rules.excluded_region_prefixes[0]"),
        (
            "market.json",
            b'"business_licence"',
            b'"\\u0000"',
            69,
            "evidence_required.register_company[1]",
        ),
        ("market.json", b'"seed"', b'"seed": 1,\n"seed"', 5, "seed"),
        ("market.json", b'"seed": 1,', b"", 1, "seed"),
        ("events.jsonl", b'{"seq":1,', b'{"seq":1,"seq":1,', 1, "seq"),
        ("events.jsonl", b'{"seq":1,', b'{"seq":1', 1, "seq"),
        ("events.jsonl", b'{"seq":1,', b"[" * 100_000, 1, ""),
        ("events.jsonl", b'{"seq":1,', b'{"seq":' + b"1" * 5_000 + b",", 1, "seq"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_field(
    tmp_path: Path, file: str, old: bytes, new: bytes, line: int, field: str
) -> None:
    problems = spoil(copy_of(tmp_path), file, lambda data: data.replace(old, new, 1))
    assert (problems[0].file, problems[0].line, problems[0].field) == (file, line, field)
    assert str(problems[0]).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"seq": 3}, "seq"),
        ({"time": "2025-08-31T00:00:00+08:00"}, "time"),
        ({"time": "2025-09-02T09:12:59Z"}, "time"),
        ({"type": "merge"}, "type"),
        ({"request_id": "6453416B-FE1F-456E-A698-AF9F2DC96F61"}, "request_id"),
        ({"extra": 1}, "extra"),
        ({"company_ref": 1}, "company_ref"),
        ({"evidence": [{"kind": "x", "digest": "00"}]}, "evidence[0].digest"),
        ({"evidence": None}, "evidence"),
    ],
)
def test_a_malformed_event_is_named_by_line_and_field(
    tmp_path: Path, members: dict[str, Any], field: str
) -> None:
    problems = spoil_event(copy_of(tmp_path), 2, **members)
    assert (problems[0].file, problems[0].line, problems[0].field) == ("events.jsonl", 2, field)


def test_an_agreement_outside_the_calendar_is_malformed(tmp_path: Path) -> None:
    problems = spoil(
        copy_of(tmp_path), "trading_days.txt", lambda days: days[: days.index(b"2025-10-09")]
    )
    assert {(problem.file, problem.field) for problem in problems} == {("events.jsonl", "time")}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, "begins with a byte order mark"),
        (lambda data: data[:-1], "the last line is not ended"),
        (
            lambda data: data.replace(b"\n", b"\r\n"),
            "every line ends with CR LF, not with LF alone",
        ),
        (lambda data: data.replace("股".encode(), b"\xff", 1), "not UTF-8"),
    ],
)
def test_the_file_conventions_are_checked(
    tmp_path: Path, change: Callable[[bytes], bytes], problem: str
) -> None:
    problems = spoil(copy_of(tmp_path), "products.csv", change)
    assert problem in [found.problem for found in problems]


def test_a_missing_file_is_one_problem_and_rows_that_need_it_are_none(tmp_path: Path) -> None:
    folder = copy_of(tmp_path)
    (folder / "companies.csv").unlink()
    (folder / "trading_days.txt").unlink()
    assert [(problem.file, problem.whole_file) for problem in problems_of(folder)] == [
        ("companies.csv", True),
        ("trading_days.txt", True),
    ]


def test_a_folder_that_does_not_exist_is_malformed(tmp_path: Path) -> None:
    assert isinstance(read_dataset(tmp_path / "none"), list)


def test_every_malformed_row_is_named_however_many_and_the_rest_can_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "market"
    shutil.copytree(DATA / "market-basic", folder)
    count = 3_000
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(f'{{"seq":{seq},"bad":1}}\n' for seq in range(207, 207 + count))
    problems = read_dataset(folder)
    assert isinstance(problems, list)
    assert len({(problem.file, problem.line) for problem in problems}) == count
    kept = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(kept, MarketDataset)
    assert len(kept.events) == 206
