"""What of a template the engine needs to refuse a write in the wrong tier, when it is made.

`conformance` judges a program before it runs and cannot see values; this judges the values. PUBLIC
and RESTRICTED groups are on chain whole and in the clear, the latter in state that only authorised,
audited calls read; of a NONPUBLIC group digest, reference and owner are. What the template does not
name is not classified, so it is refused. Of what is refused, an error tells where it stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from guqiao_sdk.market_identifiers import is_uscc
from guqiao_sdk.personal_data import NEWEST, Finding, Search, find_personal_data
from guqiao_sdk.personal_numbers import Pay
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.template.model import Group, Template
from services.consensus.domain.contracts.template.values import (
    DIGEST,
    KINDS,
    READ_BY_PEOPLE,
    Shapes,
    Why,
)
from services.consensus.domain.contracts.template.vocabulary import (
    DESCRIPTION,
    STATE,
    TYPES_2,
    Tier,
)

NAME_SHOWN_MAX: Final = 128
"""Characters of a key, or of a member's name, that an error tells."""

STEP: Final = frozenset({"number", "step", STATE, "maker", "checker", "height", "time"})
"""What a step for supervision holds, besides fields that are on chain anyway."""

DESCRIBED_LENGTH_MAX: Final = 200
"""Of a reference and an owner: a body has no place in them."""

_DESCRIBED: Final = {
    "digest": re.compile(r"[0-9a-f]{64}"),
    "reference": re.compile(rf"[!-~]{{1,{DESCRIBED_LENGTH_MAX}}}"),
    "owner": re.compile(rf"[!-~]{{1,{DESCRIBED_LENGTH_MAX}}}"),
}
_NONPUBLIC: Final = "TIER_NONPUBLIC_ONCHAIN"
_UNCLASSIFIED: Final = "TIER_UNCLASSIFIED"
_CODES: Final = {
    Tier.PUBLIC: "TIER_PUBLIC_NOT_ONCHAIN",
    Tier.RESTRICTED: "TIER_RESTRICTED_NOT_ONCHAIN",
    Tier.NONPUBLIC: _NONPUBLIC,
}


@dataclass(frozen=True, slots=True, order=True)
class TierField:
    """A field as the engine sees it: its business type, and whether it may be left out."""

    name: str
    type: str
    is_optional: bool


@dataclass(frozen=True, slots=True)
class TierGroup:
    """Fields of one tier under one prefix; with `has_state` a record holds `state`, too."""

    name: str
    tier: Tier
    prefix: str
    fields: tuple[TierField, ...]
    has_state: bool

    @staticmethod
    def of(group: Group, key: str) -> TierGroup:
        """Of a template's group; `key` is the field that the template's businesses are known by."""
        found = [TierField(each.name, each.type, each.is_optional) for each in group.fields]
        fields = tuple(sorted(found))
        has_state = key in {each.name for each in group.fields}
        return TierGroup(group.name, group.tier, group.state, fields, has_state)

    def to_json(self) -> Json:
        """For the record of a contract."""
        fields: dict[str, Json] = {each.name: each.type for each in self.fields}
        optional: list[Json] = [each.name for each in self.fields if each.is_optional]
        return {
            "name": self.name,
            "tier": self.tier.value,
            "prefix": self.prefix,
            "fields": fields,
            "optional": optional,
            "state": self.has_state,
        }

    @staticmethod
    def from_json(value: Json) -> TierGroup:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {
                "name": str(name),
                "tier": str(tier),
                "prefix": str(prefix),
                "fields": dict(types),
                "optional": list(optional),
                "state": bool(has_state),
                **rest,
            } if not rest and _are_fields(types, optional):
                fields = [
                    TierField(each, str(kind), each in optional) for each, kind in types.items()
                ]
                return TierGroup(name, Tier(tier), prefix, tuple(sorted(fields)), has_state)
        raise ValueError("not a group of fields")


def _are_fields(types: dict[str, Json], optional: list[Json]) -> bool:
    return all(isinstance(kind, str) and kind in TYPES_2 for kind in types.values()) and all(
        isinstance(each, str) and each in types for each in optional
    )


