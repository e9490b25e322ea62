"""One call of a contract, to its end: a value, or why there is none, and what it cost.

Whoever has the host drops what a call wrote and announced that did not end well; its gas is used up
all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import Run
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.port import StarHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.values import Value, from_json, to_json


class Status(StrEnum):
    """How a call ends."""

    OK = "ok"
    ERROR = "error"
    OUT_OF_GAS = "out_of_gas"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` and `fields` say why not, in the contract's own words where `is_refusal`; `line` is
    where, 0 where no statement was running, in another contract than the called one if `contract`
    names it.
    """

    status: Status
    gas_used: int
    result: Json = None
    code: str | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)
    line: int = 0
    contract: str = ""
    is_refusal: bool = False


def execute(
    program: Program,
    host: StarHost,
    meter: Meter,
    method: str,
    arguments: Mapping[str, Json],
    lines: LineGas | None = None,
    *,
    judge: Callable[[Mapping[str, Json]], None] | None = None,
    told: Callable[[Json], None] | None = None,
) -> Outcome:
    """Call a public method. A watched program needs `lines`. `judge` sees the arguments first, and
    `told` what is answered: the result, or the facts of a `require`; what they raise ends the call.
    """
    try:
        if judge is not None:
            judge(arguments)
        if told is None:
            result = call_method(program, host, meter, method, arguments, lines)
        else:
            ask = partial(call_method, program, host, meter, method, arguments, lines)
            result = _answer(ask, told)
    except ContractError as error:
        return Outcome(
            Status.ERROR,
            meter.used,
            code=error.code,
            fields=error.fields,
            line=error.line,
            contract=error.contract,
            is_refusal=error.is_refusal,
        )
    except OutOfGas as error:
        return Outcome(
            Status.OUT_OF_GAS,
            meter.used,
            code="CONTRACT_OUT_OF_GAS",
            fields={"gas": meter.limit},
            line=error.line,
            contract=error.contract,
        )
    return Outcome(Status.OK, meter.used, result)


def _answer(call: Callable[[], Json], told: Callable[[Json], None]) -> Json:
    try:
        result = call()
    except ContractError as error:
        if error.is_refusal:
            told(dict(error.fields))
        raise
    told(result)
    return result


def call_method(
    program: Program,
    host: StarHost,
    meter: Meter,
    method: str,
    arguments: Mapping[str, Json],
    lines: LineGas | None = None,
) -> Json:
    """The same within another call, by whose meter it is paid: arguments and result as well. Raises
    `ContractError`, `OutOfGas`.
    """
    assert (lines is not None) is program.watched
    given: dict[str, Value] = {name: from_json(meter, value) for name, value in arguments.items()}
    run = Run(meter, host, program.module.access, lines)
    return to_json(meter, program.call(run, method, given))
