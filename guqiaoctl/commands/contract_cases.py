"""`guqiao contract test` and `new`: a contract's cases, run on this machine without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json, JsonError, canonical_json, parse_json_strict
from guqiao_sdk.rules import messages
from guqiaoctl.commands.contract_inputs import (
    DEPTH_MAX,
    STATE_BYTES_MAX,
    check_state,
    host_by,
    surroundings_of,
)
from guqiaoctl.commands.contracts import summary
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.options import GAS_DEFAULT, GAS_MAX, HEIGHT_MAX, SENDER, TIME
from guqiaoctl.output import Progress, choose, print_json, print_table, shown
from guqiaoctl.result_files import whole_file
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.template.model import Template

CASES_MAX: Final = 10_000

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
_FILE_MEMBERS: Final = {"state": dict, "cases": list}
_CASE_MEMBERS: Final = {
    "name": str,
    "method": str,
    "args": dict,
    "sender": str,
    "sender_roles": list,
    "checker": str,
    "checker_roles": list,
    "height": int,
    "time": str,
    "gas": int,
    "expect": dict,
}
_EXPECTED: Final = ("status", "code", "fields", "result", "writes", "events", "line", "gas_used")


@dataclass(frozen=True, slots=True)
class Case:
    """One call and what is expected of it: `expect` holds members of what `run -o json` prints."""

    name: str
    call: Mapping[str, Any]
    expect: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`differences`: member, expected, actual; none where the case passed."""

    name: str
    gas_used: int
    differences: list[tuple[str, Json, Json]]


def cases_path(source: Path) -> Path:
    """Where a source's cases lie unless another file is named."""
    return source.with_suffix(".cases.json")


def test(
    source: Path,
    module: Module,
    cases: Path | None,
    *,
    template: Template | None,
    evidence: Mapping[str, Json],
    as_json: bool,
) -> None:
    """Run the cases in their order, each on the state that the one before left and held against a
    template, if one is given; exit code 5 where one comes to something else than is expected.
    `evidence` are further members of the report.
    """
    path = cases if cases is not None else cases_path(source)
    state, expected = read_cases(path)
    verdicts, lines = run_cases(module, state, expected, template)
    failed = sum(bool(each.differences) for each in verdicts)
    written = set[int]().union(*(_lines_of(each[-1]) for each in module.functions))
    not_run = sorted(written - lines)
    if as_json:
        print_json({**_report(source, module, verdicts, not_run), **evidence})
    else:
        _print(verdicts, not_run)
    if failed:
        raise _failed(failed, len(verdicts))


def run_cases(
    module: Module, state: Mapping[str, Json], cases: list[Case], template: Template | None
) -> tuple[list[Verdict], set[int]]:
    """The verdicts, and the lines of the source that ran."""
    verdicts, lines = list[Verdict](), set[int]()
    program = Program(module, GasTable(), watched=True)
    with Progress(choose("cases", "用例"), len(cases)) as progress:
        for case in cases:
            verdict, state, ran = _run(program, state, case, template)
            verdicts.append(verdict)
            lines |= ran
            progress.show(len(verdicts))
    return verdicts, lines


def _run(
    program: Program, state: Mapping[str, Json], case: Case, template: Template | None
) -> tuple[Verdict, dict[str, Json], set[int]]:
    """The verdict, the state afterwards, and the lines that ran."""
    call = case.call
    checker = call.get("checker")
    around = surroundings_of(
        (call.get("sender", SENDER), call.get("sender_roles", [])),
        None if checker is None else (checker, call.get("checker_roles", [])),
        call.get("height", 1),
        call.get("time", TIME),
    )
    meter = Meter(call.get("gas", GAS_DEFAULT), GasTable())
    host = host_by(template, state, around, meter)
    used = LineGas(meter)
    outcome = host.run(program, meter, call["method"], call.get("args", {}), used)
    told = {"fields": {}} | summary(outcome, host)
    differences = [
        (name, value, told[name])
        for name, value in case.expect.items()
        if canonical_json(told[name]) != canonical_json(value)
    ]
    ran = set(used.total())
    return Verdict(case.name, outcome.gas_used, differences), host.after(), ran


