"""`guqiao contract lint`, `run`, `gas` and `diff`: star/1 on this machine, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.rules import UnknownCodeError, messages
from guqiaoctl.commands.contract_inputs import (
    WrongArgumentsError,
    arguments_of,
    host_by,
    state_of,
    surroundings_of,
    write_state_file,
)
from guqiaoctl.failures import EXIT_CONFLICT, EXIT_UNVERIFIED, EXIT_USAGE, CliError
from guqiaoctl.input_files import read_input
from guqiaoctl.output import choose, language, print_json, print_table, shown
from services.consensus.domain.contracts.star.execution import Outcome, Status
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.interface import compare, interface_of
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.linting import lint_source
from services.consensus.domain.contracts.star.memory import MemoryHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.refusals import SENTENCES
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.star.text import SOURCE_BYTES_MAX
from services.consensus.domain.contracts.template.model import Template

_REFUSED: Final = "CONTRACT_SOURCE_REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A call as the command line asks for it. Who signs: a DID and its roles. `template` is
    what the call has to keep to, if one is given.
    """

    file: Path
    method: str
    arguments: str
    state: Path | None
    sender: tuple[str, Sequence[str]]
    checker: tuple[str, Sequence[str]] | None
    height: int
    time: str
    gas: int
    template: Template | None


# --- lint -------------------------------------------------------------------------------------


def lint(files: Sequence[Path], *, as_json: bool) -> None:
    """Say of each source whether it is star/1, and if not, where and why; exit code 7 then."""
    rows = [_linted(path, read_input(path, SOURCE_BYTES_MAX)) for path in files]
    if as_json:
        print_json({"files": rows})
    else:
        for row in rows:
            print("\n".join(_lint_lines(row)))
    refused = sum(row["status"] == "refused" for row in rows)
    if refused:
        raise CliError(
            _REFUSED,
            f"{refused} of {len(rows)} are not star/1",
            f"{len(rows)} 个文件中有 {refused} 个不符合 star/1",
            "change what stands at the places named",
            "请按所指的位置修改",
            exit_code=EXIT_UNVERIFIED,
        )


def _linted(path: Path, source: bytes) -> dict[str, Any]:
    module = lint_source(source)
    if isinstance(module, list):
        refusals = list(map(_refusal, module))
        return {"file": str(path), "status": "refused", **refusals[0], "refusals": refusals}
    return {
        "file": str(path),
        "status": "ok",
        "digest": module.digest.hex(),
        "methods": [node[2] for node in module.functions if not node[2].startswith("_")],
    }


def _refusal(error: SourceError) -> dict[str, Any]:
    zh, en = SENTENCES[error.rule]
    return {
        "code": _REFUSED,
        "rule": error.rule,
        "line": error.line,
        "column": error.column,
        "sentence": {"zh": zh, "en": en},
        "fields": error.fields,
    }


def _lint_lines(row: dict[str, Any]) -> list[str]:
    if row["status"] == "ok":
        methods = ", ".join(row["methods"]) or choose("no methods", "没有方法")
        return [f"{shown(row['file'])}: ok  {row['digest'][:16]}  {methods}"]
    return [_refusal_line(row["file"], each) for each in row["refusals"]]


def _refusal_line(file: str, refusal: dict[str, Any]) -> str:
    facts = _facts(refusal["fields"])
    place = f"{shown(file)}:{refusal['line']}:{refusal['column']}"
    sentence = refusal["sentence"][language()]
    return f"{place}: {refusal['code']} {refusal['rule']}: {sentence}{facts}"


# --- run --------------------------------------------------------------------------------------


