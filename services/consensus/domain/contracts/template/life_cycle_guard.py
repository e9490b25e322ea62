"""Holds one call of a contract against the life cycle of its template: on a chain and at home.

What a method does is judged when it has ended well, so that what the contract itself says no to is
told in its own words; what it may not even see or touch is refused at once. A refusal drops all
that the transaction did. A call that read what the template restricts says so: what it answers has
no place in a receipt, which more people read than may read the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from guqiao_sdk import roles
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.faults import ContractError
from services.consensus.domain.contracts.star.gas import Meter
from services.consensus.domain.contracts.star.values import from_json
from services.consensus.domain.contracts.template.life_cycle import LifeCycle, Step
from services.consensus.domain.contracts.template.tiers import TierMap
from services.consensus.domain.contracts.template.vocabulary import STATE, Tier

ROLE: Final = "TEMPLATE_ROLE_MISSING"
TRANSITION: Final = "TEMPLATE_TRANSITION_WRONG"
EVENT_MISSING: Final = "TEMPLATE_EVENT_MISSING"
EVENT_OTHER: Final = "TEMPLATE_EVENT_OTHER"
STEP_MISSING: Final = "TEMPLATE_STEP_MISSING"
VIEW_WRITES: Final = "TEMPLATE_VIEW_WRITES"
UNREADABLE: Final = "READ_CONDITION_UNMET"


class Wrong(StrEnum):
    """What is wrong with a step, as the fact `why` of an error."""

    UNNAMED = "unnamed"
    """The template has no such method."""
    NOTHING = "nothing"
    """No business was written."""
    SOURCE = "from"
    """The business was not where the step begins."""
    TARGET = "to"
    """The business is not where the step leads to."""
    DELETED = "deleted"
    """A business, or its steps for supervision, was deleted."""


@dataclass(slots=True)
class _Business:
    """Where it was before the call, None where it was not, and what the call wrote of it last."""

    before: str | None
    record: dict[str, Json]


@dataclass(slots=True)
class LifeCycleGuard:
    """Watches one call of `method`, signed by `maker` and `checker`; `meter` pays for what it looks
    up. `has_read_restricted` is whether the call read what the template restricts.
    """

    life_cycle: LifeCycle
    tiers: TierMap
    meter: Meter
    method: str
    maker: Party
    checker: Party | None
    has_read_restricted: bool = False
    _businesses: dict[str, _Business] = field(default_factory=dict)
    _announced: set[tuple[str, Json, Json]] = field(default_factory=set)
    _traced: set[str] = field(default_factory=set)

    # --- While the contract runs ------------------------------------------------------------------

    def require_readable(self, key: str) -> None:
        """Raise `ContractError` where `key`, or what begins with it, is restricted, and who signs
        neither has a role of the template nor reads restricted state for an office.
        """
        group = self.tiers.group_of(key)
        if group is not None and group.tier is Tier.RESTRICTED:
            self._restricted(group.name)

    def found(self, key: str, value: Json) -> None:
        """The same for what stands under a key: steps for supervision may hold fields."""
        self.require_readable(key)
        if self.tiers.is_step(key):
            for step in value if isinstance(value, list) else [value]:
                for name in step if isinstance(step, dict) else ():
                    if self.tiers.tier_of(name) is Tier.RESTRICTED:
                        self._restricted(name)

    def _restricted(self, what: str) -> None:
        readers = roles.RESTRICTED_READERS.union(self.life_cycle.roles)
        if self.maker.roles.isdisjoint(readers):
            raise ContractError(UNREADABLE, group=what)
        self.has_read_restricted = True

    def write(self, key: str, value: Json, before: Callable[[], Json | None]) -> None:
        """Note what is about to be written, of its tier; `before` looks up what stands there.
        Raises `ContractError` in a method that only reads, `OutOfGas` where that is not paid.
        """
        self._require_step()
        if self.tiers.is_step(key):
            self._traced.update(_places(key.removeprefix(self.tiers.steps)))
        if not self._is_business(key):
            return
        assert isinstance(value, dict), "of its tier: a business has a state"
        known = self._businesses.get(key)
        if known is None:
            self._businesses[key] = _Business(self._state(before()), value)
        else:
            known.record = value

    def delete(self, key: str) -> None:
        """Raise `ContractError` for what stays, and in a method that only reads."""
        self._require_step()
        if self._is_business(key):
            raise ContractError(TRANSITION, step=self.method, why=Wrong.DELETED.value)
        if self.tiers.is_step(key):
            raise ContractError(STEP_MISSING, step=self.method, why=Wrong.DELETED.value)

    def event(self, topic: str, body: Json) -> None:
        """Note what is announced; raises `ContractError` for what the step does not announce."""
        self._require_step()
        step = self._step()
        if step is not None and topic not in (step.event, *step.more_events):
            raise ContractError(EVENT_OTHER, step=self.method, event=topic)
        assert isinstance(body, dict), "of its tier: an event has members"
        self._announced.add((topic, body.get(self.life_cycle.key), body.get(STATE)))

    # --- When it has ended ------------------------------------------------------------------------

    def ended(self) -> None:
        """Raise `ContractError` unless all that was done is what the template says of the method,
        by whom it says.
        """
        if self.method in self.life_cycle.views:
            return
        step = self._step()
        if step is None:
            raise ContractError(TRANSITION, step=self.method, why=Wrong.UNNAMED.value)
        self._require_signers(step)
        if not self._businesses:
            raise ContractError(TRANSITION, step=self.method, why=Wrong.NOTHING.value)
        for business in self._businesses.values():
            self._require_move(step, business)
            self._require_event(step, business.record)
            self._require_traced(business.record)

    def _require_signers(self, step: Step) -> None:
        if self.maker.roles.isdisjoint(step.roles):
            raise self._role_missing("maker", step.roles)
        if not step.checkers:
            return
        second = self.checker
        if second is None or second.did == self.maker.did or second.roles.isdisjoint(step.checkers):
            raise self._role_missing("checker", step.checkers)

    def _role_missing(self, signer: str, wanted: Iterable[str]) -> ContractError:
        return ContractError(ROLE, step=self.method, signer=signer, roles=list(wanted))

    def _require_move(self, step: Step, business: _Business) -> None:
        before, after = business.before, business.record[STATE]
        begins = not step.sources and before is None
        if not begins and before not in step.sources:
            raise ContractError(
                TRANSITION, step=self.method, why=Wrong.SOURCE.value, state=before or "NONE"
            )
        if after not in step.targets:
            raise ContractError(
                TRANSITION, step=self.method, why=Wrong.TARGET.value, state=str(after)[:64]
            )

    def _require_event(self, step: Step, record: dict[str, Json]) -> None:
        """The event of this business: it names the business, and the state that it is in."""
        if (step.event, record[self.life_cycle.key], record[STATE]) not in self._announced:
            raise ContractError(EVENT_MISSING, step=self.method, event=step.event)

    def _require_traced(self, record: dict[str, Json]) -> None:
        """A step was kept under the number that the supervision view is asked by."""
        if str(record[self.life_cycle.key]) not in self._traced:
            raise ContractError(STEP_MISSING, step=self.method, why=Wrong.NOTHING.value)

    # ----------------------------------------------------------------------------------------------

    def _step(self) -> Step | None:
        return self.life_cycle.by_method.get(self.method)

    def _require_step(self) -> None:
        if self.method in self.life_cycle.views:
            raise ContractError(VIEW_WRITES, step=self.method)

    def _is_business(self, key: str) -> bool:
        group = self.tiers.group_of(key)
        return group is not None and group.has_state

    def _state(self, record: Json) -> str | None:
        """Of what stood there before; it is read as a contract would, and paid like that."""
        self.meter.charge(self.meter.table.read)
        from_json(self.meter, record)
        state = record.get(STATE) if isinstance(record, dict) else None
        return state if isinstance(state, str) else None


def _places(key: str) -> set[str]:
    """The numbers that a step under `key` may be of: all of it, and what stands before each /."""
    return {key, *(key[:at] for at, each in enumerate(key) if each == "/")}
