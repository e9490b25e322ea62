"""One call of a contract, to its end: a value, or why there is none, and what it cost.

Whoever has the host drops what a call wrote and announced that did not end well; its gas is used up
all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

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


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on at a call; what they raise ends it. `judge` sees the arguments first, `ended` is
    asked when the method has returned, `told` sees what is answered: the result, or the facts of a
    `require`; `failed` sees in its place whatever ends the call, and may take facts from it.
    """

    judge: Callable[[Mapping[str, Json]], None] | None = None
    ended: Callable[[], None] | None = None
    told: Callable[[Json], None] | None = None
    failed: Callable[[ContractError], None] | None = None


NOBODY: Final = Watch()


def execute(
    program: Program,
    host: StarHost,
    meter: Meter,
    method: str,
    arguments: Mapping[str, Json],
    lines: LineGas | None = None,
    *,
    watch: Watch = NOBODY,
) -> Outcome:
    """Call a public method. A watched program needs `lines`."""
    try:
        if watch.judge is not None:
            watch.judge(arguments)
        ask = partial(call_method, program, host, meter, method, arguments, lines)
        result = _answer(ask, watch)
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


def _answer(call: Callable[[], Json], watch: Watch) -> Json:
    try:
        result = call()
        if watch.ended is not None:
            watch.ended()
    except ContractError as error:
        if watch.failed is not None:
            watch.failed(error)
        elif watch.told is not None and error.is_refusal:
            watch.told(dict(error.fields))
        raise
    if watch.told is not None:
        watch.told(result)
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
