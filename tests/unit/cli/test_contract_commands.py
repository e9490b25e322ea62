"""`guqiao contract lint`, `run` and `gas`: what they print, write and refuse, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cli.running import Command, command_of

TRANSFER = Path(__file__).parents[3] / "data" / "contracts" / "transfer.star"
CALL = ["--method", "transfer", "--sender-role", "clerk", "--args"]
OUTCOME = ["status", "code", "result", "gas_used", "writes", "events", "line"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("contract", monkeypatch, capsys)


def transfer(shares: int, **other: object) -> str:
    return json.dumps({"product": "P", "seller": "A", "buyer": "B", "shares": shares} | other)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text('{"free/P/A": 10}')
    return path


def source(folder: Path, text: str | bytes) -> Path:
    path = folder / "made.star"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- run --------------------------------------------------------------------------------------


@pytest.mark.req("G2-08-1")
def test_a_call_that_ends_well_is_one_json_value(command: Command, state: Path) -> None:
    ended = command("run", TRANSFER, *CALL, transfer(3), "--state", state, "-o", "json")
    assert (ended.code, ended.err) == (0, "")
    told = ended.json
    assert list(told) == OUTCOME
    assert told.pop("gas_used") > 0
    body = {"product": "P", "seller": "A", "buyer": "B", "shares": 3}
    assert told == {
        "status": "ok",
        "code": None,
        "result": 7,
        "writes": {"free/P/A": 7, "free/P/B": 3},
        "events": [{"topic": "shares.transferred", "body": body}],
        "line": 0,
    }
    assert json.loads(state.read_text()) == {"free/P/A": 10}  # Nobody asked to keep it.


@pytest.mark.req("G2-08-1")
def test_what_the_contract_refuses_has_its_code_facts_and_line(
    command: Command, state: Path
) -> None:
    ended = command(
        "run", TRANSFER, *CALL, transfer(11), "--state", state, "--write-state", "-o", "json"
    )
    assert ended.code == 5
    told = ended.json
    assert list(told) == [*OUTCOME, "fields"]
    assert (told["status"], told["code"], told["result"]) == ("error", "SHARES_INSUFFICIENT", None)
    assert (told["writes"], told["events"]) == ({}, [])
    assert told["fields"] == {"available": 10, "asked": 11}
    line = TRANSFER.read_text().split("\n")[told["line"] - 1]
    assert "SHARES_INSUFFICIENT" in line
    assert ended.err.startswith("SHARES_INSUFFICIENT: ")
    assert json.loads(state.read_text()) == {"free/P/A": 10}


def test_a_code_of_the_contracts_own_needs_no_catalogue(command: Command, tmp_path: Path) -> None:
    made = source(tmp_path, 'def f():\n    require(False, "MOON_FULL", phase="full\\x1b[2J")\n')
    ended = command("run", made, "--method", "f")
    assert ended.code == 5
    assert ended.err.startswith(f"MOON_FULL: {made}:2: the contract says no (phase=full\\x1b[2J)")
    assert "\x1b" not in ended.err
    assert "合约拒绝了此调用" in command("run", made, "--method", "f", language="zh").err


def test_too_little_gas_ends_a_call_with_nothing_written(command: Command, state: Path) -> None:
    arguments = ["run", TRANSFER, *CALL, transfer(3), "--state", state, "-o", "json"]
    enough = command(*arguments).json["gas_used"]
    assert command(*arguments, "--gas", str(enough)).code == 0
    ended = command(*arguments, "--gas", str(enough - 1))
    assert ended.code == 5
    told = ended.json
    assert (told["status"], told["code"]) == ("out_of_gas", "CONTRACT_OUT_OF_GAS")
    assert (told["gas_used"], told["writes"], told["events"]) == (enough - 1, {}, [])


def test_writes_are_kept_where_that_is_asked_for(command: Command, tmp_path: Path) -> None:
    made = source(
        tmp_path,
        'ACCESS = {"read": [], "write": ["s/"]}\n\ndef f(n):\n    put("s/new", n)\n'
        '    delete("s/old")\n    delete("s/never")\n    return scan("s/", 9)\n',
    )
    state = tmp_path / "fresh.json"
    keep = ["--state", state, "--write-state", "-o", "json"]
    assert command("run", made, "--method", "f", "--args", '{"n": ["股", 1]}', *keep).code == 0
    assert json.loads(state.read_text()) == {"s/new": ["股", 1]}
    state.write_text('{"s/old": true}')
    told = command("run", made, "--method", "f", "--args", '{"n": 2}', *keep).json
    assert told["writes"] == {"s/new": 2, "s/old": None}
    assert told["result"] == [["s/new", 2]]
    assert json.loads(state.read_text()) == {"s/new": 2}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_who_signs_and_when_is_what_the_options_say(command: Command, tmp_path: Path) -> None:
    text = "def f():\n    return [sender(), checker(), height(), block_time(), business_time()]\n"
    run = ["run", source(tmp_path, text), "--method", "f", "-o", "json"]
    signers = ["--sender", "did:rem:shandong:a", "--sender-role", "clerk", "--height", "12"]
    checker = ["--checker", "did:rem:shandong:b", "--checker-role", "clerk"]
    when = "2026-03-02T10:00:00.250+08:00"
    told = command(*run, *signers, *checker, "--time", when).json["result"]
    assert told == [
        {
            "did": f"did:rem:shandong:{who}",
            "organisation": f"did:rem:shandong:{who}",
            "roles": roles,
        }
        for who, roles in (("a", ["clerk"]), ("b", ["clerk"]))
    ] + [12, 1_772_416_800_250, "2026-03-02T10:00:00+08:00"]
    assert command(*run, "--time", "1772416800250").json["result"][3:] == told[3:]
    assert command(*run).json["result"][1] is None


def test_another_contract_cannot_be_called_here(command: Command, tmp_path: Path) -> None:
    declared = 'ACCESS = {"read": [], "write": [], "call": ["other.m"]}\n\n'
    made = source(tmp_path, declared + 'def f():\n    return call("other", "m", x=1)\n')
    told = command("run", made, "--method", "f", "-o", "json").json
    assert (told["code"], told["line"]) == ("CONTRACT_CALL_OFFLINE", 4)
    assert told["fields"] == {"contract": "other", "method": "m"}


def test_a_person_reads_result_gas_writes_and_events(command: Command, state: Path) -> None:
    arguments = ["run", TRANSFER, *CALL, transfer(3), "--state", state]
    lines = command(*arguments).out.split("\n")
    assert lines[0] == "result  7"
    assert "free/P/A  7" in lines
    assert any(line.startswith("shares.transferred  {") for line in lines)
    assert command(*arguments, language="zh").out.startswith("结果  7\n计量  ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("[1", "not JSON"),
        ("[]", "not an object"),
        ('{"shares": 1.5}', "a number that is not an integer"),
        ('{"shares": 9223372036854775808}', "integer out of range"),
        ('{"a": 1, "a": 2}', "duplicate member"),
        ("[" * 100_000, "too deep"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": "\udcff"}', "not UTF-8"),
        ('{"a": "\\u0000"}', "the character U+0000"),
    ],
)
def test_arguments_that_are_no_json_of_the_chain_are_an_error(
    command: Command, arguments: str, why: str
) -> None:
    ended = command("run", TRANSFER, "--method", "transfer", "--args", arguments, "-o", "json")
    assert ended.code == 2
    assert (ended.json["status"], ended.json["code"]) == ("error", "CONTRACT_ARGUMENT_WRONG")
    assert ended.json["fields"]["why"] == why
    assert ended.json["gas_used"] == 0


def test_arguments_that_the_method_does_not_take_are_an_error(command: Command) -> None:
    for arguments, facts in (
        ("{}", {"argument": "product", "why": "missing"}),
        (transfer(1, more=1), {"argument": "more", "why": "unknown"}),
    ):
        ended = command("run", TRANSFER, *CALL, arguments, "-o", "json")
        assert (ended.code, ended.json["code"]) == (5, "CONTRACT_ARGUMENT_WRONG")
        assert ended.json["fields"] == facts
    for method in ("_key", "no", "", "__class__", "\udcff"):
        ended = command("run", TRANSFER, "--method", method, "-o", "json")
        assert (ended.code, ended.json["code"]) == (5, "METHOD_UNKNOWN")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": null}', '{"": 1}', '{"a b": 1}', '{"股": 1}', '{"a": 1.0}']
)
def test_what_is_no_state_is_refused(command: Command, state: Path, content: str) -> None:
    state.write_text(content)
    for language in ("en", "zh"):
        ended = command(
            "run",
            TRANSFER,
            *CALL,
            transfer(1),
            "--state",
            state,
            "--write-state",
            language=language,
        )
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("CONTRACT_STATE_MALFORMED")
    assert state.read_text() == content


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--write-state"], 2),
        (["--state", "missing.json"], 3),
        (["--sender", "clerk"], 2),
        (["--sender", ""], 2),
        (["--checker", "did:rem:\x1b:x"], 2),
        (["--sender-role", "Clerk!"], 2),
        (["--time", "yesterday"], 2),
        (["--time", "2026-01-05T10:00:00"], 2),
        (["--time", "-1"], 2),
        (["--time", "9" * 400], 2),
        (["--time", "9999-12-31T23:59:59-12:00"], 2),
        (["--height", "-1"], 2),
        (["--gas", "-1"], 2),
        (["--gas", "1" + "0" * 30], 2),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(
    command: Command, options: list[str], code: int
) -> None:
    for language in ("en", "zh"):
        ended = command("run", TRANSFER, *CALL, transfer(1), *options, language=language)
        assert (ended.code, ended.out) == (code, "")
        assert ended.err.count("\n") == 1
        assert "\x1b" not in ended.err


# --- lint -------------------------------------------------------------------------------------

REFUSED = [
    ("float", "def f():\n    return 1.5\n", 2, 12),
    ("while", "def f():\n    while True:\n        pass\n", 2, 5),
    ("bidirectional", "def f():\n    return '\u202e'\n", 2, 13),
    ("character", "def f(\u0430):\n    return 1\n", 1, 7),
    ("utf8", b"def f():\n    return '\xff'\n", 2, 0),
    ("control_character", "def f():\n    return 1\0\n", 2, 13),
    ("integer", f"def f():\n    return {'9' * 77}\n", 2, 12),
    ("large", "#" * 65_537, 0, 0),
    ("string", 'def f():\n    return "\\ud800"\n', 2, 12),
    ("string", 'def f():\n    return "a\\0"\n', 2, 12),
]


@pytest.mark.req("G2-08-1")
@pytest.mark.parametrize(("rule", "text", "line", "column"), REFUSED)
def test_a_refused_source_has_place_rule_and_sentence(
    command: Command, tmp_path: Path, rule: str, text: str | bytes, line: int, column: int
) -> None:
    made = source(tmp_path, text)
    ended = command("lint", TRANSFER, made, "-o", "json")
    assert ended.code == 7
    good, bad = ended.json["files"]
    assert (good["status"], good["methods"]) == ("ok", ["transfer", "free_shares"])
    assert (bad["file"], bad["status"]) == (str(made), "refused")
    assert (bad["code"], bad["rule"]) == ("CONTRACT_SOURCE_REFUSED", rule)
    assert (bad["line"], bad["column"]) == (line, column)
    for language in ("zh", "en"):
        shown = command("lint", made, language=language).out
        assert shown.startswith(f"{made}:{line}:{column}: CONTRACT_SOURCE_REFUSED {rule}: ")
        assert bad["sentence"][language] in shown
    for verb in ("run", "gas"):
        ended = command(verb, made, "--method", "f", "-o", "json")
        assert ended.code == 7
        assert list(ended.json)[:7] == OUTCOME
        assert (ended.json["status"], ended.json["line"]) == ("refused", line)
        assert (ended.json["fields"]["rule"], ended.json["fields"]["column"]) == (rule, column)


@pytest.mark.req("G2-08-1")
def test_all_that_a_source_is_refused_for_is_told(command: Command, tmp_path: Path) -> None:
    made = source(tmp_path, "def f(a):\n    while a:\n        a = 1.5\n    return a / 2\n")
    bad = command("lint", made, "-o", "json").json["files"][0]
    told = [(each["rule"], each["line"]) for each in bad["refusals"]]
    assert told == [("while", 2), ("float", 3), ("division", 4)]
    assert (bad["rule"], bad["line"]) == told[0]
    lines = command("lint", made).out.splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4"]


def test_sources_that_hold_are_listed_and_end_with_status_0(command: Command) -> None:
    ended = command("lint", TRANSFER)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{TRANSFER}: ok  ")
    assert command("lint", "missing.star").code == 3
    assert command("lint").code == 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=200), st.text("def f():\n ret=[({'x\"\\0~\u202e1.+", max_size=80))
)
def test_any_source_ends_in_an_outcome(command: Command, tmp_path: Path, text: str | bytes) -> None:
    made = source(tmp_path, text)
    assert command("lint", made, "-o", "json").code in (0, 7)
    assert command("run", made, "--method", "f", "-o", "json").code in (0, 5, 7)


# --- gas --------------------------------------------------------------------------------------


def test_the_gas_of_all_lines_is_the_gas_of_the_call(command: Command, state: Path) -> None:
    for shares, code in ((3, 0), (11, 5)):
        call = [TRANSFER, *CALL, transfer(shares), "--state", state, "-o", "json"]
        run, told = command("run", *call), command("gas", *call)
        assert (run.code, told.code) == (code, code)
        lines = told.json["lines"]
        assert sum(line["gas"] for line in lines) == told.json["gas_used"] == run.json["gas_used"]
        text = TRANSFER.read_text().split("\n")
        assert all(row["source"] == text[row["line"] - 1] for row in lines if row["line"])
        dearest = max(lines, key=lambda row: row["gas"])
        assert code or "put(" in dearest["source"]


def test_what_a_loop_calls_counts_where_it_stands(command: Command, tmp_path: Path) -> None:
    made = source(
        tmp_path,
        "def f(n):\n    for i in range(n):\n        g(i)\n\ndef g(i):\n    return i * i + 1\n",
    )
    by_count = {}
    for n in (1, 10):
        rows = command(
            "gas", made, "--method", "f", "--args", json.dumps({"n": n}), "-o", "json"
        ).json["lines"]
        by_count[n] = {row["line"]: row["gas"] for row in rows}
    assert by_count[10][6] == 10 * by_count[1][6]
    assert by_count[10][3] == 10 * by_count[1][3]
    shown = command("gas", made, "--method", "f", "--args", '{"n": 2}', language="zh").out
    assert shown.startswith("行")
    assert "return i * i + 1" in shown


# --- diff -------------------------------------------------------------------------------------


@pytest.mark.req("G2-14-4")
def test_a_diff_says_what_breaks_and_whether_an_upgrade_is_compatible(
    command: Command, tmp_path: Path
) -> None:
    text = TRANSFER.read_text()
    same = command("diff", TRANSFER, TRANSFER, "-o", "json").json
    assert same == {"compatible": True, "changes": []}
    more = source(tmp_path, text + "\ndef more():\n    return 1\n")
    added = {"rule": "METHOD_ADDED", "what": "more", "breaking": False}
    assert command("diff", TRANSFER, more, "-o", "json").json == {
        "compatible": True,
        "changes": [added],
    }
    told = command("diff", more, TRANSFER)
    assert told.code == 0
    assert "METHOD_REMOVED" in told.out
    assert told.out.endswith("an incompatible upgrade\n")
    assert command("diff", more, TRANSFER, language="zh").out.endswith("非兼容升级\n")


def test_a_diff_of_what_is_no_contract_is_refused_with_its_place(
    command: Command, tmp_path: Path
) -> None:
    wrong = source(tmp_path, "def f():\n    while True:\n        pass\n")
    told = command("diff", TRANSFER, wrong)
    assert (told.code, told.out) == (7, "")
    assert f"{wrong}:2:5: while" in told.err