# --- Cases as they are written ----------------------------------------------------------------


def read_cases(path: Path) -> tuple[dict[str, Json], list[Case]]:
    """The state to begin with, and the cases; raises `CliError`."""
    try:
        value = parse_json_strict(
            read_input(path, STATE_BYTES_MAX), depth_max=DEPTH_MAX + 4, size_max=STATE_BYTES_MAX
        )
        content = _object(value, "$", _FILE_MEMBERS, ("cases",))
        state = content.get("state", {})
        check_state(state, path)
        cases = [_case(each, number) for number, each in enumerate(content["cases"], 1)]
    except (JsonError, _WrongCasesError) as error:
        raise _malformed(path, str(error)) from None
    if not 0 < len(cases) <= CASES_MAX:
        raise _malformed(path, f"{len(cases)} cases, 1 to {CASES_MAX:,} are run")
    return state, cases


class _WrongCasesError(Exception):
    """What is wrong, and where."""


def _case(value: Json, number: int) -> Case:
    where = f"case {number}"
    case = _object(value, where, _CASE_MEMBERS, ("name", "method", "expect"))
    for name, largest in (("gas", GAS_MAX), ("height", HEIGHT_MAX)):
        if not 0 <= case.get(name, 0) <= largest:
            raise _WrongCasesError(f"{where}: {name} is 0 to {largest}")
    for name in ("sender_roles", "checker_roles"):
        if not all(isinstance(role, str) for role in case.get(name, [])):
            raise _WrongCasesError(f"{where}: {name} are texts")
    expect = case["expect"]
    unknown = [name for name in expect if name not in _EXPECTED]
    if unknown or "status" not in expect:
        known = ", ".join(_EXPECTED)
        raise _WrongCasesError(f"{where}: expect holds a status, and of {known} what matters")
    return Case(case["name"], case, expect)


