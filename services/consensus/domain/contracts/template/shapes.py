"""The shapes of a template's data: values, records of values, several of either, and the data
objects that are made of them. What is of format 2 is told so; in format 1 it is empty, None or
false, and its spelling has no word for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.template.vocabulary import Label, Tier


class Form(StrEnum):
    """How several values stand: in a row, or each under a name."""

    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Many:
    """Several values in place of one: from `least` to `most` of them. Of format 2."""

    form: Form
    least: int
    most: int

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"form": self.form.value, "least": self.least, "most": self.most}


@dataclass(frozen=True, slots=True)
class Field:
    """One business value. `unit` is None where its type has none; `values` are those of an enum.
    Of format 2: `record` names the record that the value is, `many` says how many there are.
    """

    name: str
    type: str
    title: Label
    unit: str | None
    values: tuple[str, ...]
    is_optional: bool
    record: str | None = None
    many: Many | None = None

    def to_json(self) -> dict[str, Json]:
        """As the template spells it."""
        found: dict[str, Json] = {
            "name": self.name,
            "type": self.type,
            "title": spelled(self.title),
        }
        if self.unit is not None:
            found["unit"] = self.unit
        if self.values:
            found["values"] = list(self.values)
        if self.record is not None:
            found["record"] = self.record
        if self.many is not None:
            found["many"] = self.many.to_json()
        return found | ({"optional": True} if self.is_optional else {})


@dataclass(frozen=True, slots=True)
class TieredField:
    """A field with a tier of its own: of a record, or an argument that no group keeps. Format 2."""

    field: Field
    tier: Tier

    def to_json(self) -> Json:
        """As the template spells it."""
        return {**self.field.to_json(), "tier": self.tier.value}


@dataclass(frozen=True, slots=True)
class Record:
    """Values that belong together, such as a line of a list. Of format 2."""

    name: str
    title: Label
    fields: tuple[TieredField, ...]

    @property
    def tier(self) -> Tier:
        """Who may read a whole one: RESTRICTED where any of its fields is."""
        is_public = all(each.tier is Tier.PUBLIC for each in self.fields)
        return Tier.PUBLIC if is_public else Tier.RESTRICTED

    @property
    def stands_for(self) -> Field | None:
        """A record of one list, or of one map, is that itself: there is no object around it."""
        first = self.fields[0].field
        return first if len(self.fields) == 1 and first.many is not None else None

    def to_json(self) -> Json:
        """As the template spells it."""
        return {
            "name": self.name,
            "title": spelled(self.title),
            "fields": [each.to_json() for each in self.fields],
        }


@dataclass(frozen=True, slots=True)
class DataObject:
    """What methods announce as a data object of JR/T 0314: in the header `type`, `protocol`,
    `model_version`, `operation` and `object_version`; `body` are the members of its body, of which
    each object has at least one. Of format 2.
    """

    type: str
    title: Label
    tier: Tier
    methods: tuple[str, ...]
    protocol: str
    model_version: str
    operation: str
    object_version: int
    body: tuple[str, ...]

    def to_json(self) -> Json:
        """As the template spells it."""
        return {
            "type": self.type,
            "title": spelled(self.title),
            "tier": self.tier.value,
            "methods": list(self.methods),
            "header": {
                "protocol": self.protocol,
                "model_version": self.model_version,
                "operation": self.operation,
                "object_version": self.object_version,
            },
            "body": list(self.body),
        }


@dataclass(frozen=True, slots=True)
class OwnContract:
    """One of the chain's own contracts, by its name, its version in genesis and the digest of its
    checked form (hex). Replicas carry it with their software; a template names it. Of format 2.
    """

    name: str
    version: int
    form: str

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"name": self.name, "version": self.version, "form": self.form}


def spelled(label: Label) -> Json:
    """A text in both languages, as templates spell it."""
    return {"zh": label.zh, "en": label.en}
