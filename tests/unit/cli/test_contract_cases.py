"""`guqiao contract new` and `test`: what they write, print and refuse, without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from guqiaoctl.commands.contract_cases import cases_path
from tests.unit.cli.running import Command
from tests.unit.cli.test_contract_commands import TRANSFER, command

__all__ = ["command"]

COUNTER = """\
ACCESS = {"read": [], "write": ["n/"]}

def add(by):
    if by > 100:
        for _ in range(3):
            pass
        return -1
    put("n/all", (get("n/all") or 0) + by)
    return [part
        for part in [get("n/all")]]
"""


def add(by: int, **expect: Any) -> dict[str, Any]:
    return {"name": f"add {by}", "method": "add", "args": {"by": by}, "expect": expect}


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "counter.star"
    path.write_text(COUNTER, encoding="utf-8")
    return path


def write_cases(source: Path, *cases: Any, **more: Any) -> Path:
    path = cases_path(source)
    path.write_text(json.dumps({"cases": cases, **more}), encoding="utf-8")
    return path


@pytest.mark.req("G2-08-1")
def test_a_new_contract_is_star_1_and_its_cases_pass(command: Command, tmp_path: Path) -> None:
    ended = command("new", "notes", "--into", tmp_path)
    source = tmp_path / "notes.star"
    assert (ended.code, ended.out.split()) == (0, [str(source), str(tmp_path / "notes.cases.json")])
    assert command("lint", source).code == 0
    told = command("test", source, "-o", "json")
    assert (told.code, told.json["failed"], told.json["lines_not_run"]) == (0, 0, [])


@pytest.mark.parametrize("name", ["notes", "other"])
def test_nothing_that_is_there_is_replaced(command: Command, tmp_path: Path, name: str) -> None:
    command("new", "notes", "--into", tmp_path)
    kept = tmp_path / "other.cases.json"
    kept.write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    ended = command("new", name, "--into", tmp_path, language="zh")
    assert (ended.code, "已存在" in ended.err) == (2, True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", "A", "1a", "a/b", "a" * 49, "股"])
def test_a_name_that_is_none_is_refused(command: Command, tmp_path: Path, name: str) -> None:
    ended = command("new", name, "--into", tmp_path)
    assert (ended.code, ended.err.startswith("USAGE_WRONG: ")) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(command: Command, tmp_path: Path) -> None:
    ended = command("new", "notes", "--into", tmp_path / "none")
    assert ended.code != 0
    assert str(tmp_path / "none") in ended.err


@pytest.mark.req("G2-08-1")
def test_cases_run_in_order_on_the_state_that_the_one_before_left(
    command: Command, counter: Path
) -> None:
    write_cases(
        counter,
        add(3, status="ok", result=[8], writes={"n/all": 8}),
        add(2, status="ok", result=[10]),
        state={"n/all": 5},
    )
    ended = command("test", counter, "-o", "json")
    told = ended.json
    assert (ended.code, told["passed"], told["failed"]) == (0, 2, 0)
    assert told["lines_not_run"] == [5, 6, 7], "of a statement over two lines the first counts"
    assert len(told["form"]) == 64
    assert all(each["gas_used"] > 100 for each in told["cases"])


@pytest.mark.req("G2-08-1")
@pytest.mark.parametrize(
    ("expect", "member"),
    [
        ({"status": "error"}, "status"),
        ({"status": "ok", "result": [4]}, "result"),
        ({"status": "ok", "result": [3], "writes": {}}, "writes"),
        ({"status": "ok", "events": [{"topic": "a", "body": 1}]}, "events"),
        ({"status": "ok", "code": "X"}, "code"),
        ({"status": "ok", "fields": {"a": 1}}, "fields"),
        ({"status": "ok", "result": [True]}, "result"),
        ({"status": "ok", "gas_used": 1}, "gas_used"),
    ],
)
def test_a_case_that_comes_to_something_else_fails_and_says_how(
    command: Command, counter: Path, expect: dict[str, Any], member: str
) -> None:
    by = 1 if expect.get("result") == [True] else 3
    write_cases(counter, add(by, **expect), add(1, status="ok"))
    ended = command("test", counter, "-o", "json")
    assert (ended.code, ended.err.split(":")[0]) == (5, "CONTRACT_TEST_FAILED")
    (difference,) = ended.json["cases"][0]["differences"]
    assert (difference["member"], difference["expected"]) == (member, expect[member])
    assert [each["passed"] for each in ended.json["cases"]] == [False, True]


def test_a_person_reads_verdicts_differences_and_lines(command: Command, counter: Path) -> None:
    write_cases(counter, add(3, status="ok", result=[4]))
    ended = command("test", counter)
    assert "add 3  FAILED" in ended.out
    assert "expected: [4]" in ended.out
    assert "actual: [3]" in ended.out
    assert "lines that no case ran: 5, 6, 7" in ended.out
    assert "1 of 1 cases" in ended.err
    chinese = command("test", counter, language="zh")
    assert "未通过" in chinese.out
    assert "未执行的行" in chinese.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "not an object"),
        ('{"cases": []}', "0 cases"),
        ('{"cases": [{}], "cases": []}', "cases"),
        ('{"cases": [1]}', "case 1: not an object"),
        ('{"cases": [{"name": "a", "method": "add"}]}', "no expect"),
        ('{"cases": [{"name": "a", "method": "add", "expect": {}}]}', "status"),
        (
            '{"cases": [{"name": "a", "method": "add", "expect": {"status": "ok", "x": 1}}]}',
            "holds",
        ),
        ('{"cases": [{"name": 1, "method": "add", "expect": {"status": "ok"}}]}', "name"),
        ('{"cases": [{"name": "a", "methods": "add"}]}', "methods"),
        (
            '{"cases": [{"name": "a", "method": "add", "gas": -1, "expect": {"status": "ok"}}]}',
            "gas",
        ),
        (
            '{"cases": [{"name": "a", "method": "m", "height": true, "expect": {"status": "ok"}}]}',
            "height",
        ),
        (
            '{"cases": [{"name": "a", "method": "m", "sender_roles": [1],'
            ' "expect": {"status": "ok"}}]}',
            "sender_roles",
        ),
        ('{"cases": [1.5]}', "1.5"),
        ("{", ""),
    ],
)
def test_a_file_that_is_no_cases_is_refused(
    command: Command, counter: Path, content: str, says: str
) -> None:
    path = cases_path(counter)
    path.write_text(content)
    ended = command("test", counter)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("CONTRACT_CASES_MALFORMED: ")
    assert says in ended.err


def test_a_state_that_is_none_and_a_signer_that_is_none_are_refused(
    command: Command, counter: Path
) -> None:
    write_cases(counter, add(1, status="ok"), state={"股": 1})
    assert command("test", counter).err.startswith("CONTRACT_STATE_MALFORMED: ")
    write_cases(counter, {**add(1, status="ok"), "sender": "me"})
    assert command("test", counter).err.startswith("USAGE_WRONG: ")


def test_missing_cases_and_a_refused_source_say_so(command: Command, counter: Path) -> None:
    ended = command("test", counter)
    assert (ended.code, str(cases_path(counter)) in ended.err) == (3, True)
    counter.write_text("import os\n")
    assert command("test", counter).code == 7


@pytest.mark.req("G2-08-1")
def test_the_shipped_contract_has_cases_that_run_all_of_it(
    command: Command, tmp_path: Path
) -> None:
    told = command("test", TRANSFER, "-o", "json").json
    assert (told["failed"], told["lines_not_run"]) == (0, [])
    elsewhere = tmp_path / "elsewhere.json"
    shutil.copy(cases_path(TRANSFER), elsewhere)
    assert command("test", TRANSFER, "--cases", elsewhere, "-o", "json").json == told
