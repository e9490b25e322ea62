"""Runs contracts without a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.frames import Run
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.star.values import Value, from_json, to_json

GAS = 10_000_000
MAKER = Party("did:rem:shandong:clerk", "k1", "did:rem:shandong:market", frozenset({"clerk"}))


AROUND = Surroundings(MAKER, None, 7, 1_700_000_000_000, "2026-03-02T10:00:00+08:00")


class Echo(MemoryHost):
    """A host on which every call of another contract returns what it was given."""

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        return {"contract": contract, "method": method, **arguments}


def host(state: Mapping[str, Json] | None = None, around: Surroundings = AROUND) -> MemoryHost:
    """A host with this state."""
    return Echo(state or {}, around)


@dataclass(slots=True)
class Contract:
    """A source, compiled, on a host of its own."""

    program: Program
    host: MemoryHost = field(default_factory=host)
    gas: int = GAS
    used: int = 0

    def call(self, method: str, **arguments: Json) -> Json:
        """Call a method; what it returns, as JSON."""
        meter = Meter(self.gas, GasTable())
        run = Run(meter, self.host, self.program.module.access)
        given: dict[str, Value] = {
            name: from_json(Meter.boundless(), value) for name, value in arguments.items()
        }
        try:
            return to_json(Meter.boundless(), self.program.call(run, method, given))
        finally:
            self.used = meter.used


def contract(source: str) -> Contract:
    """A contract of this source."""
    return Contract(Program(compile_source(source.encode()), GasTable()))
