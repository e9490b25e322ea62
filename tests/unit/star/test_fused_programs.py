"""What is fused shows in nothing but time: whole programs with it and without it, at every limit
of gas and of memory near the one that just suffices.
"""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.gas import FIRST_TABLE, GasTable, Meter
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import AROUND, Echo
from tests.unit.star.programs import Programs
from tests.unit.star.unfused import unfused

ENOUGH: Final = 1_000_000
MEMORY: Final = 1 << 24
NEAR: Final = 40
"""Units of gas below the limit that suffices, each of which is tried."""
BYTES_NEAR: Final = (1, 2, 31, 32, 33, 64, 65, 127, 128, 129, 200, 400)
SEEDS: Final = 40
ACCESS: Final = 'ACCESS = {"read": ["k/"], "write": ["k/"], "call": ["bank.pay"]}\n'
ON_THE_CHAIN: Final = """
LIMITS = {"most": 9, "name": "a,b,,c"}
LONG = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

def _row(a, s, xs):
    made = {"a": a, "s": s, "xs": xs, "kind": "row"}
    return {"made": made, "first": xs[0] if xs else None, "length": len(xs) + len(s) + len(made)}

def _told(row, b):
    kind = type(row["made"]["a"])
    if kind == "int" and row["made"]["kind"] != "column" and b < LIMITS["most"]:
        return row["made"]["s"] + "/" + LIMITS["name"]
    return "none" if b == 0 or row["first"] == None or row["length"] >= 9 else kind

def g(a, b, s, xs):
    row = _row(a, s, xs)
    for x in xs:
        row["made"]["a"] = row["made"]["a"] - x
        require(x != 7, "SEVEN", x=x, row=row)
    emit("told", {"text": _told(row, b), "same": s == LIMITS["name"], "other": s != "12"})
    put("k/" + str(a - b), row)
    require(a <= 15, "TOO_MUCH", a=a, s=s)
    paid = call("bank", "pay", to=s, amount=a)
    long = s == "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    here = [a > b or s == "a", xs and s and b, b or s or xs, s == LONG, long]
    return {"paid": paid["to"], "again": get("k/" + str(a - b)), "here": here}

def h(a, b, s, xs):
    row = {"s": s, "n": {"deep": a}}
    return [row["n"]["deep"] + b, row["s"] == s, row[s], xs[a], s[b]]

def k(a, b, s, xs):
    if b < 0:
        return [len(a), type(s), a != "12", s == "12", s != xs]
    if b < 3:
        return s + a
    if b < 6:
        return [a - 1, a + 1, a < 5, a >= b]
    if b < 9:
        return {"x": xs}["y"]
    return xs[len(s)] + a
"""

Arguments = dict[str, Json]


def arguments(chance: Random) -> Arguments:
    return {
        "a": chance.choice([chance.randint(-20, 20), "12", None, 1 << 62]),
        "b": chance.randint(-5, 15),
        "s": chance.choice(["", "a", "b,a", "12", "a,b,,c", "股份", "n", "x" * 40]),
        "xs": [chance.randint(-9, 9) for _ in range(chance.randrange(5))],
    }


def ended(
    program: Program, table: GasTable, method: str, given: Arguments, gas: int, memory: int
) -> tuple[object, ...]:
    """All that anybody sees of a call; what it made counts where it goes on."""
    host, meter = Echo({"k/0": [1, {"股": None}]}, AROUND), Meter(gas, table, allocated_max=memory)
    outcome = host.run(program, meter, method, given)
    made = meter.allocated if outcome.code != "CONTRACT_OUT_OF_GAS" else None
    return (outcome, made, host.writes, host.events)


def compare(source: str, method: str, given: Arguments, table: GasTable) -> str | None:
    """Compare at all limits; returns how it ends where there is enough."""
    module = compile_source((ACCESS + source).encode())
    fused, plain = Program(module, table), unfused(module, table)
    host, meter = Echo({"k/0": [1, {"股": None}]}, AROUND), Meter(ENOUGH, table)
    outcome = host.run(fused, meter, method, given)
    used, made = outcome.gas_used, meter.allocated
    limits = [(gas, MEMORY) for gas in range(max(0, used - NEAR), used + 2)]
    limits += [(ENOUGH, max(0, made + 1 - below)) for below in BYTES_NEAR]
    limits += [(used * part // 8, made * part // 8) for part in range(1, 8)]
    for gas, memory in [(ENOUGH, MEMORY), *limits]:
        with_it = ended(fused, table, method, given, gas, memory)
        without = ended(plain, table, method, given, gas, memory)
        assert with_it == without, (source, method, given, gas, memory)
    return outcome.code


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("table", [GasTable(), FIRST_TABLE], ids=["present", "first"])
def test_programs_end_alike_with_what_is_fused_and_without(table: GasTable) -> None:
    chance = Random(11)
    for seed in range(SEEDS):
        given = {**arguments(chance), "a": chance.randint(-20, 20)}
        compare(Programs(seed).source(), "f", given, table)


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("method", ["g", "h", "k"])
def test_calls_on_a_chain_end_alike_with_what_is_fused_and_without(method: str) -> None:
    chance = Random(12)
    codes = {compare(ON_THE_CHAIN, method, arguments(chance), GasTable()) for _ in range(SEEDS)}
    assert len(codes) > 1, "they end in many ways"
