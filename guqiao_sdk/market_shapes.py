"""The shapes of a market dataset's rows and events: which fields, of which type.

Plain tables over small converters; docs/market-dataset.md sections 1, 2 and 6 in code. A converter
returns the value, or raises `ShapeError` with the field and what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

VALUE_BOUND: Final = 1 << 53

Converter = Callable[[Any], Any]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\+08:00")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ShapeError(ValueError):
    """A value has the wrong shape. `field` is its path inside the row."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise ShapeError("", problem)


def text(value: Any) -> str:
    """Take any string of Unicode characters but U+0000; half a surrogate pair is none."""
    _expect(isinstance(value, str), "not a string")
    _expect(_SURROGATE.search(value) is None, "half a surrogate pair, which is no character")
    _expect("\0" not in value, "the character U+0000, which no text may hold")
    return str(value)


def matching(pattern: re.Pattern[str], name: str) -> Converter:
    """Take a string of a form."""

    def convert(value: Any) -> str:
        _expect(isinstance(value, str) and pattern.fullmatch(value) is not None, f"not {name}")
        return str(value)

    return convert


def choice(*choices: str) -> Converter:
    """Take a string of a closed list."""

    def convert(value: Any) -> str:
        _expect(isinstance(value, str) and value in choices, "not one of " + ", ".join(choices))
        return str(value)

    return convert


def integer(value: Any) -> int:
    """Take a JSON integer within the range of values."""
    _expect(type(value) is int, "not an integer")
    _expect(-VALUE_BOUND < value < VALUE_BOUND, "an integer out of range")
    return int(value)


def integer_text(value: str) -> int:
    """Take an integer written in a CSV field."""
    _expect(_INTEGER.fullmatch(value) is not None, "not an integer")
    return integer(int(value))


def positive_integer_text(value: str) -> int:
    """Take an integer of at least 1 written in a CSV field."""
    number = integer_text(value)
    _expect(number >= 1, "less than 1")
    return number


def day(value: Any) -> str:
    """Take a calendar date."""
    is_form = isinstance(value, str) and _DATE.fullmatch(value) is not None
    _expect(is_form, "not a date YYYY-MM-DD")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ShapeError("", "not a date of the calendar") from None
    return str(value)


def day_or_null(value: Any) -> str | None:
    """Take a calendar date or null."""
    return None if value is None else day(value)


def day_or_empty(value: str) -> str | None:
    """Take a calendar date, or None for an empty CSV field."""
    return None if value == "" else day(value)


def time(value: Any) -> str:
    """Take a time of day at +08:00, in seconds."""
    is_form = isinstance(value, str) and _TIME.fullmatch(value) is not None
    _expect(is_form, "not a time YYYY-MM-DDThh:mm:ss+08:00")
    day(value[:10])
    return str(value)


def boolean(value: Any) -> bool:
    """Take true or false."""
    _expect(isinstance(value, bool), "not a boolean")
    return bool(value)


def array(element: Converter, *, empty: bool = False) -> Converter:
    """Take an array of elements of one shape."""

    def convert(value: Any) -> list[Any]:
        _expect(isinstance(value, list), "not an array")
        _expect(empty or len(value) > 0, "an empty array")
        return [_within(f"[{index}]", element, part) for index, part in enumerate(value)]

    return convert


def table(element: Converter) -> Converter:
    """Take an object whose member names are data."""

    def convert(value: Any) -> dict[str, Any]:
        _expect(isinstance(value, dict), "not an object")
        return {text(name): _within(f".{name}", element, part) for name, part in value.items()}

    return convert


def members(shape: Mapping[str, Converter]) -> Converter:
    """Take an object with exactly the members of the shape."""

    def convert(value: Any) -> dict[str, Any]:
        _expect(isinstance(value, dict), "not an object")
        for name in value:
            if name not in shape:
                raise ShapeError(f".{name}", "unknown member")
        for name in shape:
            if name not in value:
                raise ShapeError(f".{name}", "missing")
        return {name: _within(f".{name}", take, value[name]) for name, take in shape.items()}

    return convert


def _within(place: str, convert: Converter, value: Any) -> Any:
    try:
        return convert(value)
    except ShapeError as error:
        raise ShapeError(place + error.field, error.problem) from None


uuid = matching(_UUID, "a lower-case UUID")
digest = matching(_DIGEST, "64 lower-case hexadecimal digits")

