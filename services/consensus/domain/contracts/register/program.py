"""The register's rules as they run: `guqiao_sdk.register_rules` behind the ledger's host.

The rules are there for regulators to read, and an error in them refuses one operation instead of
ending every replica. The register is one of the chain's own contracts, so what the rules refuse and
announce goes out as its word; of a data object they make the body, and `data_objects` sends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.register_rules import source_parts
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import data_objects
from services.consensus.domain.contracts.star.execution import Status, execute
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.port import OverHost
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.star.syntax import compile_parts

GAS_MAX: Final = 60_000_000
"""Of one operation: an issue to 4,000 accounts takes about a sixth."""

ALLOCATED_BYTES_MAX: Final = 128 * 1024 * 1024
"""What one operation may make in all: an issue to 4,000 accounts makes about half of it."""

PRICES: Final = GasTable(read=10)
"""A scan is paid by the keys that it may find, which are read in one go here."""

OBJECT_TOPIC: Final = "data_object"


_RULES: Final = Program(compile_parts([*source_parts().values()]), PRICES, remembers=True)
"""Compiled with this module, in some 0.3 s: once for all replicas that are forks of a process."""


def register_program() -> Program:
    """The rules, compiled."""
    return _RULES


def run(method: str, host: Host, body: Mapping[str, Json], *, marked_as: int | None = None) -> None:
    """Execute one method, or raise `Refusal` with the rule's own code and facts. With the version
    of the contract its data objects bear the mark of their source.
    """
    meter = Meter(GAS_MAX, PRICES, allocated_max=ALLOCATED_BYTES_MAX)
    arguments: dict[str, Json] = {"body": dict(body), "transaction": host.transaction_id()}
    outcome = execute(register_program(), _RegisterHost(host, marked_as), meter, method, arguments)
    if outcome.status is Status.OUT_OF_GAS:
        raise Refusal("LIMIT_EXCEEDED", limit="gas", maximum=GAS_MAX)
    if outcome.code is not None:
        place: dict[str, Json] = {} if outcome.is_refusal else {"at": f"register:{outcome.line}"}
        raise Refusal(outcome.code, **outcome.fields, **place)


def is_qualified(host: Host, account: Json, holding: Json, day: str) -> bool:
    """Whether an account may buy on `day` (YYYY-MM-DD), given its holding of the product before.
    Both are records of the register, which alone has the rule.
    """
    arguments: dict[str, Json] = {"account": account, "holding": holding, "day": day}
    meter = Meter(GAS_MAX, PRICES)
    outcome = execute(register_program(), _RegisterHost(host, None), meter, "qualified", arguments)
    assert isinstance(outcome.result, bool), outcome
    return outcome.result


class _RegisterHost(OverHost[Host]):
    """Implements `star.port.StarHost` over the host of a contract of the chain's own."""

    __slots__ = ("_marked_as",)

    def __init__(self, host: Host, marked_as: int | None) -> None:
        super().__init__(host)
        self._marked_as = marked_as

    def put(self, key: str, value: Json) -> None:
        self._host.put(key, value)

    def delete(self, key: str) -> None:
        self._host.delete(key)

    def entries(self, prefix: str, limit: int) -> Iterable[tuple[str, Json]]:
        return self._host.entries(prefix, limit)

    def emit(self, topic: str, body: Json) -> None:
        if topic == OBJECT_TOPIC:
            data_objects.send(self._host, body, marked_as=self._marked_as)
        else:
            self._host.emit(f"register.{topic}", body)

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        raise ContractError("CONTRACT_CALL_UNDECLARED", contract=contract, method=method)
