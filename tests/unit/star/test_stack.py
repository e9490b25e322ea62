"""The stack that the check allows is one that CPython has, from deep inside a replica, too."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.check import STACK_MAX
from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas, SourceError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.unit.star.harness import Contract, contract, host

FRAMES_OF_REPLICA: Final = 240
RECURSION_LIMIT: Final = 1_000
"""CPython's own; nothing of ours changes it."""

KINDS: Final[dict[str, Callable[[str, int], str]]] = {
    "list": lambda inner, n: f"[{inner}]",
    "dict": lambda inner, n: f'{{"a": {inner}}}',
    "plus": lambda inner, n: f"([] + {inner})",
    "minus": lambda inner, n: f"-{inner}",
    "not": lambda inner, n: f"(not {inner})",
    "and": lambda inner, n: f"(1 and 1 and {inner})",
    "or": lambda inner, n: f"(0 or {inner})",
    "compare": lambda inner, n: f"(1 == {inner})",
    "choose": lambda inner, n: f"(0 if 0 else {inner})",
    "chosen by": lambda inner, n: f"(0 if {inner} else 0)",
    "index": lambda inner, n: f"[0, 1][{inner} and 0]",
    "slice": lambda inner, n: f'"ab"[0:len({inner}):1]',
    "builtin": lambda inner, n: f"bool({inner})",
    "builtin of three": lambda inner, n: f"sorted({inner}, None, True)",
    "method": lambda inner, n: f'{{}}.get("a", {inner})',
    "keywords": lambda inner, n: f'{{}}.get(default={inner}, key="a")',
    "own": lambda inner, n: f"_same({inner})",
    "own, keywords": lambda inner, n: f"_last(c={inner}, b=1, a=1)",
    "require": lambda inner, n: f'require(not require({inner} != 7, "CODE_OF"), "CODE_OF")',
    "contract": lambda inner, n: f'call("other", "one", a={inner})["a"]',
    "comprehension": lambda inner, n: f"[{inner} for a{n} in [1]]",
    "comprehension of two": lambda inner, n: f"[{inner} for a{n} in [1] for b{n} in [1] if 1]",
    "comprehension over": lambda inner, n: f"[0 for a{n} in {inner}]",
    "comprehension over two": lambda inner, n: f"[0 for a{n} in [1] for b{n} in {inner}]",
    "comprehension if": lambda inner, n: f"[0 for a{n} in [1] if 1 if {inner}]",
    "comprehension, range": lambda inner, n: f"[0 for a{n} in range(len({inner}))]",
    "comprehension of a dict": lambda inner, n: f"{{a{n}: {inner} for a{n} in [1]}}",
    "key": lambda inner, n: f"sorted([1], key=lambda a{n}: len([{inner}]))",
    "least by key": lambda inner, n: f"min([1], key=lambda a{n}: len([{inner}]))",
}
STATEMENTS: Final = {
    "return": "return {}",
    "setting": "x = [0]\n{pad}x[0 if {} else 0] = 1",
    "in place": "x = [0]\n{pad}x[0 if {} else 0] += 1",
    "if": "if {}:\n{pad}    pass",
    "for": "for x in [{}]:\n{pad}    pass",
}


def source(kind: str, depth: int, functions: int, blocks: int, statement: str) -> str:
    """Functions that call one another, in as many blocks, deep in expressions of one kind."""
    made = [
        'ACCESS = {"read": [], "write": [], "call": ["other.one"]}\n',
        "def _same(a):\n    return a\n",
        "def _last(a, b, c):\n    return c\n",
    ]
    for number in range(functions):
        inner = f"f{number + 1}()" if number + 1 < functions else "[]"
        for level in range(depth):
            inner = KINDS[kind](inner, level)
        lines = [f"def f{number}():"]
        for level in range(blocks):
            lines.append("    " * (level + 1) + ("if 1:" if level % 2 else "for y in [1]:"))
        pad = "    " * (blocks + 1)
        body = STATEMENTS[statement].replace("{pad}", pad).replace("{}", inner)
        made.append("\n".join([*lines, pad + body]) + "\n")
    return "\n".join(made)


