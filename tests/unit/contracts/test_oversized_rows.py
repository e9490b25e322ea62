"""A row that no transaction holds is malformed: named with the field that takes the room, left out
on request, and never a matter of much memory or of waiting.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.market_dataset import DATASET_FILES, MarketDataset, RowProblem
from guqiao_sdk.market_reader import read_dataset
from guqiao_sdk.market_text import LINE_BYTES_MAX
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.transaction import BODY_BYTES_MAX
from tests.unit.contracts.register_market import DATA, dataset, entry, problems_of

HUGE_BYTES = 100 * 1024 * 1024
MEMORY_BYTES_MAX = 48 * 1024 * 1024

Row = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset that is well formed, to be spoilt."""
    copy = tmp_path / "market"
    shutil.copytree(DATA / "market-basic", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    return copy


def change_line(folder: Path, file: str, number: int, change: Callable[[bytes], bytes]) -> None:
    path = folder / file
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_bytes(b"\n".join(lines))


def change_event(folder: Path, number: int, change: Callable[[Row], object]) -> None:
    def changed(line: bytes) -> bytes:
        event = json.loads(line)
        change(event)
        return json.dumps(event, ensure_ascii=False).encode()

    change_line(folder, "events.jsonl", number, changed)


def without_malformed(folder: Path) -> MarketDataset:
    kept = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(kept, MarketDataset), kept
    return kept


def line_of(kind: str) -> int:
    return next(event.seq for event in dataset("market-basic").events if event.type == kind)


def body_bytes(folder: Path, number: int) -> int:
    kept = without_malformed(folder)
    [body] = [event.body for event in kept.events if event.seq == number]
    return len(canonical_json(body))


def roster(entries: int, **first: object) -> list[Row]:
    return [entry("Q900000013", 1) | first, *(entry("Q900000013", 1) for _ in range(entries - 1))]


@pytest.mark.req("N0-37", "G2-08-1")
@pytest.mark.parametrize(
    ("kind", "member", "value", "field"),
    [
        ("transfer", "product_code", "1" * 5_000_000, "product_code"),
        ("transfer", "nature", "股" * (BODY_BYTES_MAX // 3), "nature"),
        ("transfer", "seller", "\\" * (BODY_BYTES_MAX // 2), "seller"),
        ("initial_registration", "roster", roster(20_000), "roster"),
        (
            "initial_registration",
            *("roster", roster(9, nature="9" * 3_000_000), "roster[0].nature"),
        ),
        (
            "open_account",
            *("evidence", [{"kind": "id", "digest": "0" * 64}] * 15_000, "evidence"),
        ),
    ],
)
def test_an_event_that_no_transaction_holds_is_named_and_left_out_like_any_malformed_row(
    folder: Path, kind: str, member: str, value: object, field: str
) -> None:
    number = line_of(kind)
    change_event(folder, number, lambda event: event.update({member: value}))
    (row,) = problems_of(folder)
    assert (row.file, row.line, row.field) == ("events.jsonl", number, field)
    assert row.problem.startswith("too long: the row takes ")
    assert row.problem.endswith(f" bytes, a transaction holds {BODY_BYTES_MAX}")
    assert not row.whole_file
    kept = without_malformed(folder)
    assert kept.left_out == (row,)
    assert [event.seq for event in kept.events] == [n for n in range(1, 207) if n != number]


def test_the_longest_row_that_a_transaction_holds_is_for_the_chain_to_judge(folder: Path) -> None:
    """However it is written: white space and escapes are not sent."""
    number = line_of("transfer")
    change_event(folder, number, lambda event: event.update(nature=""))
    room = BODY_BYTES_MAX - body_bytes(folder, number)
    change_event(folder, number, lambda event: event.update(nature="3" * room))
    assert body_bytes(folder, number) == BODY_BYTES_MAX
    escaped = b'"nature":' + b" " * 100_000 + b'"' + b"\\u0033" * room + b'"'
    change_line(
        folder,
        "events.jsonl",
        number,
        lambda line: line.replace(b'"nature": "' + b"3" * room + b'"', escaped),
    )
    assert body_bytes(folder, number) == BODY_BYTES_MAX
    change_event(folder, number, lambda event: event.update(nature="3" * (room + 1)))
    assert [(row.line, row.field) for row in problems_of(folder)] == [(number, "nature")]


@pytest.mark.parametrize(
    ("file", "place", "field"),
    [
        ("companies.csv", 3, "name"),
        ("investors.csv", 4, "name"),
        ("investors.csv", 6, "id_number"),
        ("products.csv", 4, "short_name"),
    ],
)
def test_a_row_of_a_table_that_no_transaction_holds_is_named_and_what_refers_to_it_follows(
    folder: Path, file: str, place: int, field: str
) -> None:
    def longer(line: bytes) -> bytes:
        fields = line.split(b",")
        fields[place - 1] = b'"' + b"x\n" * 1_000_000 + b'"'
        return b",".join(fields)

    change_line(folder, file, 3, longer)
    first, *followers = problems_of(folder)
    assert (first.file, first.line, first.field) == (file, 3, field)
    assert first.problem.startswith("too long: ")
    assert followers
    assert {row.cause.rpartition(":")[0] for row in followers} <= {file, "products.csv"}
    assert all(row.problem.startswith("refers to ") for row in followers)
    assert without_malformed(folder).left_out == (first, *followers)


@pytest.mark.parametrize("file", ["companies.csv", "investors.csv", "products.csv"])
def test_whatever_row_of_a_table_is_read_a_transaction_holds_its_call(
    folder: Path, file: str
) -> None:
    """Also where what may not be on the chain is short, and what stands for it is long."""
    place = {"companies.csv": 3, "investors.csv": 1, "products.csv": 4}[file] - 1

    def with_text(length: int) -> None:
        def changed(line: bytes) -> bytes:
            fields = line.split(b",")
            fields[place] = b"x" * length
            return b",".join(fields)

        change_line(folder, file, 2, changed)

    def is_read(length: int) -> bool:
        with_text(length)
        read = read_dataset(folder)
        return isinstance(read, MarketDataset)

    assert not is_read(BODY_BYTES_MAX)
    longest = next(n for n in range(BODY_BYTES_MAX, 0, -100) if is_read(n))
    assert longest > BODY_BYTES_MAX - 1_000
    calls = without_malformed(folder).reference_calls(lambda id_type, number: "0" * 64)
    assert max(len(canonical_json(body)) for _, body in calls) <= BODY_BYTES_MAX


def test_a_market_that_no_transaction_holds_refuses_the_folder(folder: Path) -> None:
    path = folder / "market.json"
    market = json.loads(path.read_bytes())
    market["share_natures"]["99"] = {"label": "x" * 2_000_000, "forms": []}
    path.write_text(json.dumps(market) + "\n")
    problems = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(problems, list)
    [row] = problems
    assert (row.file, row.field, row.whole_file) == (
        *("market.json", "share_natures.99.label", True),
    )


def huge(line: bytes, filler: bytes) -> Callable[[bytes], bytes]:
    return lambda _: line + filler * (HUGE_BYTES // len(filler))


HUGE_LINES = [
    ("events.jsonl", huge(b'{"seq":3,"investor_ref":"', b"x"), "investor_ref"),
    ("events.jsonl", huge(b'{"seq":3,"roster":', b"[],"), "roster"),
    ("events.jsonl", huge(b'{"seq":3,"roster":[', b'{"account":1},'), "roster"),
    ("events.jsonl", huge(b"", b"["), ""),
    ("companies.csv", huge(b"C00002,SD900002T,", b"\xe5"), "name"),
    ("companies.csv", huge(b'C00002,SD900002T,"', b"x"), "name"),
]


@pytest.mark.req("N0-37", "G2-08-1")
@pytest.mark.parametrize(("file", "change", "field"), HUGE_LINES)
def test_a_line_of_any_length_is_named_in_bounded_memory(
    folder: Path, file: str, change: Callable[[bytes], bytes], field: str
) -> None:
    change_line(folder, file, 3, change)
    tracemalloc.start()
    kept = without_malformed(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX
    first, *followers = kept.left_out
    problem = f"too long: the line has more than {LINE_BYTES_MAX} bytes"
    assert first == RowProblem(file, 3, field, problem)
    assert all(row.cause for row in followers)
    if file == "companies.csv":
        assert {row.problem for row in followers if row.file == "products.csv"} == {
            "refers to companies.csv:3"
        }
        assert len(kept.companies) == len(dataset("market-basic").companies) - 1


@pytest.mark.parametrize("ends", ["", "\n"])
def test_a_market_file_larger_than_a_line_may_be_is_refused(folder: Path, ends: str) -> None:
    """Also where each of its lines is short: it is one value."""
    content = '{"format":"guqiao-market-dataset/1","rules":[' + f"[],{ends}" * LINE_BYTES_MAX
    (folder / "market.json").write_text(content + "\n")
    problems = read_dataset(folder, leave_out_malformed=True)
    assert isinstance(problems, list)
    [row] = problems
    assert (row.file, row.field, row.whole_file) == ("market.json", "rules", True)
    assert row.problem.startswith("too long: ")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.req("N0-37", "G2-13-2")
@pytest.mark.parametrize("make", [_pipe, _socket, _device, Path.mkdir])
@pytest.mark.parametrize("file", DATASET_FILES)
def test_what_is_no_file_is_named_at_once(
    folder: Path, file: str, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # The path of a socket has to be short.
    Path(file).unlink()
    make(Path(file))
    for skip in (False, True):
        problems = read_dataset(folder, leave_out_malformed=skip)
        assert problems == [RowProblem(file, 0, "", "not a regular file", whole_file=True)]
