"""What the register keeps, as records, and their JSON in the state.

A record is read whole and written whole. Reading asserts the shape: only this contract writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.register.members import VALUE_BOUND

OPEN: Final = "OPEN"
CLOSED: Final = "CLOSED"


@dataclass(frozen=True, slots=True)
class Market:
    """The parameters of the market's rules."""

    market_code: str
    chain_name: str
    currency: str
    region_prefix: str
    excluded_region_prefixes: tuple[str, ...]
    holder_cap: int
    min_interval_trading_days: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the genesis file decides for the register, written under `parameters`."""

    historic_import: bool = False
    """Business time may lie anywhere before or after block time, until this is closed."""
    checker_required: tuple[str, ...] = ()
    """The operations that need a second signature."""


@dataclass(frozen=True, slots=True)
class Company:
    """A registered company."""

    company_ref: str
    uscc: str
    form: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Account:
    """A securities account, named by its investor code, with what rules ask of its investor."""

    code: str
    investor_ref: str
    status: str
    suitability: str
    suitability_valid_to: str | None
    counted_holders: int
    object_id: str


@dataclass(frozen=True, slots=True)
class Product:
    """A registered product with its running counts."""

    code: str
    company_ref: str
    registered_total: int
    positions_total: int
    holder_count: int
    object_id: str


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

    def is_restricted_on(self, day: str) -> bool:
        """Tell whether the shares are restricted: the date itself is the last restricted day."""
        return self.restricted_until is not None and day <= self.restricted_until


@dataclass(frozen=True, slots=True)
class Holding:
    """All that one account has in one product: positions by nature, and its last deals."""

    positions: Mapping[str, Position] = field(default_factory=lambda: MappingProxyType({}))
    last_purchase: str | None = None
    last_sale: str | None = None


@dataclass(frozen=True, slots=True)
class Pledge:
    """A registered pledge and what is outstanding of it."""

    number: str
    account: str
    product_code: str
    nature: str
    pledgee_uscc: str
    registered: int
    outstanding: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """A registered freeze: how much of it is effective and how much waits its turn."""

    number: str
    category: str
    account: str
    product_code: str
    nature: str
    registered: int
    effective: int
    waiting: int
    fruits: bool
    court_doc_no: str
    term_end: str

    @property
    def outstanding(self) -> int:
        """Return the shares that the freeze still claims."""
        return self.effective + self.waiting


Encumbrance: TypeAlias = Freeze | Pledge
"""What binds shares of a position."""


def integer(value: Json) -> int:
    """Return a stored integer."""
    assert type(value) is int
    return value


def exact(number: int) -> Json:
    """Write an integer that may leave the range of values, such as a count of holders: as decimal
    text then, which has no bound.
    """
    return number if abs(number) < VALUE_BOUND else str(number)


def any_integer(value: Json) -> int:
    """Read what `exact` wrote."""
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


def market_from_json(value: Json) -> Market:
    """Read the market's parameters."""
    stored = members(value)
    rules = members(stored["rules"])
    return Market(
        market_code=text(stored["market_code"]),
        chain_name=text(stored["chain_name"]),
        currency=text(stored["currency"]),
        region_prefix=text(rules["region_prefix"]),
        excluded_region_prefixes=texts(rules["excluded_region_prefixes"]),
        holder_cap=integer(rules["holder_cap"]),
        min_interval_trading_days=integer(rules["min_interval_trading_days"]),
    )


def company_to_json(company: Company) -> dict[str, Json]:
    """Write a company."""
    return {
        "company_ref": company.company_ref,
        "uscc": company.uscc,
        "form": company.form,
        "object_id": company.object_id,
    }


def company_from_json(value: Json) -> Company:
    """Read a company."""
    stored = members(value)
    return Company(
        company_ref=text(stored["company_ref"]),
        uscc=text(stored["uscc"]),
        form=text(stored["form"]),
        object_id=text(stored["object_id"]),
    )


def account_to_json(account: Account) -> dict[str, Json]:
    """Write an account."""
    return {
        "code": account.code,
        "investor_ref": account.investor_ref,
        "status": account.status,
        "suitability": account.suitability,
        "suitability_valid_to": account.suitability_valid_to,
        "counted_holders": account.counted_holders,
        "object_id": account.object_id,
    }


