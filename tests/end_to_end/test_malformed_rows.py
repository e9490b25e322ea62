"""Malformed rows of a dataset: named by file, line and field; nothing is imported, or the rest."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from guqiao_sdk.market_dataset import MarketDataset, RowProblem
from guqiao_sdk.market_reader import read_dataset
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from tests.end_to_end.harness import BASIC, OneMachine, guqiao, wait_until
from tests.unit.contracts.register_market import (
    RequestIdentity,
    as_csv,
    loaded_host,
    roster_csv,
)

pytestmark = pytest.mark.end_to_end
NAMED = [
    "companies.csv:3: row: 2 fields where 11 belong",
    "companies.csv:6: name: an opening quotation mark without a closing one",
    "investors.csv:9: name: not UTF-8",
    "products.csv:5: short_name: a carriage return, where lines end with LF alone",
    "events.jsonl:20: row: not JSON",
    "events.jsonl:57: seq: 1 where 57 belongs",
    "events.jsonl:83: evidence[0].kind: not UTF-8",
    "events.jsonl:120: surplus: unknown member",
    "events.jsonl:150: nature: too long",
]
"""What an operator is to read of `damaged`."""


def with_member(line: bytes, name: str, value: object) -> bytes:
    event = json.loads(line)
    event[name] = value
    return json.dumps(event, ensure_ascii=False).encode()


def in_field(line: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    fields = line.split(b",")
    fields[number] = change(fields[number])
    return b",".join(fields)


DAMAGE: dict[tuple[str, int], Callable[[bytes], bytes]] = {
    ("companies.csv", 3): lambda line: b"one,two",
    ("companies.csv", 6): lambda line: in_field(line, 2, lambda name: b'"' + name),
    ("investors.csv", 9): lambda line: in_field(line, 3, lambda name: name[:-1]),
    ("products.csv", 5): lambda line: in_field(line, 3, lambda name: name + b"\r"),
    ("events.jsonl", 20): lambda line: b"not JSON",
    ("events.jsonl", 57): lambda line: with_member(line, "seq", 1),
    ("events.jsonl", 83): lambda line: line.replace(b'"kind":"', b'"kind":"\xff', 1),
    ("events.jsonl", 120): lambda line: with_member(line, "surplus", 1),
    ("events.jsonl", 150): lambda line: with_member(line, "nature", "3" * 2_000_000),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """market-basic with rows that are malformed in every way that costs one row."""
    folder = tmp_path_factory.mktemp("damaged") / "market"
    shutil.copytree(BASIC, folder)
    for (name, number), change in DAMAGE.items():
        path = folder / name
        lines = path.read_bytes().split(b"\n")
        lines[number - 1] = change(lines[number - 1])
        path.write_bytes(b"\n".join(lines))
    return folder


@pytest.mark.parametrize(("language", "says"), [("en", "nothing was imported"), ("zh", "未导入")])
@pytest.mark.req("N0-37", "G2-08-1")
def test_malformed_rows_are_named_and_nothing_is_imported(
    one_machine: OneMachine, damaged: Path, tmp_path: Path, language: str, says: str
) -> None:
    answer = one_machine.run(
        "import", damaged, "--results", tmp_path / "results.csv", language=language
    )
    assert (answer.code, answer.error, answer.out) == (2, "ROW_MALFORMED", "")
    assert says in answer.err
    for place in NAMED:
        file, line, field, problem = place.replace("row:", choose_row(language)).split(":", 3)
        shown = f"{file}:{line}:{field}:" + (problem if language == "en" else "")
        assert shown in answer.err
    assert not (tmp_path / "results.csv").exists()
    assert one_machine.must("register", "roster", "-o", "json").json() == []


def test_malformed_rows_are_left_out_on_request_and_the_rest_is_imported(
    one_machine: OneMachine, damaged: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.csv"
    answer = one_machine.must(
        "import", damaged, "--on-malformed", "skip", "--results", results, "-o", "json"
    )
    lines = answer.err.splitlines()
    for place in NAMED:
        assert any(line.startswith(place) and line.endswith(" (left out)") for line in lines)
    product = "products.csv:3: company_ref: found nowhere, unless in companies.csv:3, which cannot"
    assert any(line.startswith(product) for line in lines)
    assert any("an event that is left out can be entered later only" in line for line in lines)
    followers = [line for line in lines if line.endswith(" (left out as a consequence)")]
    assert all(": refers to " in line or ": found nowhere, " in line for line in followers)
    assert lines.index(followers[0]) > max(
        number for number, line in enumerate(lines) if line.endswith(" (left out)")
    )
    rows, roster = in_memory(damaged)
    assert results.read_bytes() == as_csv("seq,status,code", rows)
    assert not {20, 57, 83, 120, 150} & {seq for seq, _, _ in rows}
    summary = answer.json()
    assert summary["accepted"] + summary["rejected"] == len(rows)
    assert summary["left_out_as_consequence"] == len(followers) > 0
    assert summary["left_out"] == len(NAMED) + len(followers)
    left_out_events = sum(line.startswith("events.jsonl:") for line in lines)
    assert len(rows) + left_out_events == 206
    wait_until("roster", lambda: one_machine.must("register", "roster").out.encode() == roster)
    mended = one_machine.must("import", BASIC, "--results", results).out
    check_what_was_left_out_comes_too_late(results, rows)
    assert mended, "the same command as before, for the folder with every row mended"


def check_what_was_left_out_comes_too_late(
    results: Path, earlier: Sequence[tuple[int, str, str]]
) -> None:
    """What was done keeps its outcome; the market's time does not run backwards for the rest."""
    with results.open(encoding="utf-8", newline="") as text:
        outcomes = {int(row["seq"]): (row["status"], row["code"]) for row in csv.DictReader(text)}
    assert len(outcomes) == 206
    assert {seq: outcomes[seq] for seq, _, _ in earlier} == {
        seq: (status, code) for seq, status, code in earlier
    }
    late = {outcomes[seq] for seq in outcomes.keys() - {seq for seq, _, _ in earlier}}
    assert late == {("rejected", "BUSINESS_TIME_REGRESSED")}


