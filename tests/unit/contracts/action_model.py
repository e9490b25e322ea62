"""What corporate actions do to a register, told a second time: from docs/register-actions.md, share
by share, and sharing no code with the contract.

A register is read from the state before an action; the action is played on it; the state after it
has to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

from tests.unit.contracts.action_market import positions_of
from tests.unit.contracts.memory_host import MemoryHost

Place = tuple[str, str]
"""Account and nature."""


@dataclass
class Register:
    """The positions of one product and what binds them, in counts of shares."""

    total: dict[Place, int] = field(default_factory=dict)
    overlap: dict[Place, int] = field(default_factory=dict)
    flags: dict[Place, tuple[bool, str | None]] = field(default_factory=dict)
    pledges: dict[str, tuple[Place, int]] = field(default_factory=dict)
    freezes: dict[str, tuple[Place, int, int]] = field(default_factory=dict)
    """Effective and waiting."""
    fruits: set[str] = field(default_factory=set)
    queues: dict[Place, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, host: MemoryHost, code: str) -> Self:
        found = cls()
        for place, position in positions_of(host, code).items():
            found.total[place] = position["total"]
            found.overlap[place] = position["overlap"]
            found.flags[place] = position["confirmed"], position["restricted_until"]
        for _, value in host.scan("pledge/", 1_000):
            pledge: Any = value
            place = pledge["account"], pledge["nature"]
            found.pledges[pledge["number"]] = place, pledge["outstanding"]
        for _, value in host.scan("freeze/", 1_000):
            freeze: Any = value
            place = freeze["account"], freeze["nature"]
            found.freezes[freeze["number"]] = place, freeze["effective"], freeze["waiting"]
            if freeze["fruits"]:
                found.fruits.add(freeze["number"])
        for key, queue in host.scan("waiting/", 1_000):
            _, account, _, nature = key.split("/")
            assert isinstance(queue, list)
            found.queues[account, nature] = [str(number) for number in queue]
        return found

    def pledged(self, place: Place) -> int:
        return sum(shares for where, shares in self.pledges.values() if where == place)

    def frozen(self, place: Place) -> int:
        return sum(effective for where, effective, _ in self.freezes.values() if where == place)

    def available(self, place: Place) -> int:
        return self.total[place] - self.pledged(place) - self.frozen(place) + self.overlap[place]

    def by_tens(self, per_ten: int) -> dict[Place, int]:
        """Whole shares for every ten: whoever is short of most gets the next one."""
        exact = {place: Fraction(total * per_ten, 10) for place, total in self.total.items()}
        given = {place: int(share) for place, share in exact.items()}
        for _ in range(int(sum(exact.values())) - sum(given.values())):
            shortest = min(exact, key=lambda place: (given[place] - exact[place], place))
            given[shortest] += 1
        return given

    def issue(self, per_ten: int) -> None:
        given = self.by_tens(per_ten)
        for place, shares in given.items():
            self.total[place] += shares
        for number, (place, shares) in self.pledges.items():
            self.pledges[number] = place, shares + shares * per_ten // 10
        for number, (_, effective, _) in [*self.freezes.items()]:
            if number in self.fruits:
                self._freeze_some(number, effective * per_ten // 10, waited=0)
        for place in given:
            self._serve(place)

    def split(self, parts: int) -> None:
        places = {*self.total}
        for place in places:
            self.total[place] *= parts
            self.overlap[place] *= parts
        for number, (place, shares) in self.pledges.items():
            self.pledges[number] = place, shares * (parts if place in places else 1)
        for number, (place, *counts) in self.freezes.items():
            effective, waiting = (each * (parts if place in places else 1) for each in counts)
            self.freezes[number] = place, effective, waiting

    def cancel(self, taken: Iterable[tuple[Place, int]]) -> bool:
        """Whether all of it is available; then it is gone."""
        lines = [*taken]
        if any(shares > self.available(place) for place, shares in lines):
            return False
        for place, shares in lines:
            self.total[place] -= shares
            if self.total[place] == 0:
                del self.total[place], self.overlap[place], self.flags[place]
        return True

    def _serve(self, place: Place) -> None:
        queue = self.queues.get(place, [])
        while queue and self.frozen(place) < self.total[place]:
            self._freeze_some(queue[0], 1, waited=1)
            if self.freezes[queue[0]][2] == 0:
                queue.pop(0)
        if not queue:
            self.queues.pop(place, None)

    def _freeze_some(self, number: str, shares: int, *, waited: int) -> None:
        """One share after the other: an available one, or where there is none a pledged one."""
        for _ in range(shares):
            place, effective, waiting = self.freezes[number]
            if self.available(place) == 0:
                self.overlap[place] += 1
            self.freezes[number] = place, effective + 1, waiting - waited
