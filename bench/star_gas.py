"""How much CPU time a million units of gas buy at worst, by operation of `star/1`.

    python -m bench.star_gas            # a table; the last line is JSON; 1 where not held
    python -m bench.star_gas --gas N    # units of gas that each operation uses up, 100,000 if not
    python -m bench.star_gas --first    # by the first table
    python -m bench.star_gas --record   # also keep it in bench/results/star_gas.json

Each operation is tried with the arguments that are dearest to it: long texts that nearly match,
keys that meet in a hash table, large containers for small results. What its setting costs is taken
off. Times are CPU time of this process: on a host in memory, and for scans, events and calls
between contracts on the ledger's over a state in memory. What a disk does is no part of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.machine import machine_facts, revision
from bench.star_chain import CLERK, on_chain
from bench.star_operations import ON_THE_LEDGER, OPERATIONS, source_of
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.execution import execute
from services.consensus.domain.contracts.star.gas import FIRST_TABLE, GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "star_gas.json"
GAS: Final = 100_000
ROUNDS: Final = 2
SETTING_GAS: Final = 100_000_000
SECONDS_PER_MILLION_MAX: Final = 1.0
"""What is held: a unit of gas buys at most about a microsecond of one core."""
MEMORY: Final = 1 << 40
"""No bound here: operations are repeated until the gas is used up."""

AROUND: Final = Surroundings(
    CLERK,
    None,
    7,
    1_700_000_000_000,
    None,
)


def seconds_per_million(name: str, table: GasTable, gas: int) -> float:
    """The least of some rounds: neighbours on the machine add to CPU time, and take nothing off."""
    program = Program(compile_source(source_of(name).encode()), table)
    on_ledger = name.startswith(ON_THE_LEDGER)
    setting = _run(program, table, SETTING_GAS, {"rounds": 0}, on_ledger=on_ledger)
    whole = setting[1] + gas
    rounds = [
        _run(program, table, whole, {"rounds": 10_000}, on_ledger=on_ledger)[0] - setting[0]
        for _ in range(ROUNDS)
    ]
    return max(min(rounds), 0.0) * 1_000_000 / gas


def _run(
    program: Program, table: GasTable, gas: int, arguments: dict[str, Json], *, on_ledger: bool
) -> tuple[float, int]:
    """CPU seconds and gas of one call."""
    meter = Meter(gas, table, allocated_max=MEMORY)
    host = on_chain(program.module, meter) if on_ledger else MemoryHost({}, AROUND)
    began = time.process_time()
    outcome = execute(program, host, meter, "go", arguments)
    spent = time.process_time() - began
    assert outcome.code in (None, "CONTRACT_OUT_OF_GAS"), outcome
    return spent, outcome.gas_used


def measure(table: GasTable, gas: int, names: list[str]) -> dict[str, Any]:
    """All operations, the dearest first."""
    machine = machine_facts()
    found = {name: round(seconds_per_million(name, table, gas), 3) for name in names}
    worst = max(found, key=lambda name: found[name])
    return {
        "benchmark": "star_gas",
        "worst": worst,
        "seconds_per_million_gas": found[worst],
        "to_hold": SECONDS_PER_MILLION_MAX,
        "operations": dict(sorted(found.items(), key=lambda each: -each[1])),
        "gas_of_each": gas,
        "table": "first" if table.is_first else "present",
        "load_after": round(os.getloadavg()[0], 2),
        "revision": revision(ROOT),
        "machine": machine,
    }


def main() -> None:
    """Print the figures; exit code 1 where one is not held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gas", type=int, default=GAS, help="units that each operation uses up")
    parser.add_argument("--first", action="store_true", help="by the first table")
    parser.add_argument("--record", action="store_true", help="keep the result")
    parser.add_argument("operation", nargs="*", choices=[[], *OPERATIONS], help="all by default")
    given = parser.parse_args()
    table = FIRST_TABLE if given.first else GasTable()
    figures = measure(table, given.gas, given.operation or list(OPERATIONS))
    for name, seconds in figures["operations"].items():
        print(f"{name:<34} {seconds:>9.3f} s a million")
    if given.record:
        KEPT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    sys.exit(figures["seconds_per_million_gas"] > SECONDS_PER_MILLION_MAX)


if __name__ == "__main__":
    main()
