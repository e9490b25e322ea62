"""Reference data: what the rules look up, put on the chain by the market's own institutions.

A row that is already there with the same value changes nothing; another value for the same
reference is `REFERENCE_CONFLICT`. Investor rows hold no name and no number of a natural person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.contracts.register import roles, state, trading_days
from services.consensus.domain.contracts.register.members import Members

ROWS_MAX: Final = 200
"""Rows in one chunk."""

DAYS_IN_YEAR_MAX: Final = 366
INVESTOR_CODE_LENGTH_MAX: Final = 32
"""A kind and nine digits have ten. The code stands whole in keys, where other texts may be cut."""

FORMS: Final = ("joint_stock", "limited")
SUITABILITIES: Final = ("QUALIFIED", "EXEMPT", "NOT_QUALIFIED")
ID_TYPES: Final = {"Q": "resident_id", "R": "uscc", "S": "product_record"}
DIVIDEND_ROUNDING: Final = "half_up_to_fen"

_CHAIN_NAME = re.compile(r"[a-z]{1,32}")
_YEAR_FIRST: Final = 1
_YEAR_LAST: Final = 9999


def configure_market(host: Host, body: Mapping[str, Json]) -> None:
    """Set the parameters of the market's rules, once."""
    roles.require_role(host, roles.MARKET_ROLES)
    members = Members(body)
    market = _read_market(members)
    natures = _read_natures(members.members("share_natures"))
    evidence = _read_evidence_required(members.members("evidence_required"))
    members.finish()
    if _put_once(host, state.MARKET, market):
        host.emit("register.market_configured", market)
    _put_once(host, state.SHARE_NATURES, natures)
    # The list of keys makes a configuration with more or fewer of them a conflict too.
    _put_once(host, state.EVENT_KEYS, [*evidence])
    for event_key, kinds in evidence.items():
        _put_once(host, state.key("evidence", event_key), [*kinds])


def put_trading_days(host: Host, body: Mapping[str, Json]) -> None:
    """Load the trading days of one whole year; a day that is not listed is not a trading day."""
    roles.require_role(host, roles.MARKET_ROLES)
    members = Members(body)
    year = members.integer("year")
    if not _YEAR_FIRST <= year <= _YEAR_LAST:
        members.refuse("year", f"not a year from {_YEAR_FIRST} to {_YEAR_LAST}")
    days = members.dates("days", count_max=DAYS_IN_YEAR_MAX)
    if any(day[:4] != f"{year:04}" for day in days):
        members.refuse("days", "not all in the year")
    members.finish()
    for number in range(1, 13):
        month = f"{year:04}-{number:02}"
        _put_once(host, trading_days.month_key(month), [day for day in days if day[:7] == month])


def put_companies(host: Host, body: Mapping[str, Json]) -> None:
    """Add company rows. Facts about companies are public: the row is stored whole."""
    roles.require_role(host, roles.MARKET_ROLES)
    for row in _read_rows(body, "companies", _read_company):
        _put_row(host, "company", "company_row", row["company_ref"], row)


def put_products(host: Host, body: Mapping[str, Json]) -> None:
    """Add product rows, each of a company that has its row already."""
    roles.require_role(host, roles.MARKET_ROLES)
    for row in _read_rows(body, "products", _read_product):
        company_ref = row["company_ref"]
        assert isinstance(company_ref, str)
        if state.find_row(host, "company_row", company_ref) is None:
            raise Refusal("REFERENCE_UNKNOWN", company_ref=company_ref)
        _put_row(host, "product", "product_row", row["product_code"], row)


def put_investors(host: Host, body: Mapping[str, Json]) -> None:
    """Add investor rows, which state that the identity was checked off chain."""
    roles.require_role(host, roles.IDENTITY_ROLES)
    for row in _read_rows(body, "investors", _read_investor):
        code, reference = row["investor_code"], row["investor_ref"]
        assert isinstance(code, str)
        _put_once(host, state.key("investor_code", code), reference)
        _put_investor(host, reference, row)


def close_historic_import(host: Host, body: Mapping[str, Json]) -> None:
    """End the import of the market's history, for good. Ending it twice changes nothing."""
    roles.require_role(host, roles.MARKET_ROLES)
    Members(body).finish()
    if state.get_parameters(host).historic_import:
        parameters = host.get(state.PARAMETERS)
        assert isinstance(parameters, dict)
        host.put(state.PARAMETERS, {**parameters, "historic_import": False})
        host.emit("register.historic_import_closed", {"height": host.height()})


def _put_once(host: Host, key: str, value: Json) -> bool:
    """Write a value that may never differ; tell whether it is new."""
    stored = host.get(key)
    if stored is not None and stored != value:
        raise Refusal("REFERENCE_CONFLICT", key=key)
    if stored is None:
        host.put(key, value)
    return stored is None