def account_from_json(value: Json) -> Account:
    """Read an account."""
    stored = members(value)
    return Account(
        code=text(stored["code"]),
        investor_ref=text(stored["investor_ref"]),
        status=text(stored["status"]),
        suitability=text(stored["suitability"]),
        suitability_valid_to=text_or_none(stored["suitability_valid_to"]),
        counted_holders=integer(stored["counted_holders"]),
        object_id=text(stored["object_id"]),
    )


def product_to_json(product: Product) -> dict[str, Json]:
    """Write a product."""
    return {
        "code": product.code,
        "company_ref": product.company_ref,
        "registered_total": product.registered_total,
        "positions_total": product.positions_total,
        "holder_count": exact(product.holder_count),
        "object_id": product.object_id,
    }


def product_from_json(value: Json) -> Product:
    """Read a product."""
    stored = members(value)
    return Product(
        code=text(stored["code"]),
        company_ref=text(stored["company_ref"]),
        registered_total=integer(stored["registered_total"]),
        positions_total=integer(stored["positions_total"]),
        holder_count=any_integer(stored["holder_count"]),
        object_id=text(stored["object_id"]),
    )


def position_to_json(position: Position) -> dict[str, Json]:
    """Write a position."""
    return {
        "total": position.total,
        "pledged": position.pledged,
        "frozen": position.frozen,
        "overlap": position.overlap,
        "confirmed": position.confirmed,
        "restricted_until": position.restricted_until,
        "fruit_freezes": position.fruit_freezes,
    }


def position_from_json(value: Json) -> Position:
    """Read a position."""
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


def holding_to_json(holding: Holding) -> dict[str, Json]:
    """Write a holding."""
    return {
        "positions": {
            nature: position_to_json(position) for nature, position in holding.positions.items()
        },
        "last_purchase": holding.last_purchase,
        "last_sale": holding.last_sale,
    }


def holding_from_json(value: Json) -> Holding:
    """Read a holding."""
    stored = members(value)
    return Holding(
        positions={
            nature: position_from_json(position)
            for nature, position in members(stored["positions"]).items()
        },
        last_purchase=text_or_none(stored["last_purchase"]),
        last_sale=text_or_none(stored["last_sale"]),
    )


def freeze_to_json(freeze: Freeze) -> dict[str, Json]:
    """Write a freeze."""
    return {
        "number": freeze.number,
        "category": freeze.category,
        "account": freeze.account,
        "product_code": freeze.product_code,
        "nature": freeze.nature,
        "registered": freeze.registered,
        "effective": freeze.effective,
        "waiting": freeze.waiting,
        "fruits": freeze.fruits,
        "court_doc_no": freeze.court_doc_no,
        "term_end": freeze.term_end,
    }


def freeze_from_json(value: Json) -> Freeze:
    """Read a freeze."""
    stored = members(value)
    return Freeze(
        number=text(stored["number"]),
        category=text(stored["category"]),
        account=text(stored["account"]),
        product_code=text(stored["product_code"]),
        nature=text(stored["nature"]),
        registered=integer(stored["registered"]),
        effective=integer(stored["effective"]),
        waiting=integer(stored["waiting"]),
        fruits=boolean(stored["fruits"]),
        court_doc_no=text(stored["court_doc_no"]),
        term_end=text(stored["term_end"]),
    )


def pledge_to_json(pledge: Pledge) -> dict[str, Json]:
    """Write a pledge."""
    return {
        "number": pledge.number,
        "account": pledge.account,
        "product_code": pledge.product_code,
        "nature": pledge.nature,
        "pledgee_uscc": pledge.pledgee_uscc,
        "registered": pledge.registered,
        "outstanding": pledge.outstanding,
    }


def pledge_from_json(value: Json) -> Pledge:
    """Read a pledge."""
    stored = members(value)
    return Pledge(
        number=text(stored["number"]),
        account=text(stored["account"]),
        product_code=text(stored["product_code"]),
        nature=text(stored["nature"]),
        pledgee_uscc=text(stored["pledgee_uscc"]),
        registered=integer(stored["registered"]),
        outstanding=integer(stored["outstanding"]),
    )


def encumbrance_to_json(record: Encumbrance) -> dict[str, Json]:
    """Write a freeze or a pledge where both occur: the record, and `kind` says which it is."""
    if isinstance(record, Freeze):
        return {"kind": "freeze", **freeze_to_json(record)}
    return {"kind": "pledge", **pledge_to_json(record)}
