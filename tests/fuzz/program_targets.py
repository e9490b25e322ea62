"""What the engine runs: every method of any form that the check lets through, and the code around.

A form comes from anybody, and so do arguments. Whatever they are, a call ends in a value, a
`ContractError` or in `OutOfGas`, within its gas and within the bounds of the harness.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.check import read_form
from services.consensus.domain.contracts.star.execution import Outcome, Status
from services.consensus.domain.contracts.star.faults import SourceError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.ir import Module
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.shapes import EXPRESSIONS, STATEMENTS
from services.consensus.domain.contracts.star.syntax import compile_source
from tests.fuzz.harness import Target
from tests.fuzz.shape import Shape
from tests.unit.star.programs import Programs

GAS: Final = 4_000
ALLOCATED: Final = 1024 * 1024
"""Of one call: little, for a form is run many times over."""

METHODS_MAX: Final = 8
ROUNDS: Final = 3

_ACCESS: Final = 'ACCESS = {"read": ["n/"], "write": ["n/"], "call": ["bank.pay"]}\n\n'
SOURCES: Final = (
    # Values that share their parts, and are as deep as can be.
    "def shared(a, n):\n    b = [a]\n    for _ in range(n):\n        b = [b, b]\n"
    '    put("n/1", b)\n    emit("t.x", {"b": b})\n    return b == [b, b]\n'
    "\ndef deep(n):\n    a = {}\n    for i in range(n):\n        a = {str(i): [a]}\n"
    '    require(a == {}, "TOO_DEEP", a=a)\n    return a\n',
    # Functions that others call.
    "def order(a, b):\n    c = sorted(a, key=lambda x: x)\n"
    "    d = sorted(b, key=lambda x: [x, x], reverse=True)\n"
    "    return [min(a, key=lambda x: -x), max(c, key=lambda x: len(str(x))), d]\n",
    # What grows.
    f'BIG = {"9" * 70}\nTEXT = "{"股" * 200}"\n\ndef grow(n):\n    a = BIG\n    t = TEXT\n'
    "    for _ in range(n):\n        a = a * a\n        t = t + t\n    return [a, t]\n"
    "\ndef repeat(t, n):\n    return [t * n, [t] * n, t.replace(t[:1], t * 3), t.split(t[:1])]\n",
    # The host, with what it refuses.
    "def keep(key, value):\n    put(key, value)\n    found = scan(key, 10)\n    delete(key)\n"
    "    return [found, get(key), sm3(str(value)), sender(), checker(), height()]\n"
    '\ndef pay(a):\n    return call("bank", "pay", a=a)\n',
    # Names that are unpacked, and what is changed while it is gone through.
    "def walk(a):\n    b = {}\n"
    "    for k, v in a.items():\n        b[k] = [v, b]\n        a[k] = b\n"
    "    return {k: [x for x in v if x] for k, v in b.items()}\n"
    "\ndef again(n):\n    a = [1]\n    for x in a:\n        a.append(x)\n    return a\n",
)


def targets() -> tuple[Target, ...]:
    """Every program of this kind with its samples."""
    return (program_target(run_every_method),)


def program_target(run: Callable[[Module], Any]) -> Target:
    """Feeds changed forms, those that are none refused, to `run`."""
    sources = [(_ACCESS + source).encode() for source in SOURCES]
    sources += [Programs(seed).source().encode() for seed in (1, 2)]
    forms = [compile_source(source).encoded for source in sources]
    refused = (SourceError,)
    return Target("star/1 program", lambda data: run(read_form(data)), refused, forms, changed)


def changed(random: Random, data: bytes, others: Sequence[Shape]) -> bytes:
    """One to three expressions or statements give way to others, of any form, or to hostile ones;
    what stands around them stays, so that many a form is still let through.
    """
    form, donor = json.loads(data), json.loads(random.choice(others).data)
    for kinds in random.choices((EXPRESSIONS, STATEMENTS), (5, 1), k=random.randint(1, 3)):
        places = list(_places(form, kinds))
        known = [holder[at] for holder, at in _places(donor, kinds)]
        if places and known:
            holder, at = random.choice(places)
            is_hostile = kinds is EXPRESSIONS and random.random() < 0.3
            found = random.choice(HOSTILE_NODES if is_hostile else known)
            holder[at] = json.loads(json.dumps(found))
    return canonical_json(form)


def _places(form: Any, kinds: Mapping[str, int]) -> Iterator[tuple[list[Any], int]]:
    """Where in a form nodes of these kinds stand: the list that holds each, and its place."""
    pending = [form]
    while pending:
        part = pending.pop()
        inner = list(part.values()) if isinstance(part, dict) else part
        pending += [each for each in inner if isinstance(each, list | dict)]
        if isinstance(part, list):
            for at, each in enumerate(part):
                if isinstance(each, list) and len(each) > 1 and _is_one(each[0], kinds):
                    yield part, at


def _is_one(kind: Any, kinds: Mapping[str, int]) -> bool:
    return isinstance(kind, str) and kind in kinds


def run_every_method(module: Module) -> list[Outcome]:
    """How the calls end; raises `AssertionError` where one takes more than it may."""
    program = Program(module, GasTable())
    random = Random(module.digest)
    ended = []
    for node in module.functions[:METHODS_MAX]:
        for _ in range(ROUNDS):
            arguments = {parameter[2]: _argument(random, parameter[2]) for parameter in node[3]}
            ended.append(_called(program, node[2], arguments))
    return ended


def _argument(random: Random, name: str) -> Json:
    """Mostly of the type that the sample works with, so that a call comes far."""
    is_fitting = random.random() < 0.7
    found: Json = random.choice(FITTING.get(name, HOSTILE) if is_fitting else HOSTILE)
    return found


def _called(program: Program, method: str, arguments: dict[str, Json]) -> Outcome:
    meter = Meter(GAS, GasTable(), allocated_max=ALLOCATED)
    host = MemoryHost({"n/0": [1, {"a": "b"}]}, _AROUND)
    outcome = host.run(program, meter, method, arguments)
    assert 0 <= outcome.gas_used <= GAS, f"{method} used {outcome.gas_used} of {GAS}"
    assert meter.allocated <= ALLOCATED, f"{method} made {meter.allocated} bytes"
    assert (outcome.code is None) is (outcome.status is Status.OK)
    if outcome.status is Status.OK:
        canonical_json(outcome.result)
    else:
        canonical_json(dict(outcome.fields))
        assert not host.writes
        assert not host.events
    return outcome


_AROUND: Final = Surroundings(
    Party("did:rem:testing:maker", "k1", "testing", frozenset({"clerk"})),
    None,
    7,
    1_767_578_400_000,
    None,
)


FITTING: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1, 7, 18, 40, 900),
    "a": ([3, 1, 2], {"a": 1, "b": [2]}, list(range(300)), [[1], [1, 0]]),
    "b": ([2, 1], [1, 1, 1], list(range(200))),
    "t": ("ab", "股" * 300),
    "key": ("n/1", "n/"),
    "value": ([1, {"a": "b"}], "x" * 4_000, 7),
}

HOSTILE_NODES: Final[list[Any]] = [
    *(["int", 1, "9" * 77], ["int", 1, "0"], ["str", 1, "股" * 2_000], ["str", 1, ""]),
    *(["none", 1], ["bool", 1, True], ["list", 1], ["dict", 1]),
    ["call", 1, "range", [], ["int", 1, "999999999"]],
    ["binary", 1, "*", ["str", 1, "ab"], ["int", 1, "99999999"]],
    ["binary", 1, "*", ["list", 1, ["none", 1]], ["int", 1, "99999999"]],
]


def _nested(depth: int) -> Iterator[Json]:
    listed: Json = 1
    named: Json = ""
    for _ in range(depth):
        listed, named = [listed], {"a": named}
    yield listed
    yield named


HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 7, 40, 2**63, -(2**200), 10**70),
    *("", "n/1", "n/", "x", "股" * 300, "\U0010ffff", "0" * 2_000, "138.0013.8000"),
    *([], [3, 1, 2], [2, "a", None], [[1], [1, 0], []], list(range(500)), {"": {}}),
    *({"a": 1, "b": [2]}, {str(each): each for each in range(200)}),
    *_nested(20),
)
