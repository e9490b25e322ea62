"""star/1 against another implementation of Starlark, on what both have."""

from __future__ import annotations

import starlark
from hypothesis import given, settings
from hypothesis import strategies as st

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError, SourceError
from tests.unit.star.harness import contract
from tests.unit.star.programs import Programs

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
    if isinstance(value, starlark.StarlarkList):
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
    source = Programs(seed, may_be_refused=True).source()
    assert ours(source, arguments) == theirs(source, arguments), source
