"""Runs the contract of a template without a chain, as guarded as there, and keeps its state from
call to call.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from guqiao_sdk.proof.json_values import Json
from guqiaoctl.template_files import load_template
from services.consensus.domain.contracts.host import Party
from services.consensus.domain.contracts.star.execution import Status
from services.consensus.domain.contracts.star.gas import GasTable, Meter
from services.consensus.domain.contracts.star.memory import MemoryHost, Surroundings
from services.consensus.domain.contracts.star.program import Program
from services.consensus.domain.contracts.template.enforcement import TierGuard
from services.consensus.domain.contracts.template.life_cycle import LifeCycle
from services.consensus.domain.contracts.template.model import Template, Transition
from services.consensus.domain.contracts.template.tiers import TierMap

FOLDER: Final = Path(__file__).parents[3] / "data" / "templates"
GAS: Final = 1_000_000
"""Each call of the common set is within what a chain gives a transaction."""

MAKER: Final = "did:rem:shandong:maker"
CHECKER: Final = "did:rem:shandong:checker"
ORGANISATION: Final = "did:rem:shandong:market"


@cache
def template(name: str) -> Template:
    """A template of the common set."""
    return load_template(FOLDER / f"{name}.yaml")


@cache
def _program(name: str) -> Program:
    return Program(template(name).contract.module, GasTable())


def party(did: str, *roles: str) -> Party:
    """A signer with these roles."""
    return Party(did, "k1", ORGANISATION, frozenset(roles))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: no code where it ended well."""

    code: str | None
    fields: dict[str, Json]
    result: Any
    events: list[tuple[str, Any]]


@dataclass
class Market:
    """A contract of the common set on a host in memory. A day passes with each step that is taken,
    from 2026-01-05 on.
    """

    name: str
    state: dict[str, Any] = field(default_factory=dict)
    height: int = 0
    taken: int = 0

    @property
    def template(self) -> Template:
        """What it is a contract of."""
        return template(self.name)

    def transition(self, method: str) -> Transition:
        """The step that a method takes."""
        return next(each for each in self.template.transitions if each.method == method)

    def call(
        self, method: str, maker: Party, checker: Party | None = None, /, **arguments: Json
    ) -> Ended:
        """One transaction; what it writes is kept where it ends well."""
        self.height += 1
        day = date(2026, 1, 5) + timedelta(days=self.taken)
        around = Surroundings(
            maker,
            checker,
            self.height,
            1_767_578_400_000 + self.height,
            f"{day}T10:00:00+08:00",
        )
        meter = Meter(GAS, GasTable())
        guard = TierGuard(TierMap.of(self.template), meter)
        life_cycle = LifeCycle.of(self.template)
        host = MemoryHost(copy.deepcopy(self.state), around, guard=guard, life_cycle=life_cycle)
        outcome = host.run(_program(self.name), meter, method, arguments)
        if outcome.status is not Status.OK:
            return Ended(outcome.code, dict(outcome.fields), None, [])
        self.state = host.after()
        return Ended(None, {}, outcome.result, list(host.events))

    def take(self, method: str, /, **arguments: Json) -> Ended:
        """Take a step, signed by whom the template asks for."""
        step = self.transition(method)
        checker = party(CHECKER, step.checker) if step.checker else None
        ended = self.call(method, party(MAKER, step.role), checker, **arguments)
        self.taken += ended.code is None
        return ended

    def look(self, method: str, /, **arguments: Json) -> Any:
        """What a view shows."""
        ended = self.call(method, party("did:rem:csrc:supervisor", "supervisor"), **arguments)
        assert ended.code is None, ended
        return ended.result

    def stands(self, business_id: str) -> str | None:
        """The state that a business is in."""
        key_group, _ = self.template.fields[self.template.key]
        record = self.state.get(key_group.state + business_id)
        return None if record is None else record["state"]
