"""What the engine asks of the chain; the ledger's host gives it, and so do tests and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Chain


class StarHost(Chain, Protocol):
    """Access lists are the engine's, not the host's."""

    def call(self, contract: str, method: str, arguments: Mapping[str, Json]) -> Json:
        """Call another contract within this call, and return what it returns."""
        ...