def run(order: Order, *, write_state: bool, as_json: bool) -> None:
    """Call a method and tell how it ended; exit code 5 where it did not end well."""
    if write_state and order.state is None:
        raise _no_state_file()
    state = state_of(order.state, may_be_missing=write_state)
    module = _module(order, read_input(order.file, SOURCE_BYTES_MAX), as_json=as_json)
    outcome, host, _ = _execute(order, module, state, watched=False, as_json=as_json)
    if as_json:
        print_json(summary(outcome, host))
    else:
        _print_outcome(outcome, host)
    _end(order, outcome)
    if write_state and order.state is not None:
        write_state_file(order.state, host.after())


def _module(order: Order, source: bytes, *, as_json: bool) -> Module:
    """The contract, if it is one; else the refusal is the answer."""
    try:
        return compile_source(source)
    except SourceError as error:
        facts = {"rule": error.rule, "column": error.column, **error.fields}
        if as_json:
            refused = Outcome(Status.ERROR, 0, code=_REFUSED, fields=facts, line=error.line)
            print_json(summary(refused, None) | {"status": "refused"})
        raise source_refused(order.file, error) from None


def source_refused(file: Path, error: SourceError) -> CliError:
    """The failure for a source that is not star/1."""
    zh, en = SENTENCES[error.rule]
    place = f"{shown(file)}:{error.line}:{error.column}"
    return CliError(
        _REFUSED,
        f"{place}: {error.rule}: {en.rstrip('.')}{_facts(error.fields)}",
        f"{place}：{error.rule}：{zh.rstrip('。')}{_facts(error.fields)}",
        messages(_REFUSED).remedy_en,
        messages(_REFUSED).remedy_zh,
        exit_code=EXIT_UNVERIFIED,
    )


def _execute(
    order: Order, module: Module, state: dict[str, Json], *, watched: bool, as_json: bool
) -> tuple[Outcome, MemoryHost, LineGas]:
    around = surroundings_of(order.sender, order.checker, order.height, order.time)
    meter = Meter(order.gas, GasTable())
    host = host_by(order.template, state, around, meter)
    lines = LineGas(meter)
    try:
        arguments = arguments_of(order.arguments)
    except WrongArgumentsError as error:
        facts: dict[str, Json] = {"argument": error.where, "why": error.why}
        wrong = Outcome(Status.ERROR, 0, code="CONTRACT_ARGUMENT_WRONG", fields=facts)
        if as_json:
            print_json(summary(wrong, host))
        raise _failure(order, wrong, EXIT_USAGE) from None
    program = Program(module, GasTable(), watched=watched)
    outcome = host.run(program, meter, order.method, arguments, lines if watched else None)
    return outcome, host, lines


def summary(outcome: Outcome, host: MemoryHost | None) -> dict[str, Any]:
    """The outcome as JSON; `fields` only where there are facts about why not."""
    writes, events = (host.writes, host.events) if host is not None else ({}, [])
    return {
        "status": outcome.status.value,
        "code": outcome.code,
        "result": outcome.result,
        "gas_used": outcome.gas_used,
        "writes": dict(sorted(writes.items())),
        "events": [{"topic": topic, "body": body} for topic, body in events],
        "line": outcome.line,
    } | ({"fields": dict(outcome.fields)} if outcome.fields else {})


def _print_outcome(outcome: Outcome, host: MemoryHost) -> None:
    """For a person; why a call did not end well is said on standard error."""
    if outcome.status is Status.OK:
        print(f"{choose('result', '结果')}  {shown(outcome.result)}")
    print(f"{choose('gas', '计量')}  {outcome.gas_used:,}")
    if host.writes:
        print()
        rows = [(key, _written(value)) for key, value in sorted(host.writes.items())]
        print_table((choose("KEY", "键"), choose("WRITTEN", "写入")), rows)
    if host.events:
        print()
        events = [(topic, shown(body)) for topic, body in host.events]
        print_table((choose("EVENT", "事件"), choose("BODY", "内容")), events)


def _written(value: Json) -> str:
    return choose("(deleted)", "（已删除）") if value is None else shown(value)


def _end(order: Order, outcome: Outcome) -> None:
    if outcome.status is not Status.OK:
        raise _failure(order, outcome, EXIT_CONFLICT)


