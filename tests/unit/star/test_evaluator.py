"""What contracts compute, what stops them, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.check import check
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas, SourceError
from services.consensus.domain.contracts.star.gas import GasTable
from tests.unit.star.harness import AROUND, Contract, contract, host
from tests.unit.star.programs import Programs


def result(expression: str, **arguments: Json) -> Json:
    names = ", ".join(arguments)
    return contract(f"def f({names}):\n    return {expression}\n").call("f", **arguments)


def error(source: str, **arguments: Json) -> ContractError:
    with pytest.raises(ContractError) as caught:
        contract(source).call("f", **arguments)
    return caught.value


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("7 // -2", -4),
        ("1 == True", False),
        ("[1] == [True]", False),
        ('"a" * 3 + "b"', "aaab"),
        ("[1, 2] * 2", [1, 2, 1, 2]),
        ('"股份公司"[1:3]', "份公"),
        ("[x * y for x in [1, 2] for y in [3, 4] if x != y]", [3, 4, 6, 8]),
        ('{"b": 1, "a": 2}.keys()', ["b", "a"]),
        ("sorted([3, 1, 2], reverse=True)", [3, 2, 1]),
        ('sorted(["bb", "a"], key=lambda x: len(x))', ["a", "bb"]),
        ('[[1, "x"], [2, "y"]] == zip([1, 2], ["x", "y"])', True),
        ('"Aé".upper() + "ÉB".lower()', "AéÉb"),
        ('"1" in {"1": None}', True),
        ("1 in [True]", False),
        ("None or [] or 3", 3),
        ("0 and fail", 0),
        ("type(True) + type(1) + type([])", "boolintlist"),
        ("max([1, 5, 3], key=lambda x: -x)", 1),
    ],
)
def test_expressions_come_to_what_starlark_says(expression: str, expected: Json) -> None:
    source = expression.replace("fail", "1 // 0")
    assert result(source) == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return True + 1", "CONTRACT_TYPE_MISMATCH"),
        ("return -True", "CONTRACT_TYPE_MISMATCH"),
        ("return True < False", "CONTRACT_TYPE_MISMATCH"),
        ('return "1" + 1', "CONTRACT_TYPE_MISMATCH"),
        ("return [1] < [2]", "CONTRACT_TYPE_MISMATCH"),
        ("return {True: 1}", "CONTRACT_TYPE_MISMATCH"),
        ("return {[]: 1}", "CONTRACT_TYPE_MISMATCH"),
        ('return {"a": 1, "a": 2}', "CONTRACT_KEY_TWICE"),
        ("return 1 // 0", "CONTRACT_DIVISION_BY_ZERO"),
        ("return 1 % 0", "CONTRACT_DIVISION_BY_ZERO"),
        ("return [1][1]", "CONTRACT_INDEX_OUT_OF_RANGE"),
        ('return {}["a"]', "CONTRACT_KEY_MISSING"),
        ('return int("1_0")', "CONTRACT_NOT_A_NUMBER"),
        ('return int("１")', "CONTRACT_NOT_A_NUMBER"),
        ("return None.append(1)", "CONTRACT_METHOD_MISSING"),
        ("a, b = [1]", "CONTRACT_UNPACK_WRONG"),
        ("if False:\n        a = 1\n    return a", "CONTRACT_NAME_UNSET"),
        ("x = [1]\n    for y in x:\n        x.append(y)", "CONTRACT_NOT_CHANGEABLE"),
        ('x = {"a": 1}\n    for y in x:\n        x["b"] = 1', "CONTRACT_NOT_CHANGEABLE"),
        ("return sorted([1, True])", "CONTRACT_TYPE_MISMATCH"),
        ("return max([])", "CONTRACT_VALUE_MISSING"),
        ('require(1, "CODE_OF_IT")', "CONTRACT_TYPE_MISMATCH"),
        ('require(True, "not a code")', "CONTRACT_CODE_WRONG"),
        ('emit("packet.sent", {})', "CONTRACT_TOPIC_WRONG"),
    ],
)
def test_what_has_no_value_is_an_error_with_its_line(body: str, code: str) -> None:
    caught = error(f"def f():\n    {body}\n")
    assert (caught.code, caught.is_refusal) == (code, False)
    assert caught.line >= 2


def test_constants_are_frozen_and_shared_by_no_call() -> None:
    source = (
        'RATES = [1, {"a": [2]}]\n\ndef f(deep):\n    if deep:\n        RATES[1]["a"].append(3)\n'
    )
    source += "    else:\n        RATES.append(3)\n"
    for deep in (True, False):
        assert error(source, deep=deep).code == "CONTRACT_NOT_CHANGEABLE"


def test_a_change_is_allowed_again_after_the_loop_even_if_it_was_left() -> None:
    source = "def f():\n    x = [1, 2]\n    for y in x:\n        break\n    for y in x:\n"
    source += "        continue\n    x.append(3)\n    z = [y for y in x]\n"
    source += "    x.append(len(z))\n    return x\n"
    assert contract(source).call("f") == [1, 2, 3, 3]


# --- The host ---------------------------------------------------------------------------------

ACCESS = 'ACCESS = {"read": ["open/"], "write": ["own/"]}\n\n'


@pytest.mark.req("G2-08-3", "G2-17-1")
@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        ('return get("open/a")', True),
        ('return get("own/a")', True),
        ('return get("other/a")', False),
        ('return get("ope")', False),
        ('put("own/a", 1)', True),
        ('put("open/a", 1)', False),
        ('delete("own/a")', True),
        ('delete("open/a")', False),
        ('return scan("open/", 5)', True),
        ('return scan("o", 5)', False),
    ],
)
def test_a_contract_touches_only_what_its_access_list_declares(body: str, is_allowed: bool) -> None:
    source = f"{ACCESS}def f():\n    {body}\n"
    if is_allowed:
        contract(source).call("f")
    else:
        assert error(source).code == "CONTRACT_ACCESS_UNDECLARED"


def test_what_the_host_gives_is_the_callers_own_and_what_it_takes_is_a_copy() -> None:
    source = f'{ACCESS}def f():\n    x = get("own/a")\n    x.append(3)\n    put("own/b", x)\n'
    source += '    x.append(4)\n    emit("own.changed", {"x": x})\n    return get("own/b")\n'
    made = contract(source)
    made.host = host({"own/a": [1, 2]})
    assert made.call("f") == [1, 2, 3]
    assert made.host.after() == {"own/a": [1, 2], "own/b": [1, 2, 3]}
    assert made.host.events == [("own.changed", {"x": [1, 2, 3, 4]})]


def test_who_signed_and_when_is_what_the_host_says() -> None:
    source = "def f():\n    return [sender(), checker(), height(), block_time(), business_time()]\n"
    made = contract(source)
    second = Party("did:2", "k", "did:o", frozenset({"b", "a"}))
    made.host = host(around=replace(AROUND, checker=second))
    assert made.call("f") == [
        {
            "did": "did:rem:shandong:clerk",
            "organisation": "did:rem:shandong:market",
            "roles": ["clerk"],
        },
        {"did": "did:2", "organisation": "did:o", "roles": ["a", "b"]},
        7,
        1_700_000_000_000,
        "2026-03-02T10:00:00+08:00",
    ]


def test_a_refusal_carries_its_code_and_facts() -> None:
    source = 'def f(n):\n    require(n > 3, "TOO_FEW", code=n, wanted=[3])\n    return n\n'
    caught = error(source, n=2)
    assert (caught.code, caught.is_refusal, caught.line) == ("TOO_FEW", True, 2)
    assert caught.fields == {"code": 2, "wanted": [3]}
    assert contract(source).call("f", n=4) == 4


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("_hidden", {}, "METHOD_UNKNOWN"),
        ("nothing", {}, "METHOD_UNKNOWN"),
        ("f", {}, "CONTRACT_ARGUMENT_WRONG"),
        ("f", {"a": 1, "c": 2}, "CONTRACT_ARGUMENT_WRONG"),
    ],
)
def test_calls_from_outside_name_a_public_method_and_its_parameters(
    method: str, arguments: dict[str, Json], code: str
) -> None:
    source = "def _hidden():\n    return 1\n\ndef f(a, b=2):\n    return a + b\n"
    with pytest.raises(ContractError) as caught:
        contract(source).call(method, **arguments)
    assert caught.value.code == code
    assert contract(source).call("f", a=1) == 3


# --- Bounds -----------------------------------------------------------------------------------

HOSTILE = [
    ('x = "ab" * 30000\n    x = x + x', "LIMIT_EXCEEDED"),
    ('x = "x" * 100000000', "LIMIT_EXCEEDED"),
    ("x = [0] * 100000000", "LIMIT_EXCEEDED"),
    ("x = [0] * 10000\n    x.append(1)", "LIMIT_EXCEEDED"),
    ("for i in range(10001):\n        pass", "LIMIT_EXCEEDED"),
    ("x = 1\n    for i in range(300):\n        x = x * 2", "CONTRACT_OUT_OF_RANGE"),
    ("x = []\n    for i in range(40):\n        x = [x]\n    return x", "LIMIT_EXCEEDED"),
    ("x = []\n    x.append(x)\n    return x == [x]", "LIMIT_EXCEEDED"),
    ("x = []\n    x.append(x)\n    return x", "LIMIT_EXCEEDED"),
    (
        'x = "a" * 60000\n    y = []\n    for i in range(9000):\n        y.append(x + str(i))',
        "LIMIT_EXCEEDED",
    ),
    ('return ("a" * 300).replace("", "b" * 300)', "LIMIT_EXCEEDED"),
    ('return ("a" * 60000).split("a")', "LIMIT_EXCEEDED"),
    ("return {1152921504606846976: 1}", "CONTRACT_TYPE_MISMATCH"),
    ("return 9223372036854775808", "CONTRACT_OUT_OF_RANGE"),
]


@pytest.mark.parametrize(("body", "code"), HOSTILE)
def test_what_would_grow_without_bound_is_stopped(body: str, code: str) -> None:
    assert error(f"def f():\n    {body}\n").code == code


def test_endless_work_runs_out_of_gas_and_says_where() -> None:
    source = "def f():\n    n = 0\n    for i in range(10000):\n"
    source += "        for j in range(10000):\n            n += 1\n"
    made = contract(source)
    made.gas = 100_000
    with pytest.raises(OutOfGas) as caught:
        made.call("f")
    assert made.used == made.gas
    assert caught.value.line >= 3


@settings(max_examples=80)
@given(st.integers(0, 1 << 32), st.integers(-9, 9), st.integers(0, 400))
def test_gas_is_exact_and_less_of_it_only_ends_a_call_sooner(seed: int, a: int, gas: int) -> None:
    made = contract(Programs(seed).source())
    arguments: dict[str, Json] = {"a": a, "b": 3, "s": "a", "xs": [1, 2]}
    first = _outcome(made, arguments)
    needed = made.used
    assert _outcome(made, arguments) == first
    assert made.used == needed, "the same call costs the same"
    made.gas = needed
    assert _outcome(made, arguments) == first, "what a call used is enough for it"
    made.gas = min(gas, needed - 1)
    assert _outcome(made, arguments) == "out of gas"


def _outcome(made: Contract, arguments: dict[str, Json]) -> Json:
    try:
        return [made.call("f", **arguments)]
    except ContractError as caught:
        return caught.code
    except OutOfGas:
        return "out of gas"


VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=120)
@given(st.integers(0, 1 << 32), VALUES, VALUES, VALUES, VALUES)
def test_any_arguments_end_in_a_value_an_error_or_no_gas(
    seed: int, a: Json, b: Json, s: Json, xs: Json
) -> None:
    made = contract(Programs(seed).source())
    made.gas = 20_000
    _outcome(made, {"a": a, "b": b, "s": s, "xs": xs})


def test_the_digest_of_a_run_depends_on_no_hash_seed_zone_or_locale() -> None:
    program = (
        "from tests.unit.star.programs import Programs\n"
        "from tests.unit.star.test_evaluator import _outcome\n"
        "from tests.unit.star.harness import contract\n"
        "import hashlib\n"
        "whole = hashlib.sha256()\n"
        "for seed in range(50):\n"
        "    made = contract(Programs(seed).source())\n"
        "    arguments = {'a': seed % 7, 'b': 3, 's': 'b,a', 'xs': [3, 1]}\n"
        "    whole.update(repr((_outcome(made, arguments), made.used)).encode())\n"
        "    whole.update(made.program.module.digest)\n"
        "print(whole.hexdigest())\n"
    )
    printed = set()
    for hash_seed, zone, locale in (("0", "UTC", "C"), ("4711", "Asia/Shanghai", "C.UTF-8")):
        surroundings = {
            "PYTHONHASHSEED": hash_seed,
            "TZ": zone,
            "LC_ALL": locale,
            "PYTHONUTF8": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **surroundings},
            capture_output=True,
            check=True,
        )
        printed.add(done.stdout)
    assert len(printed) == 1


def test_prices_are_data_and_a_table_has_all_of_them() -> None:
    prices = {name: 2 for name in GasTable.__dataclass_fields__}
    assert GasTable.from_json(prices).node == 2
    for wrong in ({}, {**prices, "more": 1}, {**prices, "node": 0}, {**prices, "node": True}):
        with pytest.raises(ValueError, match=r"star/1|whole number"):
            GasTable.from_json(wrong)


def test_an_unknown_engine_is_refused() -> None:
    for engine in ("wasm/1", "star/2", "", 1):
        with pytest.raises(SourceError, match="engine"):
            check({"engine": engine, "constants": [], "functions": []})