def compiled(kind: str, depth: int, functions: int, blocks: int, statement: str) -> Contract | None:
    try:
        return contract(source(kind, depth, functions, blocks, statement))
    except SourceError as refused:
        if refused.rule != "deep":
            raise
        return None


def deepest(kind: str, functions: int, blocks: int, statement: str) -> tuple[int, Contract | None]:
    """How deep expressions of a kind may be, in so many functions."""
    depth, found = 0, compiled(kind, 0, functions, blocks, statement)
    while found is not None:
        following = compiled(kind, depth + 1, functions, blocks, statement)
        if following is None:
            break
        depth, found = depth + 1, following
    return depth, found


def on_a_thread(ask: Callable[[], Json]) -> Json:
    """What comes out on a thread of a server, below the frames of a replica."""
    ended: list[Json] = []

    def below(frames: int) -> None:
        if frames:
            below(frames - 1)
            return
        try:
            ended.append([ask()])
        except ContractError as error:
            ended.append(error.code)
        except OutOfGas:
            ended.append("out of gas")

    thread = threading.Thread(target=below, args=(FRAMES_OF_REPLICA,))
    thread.start()
    thread.join()
    assert ended, "the thread died of something else"
    return ended[0]


@pytest.mark.req("G2-08-3")
@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        *((kind, "return") for kind in KINDS),
        *((kind, statement) for kind in ("own", "key") for statement in STATEMENTS),
    ],
)
def test_the_deepest_form_of_every_kind_ends_well_or_in_an_error_of_its_own(
    kind: str, statement: str
) -> None:
    assert sys.getrecursionlimit() == RECURSION_LIMIT
    for functions, blocks in ((1, 0), (4, 7)):
        depth, called = deepest(kind, functions, blocks, statement)
        if called is None:
            continue
        assert depth > 0 or functions > 1
        ended = on_a_thread(partial(called.call, "f0"))
        assert isinstance(ended, list) or ended in EXPECTED
        assert on_a_thread(partial(_watched, called)) is not None


def _watched(called: Contract) -> Json:
    program = Program(called.program.module, GasTable(), watched=True)
    meter = Meter(10_000_000, GasTable())
    outcome = host().run(program, meter, "f0", {}, LineGas(meter))
    assert outcome.code is None or outcome.code in EXPECTED
    return outcome.status.value


EXPECTED: Final = {"CONTRACT_TYPE_MISMATCH", "LIMIT_EXCEEDED", "CONTRACT_INDEX_OUT_OF_RANGE"}
"""What some of the kinds come to over lists that nest: no sense is asked of them."""


def test_the_check_counts_at_least_the_frames_that_there_are() -> None:
    """A call that is refused for its depth is not far from what it could have had."""
    for kind in KINDS:
        functions = 1
        while compiled(kind, 2, functions + 1, 0, "return") is not None:
            functions += 1
        called = compiled(kind, 2, functions, 0, "return")
        assert called is not None
        counted = called.program.module.frames["f0"]
        assert STACK_MAX / 2 < counted <= STACK_MAX, kind
        used = _frames_of(called)
        assert used <= counted, (kind, used, counted)


def _frames_of(called: Contract) -> int:
    """How many frames of Python a call had at most, without those of builtins within the last."""
    deepest_found = depth = 0
    package = "contracts/star/"

    def look(frame: object, event: str, _: object) -> None:
        nonlocal deepest_found, depth
        name = getattr(getattr(frame, "f_code", None), "co_filename", "")
        if package not in name.replace("\\", "/") or name.endswith(("gas.py", "values.py")):
            return
        depth += {"call": 1, "return": -1}.get(event, 0)
        deepest_found = max(deepest_found, depth)

    sys.setprofile(look)
    try:
        called.call("f0")
    except ContractError:
        pass
    finally:
        sys.setprofile(None)
    return deepest_found


def test_a_chain_of_calls_beyond_the_stack_is_refused_before_anything_runs() -> None:
    chain = "".join(f"def f{n}(a):\n    return f{n + 1}(a)\n\n" for n in range(60))
    with pytest.raises(SourceError) as refused:
        compile_source((chain + "def f60(a):\n    return a\n").encode())
    assert refused.value.rule == "deep"
    assert refused.value.line > 0
