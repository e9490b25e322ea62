"""Names of scenarios: what is in one says all that it is played from, whatever a seed means.

`storm/150+rot+stored`: the seed and its traits. `ceremony/127/6+sm2`: the seed and the ways in
which the quorum is lost. `twins/41/363`: the number in the enumeration, and the seed of chance.
`byzzfuzz/1-2-any/121`: process and network rounds, the scope, the seed. `withheld/18`: the seed of
a run in which liars keep blocks from becoming final; `twins/41/41+brief` ends once all is final,
`twins/41/41+stored` has the production's store. A mistake that a seed found is kept under its name.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation.generators import GRID, TWINS_SIZE, byzzfuzz, twins, twins_copies
from tests.simulation.scenario import (
    BATCHES,
    BRIEF,
    TRAITS,
    Scenario,
    Traits,
    of_loss,
    of_seed,
    of_withheld,
)

TOGETHER: Final = (
    ("many", "stored"),
    ("many", "governed"),
    ("many", "sm2"),
    ("sm2", "governed"),
    ("sm2", "stored"),
)
"""Traits that a storm must have had together."""
LOST_WITH: Final = ("sm2", "many")

Cell = tuple[int, int, str]

_FORM: Final = re.compile(
    r"(storm|withheld)/\d+|ceremony/\d+/\d+|twins/\d+/\d+|byzzfuzz/[012]-[012]-(small|any)/\d+"
)
_TRAITS_OF: Final[dict[str, Traits]] = {
    "storm": frozenset(TRAITS),
    "ceremony": frozenset(LOST_WITH),
    "twins": frozenset({BRIEF, "stored"}),
    "byzzfuzz": frozenset({BRIEF, "stored"}),
    "withheld": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Name:
    """A kind, what its number is there, the seed of chance, and traits."""

    kind: str
    seed: int
    number: int = 0
    cell: Cell = (0, 0, "")
    traits: Traits = frozenset()

    def __str__(self) -> str:
        process, network, scope = self.cell
        place = {
            "storm": "",
            "withheld": "",
            "ceremony": f"/{self.number}",
            "twins": f"/{self.number}",
            "byzzfuzz": f"/{process}-{network}-{scope}",
        }[self.kind]
        with_traits = "".join(f"+{trait}" for trait in sorted(self.traits))
        if self.kind == "ceremony":
            return f"{self.kind}/{self.seed}{place}{with_traits}"
        return f"{self.kind}{place}/{self.seed}{with_traits}"

    def scenario(self) -> Scenario:
        """What it names."""
        match self.kind:
            case "ceremony":
                return of_loss(self.seed, self.number, self.traits)
            case "twins":
                return self._with(twins(self.number, self.seed))
            case "byzzfuzz":
                return self._with(byzzfuzz(*self.cell, self.seed))
            case "withheld":
                return of_withheld(self.seed)
            case _:
                return of_seed(self.seed, traits=self.traits)

    @property
    def is_brief(self) -> bool:
        """Whether it ends once all is final."""
        return BRIEF in self.traits

    def _with(self, scenario: Scenario) -> Scenario:
        return replace(scenario, brief=self.is_brief, stored="stored" in self.traits)

    def cells(self) -> list[str]:
        """What of `CELLS` it plays; whether a batch is ever full, the run says."""
        match self.kind:
            case "byzzfuzz":
                return [cell_of_grid(self.cell)]
            case "twins":
                return [cell_of_twins(self.number)]
            case "ceremony":
                return [cell_of_loss(trait) for trait in LOST_WITH if trait in self.traits]
            case _:
                return [_together(pair) for pair in TOGETHER if self.traits.issuperset(pair)]

    def meets(self, fired: Counter[str]) -> bool:
        """Whether the faults that it is named after came upon a message in a run where these fired:
        a round may be one in which nobody, or not the liar, says anything.
        """
        process, network, _ = self.cell
        match self.kind:
            case "byzzfuzz":
                mutated = fired["B18"] + fired["B19"] > 0 or not process
                return mutated and (fired["round_cut"] > 0 or not network)
            case "twins":
                return fired["B2"] > 0
            case _:
                return True


def parse(text: str) -> Name:
    """The name in a text; raises `ValueError`."""
    plain, *listed = text.split("+")
    traits = frozenset(listed)
    if _FORM.fullmatch(plain) is None or not traits <= _TRAITS_OF[plain.partition("/")[0]]:
        raise ValueError(f"no scenario is called {text!r}")
    match plain.split("/"):
        case ["ceremony", seed, number]:
            return Name("ceremony", int(seed), int(number), traits=traits)
        case ["twins", number, seed]:
            return Name("twins", int(seed), int(number), traits=traits)
        case ["byzzfuzz", place, seed]:
            process, network, scope = place.split("-")
            cell = (int(process), int(network), scope)
            return Name("byzzfuzz", int(seed), cell=cell, traits=traits)
        case [kind, seed]:
            return Name(kind, int(seed), traits=traits)
    raise AssertionError(text)


def cell_of_grid(cell: Cell) -> str:
    """As it stands in a campaign's report."""
    process, network, scope = cell
    return f"byzzfuzz {process}-{network}-{scope}"


def cell_of_twins(number: int) -> str:
    """Which replica is there how many times more."""
    return f"twins of {number % TWINS_SIZE} by {twins_copies(number)}"


def cell_of_loss(trait: str) -> str:
    """A lost quorum with a trait."""
    return f"ceremony with {trait}"


def _together(traits: tuple[str, ...]) -> str:
    return f"storm with {' and '.join(traits)}"


CELLS_OF_GRID: Final = tuple(map(cell_of_grid, GRID))
CELLS_OF_TWINS: Final = tuple(dict.fromkeys(map(cell_of_twins, range(5 * TWINS_SIZE))))
CELLS: Final = (
    *CELLS_OF_GRID,
    *CELLS_OF_TWINS,
    *map(cell_of_loss, LOST_WITH),
    *map(_together, TOGETHER),
    *(f"full batch of {size}" for size in BATCHES.values()),
)
"""What a long campaign must have played, beside every fault and strategy."""