def _put_row(host: Host, noun: str, catalogue: str, reference: Json, row: dict[str, Json]) -> None:
    assert isinstance(reference, str)
    if _put_once(host, state.key(catalogue, reference), row):
        host.emit(f"register.{noun}_row_added", row)


def _put_investor(host: Host, reference: Json, row: dict[str, Json]) -> None:
    """A statement says from which date on a number holds, as far back as it was asked about: of two
    on the same number both are true, and the one that reaches further back says more.
    """
    key = state.key("investor_row", str(reference))
    known = host.get(key)
    if isinstance(known, dict):
        date = _earlier(key, known["identity_valid_from"], row["identity_valid_from"])
        row = {**row, "identity_valid_from": date}
        if known != row == {**known, "identity_valid_from": date}:
            host.put(key, row)
            return
    _put_row(host, "investor", "investor_row", reference, row)


def _earlier(key: str, known: Json, stated: Json) -> Json:
    """A number that holds from some date on and one that never does are two."""
    if isinstance(known, str) and isinstance(stated, str):
        return min(known, stated)
    if known != stated:
        raise Refusal("REFERENCE_CONFLICT", key=key)
    return known


def _read_rows(
    body: Mapping[str, Json], name: str, read: Callable[[Members], dict[str, Json]]
) -> tuple[dict[str, Json], ...]:
    members = Members(body)
    rows = members.rows(name, read, count_max=ROWS_MAX)
    members.finish()
    return rows


def _read_market(members: Members) -> dict[str, Json]:
    chain_name = members.text("chain_name")
    if not _CHAIN_NAME.fullmatch(chain_name):
        members.refuse("chain_name", "not 1 to 32 lower-case letters")
    market: dict[str, Json] = {
        "market_code": members.text("market_code"),
        "chain_name": chain_name,
        "operator": members.text("operator"),
        "currency": members.text("currency"),
    }
    for identification in ("period_start", "period_end"):  # Of a dataset, not of the market.
        members.date(identification)
    rules = members.members("rules")
    market["rules"] = {
        "region_prefix": rules.text("region_prefix"),
        "excluded_region_prefixes": [*rules.texts("excluded_region_prefixes")],
        "holder_cap": rules.integer("holder_cap"),
        "min_interval_trading_days": rules.integer("min_interval_trading_days"),
        "calendar": rules.text("calendar"),
        "dividend_rounding": rules.choice("dividend_rounding", (DIVIDEND_ROUNDING,)),
    }
    rules.finish()
    return market


def _read_natures(natures: Members) -> dict[str, Json]:
    table: dict[str, Json] = {}
    for nature in natures.names():
        row = natures.members(nature)
        table[nature] = {
            "label": row.text("label"),
            "forms": [*row.texts("forms")],
        }
        row.finish()
    return table


def _read_evidence_required(required: Members) -> dict[str, tuple[str, ...]]:
    return {name: required.texts(name) for name in required.names()}


def _read_company(row: Members) -> dict[str, Json]:
    return {
        "company_ref": row.text("company_ref"),
        "company_code": row.text("company_code"),
        "name": row.text("name"),
        "uscc": row.text("uscc"),
        "region": row.text("region"),
        "form": row.choice("form", FORMS),
        "scale": row.text("scale"),
        "industry": row.text("industry"),
        "layer": row.text("layer"),
        "registered_capital_fen": row.integer("registered_capital_fen"),
        "established_on": row.date("established_on"),
    }


def _read_product(row: Members) -> dict[str, Json]:
    return {
        "product_code": row.text("product_code"),
        "company_ref": row.text("company_ref"),
        "name": row.text("name"),
        "short_name": row.text("short_name"),
        "currency": row.text("currency"),
        "par_value_fen": row.integer("par_value_fen"),
        "registered_shares": row.integer("registered_shares"),
    }


def _read_investor(row: Members) -> dict[str, Json]:
    kind = row.choice("kind", ID_TYPES)
    counted_holders = row.integer("counted_holders")
    if counted_holders < 1:
        row.refuse("counted_holders", "less than 1")
    return {
        "investor_ref": row.text("investor_ref"),
        "investor_code": row.text("investor_code", length_max=INVESTOR_CODE_LENGTH_MAX),
        "kind": kind,
        "id_type": row.choice("id_type", (ID_TYPES[kind],)),
        "identity_digest": row.digest("identity_digest"),
        "identity_valid_from": row.date_or_none("identity_valid_from"),
        "suitability": row.choice("suitability", SUITABILITIES),
        "suitability_valid_to": row.date_or_none("suitability_valid_to"),
        "counted_holders": counted_holders,
    }
