"""A template as checked data: `form.read_template` makes one, `to_json` is its one spelling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.star.package import Code
from services.consensus.domain.contracts.template.vocabulary import Label, TemplateClass, Tier

FORMAT: Final = "guqiao-template/1"


@dataclass(frozen=True, slots=True)
class Field:
    """One business value. `unit` is None where its type has none; `values` are those of an enum."""

    name: str
    type: str
    title: Label
    unit: str | None
    values: tuple[str, ...]
    is_optional: bool

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {"name": self.name, "type": self.type, "title": _label(self.title)}
        if self.unit is not None:
            found["unit"] = self.unit
        if self.values:
            found["values"] = list(self.values)
        return found | ({"optional": True} if self.is_optional else {})


@dataclass(frozen=True, slots=True)
class Group:
    """Fields of one tier, kept under one prefix of the contract's state."""

    name: str
    tier: Tier
    state: str
    title: Label
    fields: tuple[Field, ...]

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The arguments by which a NONPUBLIC group is described on chain."""
        is_off_chain = self.tier is Tier.NONPUBLIC
        return (f"{self.name}_digest", f"{self.name}_reference") if is_off_chain else ()

    def to_json(self) -> Json:
        """As the template spells it."""
        return {
            "name": self.name,
            "tier": self.tier.value,
            "state": self.state,
            "title": _label(self.title),
            "fields": [each.to_json() for each in self.fields],
        }


@dataclass(frozen=True, slots=True)
class Role:
    """Who signs."""

    name: str
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"name": self.name, "title": _label(self.title)}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A whole number that a contract of this template fixes, within bounds: a constant of it."""

    name: str
    type: str
    unit: str
    default: int
    least: int
    greatest: int
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {
            "name": self.name,
            "type": self.type,
            "unit": self.unit,
            "default": self.default,
            "least": self.least,
            "greatest": self.greatest,
            "title": _label(self.title),
        }


@dataclass(frozen=True, slots=True)
class State:
    """Where a business stands; nothing leaves a final one."""

    name: str
    title: Label
    is_final: bool

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {"name": self.name, "title": _label(self.title)}
        return found | ({"final": True} if self.is_final else {})


@dataclass(frozen=True, slots=True)
class Transition:
    """A step: the method that takes it. Without `sources` it begins a business; besides the key it
    takes the arguments of `takes`. `checker` is the role of the second signer, None where one
    signature is enough.
    """

    method: str
    sources: tuple[str, ...]
    target: str
    role: str
    checker: str | None
    event: str
    takes: tuple[str, ...]
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {
            "method": self.method,
            "from": list(self.sources),
            "to": self.target,
            "role": self.role,
            "event": self.event,
            "takes": list(self.takes),
            "title": _label(self.title),
        }
        return found | ({"checker": self.checker} if self.checker else {})


@dataclass(frozen=True, slots=True)
class Event:
    """What a step announces: always the key and `state`."""

    topic: str
    members: tuple[str, ...]
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {
            "topic": self.topic,
            "members": list(self.members),
            "title": _label(self.title),
        }


@dataclass(frozen=True, slots=True)
class View:
    """A method that only reads."""

    method: str
    takes: tuple[str, ...]
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"method": self.method, "takes": list(self.takes), "title": _label(self.title)}


@dataclass(frozen=True, slots=True)
class Supervision:
    """The view by which a supervisor sees the steps of a business, and where they are kept."""

    view: str
    state: str

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"view": self.view, "state": self.state}


@dataclass(frozen=True)
class Template:
    """A whole template."""

    id: str
    version: int
    template_class: TemplateClass
    title: Label
    description: Label
    orientation: tuple[str, ...]
    key: str
    roles: tuple[Role, ...]
    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]
    events: tuple[Event, ...]
    views: tuple[View, ...]
    supervision: Supervision
    contract: Code

    @property
    def fields(self) -> dict[str, tuple[Group, Field]]:
        """Every field by its name, with its group."""
        return {field.name: (group, field) for group in self.groups for field in group.fields}

    def to_json(self) -> dict[str, Json]:
        """The one spelling, as it goes on chain."""
        return {
            "format": FORMAT,
            "id": self.id,
            "version": self.version,
            "class": self.template_class.value,
            "title": _label(self.title),
            "description": _label(self.description),
            "orientation": list(self.orientation),
            "key": self.key,
            "roles": [each.to_json() for each in self.roles],
            "parameters": [each.to_json() for each in self.parameters],
            "groups": [each.to_json() for each in self.groups],
            "states": [each.to_json() for each in self.states],
            "transitions": [each.to_json() for each in self.transitions],
            "events": [each.to_json() for each in self.events],
            "views": [each.to_json() for each in self.views],
            "supervision": self.supervision.to_json(),
            "contract": self.contract.to_json(),
        }

    @cached_property
    def digest(self) -> bytes:
        """What a template is known by, 32 bytes: SM3 over its canonical JSON."""
        return digest("guqiao/template/1", canonical_json(self.to_json()))


def _label(label: Label) -> Json:
    return {"zh": label.zh, "en": label.en}
