"""The ledger's host behind a contract, with another contract beside it, for `bench.star_gas`.

What scans, events and calls between contracts cost is the ledger's work as much as the engine's:
layers of writes, canonical JSON, the record and the form of the contract that is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from guqiao_sdk.proof.json_values import Json, canonical_json
from guqiao_sdk.proof.transaction import Payload, SignedTransaction
from services.consensus.domain.contracts.deployed import (
    CONTRACTS,
    Deployed,
    Status,
    code_key,
    contract_record_key,
)
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.ir import ENGINE, Module
from services.consensus.domain.contracts.star.syntax import compile_source
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.host import CallContext, LedgerHost
from services.consensus.domain.ledger.keys import contract_key
from services.consensus.domain.ledger.star_calls import LedgerStarHost
from services.consensus.domain.ledger.star_programs import StarPrograms

CLERK: Final = Party("did:rem:bench:clerk", "", "did:rem:bench:market", frozenset({"clerk"}))
OTHER: Final = (
    'ACCESS = {"read": [], "write": []}\n\n'
    "def none():\n    return None\n\n"
    "def same(value):\n    return value\n"
)
"""The contract `other`, which is called."""


class _State:
    """What was written before the block: the two contracts."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self._values = {
            contract_key(CONTRACTS, key): canonical_json(value)
            for name, module in modules.items()
            for key, value in _deployment(name, module)
        }

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self._values.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The entries under a prefix."""
        found = (each for each in self._values.items() if each[0].startswith(prefix))
        return iter(sorted(found))


class OnChain(LedgerStarHost):
    """Forgets what was announced: of that a call could not make enough to use up its gas."""

    __slots__ = ()

    def emit(self, topic: str, body: Json) -> None:
        """Add an event, and take it away."""
        super().emit(topic, body)
        self._host.events.clear()
        self._host.output_bytes = 0


def on_chain(module: Module, meter: Meter) -> OnChain:
    """The host of a call of `go` of this module, deployed as `bench`."""
    modules = {"bench": module, "other": compile_source(OTHER.encode())}
    host = LedgerHost(_State(modules), _context(), "bench")
    made = OnChain(host, StarPrograms(), meter)
    contract = _record("bench", module)
    made.enter(contract, made.program(contract), "go")
    return made


def _record(name: str, module: Module) -> Deployed:
    return Deployed(name, ENGINE, module.digest.hex(), 1, Status.ACTIVE)


def _deployment(name: str, module: Module) -> Iterator[tuple[str, Json]]:
    yield contract_record_key(name), _record(name, module).to_json()
    yield code_key(name, 1), {"ir": module.encoded.decode()}


def _context() -> CallContext:
    payload = Payload(
        chain="bench",
        maker=(CLERK.did, CLERK.key_id),
        checker=None,
        organisation=CLERK.organisation,
        request_id="00000000-0000-4000-8000-000000000000",
        expires_height=8,
        expires_time_ms=1_700_000_000_000,
        after=None,
        contract="bench",
        method="go",
        business_time=None,
        body={},
    )
    signed = SignedTransaction(payload.to_bytes(), ())
    return CallContext(
        chain_id="bench",
        destination=None,
        height=7,
        block_time_ms=1_700_000_000_000,
        transaction=AdmittedTransaction(signed.id(), payload, signed, b""),
        maker=CLERK,
        checker=None,
        verify=lambda public_key, message, signature: False,
    )
