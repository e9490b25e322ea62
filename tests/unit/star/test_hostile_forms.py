"""Forms and arguments that nobody who is honest makes end as every other fault does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import pytest

from guqiao_sdk.proof.json_values import canonical_json
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.faults import ContractError, SourceError
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import Contract, contract

SOURCE: Final = b"def go(xs):\n    for x in range(3):\n        pass\n    return 1\n"


def form_of(source: bytes) -> Any:
    return compile_source(source).form


@pytest.mark.parametrize("declared", ["True", '""', "1", "None", '{"a": []}', "-1"])
@pytest.mark.parametrize("member", ["read", "write"])
def test_an_access_list_that_is_none_is_refused_by_its_line(declared: str, member: str) -> None:
    lists = {"read": "[]", "write": "[]", member: declared}
    text = ", ".join(f'"{name}": {value}' for name, value in lists.items())
    with pytest.raises(SourceError) as refused:
        compile_source(f"ACCESS = {{{text}}}\n".encode() + SOURCE)
    assert (refused.value.rule, refused.value.line) == ("access", 1)


@pytest.mark.parametrize("call", [["call", 2], ["call", 2, "range"], ["call", 2, "range", {}]])
def test_a_loop_over_half_a_call_is_no_form(call: Any) -> None:
    form = form_of(SOURCE)
    [loop, _] = form["functions"][0][4]
    assert loop[0] == "for"
    assert loop[3][:3] == ["call", 2, "range"]
    loop[3] = call
    with pytest.raises(SourceError):
        read_form(canonical_json(form))


@pytest.mark.parametrize("key", ["True", "[]", "{}", "None", str(2**60), f"-{2**60}"])
def test_a_constant_has_no_key_that_no_dict_can_have(key: str) -> None:
    with pytest.raises(SourceError) as refused:
        compile_source(f"X = [{{{key}: 1}}]\n".encode() + SOURCE)
    assert (refused.value.rule, refused.value.line) == ("constant", 1)


@pytest.mark.parametrize("key", ['"a"', "7", "-7"])
def test_other_keys_of_constants_are_taken(key: str) -> None:
    source = f"X = {{{key}: 1}}\ndef go():\n    return X[{key}]\n"
    assert contract(source).call("go") == 1


@pytest.mark.parametrize("name", ["sorted", "min", "max"])
@pytest.mark.parametrize("by", [5, "x", True, [], {}])
def test_what_is_no_function_orders_nothing(name: str, by: Any) -> None:
    called = contract(f"def go(xs, by=None):\n    return {name}(xs, by)\n")
    assert called.call("go", xs=[2, 1]) in ([1, 2], 1, 2)
    with pytest.raises(ContractError) as refused:
        called.call("go", xs=[2, 1], by=by)
    assert refused.value.code == "CONTRACT_TYPE_MISMATCH"


@pytest.mark.parametrize("call", ["emit(x, 1)", "require(False, x)", "[1][x]", "{}[x]"])
@pytest.mark.parametrize(
    "grown", ["x = [x, x]", "x = [x]", 'x = {"a": x, "b": x}'], ids=["wide", "deep", "dict"]
)
def test_no_error_spells_out_what_nobody_has_paid_for(call: str, grown: str) -> None:
    """Sixty rounds of doubling are more than any memory, and hardly any gas."""
    rounds = 60 if "x, x" in grown or "dict" in grown else 5_000
    source = f"def go():\n    x = [1]\n    for n in range({rounds}):\n        {grown}\n    {call}\n"
    with pytest.raises(ContractError) as refused:
        contract(source).call("go")
    assert all(len(str(each)) < 200 for each in refused.value.fields.values())


def test_conditions_of_a_comprehension_take_no_stack_however_many_they_are() -> None:
    conditions = " if x > 0" * 1_000
    assert contract(f"def go():\n    return [x for x in [0, 1]{conditions}]\n").call("go") == [1]


def test_nested_comprehensions_over_nested_calls_are_refused_or_run() -> None:
    """The stack that the check allows is one that Python has, from deep inside a replica, too."""

    def source(depth: int, functions: int) -> str:
        lines = []
        for number in range(functions):
            inner = f"f{number + 1}()" if number + 1 < functions else "1"
            for level in range(depth):
                inner = f"[{inner} for a{level} in [1] for b{level} in [1]]"
            lines.append(f"def f{number}():\n    return {inner}\n")
        return "\n".join(lines)

    ran = refused = 0
    for depth in range(1, 16):
        for functions in (1, 2, 4, 6, 8, 10, 12):
            try:
                called = contract(source(depth, functions))
            except SourceError:
                refused += 1
                continue
            _deeper(300, called)
            ran += 1
    assert min(ran, refused) > 10


def _deeper(frames: int, called: Contract) -> None:
    if frames:
        _deeper(frames - 1, called)
    else:
        with suppress(ContractError):  # A value that nests too deep for an answer.
            called.call("f0")
