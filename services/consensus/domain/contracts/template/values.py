"""Whether a value is what a template of format 2 says of it: type, unit's kind, count, members.

Arguments are judged when a contract is called, records and lists when they are written or
announced. What is wrong is told by its place, such as `lines[3].quantity`, never by its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Final

from guqiao_sdk.personal_numbers import Pay
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.sealed_form import SealedFormError, parse_sealed
from services.consensus.domain.contracts.template.faults import TemplateError
from services.consensus.domain.contracts.template.model import FORMAT_2, Template
from services.consensus.domain.contracts.template.shapes import Field, Form, Record, TieredField
from services.consensus.domain.contracts.template.shapes_form import read_record, read_tiered
from services.consensus.domain.contracts.template.vocabulary import SEALED, TYPES_2, Tier

NAME_SHOWN_MAX: Final = 64
"""Characters of a name that somebody chose, in a place."""
VALUE_COST: Final = 8
"""Of judging one value, in elements of the gas table: some 2 microseconds."""
ENVELOPE_COST: Final = 64
"""Of judging one envelope of a sealed value, in elements of the gas table."""
CHARACTERS_OF_AN_ELEMENT: Final = 32

KINDS: Final[dict[str, type]] = {"str": str, "int": int, "bool": bool, "dict": dict}
READ_BY_PEOPLE: Final = frozenset({"name", "text"})
"""Types of fields in which a digest stands in place of a value."""
DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_FORMS: Final = {
    "month": re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])"),
    "digest": re.compile(r"[0-9a-f]{64}"),
}


class Why(StrEnum):
    """What is wrong, as the fact `why` of an error."""

    MISSING = "missing"
    """A field that is not optional is not there, or None."""
    DIGEST = "digest"
    """A digest stands in place of a text."""
    TYPE = "type"
    """The value is of another type than the field."""
    NOT_OBJECT = "not_object"
    """No object with the fields, such as a digest or a ciphertext of all of them."""
    NOT_DESCRIBED = "not_described"
    """Other than digest, reference and owner."""
    ELSEWHERE = "elsewhere"
    """A field that belongs to another group."""
    UNKNOWN = "unknown"
    """What the template does not name."""
    COUNT = "count"
    """More or fewer values than the template says."""
    VALUE = "value"
    """Of the right kind, and still none that its type or list has."""
    SEALED = "sealed"
    """Not sealed to its readers, or in another form than `guqiao_sdk.sealed_form` has."""
    PERSONAL = "personal"
    """A number of a natural person; `kind` says which."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, and where."""

    place: str
    why: Why


