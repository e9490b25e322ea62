"""Where star/1 has what Starlark has, it does what the specification says."""

from __future__ import annotations

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, SourceError
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import contract

TOLD = (
    "def told(log, x):\n    log.append(x)\n    return x\n\n"
    "def three(p, q=2, r=3):\n    return [p, q, r]\n\n"
)


def result(*lines: str) -> Json:
    body = "".join(f"    {line}\n" for line in lines)
    return contract(f"A = [1]\n\n{TOLD}def go():\n{body}").call("go")


def code(*lines: str) -> str:
    with pytest.raises(ContractError) as caught:
        result(*lines)
    return caught.value.code


# --- += ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a = [1]", "b = a", "b += [2]", "return a"), [1, 2]),
        (("a = [1]", "b = a", "b = b + [2]", "return a"), [1]),
        (("a = [1]", "d = {0: a}", "d[0] += [2]", "return a"), [1, 2]),
        (("a = [1]", "d = [a]", "d[0] += a", "return a"), [1, 1]),
        (("a = [1]", 'a += {"x": 1, "y": 2}', "return a"), [1, "x", "y"]),
        (("a = [1]", 'a.extend({"x": 1})', "return a"), [1, "x"]),
        (('a = "1"', "b = a", 'b += "2"', "return [a, b]"), ["1", "12"]),
        (("a = 1", "b = a", "b += 2", "return [a, b]"), [1, 3]),
    ],
)
def test_a_list_is_extended_in_place_and_nothing_else_is(
    lines: tuple[str, ...], expected: Json
) -> None:
    assert result(*lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a = A", "a += [2]"), "CONTRACT_NOT_CHANGEABLE"),
        (("a = [1]", "for x in a:", "    a += [2]"), "CONTRACT_NOT_CHANGEABLE"),
        (("a = [1]", "for x in a:", "    a += []"), "CONTRACT_NOT_CHANGEABLE"),
        (("a = [1]", 'a += "x"'), "CONTRACT_TYPE_MISMATCH"),
        (("a = [1]", "a += 1"), "CONTRACT_TYPE_MISMATCH"),
        (("a = {}", "a += {}"), "CONTRACT_TYPE_MISMATCH"),
        (("a = [0] * 9999", "a += [1, 2]"), "LIMIT_EXCEEDED"),
    ],
)
def test_a_list_that_may_not_change_or_has_no_room_is_not_extended(
    lines: tuple[str, ...], expected: str
) -> None:
    assert code(*lines) == expected


@pytest.mark.parametrize("value", ["[9]", "7"])
def test_the_target_of_an_augmented_assignment_is_evaluated_once(value: str) -> None:
    """And before what is added."""
    start = "[5]" if value == "[9]" else "5"
    lines = (
        "log = []",
        f"a = [{start}]",
        f"a[told(log, 0)] += {value} if told(log, 1) else 0",
        "return [a[0], log]",
    )
    total: Json = [5, 9] if value == "[9]" else 12
    assert result(*lines) == [total, [0, 1]]


# --- Calls and displays -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "values", "order"),
    [
        ("three(r=told(log, 1), q=told(log, 2), p=told(log, 3))", [3, 2, 1], [1, 2, 3]),
        ("three(told(log, 1), r=told(log, 2), q=told(log, 3))", [1, 3, 2], [1, 2, 3]),
        ("three(r=told(log, 1), p=told(log, 2))", [2, 2, 1], [1, 2]),
        ("three(p=told(log, 1), r=told(log, 2))", [1, 2, 2], [1, 2]),
        ("enumerate(start=told(log, 1), x=told(log, []))", [], [1, []]),
        ('"ab".replace(new=told(log, "x"), old=told(log, "a"))', "xb", ["x", "a"]),
        ('{"k": 1}.get(default=told(log, 1), key=told(log, "z"))', 1, [1, "z"]),
        (
            "three(r=three(r=told(log, 1), p=told(log, 2)), p=told(log, 3))",
            [3, 2, [2, 2, 1]],
            [1, 2, 3],
        ),
    ],
)
def test_arguments_are_evaluated_as_they_are_written(call: str, values: Json, order: Json) -> None:
    assert result("log = []", f"x = {call}", "return [x, log]") == [values, order]


def test_a_key_that_stands_twice_in_a_dict_is_refused_in_constants_and_in_calls() -> None:
    assert code('return {"a": 1, "a": 2}') == "CONTRACT_KEY_TWICE"
    assert code('k = "a"', 'return {k: 1, "a": 2}') == "CONTRACT_KEY_TWICE"
    for constant in ('{"a": 1, "a": 1}', '[{"x": {1: 1, 1: 2}}]'):
        with pytest.raises(SourceError, match="key_twice"):
            compile_source(f"X = {constant}\n".encode())
    assert contract('X = {"1": 1, 1: 2, -1: 3}\n\ndef go():\n    return X[-1]\n').call("go") == 3


# --- Texts ------------------------------------------------------------------------------------


def test_every_escape_of_starlark_is_one_and_a_string_may_go_on_in_the_next_line() -> None:
    escapes = r"\a\b\f\n\r\t\v\\\'\"\1\12\101\1011\x41\u00e9\U00000041" + "\\\n"
    assert result(f'return "{escapes}"') == "\a\b\f\n\r\t\v\\'\"\1\nAA1AéA"


@pytest.mark.parametrize("escape", ["q", "N{DIGIT ONE}", "8", "x4", "x80", "200", "u1", "U1", " "])
def test_any_other_escape_is_refused_at_its_place(escape: str) -> None:
    for quote in ('"', "'", '"""'):
        with pytest.raises(SourceError) as caught:
            compile_source(f"def f():\n    return {quote}a\\{escape}{quote}\n".encode())
        place = (caught.value.rule, caught.value.line, caught.value.column)
        assert place == ("escape", 2, 13 + len(quote))


def test_strings_that_do_not_stand_side_by_side_are_as_they_were() -> None:
    source = (
        'def f():\n    "doc"\n    "more"\n    return ["a", "b"]  # "c"\n\ndef g():\n    "doc"\n'
    )
    called = contract(source + '\nX = "a"\nY = "b"\n')
    assert called.call("f") == ["a", "b"]
    assert called.call("g") is None, "a function may be nothing but what is said of it"
