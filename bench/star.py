"""How many calls of a share transfer the contract engine does on one core, and how many the
pure-Python `starlark` package does on the same source.

    python -m bench.star            # a table; the last line is one JSON object; 1 where not held
    python -m bench.star --record   # also keep it in bench/results/star.json

A call is 2 reads, 2 writes, 1 event and the checks of `data/contracts/transfer.star`, on a host in
memory, from JSON arguments to JSON writes. Rounds of the two take turns, so that neighbours on the
machine meet both; times are CPU time of this process, and every figure is the median of its rounds.

The other package documents one way to call a function: to run a program that does, in a module of
its own for each call, compiled once. `ratio_to_exec` compares with that; part of what it takes is
to define the module's functions again. `ratio_to_bare_call` compares with a call through the
package's inner parts, of a function that stands already: without isolation between calls, without
JSON arguments, and without their bounds set anew. It is the least that the package can do, and no
figure is held for it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import starlark
from starlark.eval.evaluator import call as starlark_call

from bench.machine import machine_facts, revision
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.execution import Status, execute
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "data" / "contracts" / "transfer.star"
KEPT: Final = Path(__file__).parent / "results" / "star.json"
CALLS_PER_S_MIN: Final = 30_000
RATIO_MIN: Final = 10
ROUNDS: Final = 15
CALLS: Final = 4_000
CALLS_OTHER: Final = 400
GAS: Final = 100_000
STEPS: Final = 10**12
ROWS: Final = (
    ("calls_per_s", f"≥ {CALLS_PER_S_MIN:,}"),
    ("calls_per_s_best", ""),
    ("starlark_calls_per_s", ""),
    ("starlark_bare_calls_per_s", ""),
    ("ratio_to_exec", f"≥ {RATIO_MIN}"),
    ("ratio_to_bare_call", ""),
)

STATE: Final[dict[str, Json]] = {"free/SD900011/A": 10**9, "free/SD900011/B": 5}
ARGUMENTS: Final[dict[str, Json]] = {
    "product": "SD900011",
    "seller": "A",
    "buyer": "B",
    "shares": 3,
}
AROUND: Final = Surroundings(
    Party("did:rem:bench:clerk", "", "did:rem:bench:market", frozenset({"clerk"})),
    None,
    7,
    1_700_000_000_000,
    None,
)

Call = Callable[[], MemoryHost]
"""One call on a fresh host, which comes back with what was written."""


def ours() -> Call:
    """A call of star/1."""
    table = GasTable()
    program = Program(compile_source(SOURCE.read_bytes()), table)

    def one() -> MemoryHost:
        host = MemoryHost(STATE, AROUND)
        outcome = execute(program, host, Meter(GAS, table), "transfer", ARGUMENTS)
        assert outcome.status is Status.OK, outcome
        return host

    return one


class Theirs:
    """The other engine on the same source: compiled once, with its own bounds on steps and memory.

    `one` goes by its documented interface, which runs the file in a module of its own for each
    call. `bare` calls the function of one module again and again through its inner parts, the least
    that it can do.
    """

    def __init__(self) -> None:
        self._host = MemoryHost(STATE, AROUND)
        text = SOURCE.read_text()
        values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in ARGUMENTS.items())
        self._program = starlark.compile(f"{text}\ntransfer({values})\n", mode="file")
        self._given = {
            name: starlark.BuiltinFunction(name, each) for name, each in self._functions().items()
        }
        self._module = starlark.exec_file(
            text, predeclared=self._given, max_steps=STEPS, max_allocs=STEPS
        )

    def _functions(self) -> dict[str, Callable[..., Any]]:
        clerk = starlark.to_value({"did": "did:rem:bench:clerk", "roles": ["clerk"]})
        return {
            "get": lambda key: self._host.get(key),
            "put": lambda key, value: self._host.put(key, value),
            "emit": lambda topic, body: self._host.emit(topic, starlark.from_value(body)),
            "sender": lambda: clerk,
            "require": _require,
        }

    def one(self) -> MemoryHost:
        """A call by the documented interface."""
        self._host = MemoryHost(STATE, AROUND)
        self._program.exec(predeclared=self._given, max_steps=STEPS, max_allocs=STEPS)
        return self._host

    def bare(self) -> MemoryHost:
        """The bare call of the function."""
        self._host = MemoryHost(STATE, AROUND)
        function, thread = self._module.get("transfer"), self._module.thread
        starlark_call(function, [], dict(ARGUMENTS), thread)
        return self._host


def _require(condition: bool, code: str, **fields: object) -> None:
    if not condition:
        raise AssertionError(code, fields)


def calls_per_second(one: Call, calls: int) -> float:
    """The rate of a round, by CPU time."""
    began = time.process_time()
    for _ in range(calls):
        one()
    return calls / (time.process_time() - began)


def measure() -> dict[str, Any]:
    """Both engines in turn, after they were seen to do the same."""
    machine = machine_facts()
    star, other = ours(), Theirs()
    expected = star()
    assert (len(expected.writes), len(expected.events)) == (2, 1)
    for host in (other.one(), other.bare()):
        assert (host.writes, host.events) == (expected.writes, expected.events)
    rounds = [
        (
            calls_per_second(star, CALLS),
            calls_per_second(other.one, CALLS_OTHER),
            calls_per_second(other.bare, CALLS_OTHER),
        )
        for _ in range(ROUNDS)
    ]
    rates, theirs, bare = zip(*rounds, strict=True)
    return {
        "benchmark": "star",
        "calls_per_s": round(statistics.median(rates)),
        "calls_per_s_best": round(max(rates)),
        "starlark_calls_per_s": round(statistics.median(theirs)),
        "starlark_bare_calls_per_s": round(statistics.median(bare)),
        "ratio_to_exec": round(statistics.median(x / y for x, y, _ in rounds), 1),
        "ratio_to_bare_call": round(statistics.median(x / z for x, _, z in rounds), 1),
        "rounds": ROUNDS,
        "calls_per_s_to_hold": CALLS_PER_S_MIN,
        "ratio_to_hold": RATIO_MIN,
        "load_after": round(os.getloadavg()[0], 2),
        "revision": revision(ROOT),
        "machine": machine,
    }


def main() -> None:
    """Print the figures; exit code 1 where one is not held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep the result")
    record = parser.parse_args().record
    figures = measure()
    holds = figures["calls_per_s"] >= CALLS_PER_S_MIN and figures["ratio_to_exec"] >= RATIO_MIN
    for name, hold in ROWS:
        print(f"{name:<26} {figures[name]:>9,}  {hold}".rstrip())
    if record:
        KEPT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    sys.exit(not holds)


if __name__ == "__main__":
    main()
