"""What a program remembers of its functions shows in nothing but time: gas, memory and outcomes are
those of a program that remembers nothing, however often and with whatever limits it is asked.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.calls import (
    REMEMBERED_LENGTH_MAX,
    REMEMBERED_MAX,
)
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.star.values import StarDict, Value, copy_entries, set_entry
from tests.unit.star.harness import AROUND, Echo
from tests.unit.star.test_fused import ended

ENOUGH: Final = 1_000_000
MEMORY: Final = 1 << 24
SOURCE: Final = """
ACCESS = {"read": ["k/"], "write": ["k/"]}

def _spelled(text):
    return "-".join([text[index] for index in range(len(text))]) + sm3(text)

def _first(text):
    require(text != "none", "NONE", text=text)
    return _spelled(text)[0]

def _is_long(value):
    return len(value) > 3

def _stored(text):
    return get("k/" + text)

def _list(text):
    return [text]

def f(xs):
    seen = []
    for x in xs:
        mine = _list("own")
        mine.append(x)
        seen.append([_spelled(str(x)), _first(str(x)), _is_long(x), mine, _stored("a")])
        put("k/a", str(x))
    return seen
"""
CALLS: Final[tuple[list[Json], ...]] = (
    ["ab", "ab", "abcd"],
    ["ab", [1, 2, 3, 4], {"a": 1}, "abcd"],
    ["none"],
    ["ab", "none"],
    [True, 1],
    ["x" * 129, "x" * 129, "股份", "ab"],
)
BEFORE: Final[tuple[tuple[tuple[str, Value], ...], ...]] = ((), (("a", 5), ("z", 6)))
GAS: Final = (0, 4, 5, 9, 10, 11, 999, 1_000, 1_001, ENOUGH)
BYTES: Final = (0, 127, 128, 255, 256, 257, 25_599, 25_600, MEMORY)


def programs() -> tuple[Program, Program]:
    module = compile_source(SOURCE.encode())
    return Program(module, GasTable(), remembers=True), Program(module, GasTable())


def outcome(program: Program, xs: list[Json], gas: int, memory: int) -> tuple[object, ...]:
    host, meter = Echo({}, AROUND), Meter(gas, GasTable(), allocated_max=memory)
    told = host.run(program, meter, "f", {"xs": xs})
    made = meter.allocated if told.code != "CONTRACT_OUT_OF_GAS" else None
    return told, made, host.writes, host.events


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("xs", CALLS)
def test_a_call_ends_alike_whether_it_was_asked_before_or_not(xs: list[Json]) -> None:
    remembering, plain = programs()
    for _ in range(3):
        assert outcome(remembering, xs, ENOUGH, MEMORY) == outcome(plain, xs, ENOUGH, MEMORY)


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize("xs", CALLS[:2])
def test_it_ends_where_it_would_at_every_limit(xs: list[Json]) -> None:
    remembering, plain = programs()
    meter = Meter(ENOUGH, GasTable())
    Echo({}, AROUND).run(remembering, meter, "f", {"xs": xs})
    limits = [(gas, MEMORY) for gas in range(0, meter.used + 2, 3)]
    limits += [(ENOUGH, memory) for memory in range(0, meter.allocated + 33, 32)]
    for gas, memory in limits:
        assert outcome(remembering, xs, gas, memory) == outcome(plain, xs, gas, memory), gas


def test_only_what_follows_from_one_short_text_is_kept_and_no_more_than_the_bound() -> None:
    remembering, plain = programs()
    kept = {name: function.remembered for name, function in remembering.functions.items()}
    assert kept["_stored"] is None, "the chain may say something else next time"
    assert kept["f"] is None
    assert all(function.remembered is None for function in plain.functions.values())
    long = "x" * (REMEMBERED_LENGTH_MAX + 1)
    outcome(remembering, ["ab", "none"], ENOUGH, MEMORY)
    outcome(remembering, [long], ENOUGH, MEMORY)
    assert kept["_spelled"] is not None
    assert kept["_first"] is not None
    assert set(kept["_spelled"]) == {"ab", "none"}, "nothing of what is long"
    assert set(kept["_first"]) == {"ab"}, "a refusal is no result"
    assert kept["_list"] == {}, "others could change it"
    for number in range(REMEMBERED_MAX + 10):
        outcome(remembering, [f"t{number}"], ENOUGH, MEMORY)
    assert len(kept["_spelled"]) <= REMEMBERED_MAX


@pytest.mark.parametrize("table", [GasTable(), GasTable(search=0, key=0, name=0)])
@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"a": 1, "b": None},
        {"a": 1, 7: 2},
        {"x" * 40: 1, "a": 2},
        {str(n): n for n in range(200)},
    ],
)
def test_a_dict_is_copied_for_what_its_entries_cost_one_by_one(
    entries: dict[int | str, Value], table: GasTable
) -> None:
    source = StarDict(entries.items())

    def at_once(meter: Meter, target: StarDict) -> list[object]:
        copy_entries(meter, target, source)
        return [*target.items()]

    def one_by_one(meter: Meter, target: StarDict) -> list[object]:
        for key, value in source.items():
            set_entry(meter, target, key, value)
        return [*target.items()]

    for before, gas, memory in product(BEFORE, GAS, BYTES):
        ways = [
            ended(partial(way, target=StarDict(before)), table, gas, memory)
            for way in (at_once, one_by_one)
        ]
        assert ways[0] == ways[1], (before, gas, memory)
