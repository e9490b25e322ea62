"""One call of a contract, to its end: a value, or why there is none, and what it cost.

A call that does not end well has written and announced nothing; its gas is used up all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.frames import Run
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.memory import MemoryHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.values import Value, from_json, to_json


class Status(StrEnum):
    """How a call ends."""

    OK = "ok"
    ERROR = "error"
    OUT_OF_GAS = "out_of_gas"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` and `fields` say why not; `line` is where, 0 where no statement was running. `writes`
    holds None for a key that was deleted.
    """

    status: Status
    gas_used: int
    result: Json = None
    code: str | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)
    line: int = 0
    writes: Mapping[str, Json] = field(default_factory=dict)
    events: tuple[tuple[str, Json], ...] = ()


def execute(
    program: Program,
    host: MemoryHost,
    meter: Meter,
    method: str,
    arguments: Mapping[str, Json],
    lines: LineGas | None = None,
) -> Outcome:
    """Call a public method on a host of its own. Arguments and result are paid for as well.

    A watched program needs `lines`.
    """
    assert (lines is not None) is program.watched
    try:
        given: dict[str, Value] = {
            name: from_json(meter, value) for name, value in arguments.items()
        }
        run = Run(meter, host, program.module.access, lines)
        result = to_json(meter, program.call(run, method, given))
    except ContractError as error:
        return Outcome(
            Status.ERROR, meter.used, code=error.code, fields=error.fields, line=error.line
        )
    except OutOfGas as error:
        return Outcome(
            Status.OUT_OF_GAS,
            meter.used,
            code="CONTRACT_OUT_OF_GAS",
            fields={"gas": meter.limit},
            line=error.line,
        )
    return Outcome(
        Status.OK, meter.used, result, writes=dict(host.writes), events=tuple(host.events)
    )