def _object(
    value: Json, where: str, members: Mapping[str, type], needed: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongCasesError(f"{where}: not an object")
    for name, part in value.items():
        if name not in members:
            raise _WrongCasesError(f"{where}: unknown member {shown(name[:64])}")
        if type(part) is not members[name]:
            raise _WrongCasesError(f"{where}: {name} is of another type")
    missing = [name for name in needed if name not in value]
    if missing:
        raise _WrongCasesError(f"{where}: no {missing[0]}")
    return value


def _lines_of(block: list[Any]) -> set[int]:
    """The lines on which a statement of a block, or of one in it, begins."""
    found = set[int]()
    for kind, line, *parts in block:
        found.add(line)
        if kind in ("if", "for"):
            for part in parts:
                if part and isinstance(part[0], list):  # Expressions begin with their kind.
                    found |= _lines_of(part)
    return found


# --- What is told -----------------------------------------------------------------------------


def _report(
    source: Path, module: Module, verdicts: list[Verdict], not_run: list[int]
) -> dict[str, Any]:
    failed = sum(bool(each.differences) for each in verdicts)
    return {
        "file": str(source),
        "form": module.digest.hex(),
        "passed": len(verdicts) - failed,
        "failed": failed,
        "lines_not_run": not_run,
        "cases": [
            {
                "name": each.name,
                "passed": not each.differences,
                "gas_used": each.gas_used,
                "differences": [
                    {"member": name, "expected": expected, "actual": actual}
                    for name, expected, actual in each.differences
                ],
            }
            for each in verdicts
        ],
    }


def _print(verdicts: list[Verdict], not_run: list[int]) -> None:
    passed, failed = choose("passed", "通过"), choose("FAILED", "未通过")
    print_table(
        (choose("CASE", "用例"), choose("OUTCOME", "结果"), choose("GAS", "计量")),
        [
            (each.name, failed if each.differences else passed, f"{each.gas_used:,}")
            for each in verdicts
        ],
    )
    for line in _differences(verdicts):
        print(line)
    if not_run:
        told = ", ".join(map(str, not_run))
        print(f"\n{choose('lines that no case ran', '未执行的行')}: {told}")


def _differences(verdicts: list[Verdict]) -> Iterator[str]:
    expected, actual = choose("expected", "预期"), choose("actual", "实际")
    for each in verdicts:
        for name, wanted, found in each.differences:
            yield ""
            yield f"{shown(each.name)}: {name}"
            yield f"  {expected}: {shown(wanted)}"
            yield f"  {actual}: {shown(found)}"


def _failed(failed: int, count: int) -> CliError:
    texts = messages("CONTRACT_TEST_FAILED", failed=failed, count=count)
    return CliError(
        "CONTRACT_TEST_FAILED",
        texts.en,
        texts.zh,
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_CONFLICT,
    )


def _malformed(path: Path, why: str) -> CliError:
    texts = messages("CONTRACT_CASES_MALFORMED", why=why)
    return CliError(
        "CONTRACT_CASES_MALFORMED",
        f"{shown(path)}: {texts.en}",
        f"{shown(path)}：{texts.zh}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=EXIT_USAGE,
    )


# --- new --------------------------------------------------------------------------------------


_SOURCE: Final = """\
# {name}：请说明本合约的用途。
# {name}: say here what this contract is for.
#
# State: record/<id> is what was recorded under this id.

ACCESS = {{"read": [], "write": ["record/"]}}

def record(id, content):
    require("clerk" in sender()["roles"], "ROLE_MISSING", role="clerk")
    require(get("record/" + id) == None, "RECORD_KNOWN", id=id)
    put("record/" + id, {{"content": content, "height": height()}})
    emit("{name}.recorded", {{"id": id, "content": content}})

def trace(business_id):
    return get("record/" + business_id)
"""


def new(name: str, folder: Path) -> None:
    """Begin a contract: a source that runs, and cases that pass; nothing is ever replaced."""
    if not _NAME.fullmatch(name):
        raise _usage(
            f"{shown(name)} is no name: small letters, digits, _, at most 48",
            f"{shown(name)} 不是名称：小写字母、数字、下划线，至多 48 个",
        )
    source = folder / f"{name}.star"
    cases = cases_path(source)
    for path in (source, cases):
        if path.exists():
            raise _usage(f"{shown(path)} is there already", f"{shown(path)} 已存在")
    texts = {source: _SOURCE.format(name=name), cases: _first_cases(name)}
    for path, text in texts.items():
        with whole_file(path) as write:
            write(text.encode())
        print(path)


def _first_cases(name: str) -> str:
    clerk = {"sender_roles": ["clerk"]}
    recorded = {"content": "a", "height": 1}
    event = {"topic": f"{name}.recorded", "body": {"id": "1", "content": "a"}}
    again = {"status": "error", "code": "RECORD_KNOWN", "writes": {}}
    args = {"id": "1", "content": "a"}
    cases: list[dict[str, Any]] = [
        {
            "name": "only a clerk records",
            "method": "record",
            "args": args,
            "expect": {"status": "error", "code": "ROLE_MISSING"},
        },
        {
            "name": "a clerk records",
            "method": "record",
            "args": args,
            **clerk,
            "expect": {"status": "ok", "writes": {"record/1": recorded}, "events": [event]},
        },
        {"name": "nothing twice", "method": "record", "args": args, **clerk, "expect": again},
        {
            "name": "the supervisor sees it",
            "method": "trace",
            "args": {"business_id": "1"},
            "expect": {"status": "ok", "result": recorded},
        },
    ]
    return json.dumps({"state": {}, "cases": cases}, ensure_ascii=False, indent=2) + "\n"


def _usage(why_en: str, why_zh: str) -> CliError:
    return CliError(
        "USAGE_WRONG",
        why_en,
        why_zh,
        "Choose another name or folder",
        "请改用其他名称或目录",
        exit_code=EXIT_USAGE,
    )
