"""A template as checked data: `form.read_template` makes one, `to_json` is its one spelling.

What stands in format 2 alone is empty, None or false in format 1, whose spelling has no word for it
(docs/adr/0037-the-register-has-a-template-of-format-2.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.proof.canonical import digest
from guqiao_sdk.proof.json_values import Json, canonical_json
from services.consensus.domain.contracts.star.package import Code
from services.consensus.domain.contracts.template.shapes import (
    DataObject,
    Field,
    OwnContract,
    Record,
    TieredField,
    spelled,
)
from services.consensus.domain.contracts.template.vocabulary import Label, TemplateClass, Tier

FORMAT: Final = "guqiao-template/1"
FORMAT_2: Final = "guqiao-template/2"
FORMATS: Final = (FORMAT, FORMAT_2)


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
            "title": spelled(self.title),
            "fields": [each.to_json() for each in self.fields],
        }


@dataclass(frozen=True, slots=True)
class Role:
    """Who signs."""

    name: str
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"name": self.name, "title": spelled(self.title)}


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
            "title": spelled(self.title),
        }


@dataclass(frozen=True, slots=True)
class State:
    """Where a business stands; nothing leaves a final one."""

    name: str
    title: Label
    is_final: bool

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {"name": self.name, "title": spelled(self.title)}
        return found | ({"final": True} if self.is_final else {})


@dataclass(frozen=True, slots=True)
class Transition:
    """A step: the method that takes it. Without `sources` it begins a business; besides the key it
    takes the arguments of `takes`. `checker` is the role of the second signer, None where one
    signature is enough.

    Of format 2: what the step may lead to, who may sign and what it may announce besides; whether
    the second signer is asked for by the chain's parameters alone; and no event where the step
    announces none.
    """

    method: str
    sources: tuple[str, ...]
    target: str
    role: str
    checker: str | None
    event: str | None
    takes: tuple[str, ...]
    title: Label
    or_targets: tuple[str, ...] = ()
    or_roles: tuple[str, ...] = ()
    or_checkers: tuple[str, ...] = ()
    more_events: tuple[str, ...] = ()
    checker_by_parameter: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """All states that it may lead to."""
        return (self.target, *self.or_targets)

    @property
    def roles(self) -> tuple[str, ...]:
        """Who may sign first: any of them."""
        return (self.role, *self.or_roles)

    @property
    def checkers(self) -> tuple[str, ...]:
        """Who may sign second: any of them; nobody does where there are none."""
        return () if self.checker is None else (self.checker, *self.or_checkers)

    @property
    def events(self) -> tuple[str, ...]:
        """All that it may announce."""
        return (() if self.event is None else (self.event,)) + self.more_events

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {
            "method": self.method,
            "from": list(self.sources),
            "to": self.target,
            "role": self.role,
            "takes": list(self.takes),
            "title": spelled(self.title),
        }
        more: dict[str, Json] = {
            "checker": self.checker,
            "event": self.event,
            "or_to": list(self.or_targets),
            "or_role": list(self.or_roles),
            "or_checker": list(self.or_checkers),
            "more_events": list(self.more_events),
            "checker_by_parameter": self.checker_by_parameter,
        }
        return found | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True)
class Event:
    """What a step announces: in format 1 the key, `state` and other PUBLIC fields.

    Of format 2: `tier`, None in format 1; in place of `members` the `record` that the body is; and
    whether RESTRICTED values stand in the clear, for services that read the market's own chain.
    """

    topic: str
    members: tuple[str, ...]
    title: Label
    tier: Tier | None = None
    record: str | None = None
    is_in_clear: bool = False

    def to_json(self) -> Json:
        """As the template spells it."""
        found: dict[str, Json] = {"topic": self.topic, "title": spelled(self.title)}
        if self.tier is not None:
            found["tier"] = self.tier.value
        if self.record is None:
            return found | {"members": list(self.members)}
        found["record"] = self.record
        return found | ({"in_clear": True} if self.is_in_clear else {})


@dataclass(frozen=True, slots=True)
class View:
    """A method that only reads."""

    method: str
    takes: tuple[str, ...]
    title: Label

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"method": self.method, "takes": list(self.takes), "title": spelled(self.title)}


@dataclass(frozen=True, slots=True)
class Supervision:
    """The view by which a supervisor sees the steps of a business, and where they are kept."""

    view: str
    state: str

    def to_json(self) -> Json:
        """As the template spells it."""
        return {"view": self.view, "state": self.state}


@dataclass(frozen=True, slots=True)
class Business:
    """What a contract that is deployed by a template is about: businesses known by the field `key`,
    seen by a supervisor step by step, in the code that the template holds.
    """

    key: str
    supervision: Supervision
    contract: Code


@dataclass(frozen=True)
class Template:
    """A whole template, of a contract that is deployed by it or of one of the chain's own."""

    format: str
    id: str
    version: int
    template_class: TemplateClass
    title: Label
    description: Label
    orientation: tuple[str, ...]
    roles: tuple[Role, ...]
    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]
    events: tuple[Event, ...]
    views: tuple[View, ...]
    basis: Business | OwnContract
    records: tuple[Record, ...] = ()
    arguments: tuple[TieredField, ...] = ()
    objects: tuple[DataObject, ...] = ()

    @property
    def own(self) -> OwnContract | None:
        """The contract of the chain's own that this describes, or None."""
        return self.basis if isinstance(self.basis, OwnContract) else None

    @property
    def business(self) -> Business:
        """Of a template that contracts are deployed by; whoever asks has made sure of that."""
        assert isinstance(self.basis, Business), "a contract of the chain's own is not deployed"
        return self.basis

    @property
    def key(self) -> str:
        """The field that businesses are known by; see `business`."""
        return self.business.key

    @property
    def supervision(self) -> Supervision:
        """The supervisor's view; see `business`."""
        return self.business.supervision

    @property
    def contract(self) -> Code:
        """The code; see `business`."""
        return self.business.contract

    @property
    def fields(self) -> dict[str, tuple[Group, Field]]:
        """Every field that a group keeps by its name, with its group."""
        return {field.name: (group, field) for group in self.groups for field in group.fields}

    @property
    def values(self) -> dict[str, TieredField]:
        """Every field of a group and every argument by its name, with its tier."""
        kept = {
            name: TieredField(field, group.tier) for name, (group, field) in self.fields.items()
        }
        return kept | {each.field.name: each for each in self.arguments}

    def record_of(self, name: str) -> Record:
        """The record of this name, which a field or an event of this template names."""
        return next(each for each in self.records if each.name == name)

    def to_json(self) -> dict[str, Json]:
        """The one spelling, as it goes on chain."""
        found: dict[str, Json] = {
            "format": self.format,
            "id": self.id,
            "version": self.version,
            "class": self.template_class.value,
            "title": spelled(self.title),
            "description": spelled(self.description),
            "orientation": list(self.orientation),
            "roles": [each.to_json() for each in self.roles],
            "parameters": [each.to_json() for each in self.parameters],
            "groups": [each.to_json() for each in self.groups],
            "states": [each.to_json() for each in self.states],
            "transitions": [each.to_json() for each in self.transitions],
            "events": [each.to_json() for each in self.events],
            "views": [each.to_json() for each in self.views],
        }
        if self.format == FORMAT_2:
            found["records"] = [each.to_json() for each in self.records]
            found["arguments"] = [each.to_json() for each in self.arguments]
            found["objects"] = [each.to_json() for each in self.objects]
        if isinstance(self.basis, OwnContract):
            return found | {"own": self.basis.to_json()}
        return found | {
            "key": self.key,
            "supervision": self.supervision.to_json(),
            "contract": self.contract.to_json(),
        }

    @cached_property
    def digest(self) -> bytes:
        """What a template is known by, 32 bytes: SM3 over its canonical JSON."""
        return digest(self.format.replace("-", "/", 1), canonical_json(self.to_json()))