@dataclass(frozen=True)
class TierMap:
    """The groups of a template, by prefix, and the prefix of the steps for supervision; `shapes` of
    one of format 2. `search` says how numbers of persons are looked for; it is not kept with the
    map, for it follows from the version of `contracts` that deployed the contract.
    """

    groups: tuple[TierGroup, ...]
    steps: str
    shapes: Shapes | None = None
    search: Search = NEWEST

    @staticmethod
    def of(template: Template) -> TierMap:
        """What the template says."""
        groups = [TierGroup.of(each, template.key) for each in template.groups]
        return TierMap(_by_prefix(groups), template.supervision.state, Shapes.of(template))

    def to_json(self) -> dict[str, Json]:
        """For the record of a contract."""
        found: dict[str, Json] = {
            "groups": [each.to_json() for each in self.groups],
            "steps": self.steps,
        }
        return found if self.shapes is None else found | {"shapes": self.shapes.to_json()}

    @staticmethod
    def from_json(value: Json, search: Search = NEWEST) -> TierMap:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {"groups": list(groups), "steps": str(steps), **rest} if not rest:
                found = _by_prefix(map(TierGroup.from_json, groups))
                return TierMap(found, steps, search=search)
            case {
                "groups": list(groups),
                "steps": str(steps),
                "shapes": dict(shapes),
                **rest,
            } if not rest:
                found = _by_prefix(map(TierGroup.from_json, groups))
                return TierMap(found, steps, Shapes.from_json(shapes), search)
        raise ValueError("not a map of tiers")

    def group_of(self, key: str) -> TierGroup | None:
        """The group with the longest prefix of `key`, or None."""
        found = [each for each in self.groups if key.startswith(each.prefix)]
        return max(found, key=lambda each: len(each.prefix), default=None)

    def is_step(self, key: str) -> bool:
        """Whether steps for supervision stand under `key`."""
        return self.group_of(key) is None and key.startswith(self.steps)

    def check_write(self, key: str, value: Json, *, pay: Pay | None = None) -> None:
        """Refuse a write in the wrong tier; raises `ContractError` with `why` and what is known of
        `key`, `group` and `field`. `pay` as for `find_personal_data`.
        """
        group = self.group_of(key)
        is_step = self.is_step(key)
        place = _Place(self, key[:NAME_SHOWN_MAX], "" if group is None else group.name, pay)
        found = find_personal_data(key, pay=pay, search=self.search)
        if found is not None:
            prefix = self.steps if is_step else "" if group is None else group.prefix
            raise _Place(self, prefix, place.group, pay).personal(found)
        place.check_persons(value, self._sealed_in(group))
        if is_step:
            place.check_steps(value)
        elif group is None:
            raise place.error(_UNCLASSIFIED, Why.UNKNOWN)
        elif group.tier is Tier.NONPUBLIC:
            place.check_described(value)
        else:
            place.check_whole(group, value)

    def check_event(self, body: Json, *, pay: Pay | None = None) -> None:
        """Refuse an event that holds more than fields of PUBLIC groups and `state`; raises
        `ContractError`. Everybody reads events.
        """
        place = _Place(self, None, "", pay)
        place.check_persons(body, frozenset() if self.shapes is None else self.shapes.sealed)
        if not isinstance(body, dict):
            raise place.error(_UNCLASSIFIED, Why.NOT_OBJECT)
        for name, value in body.items():
            field = self.fields.get(name)
            if name == STATE:
                place.check_state(value, Tier.PUBLIC)
            elif self.shapes is not None and self.shapes.may_announce(name):
                place.check_shape(self.shapes, name, value)
            elif field is None or field[0].tier is not Tier.PUBLIC:
                raise place.stranger(name)
            else:
                place.check_field(field[0].tier, field[1], value)

    def check_answer(self, answer: Json, *, pay: Pay | None = None) -> None:
        """Refuse a result, or the facts of a refusal, with numbers of persons; raises
        `ContractError`. Receipts stay.
        """
        place = _Place(self, None, "", pay)
        place.check_persons(answer, frozenset() if self.shapes is None else self.shapes.sealed)

    def stands_alone(self, group: TierGroup) -> bool:
        """Whether a group of format 2 is kept as the one record or list that it is."""
        is_single = len(group.fields) == 1 and not group.has_state
        return (
            is_single and self.shapes is not None and self.shapes.stands_alone(group.fields[0].name)
        )

    def _sealed_in(self, group: TierGroup | None) -> frozenset[str]:
        """Members of a record of the group that are sealed."""
        if self.shapes is None or group is None or self.stands_alone(group):
            return frozenset()
        return self.shapes.sealed & {each.name for each in group.fields}

    @cached_property
    def fields(self) -> dict[str, tuple[TierGroup, TierField]]:
        """Every field by its name, with its group."""
        return {field.name: (group, field) for group in self.groups for field in group.fields}

    def tier_of(self, name: str) -> Tier | None:
        """The tier of a field, or None where the template names no such field."""
        found = self.fields.get(name)
        if found is not None:
            return found[0].tier
        argument = None if self.shapes is None else self.shapes.by_name.get(name)
        return None if argument is None else argument.tier


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is about to be written: what of it an error may tell, and who pays."""

    tiers: TierMap
    key: str | None
    group: str
    pay: Pay | None

    def check_persons(self, value: Json, sealed: frozenset[str]) -> None:
        """Refuse numbers of persons before anything else is said, wherever they stand, but in what
        is `sealed`: whatever is an object under such a name is judged by its form.
        """
        if not isinstance(value, dict):
            self._check_text(value)
            return
        self._spend(len(value))
        for name, part in value.items():
            self._check_text(name)
            is_sealed = name in sealed and isinstance(part, dict)
            if not is_sealed and not self._is_credit_code(name, part):
                self._check_text(part, field=name[:NAME_SHOWN_MAX])

    def check_whole(self, group: TierGroup, value: Json) -> None:
        """All fields are there in the clear; one alone may stand for itself, without an object."""
        found = self._members(group, value)
        wanted = {each.name for each in group.fields} | ({STATE} if group.has_state else set())
        strangers = [name for name in found if name not in wanted]
        for name in strangers:
            if self.tiers.tier_of(name) is Tier.NONPUBLIC:
                raise self.stranger(name)
        for field in group.fields:
            if self.tiers.shapes is None:
                self.check_field(group.tier, field, found.get(field.name))
            else:
                self.check_shape(self.tiers.shapes, field.name, found.get(field.name))
        if group.has_state:
            self.check_state(found.get(STATE), group.tier)
        for name in strangers:
            raise self.stranger(name)

    def _members(self, group: TierGroup, value: Json) -> dict[str, Json]:
        """What is written of a group, by the names of its fields."""
        if isinstance(value, dict) and not self.tiers.stands_alone(group):
            return value
        if group.has_state or len(group.fields) != 1:
            raise self.error(_CODES[group.tier], Why.NOT_OBJECT)
        return {group.fields[0].name: value}

    def check_field(self, tier: Tier, field: TierField, value: Json) -> None:
        """A value is of its field's type, and no digest of one."""
        if value is None:
            if field.is_optional:
                return
            raise self.error(_CODES[tier], Why.MISSING, field=field.name)
        if type(value) is not KINDS[TYPES_2[field.type].kind]:
            raise self.error(_CODES[tier], Why.TYPE, field=field.name)
        is_read = isinstance(value, str) and field.type in READ_BY_PEOPLE
        if is_read and DIGEST.fullmatch(str(value)):
            raise self.error(_CODES[tier], Why.DIGEST, field=field.name)

    def check_shape(self, shapes: Shapes, name: str, value: Json) -> None:
        """A value of format 2 is what the template says, at every place in it."""
        fault = shapes.fault(name, value, pay=self.pay)
        if fault is not None:
            code = _CODES[shapes.by_name[name].tier]
            raise self.error(code, fault.why, field=fault.place[:NAME_SHOWN_MAX])

    def check_state(self, value: Json, tier: Tier) -> None:
        """The state of a business is a word."""
        if not isinstance(value, str):
            why = Why.MISSING if value is None else Why.TYPE
            raise self.error(_CODES[tier], why, field=STATE)

    def check_described(self, value: Json) -> None:
        """Digest, reference and owner, and nothing else."""
        if not isinstance(value, dict) or value.keys() != frozenset(DESCRIPTION):
            raise self.error(_NONPUBLIC, Why.NOT_DESCRIBED)
        for name, form in _DESCRIBED.items():
            part = value[name]
            if not isinstance(part, str) or not form.fullmatch(part):
                raise self.error(_NONPUBLIC, Why.NOT_DESCRIBED, field=name)

    def check_steps(self, value: Json) -> None:
        """Their count, one of them, or a list of them: of words and numbers about it."""
        if type(value) is int:
            return
        for step in value if isinstance(value, list) else [value]:
            if not isinstance(step, dict):
                raise self.error(_UNCLASSIFIED, Why.NOT_OBJECT)
            self._spend(len(step))
            for name, part in step.items():
                if name not in STEP and self.tiers.tier_of(name) in (None, Tier.NONPUBLIC):
                    raise self.stranger(name)
                if isinstance(part, list | dict):
                    raise self.error(_UNCLASSIFIED, Why.TYPE, field=name)

    def stranger(self, name: str) -> ContractError:
        """For a member that has no place here: the code of the tier that it belongs to."""
        tier = self.tiers.tier_of(name)
        if tier is None:
            return self.error(_UNCLASSIFIED, Why.UNKNOWN, field=name[:NAME_SHOWN_MAX])
        return self.error(_CODES[tier], Why.ELSEWHERE, field=name)

    def personal(self, found: Finding, **facts: str) -> ContractError:
        """For what holds a number of a person."""
        return self.error(_NONPUBLIC, Why.PERSONAL, kind=found.kind.value, **facts)

    def error(self, code: str, why: Why, **facts: str) -> ContractError:
        """The error of the engine with all that is known."""
        if self.key is not None:
            facts["key"] = self.key
        if self.group:
            facts["group"] = self.group
        return ContractError(code, why=why.value, **facts)

    def _check_text(self, value: Json, **facts: str) -> None:
        found = find_personal_data(value, pay=self.pay, search=self.tiers.search)
        if found is not None:
            raise self.personal(found, **facts)

    def _is_credit_code(self, name: str, value: Json) -> bool:
        """In a field for it; elsewhere what may also be an identity number is taken for one."""
        field = self.tiers.fields.get(name)
        is_for_it = field is not None and field[1].type == "uscc"
        return is_for_it and isinstance(value, str) and is_uscc(value)

    def _spend(self, count: int) -> None:
        if self.pay is not None:
            self.pay(count)


