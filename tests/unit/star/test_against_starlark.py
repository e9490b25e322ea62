"""star/1 against another implementation of Starlark, on what both have."""

from __future__ import annotations

import pytest
import starlark
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, SourceError
from tests.unit.star.harness import contract
from tests.unit.star.programs import Programs
from tests.unit.star.test_every_name import FUNCTIONS, METHODS_OF, OF_TYPE, written

DIFFERENT = {
    "sorted([[1, 'x'], [0, 'z'], [1, 'y']], key=lambda p: p[0], reverse=True)": "stays stable",
    "'١٢'.isdigit()": "digits are the ASCII ones, whatever Unicode's version",
    "'²'.isdigit()": "the same",
    "'\\u3000a'.strip()": "blanks are the ASCII ones; the other engine has no such escape",
}
"""Where star/1 says otherwise, and why."""
ARGUMENTS = st.tuples(
    st.integers(-20, 20),
    st.integers(-20, 20),
    st.sampled_from(["", "a", "b,a", "12", " Zz ", "股份"]),
    st.lists(st.integers(-9, 9), max_size=4),
)


def theirs(source: str, arguments: tuple[int, int, str, list[int]]) -> Json | None:
    """What the other engine returns; None where it raises."""
    call = "\nresult = f({!r}, {!r}, {!r}, {!r})\n".format(*arguments)
    try:
        module = starlark.exec_file(source + call, max_steps=200_000)
    except (starlark.EvalError, starlark.ResourceLimitExceeded, starlark.StarlarkSyntaxException):
        return None
    return plain(module.get("result"))


def ours(source: str, arguments: tuple[int, int, str, list[int]]) -> Json | None:
    a, b, s, xs = arguments
    try:
        return contract(source).call("f", a=a, b=b, s=s, xs=list(xs))
    except (ContractError, SourceError):
        return None


def plain(value: object) -> Json:
    """A value of the other engine as JSON."""
    if isinstance(value, starlark.StarlarkList | tuple):
        return [plain(part) for part in value]
    if isinstance(value, starlark.Dict):
        return {str(key): plain(part) for key, part in value.items()}
    assert value is None or isinstance(value, bool | int | str)
    return value


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), ARGUMENTS)
def test_a_program_comes_to_the_same_in_both_engines(
    seed: int, arguments: tuple[int, int, str, list[int]]
) -> None:
    source = Programs(seed, may_be_refused=seed % 3 == 0).source()
    assert written(ours(source, arguments)) == written(theirs(source, arguments)), source


def test_most_programs_come_to_a_value_in_both() -> None:
    """What both refuse compares nothing."""
    arguments = (3, -2, "b,a", [4, -1])
    sources = [Programs(seed, may_be_refused=seed % 3 == 0).source() for seed in range(90)]
    values = [source for source in sources if ours(source, arguments) is not None]
    assert len(values) > len(sources) / 2


@pytest.mark.parametrize(
    ("of", "expression"),
    [
        *(("None", row[0]) for rows in FUNCTIONS.values() for row in rows),
        *((OF_TYPE[of], row[0]) for (_, of), rows in METHODS_OF.items() for row in rows),
    ],
)
def test_a_function_or_method_comes_to_the_same_in_both_engines(of: str, expression: str) -> None:
    source = f"def f(a, b, s, xs):\n    x = {of}\n    y = {expression}\n    return [y, x]\n"
    found, other = ours(source, (0, 0, "", [])), theirs(source, (0, 0, "", []))
    assert found is not None
    assert (written(found) == written(other)) is (expression not in DIFFERENT)
