"""What the engine asks of the chain; the ledger's host gives it, and so do tests and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Chain, Party

Over = TypeVar("Over", bound=Chain)


class StarHost(Chain, Protocol):
    """Access lists are the engine's, not the host's."""

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        """Call another contract within this call, and return what it returns."""
        ...


class OverHost(Generic[Over]):
    """What a host of the engine passes on as it is to the host of a contract below it."""

    __slots__ = ("_host",)

    def __init__(self, host: Over) -> None:
        self._host = host

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, own writes included, or None."""
        return self._host.get(key)

    def sender(self) -> Party:
        """Return the maker, whichever contract called."""
        return self._host.sender()

    def checker(self) -> Party | None:
        """Return the second signer, where there is one."""
        return self._host.checker()

    def height(self) -> int:
        """Return the height of the block being executed."""
        return self._host.height()

    def block_time_ms(self) -> int:
        """Return the block time."""
        return self._host.block_time_ms()

    def business_time(self) -> str | None:
        """Return the operation's own time, where it has one."""
        return self._host.business_time()
