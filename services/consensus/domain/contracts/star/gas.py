"""What a call costs: a price for each node that is evaluated and for the bytes that it moves.

The table is data, kept on chain. There are two kinds of it: the first has no price for what came to
cost more time than a unit of gas should buy; chains that began with it keep it. A price is charged
before the work that it is for, so work is bounded by the gas that is left.
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

COMPARISONS: Final = 1024
"""Characters that a search may compare for one unit of its price. At worst it compares as many as
both texts multiplied: a bound that holds for every version of CPython.
"""
KEY_FREE: Final = UNIT_BYTES
"""Characters of a key that cost nothing beside its operation."""
NAMES: Final = 64
"""Places of names that one unit of its price makes in the frame of a called function."""
ENTRIES: Final = 128
"""Of a dict, that a search for an int may pass for one unit: ints can be made to meet."""


@dataclass(frozen=True, slots=True)
class GasTable:
    """Prices in units of gas; `bytes` is for each started `UNIT_BYTES`.

    `search`, `key` and `name`, for each `COMPARISONS`, `UNIT_BYTES` of a key beyond the first, and
    `NAMES`, are 0 in the first table, which has no such prices, and in no other. Where they are
    there, the parts that `join` reads, the text that `strip` looks through and the record of a
    contract that is called are paid for as well.
    """

    node: int = 1
    call: int = 5
    element: int = 1
    bytes: int = 1
    read: int = 50
    write: int = 100
    scan: int = 100
    emit: int = 50
    digest: int = 20
    search: int = 1
    key: int = 1
    name: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is of the kind that has no prices for `_LATER`."""
        return self.search == 0

    @staticmethod
    def from_json(prices: Mapping[str, int]) -> GasTable:
        """Read the table of a chain, of either kind; raises `ValueError` for unknown, missing or
        negative ones.
        """
        names = set(GasTable.__dataclass_fields__)
        if set(prices) not in (names, names - set(_LATER)):
            raise ValueError("not the prices of star/1")
        if any(type(price) is not int or not 0 < price < 1 << 32 for price in prices.values()):
            raise ValueError("a price is a whole number from 1")
        return GasTable(**{**dict.fromkeys(_LATER, 0), **prices})

    def to_json(self) -> dict[str, int]:
        """As chains keep it: a first table has no members that it has no prices for."""
        names = GasTable.__dataclass_fields__.keys() - (_LATER if self.is_first else ())
        return {name: getattr(self, name) for name in sorted(names)}


_LATER: Final = ("search", "key", "name")
FIRST_TABLE: Final = GasTable(search=0, key=0, name=0)
"""What a chain has whose genesis file names no table."""


class Meter:
    """The gas and the memory that one call has left."""

    __slots__ = (
        "allocated",
        "allocated_max",
        "byte_price",
        "element_price",
        "gas",
        "key_free",
        "limit",
        "table",
    )

    def __init__(
        self, limit: int, table: GasTable, *, allocated_max: int = ALLOCATED_BYTES_MAX
    ) -> None:
        self.limit = self.gas = limit
        self.table = table
        self.byte_price, self.element_price = table.bytes, table.element
        self.allocated_max = allocated_max
        self.allocated = 0
        self.key_free = 1 << 62 if table.is_first else KEY_FREE
        """Longer keys are paid for by `touch_key`."""

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
        self.gas -= self.byte_price * (1 + size // UNIT_BYTES)
        if self.gas < 0:
            raise OutOfGas

    def visit(self, count: int) -> None:
        """Use up gas for so many elements of a container."""
        self.gas -= self.element_price * (1 + count)
        if self.gas < 0:
            raise OutOfGas

    def touch_key(self, length: int) -> None:
        """Use up gas for hashing and comparing a key that is longer than `key_free`."""
        self.charge(self.table.key * (length // UNIT_BYTES))

    def probe(self, entries: int) -> None:
        """Use up gas for an int that is looked for among so many entries of a dict."""
        self.charge(self.table.key * (entries // ENTRIES))

    def search(self, text: int, part: int) -> None:
        """Use up gas for a text of so many characters in which one of so many is looked for."""
        self.charge(self.table.search * (text * part // COMPARISONS))

    def pass_over(self, size: int) -> None:
        """Use up gas for characters that are read and not kept; not by the first table."""
        if not self.table.is_first:
            self.touch(size)

    def gather(self, count: int) -> None:
        """Use up gas for parts that are put together; not by the first table."""
        if not self.table.is_first:
            self.visit(count)

    def look_up(self) -> None:
        """Use up gas for reading who another contract is; not by the first table."""
        if not self.table.is_first:
            self.charge(self.table.read)

    def allocate(self, size: int) -> None:
        """Count memory that is about to be taken, and gas for filling it."""
        self.allocated = allocated = self.allocated + size
        if allocated > self.allocated_max:
            raise ContractError("LIMIT_EXCEEDED", limit="memory", maximum=self.allocated_max)
        self.gas = gas = self.gas - self.byte_price * (1 + size // UNIT_BYTES)
        if gas < 0:
            raise OutOfGas

    @staticmethod
    def boundless() -> Meter:
        """For what is made once, before any call: literals, whose size is bounded already."""
        return Meter(1 << 62, GasTable())
