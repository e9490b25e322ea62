"""Every function and method of the language by what Starlark says it comes to; and every way to
change a container, which neither constants nor what is being iterated over suffer.
"""

from __future__ import annotations

import json

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.methods import METHODS
from services.consensus.domain.contracts.star.names import LANGUAGE
from services.consensus.domain.contracts.star.values import TYPE_NAMES
from tests.unit.star.harness import contract

FUNCTIONS: dict[str, list[tuple[str, Json]]] = {
    "abs": [("abs(-3)", 3), ("abs(0)", 0), ("abs(4)", 4)],
    "all": [("all([1, 'a', True])", True), ("all([1, 0])", False), ("all([])", True)],
    "any": [("any([0, '', 2])", True), ("any([0, None])", False), ("any([])", False)],
    "bool": [
        ("bool(7)", True),
        ("bool(0)", False),
        ("bool('')", False),
        ("bool([0])", True),
        ("bool({})", False),
        ("bool(None)", False),
    ],
    "dict": [("dict()", {}), ("dict({'b': 1, 'a': 2})", {"b": 1, "a": 2})],
    "enumerate": [
        ("enumerate(['a', 'b'])", [[0, "a"], [1, "b"]]),
        ("enumerate(['a'], 5)", [[5, "a"]]),
        ("enumerate({'k': 1})", [[0, "k"]]),
    ],
    "int": [("int('-07')", -7), ("int('+3')", 3), ("int(True)", 1), ("int(9)", 9)],
    "len": [("len('股份a')", 3), ("len([1, 2])", 2), ("len({'a': 1})", 1)],
    "list": [("list()", []), ("list([1, 2])", [1, 2]), ("list({'b': 1, 'a': 2})", ["b", "a"])],
    "max": [
        ("max([2, 5, 3])", 5),
        ("max(['b', 'a'])", "b"),
        ("max([[1, 'x'], [1, 'y']], key=lambda p: p[0])", [1, "x"]),
    ],
    "min": [
        ("min([2, 5, 1])", 1),
        ("min(['b', 'a'])", "a"),
        ("min([[1, 'x'], [1, 'y']], key=lambda p: p[0])", [1, "x"]),
    ],
    "range": [
        ("[x for x in range(3)]", [0, 1, 2]),
        ("[x for x in range(2, 5)]", [2, 3, 4]),
        ("[x for x in range(5, 0, -2)]", [5, 3, 1]),
        ("[x for x in range(3, 3)]", []),
    ],
    "reversed": [("reversed([1, 2, 3])", [3, 2, 1]), ("reversed({'b': 1, 'a': 2})", ["a", "b"])],
    "sorted": [
        ("sorted([3, 1, 2])", [1, 2, 3]),
        ("sorted(['b', 'B', '股'])", ["B", "b", "股"]),
        (
            "sorted([[1, 'x'], [0, 'z'], [1, 'y']], key=lambda p: p[0])",
            [[0, "z"], [1, "x"], [1, "y"]],
        ),
        (
            "sorted([[1, 'x'], [0, 'z'], [1, 'y']], key=lambda p: p[0], reverse=True)",
            [[1, "x"], [1, "y"], [0, "z"]],
        ),
    ],
    "str": [("str(-12)", "-12"), ("str(True)", "True"), ("str(None)", "None"), ("str('a')", "a")],
    "type": [
        (
            "[type(x) for x in [1, 'a', True, None, [], {}]]",
            ["int", "string", "bool", "NoneType", "list", "dict"],
        ),
    ],
    "zip": [("zip([1, 2, 3], ['a', 'b'])", [[1, "a"], [2, "b"]]), ("zip([], [1])", [])],
}
METHODS_OF: dict[tuple[str, str], list[tuple[str, Json]]] = {
    ("clear", "dict"): [("x.clear()", [None, {}])],
    ("clear", "list"): [("x.clear()", [None, []])],
    ("append", "list"): [("x.append(9)", [None, [1, 2, 1, 9]])],
    ("extend", "list"): [
        ("x.extend([8, 9])", [None, [1, 2, 1, 8, 9]]),
        ("x.extend({'a': 0})", [None, [1, 2, 1, "a"]]),
    ],
    ("insert", "list"): [
        ("x.insert(1, 9)", [None, [1, 9, 2, 1]]),
        ("x.insert(-1, 9)", [None, [1, 2, 9, 1]]),
        ("x.insert(99, 9)", [None, [1, 2, 1, 9]]),
        ("x.insert(-99, 9)", [None, [9, 1, 2, 1]]),
    ],
    ("index", "list"): [("x.index(1)", [0, [1, 2, 1]]), ("x.index(2)", [1, [1, 2, 1]])],
    ("pop", "list"): [
        ("x.pop()", [1, [1, 2]]),
        ("x.pop(0)", [1, [2, 1]]),
        ("x.pop(-2)", [2, [1, 1]]),
    ],
    ("remove", "list"): [("x.remove(1)", [None, [2, 1]]), ("x.remove(2)", [None, [1, 1]])],
    ("get", "dict"): [
        ("x.get('a')", [1, {"a": 1, "b": 2}]),
        ("x.get('c')", [None, {"a": 1, "b": 2}]),
        ("x.get('c', 7)", [7, {"a": 1, "b": 2}]),
    ],
    ("items", "dict"): [("x.items()", [[["a", 1], ["b", 2]], {"a": 1, "b": 2}])],
    ("keys", "dict"): [("x.keys()", [["a", "b"], {"a": 1, "b": 2}])],
    ("values", "dict"): [("x.values()", [[1, 2], {"a": 1, "b": 2}])],
    ("pop", "dict"): [
        ("x.pop('a')", [1, {"b": 2}]),
        ("x.pop('c', 7)", [7, {"a": 1, "b": 2}]),
    ],
    ("setdefault", "dict"): [
        ("x.setdefault('a', 9)", [1, {"a": 1, "b": 2}]),
        ("x.setdefault('c', 9)", [9, {"a": 1, "b": 2, "c": 9}]),
        ("x.setdefault('c')", [None, {"a": 1, "b": 2, "c": None}]),
    ],
    ("update", "dict"): [("x.update({'b': 8, 'c': 9})", [None, {"a": 1, "b": 8, "c": 9}])],
    ("count", "string"): [("x.count('b')", [2, " a,b,b "]), ("x.count('bb')", [0, " a,b,b "])],
    ("endswith", "string"): [
        ("x.endswith('b ')", [True, " a,b,b "]),
        ("x.endswith('a')", [False, " a,b,b "]),
    ],
    ("startswith", "string"): [
        ("x.startswith(' a')", [True, " a,b,b "]),
        ("x.startswith('b')", [False, " a,b,b "]),
    ],
    ("find", "string"): [("x.find('b')", [3, " a,b,b "]), ("x.find('z')", [-1, " a,b,b "])],
    ("index", "string"): [("x.index('b')", [3, " a,b,b "])],
    ("isdigit", "string"): [
        ("x.isdigit()", [False, " a,b,b "]),
        ("'0129'.isdigit()", [True, " a,b,b "]),
        ("'١٢'.isdigit()", [False, " a,b,b "]),
        ("'²'.isdigit()", [False, " a,b,b "]),
        ("''.isdigit()", [False, " a,b,b "]),
    ],
    ("join", "string"): [
        ("x.join(['1', '2'])", ["1 a,b,b 2", " a,b,b "]),
        ("','.join({'k': 1})", ["k", " a,b,b "]),
    ],
    ("lower", "string"): [("'AbZ'.lower()", ["abz", " a,b,b "])],
    ("upper", "string"): [("'aBz'.upper()", ["ABZ", " a,b,b "])],
    ("lstrip", "string"): [("x.lstrip()", ["a,b,b ", " a,b,b "])],
    ("rstrip", "string"): [("x.rstrip()", [" a,b,b", " a,b,b "])],
    ("strip", "string"): [
        ("x.strip()", ["a,b,b", " a,b,b "]),
        ("'\\u3000a'.strip()", ["\u3000a", " a,b,b "]),
    ],
    ("replace", "string"): [("x.replace('b', 'cc')", [" a,cc,cc ", " a,b,b "])],
    ("split", "string"): [("x.split(',')", [[" a", "b", "b "], " a,b,b "])],
}
OF_TYPE = {"list": "[1, 2, 1]", "dict": "{'a': 1, 'b': 2}", "string": "' a,b,b '"}