@dataclass(frozen=True)
class Shapes:
    """The values that a template of format 2 names and a transaction may hold, and its records."""

    values: tuple[TieredField, ...]
    records: tuple[Record, ...]

    @staticmethod
    def of(template: Template) -> Shapes | None:
        """What the template says; None of one of format 1."""
        if template.format != FORMAT_2:
            return None
        values = [each for each in template.values.values() if each.tier is not Tier.NONPUBLIC]
        values.sort(key=lambda each: each.field.name)
        return Shapes(tuple(values), tuple(sorted(template.records, key=lambda each: each.name)))

    def to_json(self) -> Json:
        """For the record of a contract."""
        return {
            "values": [each.to_json() for each in self.values],
            "records": [each.to_json() for each in self.records],
        }

    @staticmethod
    def from_json(value: Json) -> Shapes:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {"values": list(values), "records": list(records), **rest} if not rest:
                try:
                    found = tuple(read_tiered(each, ("values",)) for each in values)
                    return Shapes(found, tuple(read_record(each, ("records",)) for each in records))
                except TemplateError as error:
                    raise ValueError("not the values of a template") from error
        raise ValueError("not the values of a template")

    @cached_property
    def by_name(self) -> dict[str, TieredField]:
        """Every value by its name."""
        return {each.field.name: each for each in self.values}

    @cached_property
    def record(self) -> Mapping[str, Record]:
        """Every record by its name."""
        return {each.name: each for each in self.records}

    @cached_property
    def sealed(self) -> frozenset[str]:
        """The names of values that are told by their form alone, and never looked into."""
        return frozenset(each.field.name for each in self.values if each.field.type == SEALED)

    def may_announce(self, name: str) -> bool:
        """Whether everybody may read a value of this name: it is PUBLIC, or sealed."""
        found = self.by_name.get(name)
        return found is not None and (found.tier is Tier.PUBLIC or name in self.sealed)

    def stands_alone(self, name: str) -> bool:
        """Whether a group of this field alone is kept as what the field is, without an object."""
        found = self.by_name.get(name)
        return found is not None and (
            found.field.record is not None or found.field.many is not None
        )

    def fault(self, name: str, value: Json, *, pay: Pay | None = None) -> Fault | None:
        """The first thing that is wrong with a value of this name, or None. `pay` is told how many
        elements are looked at before they are.
        """
        field = self.by_name[name].field
        return next(self._faults(field, value, name, pay), None)

    def _faults(self, field: Field, value: Json, place: str, pay: Pay | None) -> Iterator[Fault]:
        if value is None:
            if not field.is_optional:
                yield Fault(place, Why.MISSING)
            return
        if field.many is None:
            yield from self._single(field, value, place, pay)
            return
        kind = list if field.many.form is Form.LIST else dict
        if not isinstance(value, kind) or not isinstance(value, list | dict):
            yield Fault(place, Why.TYPE)
            return
        if not field.many.least <= len(value) <= field.many.most:
            yield Fault(place, Why.COUNT)
            return
        if isinstance(value, list):
            parts = ((f"{place}[{number}]", part) for number, part in enumerate(value))
        else:
            parts = ((f"{place}.{name[:NAME_SHOWN_MAX]}", part) for name, part in value.items())
        for at, part in parts:
            yield from self._single(field, part, at, pay)

    def _single(self, field: Field, value: Json, place: str, pay: Pay | None) -> Iterator[Fault]:
        if pay is not None:
            pay(VALUE_COST)
        inner = None if field.record is None else self.record[field.record].stands_for
        if value is None:
            yield Fault(place, Why.MISSING)
        elif inner is not None:
            yield from self._faults(inner, value, place, pay)
        elif type(value) is not KINDS[TYPES_2[field.type].kind]:
            yield Fault(place, Why.TYPE)
        elif field.record is not None and isinstance(value, dict):
            yield from self._members(self.record[field.record], value, place, pay)
        else:
            why = _why_not(field, value, pay)
            if why is not None:
                yield Fault(place, why)

    def _members(
        self, record: Record, value: dict[str, Json], place: str, pay: Pay | None
    ) -> Iterator[Fault]:
        if pay is not None:
            pay(len(value))
        wanted = {each.field.name for each in record.fields}
        for name in value:
            if name not in wanted:
                yield Fault(f"{place}.{name[:NAME_SHOWN_MAX]}", Why.UNKNOWN)
        for each in record.fields:
            name = each.field.name
            yield from self._faults(each.field, value.get(name), f"{place}.{name}", pay)


def _why_not(field: Field, value: Json, pay: Pay | None) -> Why | None:
    """What is wrong with one value of the right kind that is no record, or None."""
    if field.type == SEALED:
        return None if _is_sealed(value, pay) else Why.SEALED
    if field.type in READ_BY_PEOPLE and DIGEST.fullmatch(str(value)):
        return Why.DIGEST
    return None if _is_of_type(field, value) else Why.VALUE


def _is_of_type(field: Field, value: Json) -> bool:
    """Whether a text is one that its type has. Of numbers and flags the kind says all."""
    if not isinstance(value, str):
        return True
    if field.type == "enum":
        return value in field.values
    if field.type == "date":
        return _is_date(value)
    form = _FORMS.get(field.type)
    return form is None or form.fullmatch(value) is not None


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    try:
        date(*map(int, found.groups()))
    except ValueError:
        return False
    return True


def _is_sealed(value: Json, pay: Pay | None) -> bool:
    if pay is not None:
        pay(_cost(value))
    try:
        parse_sealed(value)
    except SealedFormError:
        return False
    return True


def _cost(value: Json) -> int:
    """What judging the form costs, in elements."""
    if not isinstance(value, dict):
        return 1
    envelopes, body = value.get("envelopes"), value.get("body")
    count = len(envelopes) if isinstance(envelopes, list) else 0
    length = len(body) if isinstance(body, str) else 0
    return 1 + ENVELOPE_COST * count + length // CHARACTERS_OF_AN_ELEMENT