MARKET: Final = members(
    {
        "format": choice("guqiao-market-dataset/1"),
        "dataset_id": text,
        "profile": text,
        "seed": integer,
        "market_code": text,
        "chain_name": text,
        "operator": text,
        "currency": text,
        "period_start": day,
        "period_end": day,
        "rules": members(
            {
                "region_prefix": text,
                "excluded_region_prefixes": array(text, empty=True),
                "holder_cap": integer,
                "min_interval_trading_days": integer,
                "calendar": text,
                "dividend_rounding": choice("half_up_to_fen"),
            }
        ),
        "share_natures": table(
            members({"label": text, "forms": array(choice("joint_stock", "limited"), empty=True)})
        ),
        "evidence_required": table(array(text, empty=True)),
    }
)

COMPANY: Final[Mapping[str, Converter]] = {
    "company_ref": text,
    "company_code": matching(re.compile(r"[A-Z]{2,3}[0-9]{6}[A-Z]?"), "a company code"),
    "name": text,
    "uscc": text,
    "region": matching(re.compile(r"[0-9]{6}"), "a region code of six digits"),
    "form": choice("joint_stock", "limited"),
    "scale": text,
    "industry": text,
    "layer": text,
    "registered_capital_fen": integer_text,
    "established_on": day,
}

INVESTOR: Final[Mapping[str, Converter]] = {
    "investor_ref": text,
    "investor_code": matching(re.compile(r"[QRS][0-9]{9}"), "an investor code"),
    "kind": choice("Q", "R", "S"),
    "name": text,
    "id_type": choice("resident_id", "uscc", "product_record"),
    "id_number": text,
    "suitability": choice("QUALIFIED", "EXEMPT", "NOT_QUALIFIED"),
    "suitability_valid_to": day_or_empty,
    "counted_holders": positive_integer_text,
}

PRODUCT: Final[Mapping[str, Converter]] = {
    "product_code": text,
    "company_ref": text,
    "name": text,
    "short_name": text,
    "currency": text,
    "par_value_fen": integer_text,
    "registered_shares": integer_text,
}

ENVELOPE: Final[Mapping[str, Converter]] = {
    "seq": integer,
    "time": time,
    "type": text,
    "request_id": uuid,
}

EVIDENCE: Final = array(members({"kind": text, "digest": digest}), empty=True)

_ROSTER_ENTRY: Final = members(
    {
        "account": text,
        "nature": text,
        "shares": integer,
        "confirmed": boolean,
        "restricted_until": day_or_null,
    }
)
_ISSUE_ENTRY: Final = members(
    {"account": text, "nature": text, "shares": integer, "restricted_until": day_or_null}
)
_FREEZE_CATEGORY: Final = choice(
    "judicial_preservation", "judicial_enforcement", "aml", "self_discipline"
)

EVENTS: Final[Mapping[str, Mapping[str, Converter]]] = {
    "register_company": {"company_ref": text},
    "open_account": {"investor_ref": text},
    "initial_registration": {
        "product_code": text,
        "total_shares": integer,
        "roster": array(_ROSTER_ENTRY),
    },
    "confirm_holding": {"account": text, "product_code": text, "nature": text},
    "transfer": {
        "product_code": text,
        "nature": text,
        "seller": text,
        "buyer": text,
        "shares": integer,
        "price_fen": integer,
        "reason": choice("agreement", "inheritance", "gift", "judicial"),
    },
    "pledge": {
        "pledge_no": text,
        "account": text,
        "product_code": text,
        "nature": text,
        "shares": integer,
        "pledgee_uscc": text,
    },
    "release_pledge": {"pledge_no": text, "shares": integer},
    "freeze": {
        "freeze_no": text,
        "category": _FREEZE_CATEGORY,
        "court_doc_no": text,
        "account": text,
        "product_code": text,
        "nature": text,
        "shares": integer,
        "fruits": boolean,
        "term_end": day,
    },
    "unfreeze": {
        "freeze_no": text,
        "shares": integer,
        "authority": choice("court", "aml_authority", "operator"),
        "court_doc_no": text,
    },
    "deduct": {"freeze_no": text, "beneficiary": text, "shares": integer, "court_doc_no": text},
    "capital_increase": {
        "product_code": text,
        "total_before": integer,
        "total_after": integer,
        "entries": array(_ISSUE_ENTRY),
    },
    "dividend": {
        "dividend_no": text,
        "product_code": text,
        "per_share_li": integer,
        "pay_date": day,
    },
    "close_account": {"account": text},
}