def check_arguments(
    arguments: Mapping[str, Json], *, pay: Pay | None = None, search: Search = NEWEST
) -> None:
    """Refuse arguments with numbers of persons; raises `ContractError`, with `argument` as a path.
    They are part of the transaction, so on chain whatever the method does with them.
    """
    found = find_personal_data(dict(arguments), pay=pay, search=search)
    if found is not None:
        raise ContractError(
            _NONPUBLIC, why=Why.PERSONAL.value, kind=found.kind.value, argument=found.path
        )


def check_call(
    shapes: Shapes | None,
    arguments: Mapping[str, Json],
    *,
    pay: Pay | None = None,
    search: Search = NEWEST,
) -> None:
    """Refuse arguments that no transaction may hold, or that are not what a template of format 2
    says of them; raises `ContractError`, with `argument` as a path. What is sealed is judged by its
    form, and not looked into.
    """
    if shapes is None:
        check_arguments(arguments, pay=pay, search=search)
        return
    sealed = {name: value for name, value in arguments.items() if name in shapes.sealed}
    clear = {name: value for name, value in arguments.items() if name not in sealed}
    for found in (sealed, clear):
        if found is clear:
            check_arguments(clear, pay=pay, search=search)
        for name, value in found.items():
            fault = shapes.fault(name, value, pay=pay) if name in shapes.by_name else None
            if fault is not None:
                place, why = fault.place[:NAME_SHOWN_MAX], fault.why.value
                raise ContractError("CONTRACT_ARGUMENT_WRONG", argument=place, why=why)


def _by_prefix(groups: Iterable[TierGroup]) -> tuple[TierGroup, ...]:
    return tuple(sorted(groups, key=lambda each: each.prefix))