def choose_row(language: str) -> str:
    return "row:" if language == "en" else "整行:"


def in_memory(folder: Path) -> tuple[list[tuple[int, str, str]], bytes]:
    """The same rows through the contract alone."""
    market = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(market, MarketDataset)
    host, identity = loaded_host(market), RequestIdentity()
    rows = []
    for event in market.events:
        code = identity.process(host, REGISTER_V3, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
    return rows, roster_csv(host)


def test_what_depends_on_a_row_left_out_is_left_out_too(damaged: Path) -> None:
    market = read_dataset(damaged, leave_out_malformed=True)
    assert isinstance(market, MarketDataset)
    gone = (BASIC / "companies.csv").read_text(encoding="utf-8").split("\n")[2].split(",")[0]
    assert gone not in {company["company_ref"] for company in market.companies}
    assert gone not in {product["company_ref"] for product in market.products}
    assert not any(gone == event.body.get("company_ref") for event in market.events)


@pytest.mark.parametrize("name", ["market.json", "investors.csv", "events.jsonl"])
def test_a_file_that_is_malformed_as_a_whole_refuses_the_folder_even_then(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "market"
    shutil.copytree(BASIC, folder)
    content = (folder / name).read_bytes()
    empty = [] if name == "events.jsonl" else [b""]  # No events at all are well formed.
    spoiled = (b"\xef\xbb\xbf" + content, content.rstrip(b"\n"), content.replace(b"\n", b"\r\n"))
    for wrong in (*empty, *spoiled):
        (folder / name).write_bytes(wrong)
        problems = read_dataset(folder, leave_out_malformed=True)
        assert not isinstance(problems, MarketDataset)
        assert all(isinstance(problem, RowProblem) for problem in problems)
        assert {problem.file for problem in problems if problem.whole_file} == {name}


def test_a_malformed_file_says_that_no_row_of_it_can_be_left_out(
    one_machine: OneMachine, tmp_path: Path
) -> None:
    folder = tmp_path / "market"
    shutil.copytree(BASIC, folder)
    (folder / "products.csv").unlink()
    for option in ((), ("--on-malformed", "skip")):
        answer = one_machine.run("import", folder, *option, language="en")
        assert (answer.code, answer.error) == (2, "ROW_MALFORMED")
        assert "products.csv:0: file: cannot be read" in answer.err
        assert "1 file as a whole" in answer.err
        assert "--on-malformed skip" not in answer.err


@pytest.mark.parametrize(
    ("language", "says"), [("en", "no market dataset"), ("zh", "没有市场数据集")]
)
def test_a_folder_without_any_dataset_is_said_to_be_none(
    one_machine: OneMachine, tmp_path: Path, language: str, says: str
) -> None:
    (tmp_path / "passwd").write_text("nobody\n")
    for option in ((), ("--on-malformed", "skip")):
        answer = one_machine.run("import", tmp_path, *option, language=language)
        assert (answer.code, answer.error) == (3, "FILE_UNREADABLE")
        assert says in answer.err
        assert "skip" not in answer.err


@pytest.mark.parametrize("name", ["events.jsonl", "market.json"])
def test_results_never_take_the_place_of_a_file_of_the_dataset(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "market"
    shutil.copytree(BASIC, folder)
    for way in (folder / name, folder / "expected" / ".." / name):
        answer = guqiao("import", folder, "--results", way)
        assert (answer.code, answer.error) == (2, "REQUEST_MALFORMED")
    assert (folder / name).read_bytes() == (BASIC / name).read_bytes()