def _failure(order: Order, outcome: Outcome, exit_code: int) -> CliError:
    """What the contract, or the engine, said no with; a contract's own codes have no texts here."""
    assert outcome.code is not None
    place = f"{shown(order.file)}:{outcome.line}: " if outcome.line else ""
    facts = _facts(outcome.fields)
    try:
        texts = messages(outcome.code, **{name: shown(x) for name, x in outcome.fields.items()})
    except UnknownCodeError:
        return CliError(
            outcome.code,
            f"{place}the contract says no{facts}",
            f"{place}合约拒绝了此调用{facts}",
            "see the line of the contract that is named",
            "请查看合约中所指的行",
            exit_code=exit_code,
        )
    return CliError(
        outcome.code,
        f"{place}{texts.en.rstrip('.')}{facts}",
        f"{place}{texts.zh.rstrip('。')}{facts}",
        texts.remedy_en,
        texts.remedy_zh,
        exit_code=exit_code,
    )


def _facts(fields: Any) -> str:
    told = ", ".join(f"{name}={shown(value)}" for name, value in sorted(fields.items()))
    return f" ({told})" if told else ""


def _no_state_file() -> CliError:
    return CliError(
        "USAGE_WRONG",
        "--write-state without --state",
        "有 --write-state 而没有 --state",
        "name the state file with --state",
        "请用 --state 指定状态文件",
        exit_code=EXIT_USAGE,
    )


# --- gas --------------------------------------------------------------------------------------


def show_gas(order: Order, *, as_json: bool) -> None:
    """Call a method and tell what each line of the source used."""
    state = state_of(order.state, may_be_missing=False)
    source = read_input(order.file, SOURCE_BYTES_MAX)
    module = _module(order, source, as_json=as_json)
    outcome, host, lines = _execute(order, module, state, watched=True, as_json=as_json)
    texts = source.decode().split("\n")
    used = lines.total()
    rows = [(line, gas, texts[line - 1] if line else "") for line, gas in used.items()]
    if as_json:
        told = [{"line": line, "gas": gas, "source": text} for line, gas, text in rows]
        print_json({**summary(outcome, host), "lines": told})
    else:
        outside = choose("arguments, result", "参数、结果")
        print_table(
            (choose("LINE", "行"), choose("GAS", "计量"), "%", choose("SOURCE", "源代码")),
            [
                (
                    line or "-",
                    f"{gas:,}",
                    f"{100 * gas / outcome.gas_used:.0f}",
                    text or f"({outside})",
                )
                for line, gas, text in rows
            ],
        )
        print(f"\n{choose('gas', '计量')}  {outcome.gas_used:,}")
    _end(order, outcome)


# --- diff -------------------------------------------------------------------------------------


def diff(before: Path, after: Path, *, as_json: bool) -> None:
    """Tell what an upgrade from one source to the other changes for those who rely on it."""
    one, other = (interface_of(module_of(path)) for path in (before, after))
    changes = compare(one, other)
    is_compatible = not any(each.is_breaking for each in changes)
    if as_json:
        told = [each.to_json() for each in changes]
        print_json({"compatible": is_compatible, "changes": told})
        return
    if changes:
        breaking, kept = choose("breaking", "不兼容"), choose("compatible", "兼容")
        print_table(
            (choose("CHANGE", "变更"), choose("WHAT", "对象"), ""),
            [(each.rule, each.what, breaking if each.is_breaking else kept) for each in changes],
        )
        print()
    print(
        choose("a compatible upgrade", "兼容升级")
        if is_compatible
        else choose("an incompatible upgrade", "非兼容升级")
    )


def module_of(path: Path) -> Module:
    """The contract in a file; raises `CliError` where it is none."""
    try:
        return compile_source(read_input(path, SOURCE_BYTES_MAX))
    except SourceError as error:
        raise source_refused(path, error) from None
