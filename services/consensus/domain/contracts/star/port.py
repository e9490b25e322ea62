"""What the engine asks of the chain; the ledger's host gives it, and so do tests and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party


class StarHost(Protocol):
    """The chain as one call sees it. Keys are the contract's own; access lists are the engine's."""

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None."""
        ...

    def put(self, key: str, value: Json) -> None:
        """Write `value`, which is not None, under `key`."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; no effect when it is absent."""
        ...

    def scan(self, prefix: str, limit: int) -> list[tuple[str, Json]]:
        """Return at most `limit` entries under `prefix`, by bytes of the key, own writes seen."""
        ...

    def emit(self, topic: str, body: Json) -> None:
        """Add an event to the receipt."""
        ...

    def sender(self) -> Party:
        """Return the maker."""
        ...

    def checker(self) -> Party | None:
        """Return the second signer, where there is one."""
        ...

    def height(self) -> int:
        """Return the height of the block being executed."""
        ...

    def block_time_ms(self) -> int:
        """Return the block time, milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def business_time(self) -> str | None:
        """Return the operation's own time, where it has one."""
        ...

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        """Call another contract within this call, and return what it returns."""
        ...
