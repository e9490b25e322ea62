"""Reads fields and, in format 2, what is made of them: records, arguments, data objects, and which
contract of the chain's own a template is of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.template import reading
from services.consensus.domain.contracts.template.faults import Path, TemplateError
from services.consensus.domain.contracts.template.shapes import (
    DataObject,
    Field,
    Form,
    Many,
    OwnContract,
    Record,
    TieredField,
)
from services.consensus.domain.contracts.template.vocabulary import (
    RECORD,
    TYPES,
    TYPES_2,
    BusinessType,
    Tier,
)

MANY_MAX: Final = 10_000
"""Values in place of one: as many elements as a list of star/1 may have."""
OBJECT_VERSION_MAX: Final = 1_000_000
HEADER_TEXT_LENGTH_MAX: Final = 64
ON_CHAIN: Final = (Tier.PUBLIC, Tier.RESTRICTED)
"""What a transaction may hold."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OPERATIONS: Final = ("create",)
_HEADER: Final = ("protocol", "model_version", "operation", "object_version")


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a format has words for."""

    types: Mapping[str, BusinessType]
    prefix: re.Pattern[str]
    is_second: bool


FIRST: Final = Grammar(TYPES, reading.PREFIX, is_second=False)
SECOND: Final = Grammar(TYPES_2, reading.PREFIX, is_second=True)
OF_OWN: Final = Grammar(TYPES_2, reading.PREFIX_OR_KEY, is_second=True)
"""Of a contract of the chain's own, which also keeps single keys."""


def read_field(value: Json, path: Path, grammar: Grammar, more: tuple[str, ...] = ()) -> Field:
    """A field; `more` are members that the caller reads."""
    shapes = ("record", "many") if grammar.is_second else ()
    wanted, optional = ("name", "type", "title", *more), ("unit", "values", "optional", *shapes)
    found = reading.members(value, path, wanted, optional)
    kind = reading.one_of(found["type"], (*path, "type"), tuple(grammar.types))
    if ("values" in found) is not (kind == "enum"):
        raise TemplateError("values", (*path, "values") if "values" in found else path)
    if ("record" in found) is not (kind == RECORD):
        raise TemplateError("record", (*path, "record") if "record" in found else path)
    values: tuple[str, ...] = ()
    if "values" in found:
        read_value = _value_of_enum if grammar.is_second else symbol
        values = reading.rows(found["values"], (*path, "values"), read_value, least=1)
        reading.distinct(values, (*path, "values"))
    return Field(
        name=reading.name(found["name"], (*path, "name")),
        type=kind,
        title=reading.label(found["title"], (*path, "title")),
        unit=unit_of(found, kind, path, grammar),
        values=values,
        is_optional=reading.flag(found, "optional", path),
        record=reading.name(found["record"], (*path, "record")) if "record" in found else None,
        many=_many(found["many"], (*path, "many")) if "many" in found else None,
    )


def unit_of(found: dict[str, Json], kind: str, path: Path, grammar: Grammar) -> str | None:
    """The unit of a number; None where the type has none."""
    units = grammar.types[kind].units
    unit = found.get("unit")
    if (unit not in units) if units else ("unit" in found):
        at = (*path, "unit") if "unit" in found else path
        raise TemplateError("unit", at, units=", ".join(units) or "-")
    return unit if isinstance(unit, str) else None


def symbol(value: Json, path: Path) -> str:
    """A word in capitals."""
    return reading.matched(value, path, reading.CONSTANT)


def read_record(value: Json, path: Path) -> Record:
    """A record."""
    found = reading.members(value, path, ("name", "title", "fields"))
    at = (*path, "fields")
    fields = reading.rows(found["fields"], at, read_tiered, least=1)
    reading.distinct([each.field.name for each in fields], at)
    name = reading.name(found["name"], (*path, "name"))
    return Record(name, reading.label(found["title"], (*path, "title")), fields)


def read_tiered(value: Json, path: Path) -> TieredField:
    """A field with a tier of its own, which may stand in a transaction."""
    field = read_field(value, path, SECOND, ("tier",))
    assert isinstance(value, dict), "a field is an object"
    tier = Tier(reading.one_of(value["tier"], (*path, "tier"), ON_CHAIN))
    if TYPES_2[field.type].is_personal:
        raise TemplateError("personal", (*path, "type"), type=field.type)
    return TieredField(field, tier)


def read_object(value: Json, path: Path) -> DataObject:
    """A kind of data object."""
    found = reading.members(value, path, ("type", "title", "tier", "methods", "header", "body"))
    header = reading.members(found["header"], (*path, "header"), _HEADER)
    text = partial(reading.text, length_max=HEADER_TEXT_LENGTH_MAX)
    at = (*path, "header")
    return DataObject(
        type=reading.name(found["type"], (*path, "type")),
        title=reading.label(found["title"], (*path, "title")),
        tier=Tier(reading.one_of(found["tier"], (*path, "tier"), ON_CHAIN)),
        methods=_names(found["methods"], (*path, "methods")),
        protocol=text(header["protocol"], (*at, "protocol")),
        model_version=text(header["model_version"], (*at, "model_version")),
        operation=reading.one_of(header["operation"], (*at, "operation"), _OPERATIONS),
        object_version=reading.number(
            header["object_version"], (*at, "object_version"), 0, OBJECT_VERSION_MAX
        ),
        body=_names(found["body"], (*path, "body")),
    )


def read_own(value: Json, path: Path) -> OwnContract:
    """Which contract of the chain's own a template is of."""
    found = reading.members(value, path, ("name", "version", "form"))
    return OwnContract(
        name=reading.name(found["name"], (*path, "name")),
        version=reading.number(found["version"], (*path, "version"), 1, OBJECT_VERSION_MAX),
        form=reading.matched(found["form"], (*path, "form"), _DIGEST),
    )


def _many(value: Json, path: Path) -> Many:
    found = reading.members(value, path, ("form", "least", "most"))
    form = Form(reading.one_of(found["form"], (*path, "form"), tuple(Form)))
    most = reading.number(found["most"], (*path, "most"), 1, MANY_MAX)
    return Many(form, reading.number(found["least"], (*path, "least"), 0, most), most)


def _value_of_enum(value: Json, path: Path) -> str:
    return reading.matched(value, path, reading.WORD)


def _names(value: Json, path: Path) -> tuple[str, ...]:
    names = reading.rows(value, path, reading.name, least=1)
    reading.distinct(names, path)
    return names
