"""What a call costs: a price for each node that is evaluated and for the bytes that it moves.

The table is data, kept on chain; this is the first one. A price is charged before the work that it
is for, so work is bounded by the gas that is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.consensus.domain.contracts.star.faults import ContractError, OutOfGas

ALLOCATED_BYTES_MAX: Final = 16 * 1024 * 1024
"""What one call may make in all; nothing of it counts as given back."""

UNIT_BYTES: Final = 32
"""Bytes that one unit of gas copies or compares."""


@dataclass(frozen=True, slots=True)
class GasTable:
    """Prices in units of gas; `bytes` is for each started `UNIT_BYTES`."""

    node: int = 1
    call: int = 5
    element: int = 1
    bytes: int = 1
    read: int = 50
    write: int = 100
    scan: int = 100
    emit: int = 50
    digest: int = 20

    @staticmethod
    def from_json(prices: Mapping[str, int]) -> GasTable:
        """Read the table of a chain; raises `ValueError` for unknown, missing or negative ones."""
        if set(prices) != set(GasTable.__dataclass_fields__):
            raise ValueError("not the prices of star/1")
        if any(type(price) is not int or not 0 < price < 1 << 32 for price in prices.values()):
            raise ValueError("a price is a whole number from 1")
        return GasTable(**prices)


class Meter:
    """The gas and the memory that one call has left."""

    __slots__ = (
        "_allocated_max",
        "_byte_price",
        "_element_price",
        "allocated",
        "gas",
        "limit",
        "table",
    )

    def __init__(
        self, limit: int, table: GasTable, *, allocated_max: int = ALLOCATED_BYTES_MAX
    ) -> None:
        self.limit = self.gas = limit
        self.table = table
        self._byte_price, self._element_price = table.bytes, table.element
        self._allocated_max = allocated_max
        self.allocated = 0

    @property
    def used(self) -> int:
        """Gas used up so far, at most the limit."""
        return self.limit - max(self.gas, 0)

    def charge(self, price: int) -> None:
        """Use up gas; raises `OutOfGas`."""
        self.gas -= price
        if self.gas < 0:
            raise OutOfGas

    def touch(self, size: int) -> None:
        """Use up gas for so many bytes that are read, copied or compared."""
        self.gas -= self._byte_price * (1 + size // UNIT_BYTES)
        if self.gas < 0:
            raise OutOfGas

    def visit(self, count: int) -> None:
        """Use up gas for so many elements of a container."""
        self.gas -= self._element_price * (1 + count)
        if self.gas < 0:
            raise OutOfGas

    def allocate(self, size: int) -> None:
        """Count memory that is about to be taken, and gas for filling it."""
        self.allocated = allocated = self.allocated + size
        if allocated > self._allocated_max:
            raise ContractError("LIMIT_EXCEEDED", limit="memory", maximum=self._allocated_max)
        self.gas = gas = self.gas - self._byte_price * (1 + size // UNIT_BYTES)
        if gas < 0:
            raise OutOfGas

    @staticmethod
    def boundless() -> Meter:
        """For what is made once, before any call: literals, whose size is bounded already."""
        return Meter(1 << 62, GasTable())
