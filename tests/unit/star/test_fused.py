"""What closures do without a call comes to what the functions of `operators` come to: the value or
the error, the gas and the memory, however little of them is left.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas
from services.consensus.domain.contracts.star.fused import FUSED
from services.consensus.domain.contracts.star.gas import FIRST_TABLE, GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost
from services.consensus.domain.contracts.star.operators import BINARY, COMPARED
from services.consensus.domain.contracts.star.values import (
    INT_BOUND,
    STR_LENGTH_MAX,
    StarDict,
    StarList,
    Value,
)
from tests.unit.star.harness import AROUND, contract

VALUES: Final[tuple[Value, ...]] = (
    None,
    True,
    0,
    -3,
    INT_BOUND - 1,
    1 - INT_BOUND,
    "",
    "a",
    "x" * 31,
    "x" * 33,
    "x" * STR_LENGTH_MAX,
    StarList([1, "a"]),
    StarDict([("a", 1), ("x" * 33, None)]),
)
LEFT_OVER: Final = [(gas, memory) for gas in (0, 1, 2, 10**6) for memory in (0, 62, 10**6)]


def ended(ask: Callable[[Meter], Any], table: GasTable, gas: int, memory: int) -> object:
    """What came out, and what is left where the call goes on or its receipt tells."""
    meter = Meter(gas, table, allocated_max=memory)
    try:
        return ask(meter), meter.gas, meter.allocated
    except ContractError as error:
        return error.code, error.fields, meter.gas
    except OutOfGas:
        return "out of gas"


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("table", [GasTable(), FIRST_TABLE], ids=["present", "first"])
@pytest.mark.parametrize("symbol", FUSED)
def test_a_fused_operator_comes_to_what_the_operator_does(symbol: str, table: GasTable) -> None:
    fused = FUSED[symbol](itemgetter(1), itemgetter(2))
    operate: Callable[..., Value] = {**BINARY, **COMPARED}[symbol]
    for one in VALUES:
        for other in VALUES:
            for gas, memory in LEFT_OVER:

                def by_call(meter: Meter, one: Value = one, other: Value = other) -> Value:
                    return operate(meter, one, other)

                def by_itself(meter: Meter, one: Value = one, other: Value = other) -> Value:
                    return fused([meter, one, other])

                told = ended(by_itself, table, gas, memory)
                assert told == ended(by_call, table, gas, memory), (one, other, gas, memory)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -12,
        "",
        'a"\\\n股',
        True,
        False,
        [],
        {},
        [1, [None, "a"], {}],
        {"a": {"股": [1]}, "b": False},
    ],
)
def test_the_host_in_memory_counts_the_bytes_of_what_is_written(value: Json) -> None:
    host = MemoryHost({}, AROUND)
    host.put("key", value)
    assert host._output_bytes == len("key") + len(canonical_json(value))


def test_what_one_call_was_told_of_its_sender_no_other_call_can_have_changed() -> None:
    source = 'ACCESS = {"read": [], "write": []}\ndef f():\n    sender()["roles"].append("csrc")\n'
    whole = source + 'def g():\n    return sender()["roles"]\n'
    spoiled = contract(whole)
    with pytest.raises(ContractError, match="CONTRACT_NOT_CHANGEABLE"):
        spoiled.call("f")
    assert spoiled.call("g") == contract(whole).call("g") == ["clerk"]
