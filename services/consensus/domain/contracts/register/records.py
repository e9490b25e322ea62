"""What the register keeps, as its readers in Python see it: the recount, and other contracts.

`guqiao_sdk/register_rules` writes the records and says what is in them; here is what a reader asks
for. Reading asserts the shape: only the register writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guqiao_sdk.proof.json_values import Json

EMPTY_HOLDING: Final[Mapping[str, Json]] = {
    "positions": {},
    "last_purchase": None,
    "last_sale": None,
}
"""Of an account that never had anything in a product."""


@dataclass(frozen=True, slots=True)
class Account:
    """A securities account, named by its investor code."""

    code: str
    counted_holders: int


@dataclass(frozen=True, slots=True)
class Product:
    """A registered product with its running counts."""

    code: str
    registered_total: int
    positions_total: int
    holder_count: int


@dataclass(frozen=True, slots=True)
class Position:
    """The shares of one account in one product and nature. Its total is positive."""

    total: int
    pledged: int = 0
    frozen: int = 0
    overlap: int = 0
    confirmed: bool = True
    restricted_until: str | None = None
    fruit_freezes: int = 0
    """How many freezes with an effective part also hold the fruits."""

    @property
    def available(self) -> int:
        """Return the shares that are neither pledged nor frozen."""
        return self.total - self.pledged - self.frozen + self.overlap


@dataclass(frozen=True, slots=True)
class Pledge:
    """What is outstanding of a registered pledge."""

    account: str
    product_code: str
    nature: str
    outstanding: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """A registered freeze: how much of it is effective and how much waits its turn."""

    number: str
    account: str
    product_code: str
    nature: str
    effective: int
    waiting: int
    fruits: bool


def integer(value: Json) -> int:
    """Return a stored integer."""
    assert type(value) is int
    return value


def any_integer(value: Json) -> int:
    """Return a stored count, which may have left the range of values: it is decimal text then."""
    return int(value) if isinstance(value, str) else integer(value)


def text(value: Json) -> str:
    """Return a stored string."""
    assert isinstance(value, str)
    return value


def text_or_none(value: Json) -> str | None:
    """Return a stored string or null."""
    return None if value is None else text(value)


def boolean(value: Json) -> bool:
    """Return a stored boolean."""
    assert isinstance(value, bool)
    return value


def texts(value: Json) -> tuple[str, ...]:
    """Return a stored array of strings."""
    assert isinstance(value, list)
    return tuple(text(element) for element in value)


def members(value: Json) -> dict[str, Json]:
    """Return a stored object."""
    assert isinstance(value, dict)
    return value


def account_from_json(value: Json) -> Account:
    """Read an account."""
    stored = members(value)
    return Account(text(stored["code"]), integer(stored["counted_holders"]))


def product_from_json(value: Json) -> Product:
    """Read a product."""
    stored = members(value)
    return Product(
        code=text(stored["code"]),
        registered_total=integer(stored["registered_total"]),
        positions_total=integer(stored["positions_total"]),
        holder_count=any_integer(stored["holder_count"]),
    )


def positions_from_json(value: Json) -> dict[str, Position]:
    """Read the positions of a holding, by nature."""
    stored = members(members(value)["positions"])
    return {nature: _position_from_json(position) for nature, position in stored.items()}


def _position_from_json(value: Json) -> Position:
    stored = members(value)
    return Position(
        total=integer(stored["total"]),
        pledged=integer(stored["pledged"]),
        frozen=integer(stored["frozen"]),
        overlap=integer(stored["overlap"]),
        confirmed=boolean(stored["confirmed"]),
        restricted_until=text_or_none(stored["restricted_until"]),
        fruit_freezes=integer(stored["fruit_freezes"]),
    )


def freeze_from_json(value: Json) -> Freeze:
    """Read a freeze."""
    stored = members(value)
    return Freeze(
        number=text(stored["number"]),
        account=text(stored["account"]),
        product_code=text(stored["product_code"]),
        nature=text(stored["nature"]),
        effective=integer(stored["effective"]),
        waiting=integer(stored["waiting"]),
        fruits=boolean(stored["fruits"]),
    )


def pledge_from_json(value: Json) -> Pledge:
    """Read a pledge."""
    stored = members(value)
    return Pledge(
        account=text(stored["account"]),
        product_code=text(stored["product_code"]),
        nature=text(stored["nature"]),
        outstanding=integer(stored["outstanding"]),
    )
