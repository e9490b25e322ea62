"""A host in memory for tests of contracts: the chain's behaviour without the chain.

`run` executes one call as a replica would: a refusal rolls back writes, events and packets. Values
pass through canonical JSON, so a contract that stores a float or shares a list is found out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.host import Contract, Party, Refusal, call

INSTITUTION = Party(
    did="did:rem:shandong:91370199MA9900001C",
    key_id="key-1",
    organisation="91370199MA9900001C",
    roles=frozenset({"registration_institution", "operator_maker"}),
)


@dataclass
class Outcome:
    """What one call left behind."""

    code: str | None
    """The refusal's code, or None where the call was accepted."""
    fields: dict[str, Json] = field(default_factory=dict)
    events: list[tuple[str, Json]] = field(default_factory=list)
    packets: list[tuple[str, Json]] = field(default_factory=list)


@dataclass
class MemoryHost:
    """Implements the host over a dictionary of bytes."""

    store: dict[str, bytes] = field(default_factory=dict)
    party: Party = INSTITUTION
    second_party: Party | None = None
    time: str | None = None
    block_ms: int = 1_756_000_000_000
    block_height: int = 1
    transaction: str = "0" * 64
    calls: int = 0
    reads: int = 0
    writes: int = 0
    events: list[tuple[str, Json]] = field(default_factory=list)
    packets: list[tuple[str, Json]] = field(default_factory=list)
    _before: dict[str, bytes | None] = field(default_factory=dict)
    """What the call has overwritten; a copy of the whole store would cost more than most calls."""

    def run(
        self, contract: Contract, method: str, body: Mapping[str, Json], *, time: str | None = None
    ) -> Outcome:
        """Execute one call in a transaction of its own."""
        self._before.clear()
        self.calls += 1
        self.transaction = f"{self.calls:064x}"
        self.time = time or self.time
        self.reads = self.writes = 0
        self.events, self.packets = [], []
        try:
            call(contract, method, self, body)
        except Refusal as refusal:
            self._roll_back()
            return Outcome(refusal.code, json.loads(canonical_json(refusal.fields)))
        return Outcome(None, {}, self.events, self.packets)

    def get(self, key: str) -> Json | None:
        self.reads += 1
        stored = self.store.get(key)
        if stored is None:
            return None
        value: Json = json.loads(stored)
        return value

    def read(self, contract: str, key: str) -> Json | None:
        """There are no other contracts here."""
        return None

    def put(self, key: str, value: Json) -> None:
        assert value is not None, key
        self.writes += 1
        self._before.setdefault(key, self.store.get(key))
        self.store[key] = canonical_json(value)

    def delete(self, key: str) -> None:
        self.writes += 1
        self._before.setdefault(key, self.store.get(key))
        self.store.pop(key, None)

    def _roll_back(self) -> None:
        for key, value in self._before.items():
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        keys = sorted((key for key in self.store if key.startswith(prefix)), key=str.encode)
        return [(key, json.loads(self.store[key])) for key in keys[:limit]]

    def entries(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        return self.scan(prefix, limit)

    def emit(self, topic: str, body: Json) -> None:
        self.events.append((topic, json.loads(canonical_json(body))))

    def sender(self) -> Party:
        return self.party

    def checker(self) -> Party | None:
        return self.second_party

    def height(self) -> int:
        return self.block_height

    def block_time_ms(self) -> int:
        return self.block_ms

    def business_time(self) -> str | None:
        return self.time

    def transaction_id(self) -> str:
        return self.transaction

    def send_packet(self, port: str, body: Json) -> None:
        self.packets.append((port, json.loads(canonical_json(body))))
