"""A host without a chain: the state of one contract in a dictionary, for tools and tests.

It keeps the bounds of the ledger's host, so that what runs here does not fail there for its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import EVENTS_MAX
from services.consensus.domain.contracts.host import OUTPUT_BYTES_MAX, WRITES_MAX, Party
from services.consensus.domain.contracts.star.execution import (
    NOBODY,
    Outcome,
    Status,
    Watch,
    execute,
)
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.line_gas import LineGas
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.values import check_length
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.life_cycle_guard import LifeCycleGuard


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a call finds out about itself: who signed, and when."""

    maker: Party
    checker: Party | None
    height: int
    block_time_ms: int
    business_time: str | None


@dataclass(slots=True)
class MemoryHost:
    """Implements `port.StarHost`. `state` is never changed: `writes` lie above it, None where a key
    was deleted. Values that are handed in belong to the host. With a `guard` it keeps to the tiers
    of a template, and with a `life_cycle` to that as well.
    """

    state: Mapping[str, Json]
    surroundings: Surroundings
    writes: dict[str, Json] = field(default_factory=dict)
    events: list[tuple[str, Json]] = field(default_factory=list)
    guard: TierGuard | None = None
    life_cycle: LifeCycle | None = None
    _step: LifeCycleGuard | None = None
    _output_bytes: int = 0

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None."""
        if self._step is not None:
            self._step.require_readable(key)
        value = self._value(key)
        if self._step is not None:
            self._step.found(key, value)
        return value

    def _value(self, key: str) -> Json | None:
        return self.writes[key] if key in self.writes else self.state.get(key)

    def put(self, key: str, value: Json) -> None:
        """Write `value`, which is not None, under `key`."""
        assert value is not None, "a stored null does not exist: delete"
        if self.guard is not None:
            self.guard.write(key, value)
        if self._step is not None:
            self._step.write(key, value, lambda: self._value(key))
        self._count(key, value)
        self._write(key, value)

    def delete(self, key: str) -> None:
        """Remove `key`; no effect when it is absent."""
        if self._step is not None:
            self._step.delete(key)
        if self._value(key) is not None:
            self._write(key, None)

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        """Return at most `limit` entries under `prefix`, by bytes of the key, own writes seen."""
        found = sorted(self._under(prefix), key=lambda entry: entry[0].encode())
        return found[:limit]

    def entries(self, prefix: str, limit: int) -> Iterator[tuple[str, Json]]:
        """The same, one by one."""
        if self._step is not None:
            self._step.require_readable(prefix)
        for key, value in self.scan(prefix, limit):
            if self._step is not None:
                self._step.found(key, value)
            yield key, value

    def emit(self, topic: str, body: Json) -> None:
        """Add an event."""
        if self.guard is not None:
            self.guard.event(body)
        if self._step is not None:
            self._step.event(topic, body)
        check_length(len(self.events) + 1, EVENTS_MAX, "events")
        self._count(topic, body)
        self.events.append((topic, body))

    def sender(self) -> Party:
        """Return the maker."""
        return self.surroundings.maker

    def checker(self) -> Party | None:
        """Return the second signer, where there is one."""
        return self.surroundings.checker

    def height(self) -> int:
        """Return the height of the block."""
        return self.surroundings.height

    def block_time_ms(self) -> int:
        """Return the block time: milliseconds since 1970-01-01T00:00:00Z."""
        return self.surroundings.block_time_ms

    def business_time(self) -> str | None:
        """Return the operation's own time, where it has one."""
        return self.surroundings.business_time

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        """Refuse: there is no other contract here."""
        raise ContractError("CONTRACT_CALL_OFFLINE", contract=contract[:64], method=method[:64])

    def run(
        self,
        program: Program,
        meter: Meter,
        method: str,
        arguments: Mapping[str, Json],
        lines: LineGas | None = None,
    ) -> Outcome:
        """Call a method; unless it ends well, nothing is written and announced."""
        assert not self.writes
        watch = self._watch(meter, method)
        outcome = execute(program, self, meter, method, arguments, lines, watch=watch)
        if outcome.status is not Status.OK:
            self.writes.clear()
            self.events.clear()
        return outcome

    def _watch(self, meter: Meter, method: str) -> Watch:
        guard, step = self.guard, None
        if guard is None:
            return NOBODY
        if self.life_cycle is not None:
            around = self.surroundings
            signers = (around.maker, around.checker)
            step = LifeCycleGuard(self.life_cycle, guard.tiers, meter, method, *signers)
        self._step = step
        ended = None if step is None else step.ended
        failed = None if step is None else guard.failed
        return Watch(guard.arguments, ended, guard.told, failed)

    def after(self) -> dict[str, Json]:
        """The state with the writes in it, keys in the order of their bytes."""
        return dict(self.scan("", len(self.state) + len(self.writes)))

    def _under(self, prefix: str) -> Iterator[tuple[str, Json]]:
        for key in self.state.keys() | self.writes.keys():
            if key.startswith(prefix):
                value = self._value(key)
                if value is not None:
                    yield key, value

    def _write(self, key: str, value: Json) -> None:
        if key not in self.writes:
            check_length(len(self.writes) + 1, WRITES_MAX, "writes")
        self.writes[key] = value

    def _count(self, name: str, value: Json) -> None:
        self._output_bytes = in_all = self._output_bytes + len(name) + _size(value)
        if in_all > OUTPUT_BYTES_MAX:
            check_length(in_all, OUTPUT_BYTES_MAX, "output_bytes")


def _size(value: Json) -> int:
    """Bytes of the value as JSON without blanks."""
    if type(value) is str:
        return len(encode_basestring(value).encode())
    if type(value) is int:
        return len(str(value))
    if isinstance(value, dict):
        size = 1
        for name, part in value.items():
            size += 2 + len(encode_basestring(name).encode()) + _size(part)
        return max(size, len("{}"))
    if isinstance(value, list):
        return max(1 + len(value) + sum(map(_size, value)), len("[]"))
    return len("false") if value is False else len("true")  # or null
