"""The life cycle of a template's businesses, as a contract's record keeps it for the engine.

`conformance` judges a program before it runs and cannot see which of its branches are taken; the
engine holds each call against this (`life_cycle_guard`), so that a check that never happens, or an
event behind a condition that never holds, takes no step (G2-08-4, G2-08-5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.template.model import Template, Transition


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A transition: from one of `sources`, or where there are none as a beginning, to one of
    `targets`. Of `roles` and `checkers` who signs holds any; without `checkers` one signature is
    enough. `event` is mandatory, `more_events` are not.
    """

    method: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    roles: tuple[str, ...]
    checkers: tuple[str, ...]
    event: str
    more_events: tuple[str, ...]

    @staticmethod
    def of(transition: Transition) -> Step:
        """What a template says of a method. A second signer that the chain's parameters may ask
        for is not asked for here.
        """
        assert transition.event is not None, "what is deployed announces each of its steps"
        return Step(
            transition.method,
            tuple(sorted(transition.sources)),
            tuple(sorted(transition.targets)),
            tuple(sorted(transition.roles)),
            () if transition.checker_by_parameter else tuple(sorted(transition.checkers)),
            transition.event,
            tuple(sorted(transition.more_events)),
        )

    def to_json(self) -> Json:
        """For the record of a contract."""
        return {
            "method": self.method,
            "from": list(self.sources),
            "to": list(self.targets),
            "roles": list(self.roles),
            "checkers": list(self.checkers),
            "event": self.event,
            "more_events": list(self.more_events),
        }

    @staticmethod
    def from_json(value: Json) -> Step:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {
                "method": str(method),
                "from": list(sources),
                "to": list(targets),
                "roles": list(roles),
                "checkers": list(checkers),
                "event": str(event),
                "more_events": list(more_events),
                **rest,
            } if not rest:
                return Step(
                    method,
                    sources=_names(sources),
                    targets=_names(targets),
                    roles=_names(roles),
                    checkers=_names(checkers),
                    event=event,
                    more_events=_names(more_events),
                )
        raise ValueError("not a step of a life cycle")


@dataclass(frozen=True)
class LifeCycle:
    """The steps of businesses that are known by the field `key`, the methods that only read, and
    the roles of whom the template names: they read what it restricts.
    """

    key: str
    steps: tuple[Step, ...]
    views: tuple[str, ...]
    roles: tuple[str, ...]

    @staticmethod
    def of(template: Template) -> LifeCycle:
        """What a template says that contracts are deployed by."""
        views = {template.supervision.view, *(each.method for each in template.views)}
        return LifeCycle(
            template.key,
            tuple(sorted(map(Step.of, template.transitions))),
            tuple(sorted(views)),
            tuple(sorted(each.name for each in template.roles)),
        )

    def to_json(self) -> dict[str, Json]:
        """For the record of a contract."""
        return {
            "key": self.key,
            "steps": [each.to_json() for each in self.steps],
            "views": list(self.views),
            "roles": list(self.roles),
        }

    @staticmethod
    def from_json(value: Json) -> LifeCycle:
        """Read what `to_json` gave; raises `ValueError` for anything else."""
        match value:
            case {
                "key": str(key),
                "steps": list(steps),
                "views": list(views),
                "roles": list(roles),
                **rest,
            } if not rest:
                found = tuple(sorted(map(Step.from_json, steps)))
                return LifeCycle(key, found, _names(views), _names(roles))
        raise ValueError("not a life cycle")

    @cached_property
    def by_method(self) -> Mapping[str, Step]:
        """Every step by its method."""
        return {each.method: each for each in self.steps}


def _names(values: list[Json]) -> tuple[str, ...]:
    if not all(isinstance(each, str) for each in values):
        raise ValueError("not a list of names")
    return tuple(sorted(map(str, values)))
