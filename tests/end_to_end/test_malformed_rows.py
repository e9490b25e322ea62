"""Malformed rows of a dataset: named by file, line and field; nothing is imported, or the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from guqiao_sdk.market_dataset import MarketDataset, RowProblem, read_dataset
from services.consensus.domain.contracts.register.contract import REGISTER_V1
from tests.end_to_end.harness import BASIC, OneMachine, wait_until
from tests.unit.contracts.register_market import (
    RequestIdentity,
    as_csv,
    loaded_host,
    roster_csv,
)

pytestmark = pytest.mark.end_to_end
DAMAGE = {
    ("companies.csv", 3): "one,two",
    ("events.jsonl", 20): "not JSON",
    ("events.jsonl", 57): None,
    ("events.jsonl", 120): None,
}
"""Lines replaced as a whole; None: an altered event, see `damaged`."""
NAMED = [
    "companies.csv:3: row:",
    "events.jsonl:20: row:",
    "events.jsonl:57: ",
    "events.jsonl:120: ",
]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """market-basic with a short CSV row, a line that is no JSON, and two events with a wrong
    member.
    """
    folder = tmp_path_factory.mktemp("damaged") / "market"
    shutil.copytree(BASIC, folder)
    for (name, number), content in DAMAGE.items():
        path = folder / name
        lines = path.read_text(encoding="utf-8").split("\n")
        if content is None:
            event = json.loads(lines[number - 1])
            event["seq" if number == 57 else "surplus"] = 1
            content = json.dumps(event, ensure_ascii=False)
        lines[number - 1] = content
        path.write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("language", "says"), [("en", "nothing was imported"), ("zh", "未导入")])
def test_malformed_rows_are_named_and_nothing_is_imported(
    one_machine: OneMachine, damaged: Path, tmp_path: Path, language: str, says: str
) -> None:
    answer = one_machine.run(
        "import", damaged, "--results", tmp_path / "results.csv", language=language
    )
    assert (answer.code, answer.error, answer.out) == (2, "ROW_MALFORMED", "")
    assert says in answer.err
    for place in NAMED:
        assert (place.replace("row:", "整行:") if language == "zh" else place) in answer.err
    assert not (tmp_path / "results.csv").exists()
    assert one_machine.must("register", "roster", "-o", "json").json() == []


def test_malformed_rows_are_left_out_on_request_and_the_rest_is_imported(
    one_machine: OneMachine, damaged: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.csv"
    answer = one_machine.must(
        "import", damaged, "--on-malformed", "skip", "--results", results, "-o", "json"
    )
    for place in NAMED:
        assert any(
            line.startswith(place) and "left out" in line for line in answer.err.splitlines()
        )
    rows, roster = in_memory(damaged)
    assert results.read_bytes() == as_csv("seq,status,code", rows)
    assert not {20, 57, 120} & {seq for seq, _, _ in rows}
    summary = answer.json()
    assert summary["accepted"] + summary["rejected"] == len(rows)
    assert summary["left_out"] >= len(NAMED)
    wait_until("roster", lambda: one_machine.must("register", "roster").out.encode() == roster)


def in_memory(folder: Path) -> tuple[list[tuple[int, str, str]], bytes]:
    """The same rows through the contract alone."""
    market = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(market, MarketDataset)
    host, identity = loaded_host(market), RequestIdentity()
    rows = []
    for event in market.events():
        code = identity.process(host, REGISTER_V1, event)
        rows.append((event.seq, "rejected" if code else "accepted", code))
    return rows, roster_csv(host)


def test_what_depends_on_a_row_left_out_is_left_out_too(damaged: Path) -> None:
    market = read_dataset(damaged, leave_out_malformed=True)
    assert isinstance(market, MarketDataset)
    gone = (BASIC / "companies.csv").read_text(encoding="utf-8").split("\n")[2].split(",")[0]
    assert gone not in {company["company_ref"] for company in market.companies}
    assert gone not in {product["company_ref"] for product in market.products}
    assert len(list(market.events())) == market.event_count


@pytest.mark.parametrize("name", ["market.json", "investors.csv", "events.jsonl"])
def test_a_file_that_is_malformed_as_a_whole_refuses_the_folder_even_then(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "market"
    shutil.copytree(BASIC, folder)
    content = (folder / name).read_bytes()
    empty = [] if name == "events.jsonl" else [b""]  # No events at all are well formed.
    spoiled = (b"\xef\xbb\xbf" + content, content.rstrip(b"\n"), b"\xff\n" + content)
    for wrong in (*empty, *spoiled):
        (folder / name).write_bytes(wrong)
        problems = read_dataset(folder, leave_out_malformed=True)
        assert not isinstance(problems, MarketDataset)
        assert all(isinstance(problem, RowProblem) for problem in problems)
        assert name in {problem.file for problem in problems}
