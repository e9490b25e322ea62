"""Runs contracts without a chain: a host whose state is a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.frames import Run
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.contracts.star.values import Value, from_json, to_json

GAS = 10_000_000
MAKER = Party("did:rem:shandong:clerk", "k1", "did:rem:shandong:market", frozenset({"clerk"}))


@dataclass(slots=True)
class MemoryStar:
    """A host; what calls write stays."""

    state: dict[str, Json] = field(default_factory=dict)
    events: list[tuple[str, Json]] = field(default_factory=list)
    maker: Party = MAKER
    second: Party | None = None
    at_height: int = 7

    def get(self, key: str) -> Json | None:
        return self.state.get(key)

    def put(self, key: str, value: Json) -> None:
        self.state[key] = value

    def delete(self, key: str) -> None:
        self.state.pop(key, None)

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        found = [(key, self.state[key]) for key in self.state if key.startswith(prefix)]
        return sorted(found, key=lambda entry: entry[0].encode())[:limit]

    def emit(self, topic: str, body: Json) -> None:
        self.events.append((topic, body))

    def sender(self) -> Party:
        return self.maker

    def checker(self) -> Party | None:
        return self.second

    def height(self) -> int:
        return self.at_height

    def block_time_ms(self) -> int:
        return 1_700_000_000_000

    def business_time(self) -> str | None:
        return "2026-03-02T10:00:00+08:00"

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        return {"contract": contract, "method": method, **arguments}


@dataclass(slots=True)
class Contract:
    """A source, compiled, on a host of its own."""

    program: Program
    host: MemoryStar = field(default_factory=MemoryStar)
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
