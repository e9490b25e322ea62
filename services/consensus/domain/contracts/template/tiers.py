"""What of a template the engine needs to refuse a write in the wrong tier, when it is made.

`conformance` judges a program before it runs and cannot see values; this judges the values. PUBLIC
and RESTRICTED groups are on chain whole and in the clear, the latter in state that only authorised,
audited calls read; of a NONPUBLIC group digest, reference and owner are. What the template does not
name is not classified, so it is refused. Nothing that is refused is told but where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.template.model import Group, Template
from services.consensus.domain.contracts.template.vocabulary import TYPES, Tier


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
    return all(kind in TYPES for kind in types.values()) and all(each in types for each in optional)


@dataclass(frozen=True, slots=True)
class TierMap:
    """The groups of a template, by prefix, and the prefix of the steps for supervision."""

    groups: tuple[TierGroup, ...]
    steps: str

    @staticmethod
    def of(template: Template) -> TierMap:
        """What the template says."""
        groups = [TierGroup.of(each, template.key) for each in template.groups]
        return TierMap(_by_prefix(groups), template.supervision.state)

    def to_json(self) -> dict[str, Json]:
        """For the record of a contract."""
        return {"groups": [each.to_json() for each in self.groups], "steps": self.steps}

    @staticmethod
    def from_json(value: Json) -> TierMap:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {"groups": list(groups), "steps": str(steps), **rest} if not rest:
                return TierMap(_by_prefix(map(TierGroup.from_json, groups)), steps)
        raise ValueError("not a map of tiers")

    def group_of(self, key: str) -> TierGroup | None:
        """The group with the longest prefix of `key`, or None."""
        found = [each for each in self.groups if key.startswith(each.prefix)]
        return max(found, key=lambda each: len(each.prefix), default=None)


def _by_prefix(groups: Iterable[TierGroup]) -> tuple[TierGroup, ...]:
    return tuple(sorted(groups, key=lambda each: each.prefix))
