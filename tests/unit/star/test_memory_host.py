"""The host without a chain, and how a call on it ends."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import EVENTS_MAX
from services.consensus.domain.contracts.star import memory
from services.consensus.domain.contracts.star.execution import Outcome, Status
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.memory import MemoryHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import AROUND

ACCESS = 'ACCESS = {"read": ["open/"], "write": ["own/"]}\n\n'


def host(**state: Json) -> MemoryHost:
    return MemoryHost({key.replace("_", "/"): value for key, value in state.items()}, AROUND)


def ended(body: str, on: MemoryHost, gas: int = 100_000, **arguments: Json) -> Outcome:
    program = Program(compile_source(f"{ACCESS}{body}".encode()), GasTable())
    return on.run(program, Meter(gas, GasTable()), "f", arguments)


def refusal(error: ContractError) -> tuple[str, Json]:
    return error.code, error.fields.get("limit")


def test_a_scan_goes_by_bytes_and_sees_the_calls_own_writes() -> None:
    on = host(a_2=1, a_10=2, b=3)
    assert on.scan("a/", 5) == [("a/10", 2), ("a/2", 1)]
    on.put("a/1", 7)
    on.delete("a/10")
    on.put("a/2", 8)
    assert on.scan("a/", 5) == [("a/1", 7), ("a/2", 8)]
    assert on.scan("a/", 1) == [("a/1", 7)]
    assert on.after() == {"a/1": 7, "a/2": 8, "b": 3}
    assert on.state == {"a/2": 1, "a/10": 2, "b": 3}


def test_what_was_deleted_is_gone_and_what_never_was_leaves_no_write() -> None:
    on = host(a=1)
    on.delete("a")
    on.delete("z")
    assert on.get("a") is None
    assert on.writes == {"a": None}
    on.put("a", False)
    assert on.get("a") is False


def test_the_bounds_are_those_of_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "WRITES_MAX", 3)
    monkeypatch.setattr(memory, "OUTPUT_BYTES_MAX", 200)
    on = host()
    for key in ("a", "b", "c", "a"):
        on.put(key, 1)
    with pytest.raises(ContractError) as refused:
        on.put("d", 1)
    assert refusal(refused.value) == ("LIMIT_EXCEEDED", "writes")
    with pytest.raises(ContractError) as refused:
        host().put("a", "股" * 70)
    assert refusal(refused.value) == ("LIMIT_EXCEEDED", "output_bytes")
    monkeypatch.undo()
    on.events += [("t", 1)] * (EVENTS_MAX - 1)
    on.emit("t", 1)
    with pytest.raises(ContractError) as refused:
        on.emit("t", 1)
    assert refusal(refused.value) == ("LIMIT_EXCEEDED", "events")


def test_no_other_contract_is_there() -> None:
    calling = 'ACCESS = {"read": [], "write": [], "call": ["other.m"]}\n\n'
    calling += 'def f(x):\n    return call("other", x)\n'
    program = Program(compile_source(calling.encode()), GasTable())
    for method, code in (("m", "CONTRACT_CALL_OFFLINE"), ("n", "CONTRACT_CALL_UNDECLARED")):
        told = host().run(program, Meter(100_000, GasTable()), "f", {"x": method})
        assert (told.status, told.code, told.line) == (Status.ERROR, code, 4)


BODY = """def f(n):
    put("own/a", n)
    emit("own.changed", n)
    delete("own/b")
    require(n < 5, "TOO_MUCH", n=n)
    return [get("own/a"), get("own/b")]
"""


@pytest.mark.req("G2-08-1")
def test_only_a_call_that_ends_well_has_writes_and_events() -> None:
    on = host(own_b=1)
    good = ended(BODY, on, n=4)
    assert (good.status, good.result) == (Status.OK, [4, None])
    assert on.writes == {"own/a": 4, "own/b": None}
    assert on.events == [("own.changed", 4)]
    on = host(own_b=1)
    bad = ended(BODY, on, n=5)
    assert (bad.status, bad.code, bad.fields, bad.line) == (Status.ERROR, "TOO_MUCH", {"n": 5}, 7)
    for gas in range(good.gas_used):
        cut = host(own_b=1)
        short = ended(BODY, cut, gas, n=4)
        assert (short.status, short.gas_used) == (Status.OUT_OF_GAS, gas)
        assert short.code == "CONTRACT_OUT_OF_GAS"
        assert (cut.writes, cut.events, short.result) == ({}, [], None)
    assert on.writes == {}
    assert on.events == []
    assert ended(BODY, host(own_b=1), good.gas_used, n=4) == good


def test_arguments_and_results_too_large_end_the_call_like_any_other() -> None:
    deep: Json = 1
    for _ in range(40):
        deep = [deep]
    told = ended("def f(x):\n    return x\n", host(), x=deep)
    assert (told.status, told.code) == (Status.ERROR, "LIMIT_EXCEEDED")
    told = ended("def f(x):\n    return x\n", host(), x=[0] * 10_001)
    assert (told.status, told.code) == (Status.ERROR, "LIMIT_EXCEEDED")
    told = ended("def f(x):\n    return x * x\n", host(), x=1 << 40)
    assert (told.status, told.code) == (Status.ERROR, "CONTRACT_OUT_OF_RANGE")


def test_gas_by_line_is_the_gas_of_the_call_wherever_it_ends() -> None:
    module = compile_source(f"{ACCESS}{BODY}".encode())
    watched, plain = (Program(module, GasTable(), watched=each) for each in (True, False))
    for gas in (0, 10, 130, 300, 100_000):
        for n in (4, 5):
            meter = Meter(gas, GasTable())
            lines = LineGas(meter)
            told = host(own_b=1).run(watched, meter, "f", {"n": n}, lines)
            assert told == host(own_b=1).run(plain, Meter(gas, GasTable()), "f", {"n": n})
            assert sum(lines.total().values()) == told.gas_used
