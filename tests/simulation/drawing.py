"""Which scenario a seed of a campaign is: every kind in a share of them, every cell of it in turn.

The kinds are residues, so none takes another's seeds; within its kind a seed has a number, and the
numbers go through the cells. Any three hundred seeds in a row play every one of `naming.CELLS`.
"""

from __future__ import annotations

from typing import Final

from tests.simulation.generators import GRID
from tests.simulation.naming import Name
from tests.simulation.scenario import (
    BRIEF,
    DRIPS,
    MANY,
    SM2,
    TRAITORS,
    Scenario,
    Traits,
    by_turn,
    its_turn,
)

PERIOD: Final = 100
LOST: Final = (20, 7)
BATCHED: Final = (20, 14)
TWINS: Final = tuple(
    each for each in range(PERIOD) if each % 10 == 3 and not its_turn(each, TRAITORS)
)
WITHHELD: Final = tuple(
    each for each in range(PERIOD) if each % 20 == 18 and not its_turn(each, TRAITORS)
)
FUZZED: Final = tuple(each for each in range(PERIOD) if each % 10 == 1 or each % 20 in (2, 6))

MANY_WITH: Final = ("stored", "", "governed", "", "sm2", "", "batch16", "", "rot stored", "")
SM2_WITH: Final = ("", "governed", "stored")
BATCHED_WITH: Final = ("batch1", "batch16", "batch256")
DRIPPED: Final = (48, 36)
"""Every other storm with a newcomer."""
STORED_EVERY: Final = 10
"""Of the runs of Twins and of ByzzFuzz."""
LOST_WITH: Final = ("", "sm2", "many", "", "")
"""By turns, beside what a storm of that seed has; not the turn of `CHANGED_LOSSES`."""


def scenario_of(seed: int) -> Scenario:
    """What the campaign runs for a seed."""
    return name_of(seed).scenario()


def name_of(seed: int) -> Name:
    """The name of that scenario."""
    if its_turn(seed, LOST):
        number = seed // LOST[0]
        return Name("ceremony", seed, number, traits=_turn(LOST_WITH, number))
    if seed % PERIOD in TWINS:
        number = _number(seed, TWINS)
        return Name("twins", seed, number, traits=_store(number))
    if seed % PERIOD in WITHHELD:
        return Name("withheld", seed)
    if seed % PERIOD in FUZZED:
        number = _number(seed, FUZZED)
        return Name("byzzfuzz", seed, cell=GRID[number % len(GRID)], traits=_store(number))
    return Name("storm", seed, traits=by_turn(seed) | _more(seed))


def grid(times: int, first: int = 0) -> list[Name]:
    """Each cell of ByzzFuzz so often, briefly, with other chances each time."""
    seeds = range(first, first + times * len(GRID))
    return [
        Name("byzzfuzz", seed, cell=GRID[seed % len(GRID)], traits=_store(seed) | {BRIEF})
        for seed in seeds
    ]


def enumerated(count: int) -> list[Name]:
    """The first scenarios of Twins, briefly; each has its number for a seed."""
    return [Name("twins", each, each, traits=_store(each) | {BRIEF}) for each in range(count)]


def _number(seed: int, residues: tuple[int, ...]) -> int:
    """How many seeds of that kind come before."""
    return seed // PERIOD * len(residues) + residues.index(seed % PERIOD)


def _store(number: int) -> Traits:
    """One of any ten that follow a multiple of it has the production's store, each time another, so
    that in time all cells do.
    """
    turn, place = divmod(number, STORED_EVERY)
    return frozenset({"stored"} if place == turn % STORED_EVERY else ())


def _more(seed: int) -> Traits:
    """What the traits by turn alone never bring together."""
    if its_turn(seed, TRAITORS):
        return frozenset()
    if its_turn(seed, MANY):
        return _turn(MANY_WITH, seed // MANY[0])
    if its_turn(seed, SM2):
        return _turn(SM2_WITH, seed // SM2[0])
    if its_turn(seed, BATCHED):
        return _turn(BATCHED_WITH, seed // BATCHED[0])
    if its_turn(seed, DRIPPED):
        return frozenset({DRIPS})
    return frozenset()


def _turn(choices: tuple[str, ...], number: int) -> Traits:
    return frozenset(choices[number % len(choices)].split())