CHANGES = [
    ("[1, 2, 1]", change)
    for change in (
        "x.append(1)",
        "x.extend([1])",
        "x.insert(0, 1)",
        "x.remove(1)",
        "x.pop()",
        "x.pop(0)",
        "x.clear()",
        "x[0] = 5",
        "x[0] += 5",
        "x += [5]",
    )
] + [
    ("{'a': 1, 'b': 2}", change)
    for change in (
        "x['a'] = 5",
        "x['c'] = 5",
        "x['a'] += 5",
        "x.pop('a')",
        "x.clear()",
        "x.update({'c': 1})",
        "x.update({})",
        "x.setdefault('c', 1)",
        "x.setdefault('a', 1)",
    )
]


def written(value: Json) -> str:
    """So that 1 is not True, and the order of members counts."""
    return json.dumps(value, ensure_ascii=False)


def why(source: str) -> tuple[str, Json]:
    with pytest.raises(ContractError) as caught:
        contract(source).call("f")
    return caught.value.code, caught.value.fields.get("why")


def test_no_name_is_left_out() -> None:
    assert set(FUNCTIONS) == set(LANGUAGE)
    kinds = {(name, TYPE_NAMES[kind]) for name, by_type in METHODS.items() for kind in by_type}
    assert set(METHODS_OF) == kinds


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(
    ("expression", "expected"), [row for rows in FUNCTIONS.values() for row in rows]
)
def test_a_function_comes_to_what_starlark_says(expression: str, expected: Json) -> None:
    found = contract(f"def f():\n    return {expression}\n").call("f")
    assert written(found) == written(expected)


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(
    ("of", "expression", "expected"),
    [(of, *row) for (_, of), rows in METHODS_OF.items() for row in rows],
)
def test_a_method_comes_to_what_starlark_says_and_leaves_behind(
    of: str, expression: str, expected: Json
) -> None:
    source = f"def f():\n    x = {OF_TYPE[of]}\n    y = {expression}\n    return [y, x]\n"
    assert written(contract(source).call("f")) == written(expected)


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(("of", "change"), CHANGES)
def test_what_is_iterated_over_is_not_changed_and_afterwards_is(of: str, change: str) -> None:
    head = f"def f():\n    x = {of}\n"
    refused = ("CONTRACT_NOT_CHANGEABLE", "iterated")
    assert why(f"{head}    for y in x:\n        {change}\n") == refused
    nested = f"{head}    for y in x:\n        for z in x:\n            pass\n        {change}\n"
    assert why(nested) == refused, "the inner loop is over, the outer one is not"
    for loop in (
        "    for y in x:\n        pass\n",
        "    for y in x:\n        break\n",
        "    z = [y for y in x]\n",
        "    z = {'k': 1 for y in x}\n",
    ):
        contract(f"{head}{loop}    {change}\n").call("f")


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(("of", "change"), [row for row in CHANGES if row[1].startswith("x.")])
def test_what_a_comprehension_iterates_over_is_not_changed(of: str, change: str) -> None:
    refused = ("CONTRACT_NOT_CHANGEABLE", "iterated")
    assert why(f"def f():\n    x = {of}\n    z = [{change} for y in x]\n") == refused
    assert why(f"def f():\n    x = {of}\n    z = {{'k': {change} for y in x}}\n") == refused


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(("of", "change"), CHANGES)
def test_a_constant_is_not_changed_however_deep(of: str, change: str) -> None:
    refused = ("CONTRACT_NOT_CHANGEABLE", "frozen")
    assert why(f"A = {of}\n\ndef f():\n    x = A\n    {change}\n") == refused
    assert why(f"A = [{{'k': {of}}}]\n\ndef f():\n    x = A[0]['k']\n    {change}\n") == refused
