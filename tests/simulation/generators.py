"""Scenarios that are enumerated rather than drawn: Twins and ByzzFuzz.

Twins (DiemBFT): one replica exists twice, with the same code and key; what varies is who hears whom
in each round. ByzzFuzz (OOPSLA 2023): in c rounds a process mutates its messages, in d rounds the
network drops some, with small or any scope.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Final

from tests.simulation.fault_plan import Fault
from tests.simulation.scenario import SIZES, Act, Scenario

TWINS_SIZE: Final = 4
TWINS_ROUNDS: Final = 7
TWINS_ROUND_MS: Final = 450
TWINS_REQUESTS: Final = 20

FUZZED_ROUNDS: Final = range(4, 60)
FUZZED_MS: Final = 2_500
GRID: Final = tuple(itertools.product((0, 1, 2), (0, 1, 2), ("small", "any")))
"""(c, d, scope): rounds with process faults, rounds with network faults, scope of mutations."""


def partitions(machines: int) -> list[tuple[tuple[int, ...], ...]]:
    """Every way to leave machines together or part them in two."""
    ways: list[tuple[tuple[int, ...], ...]] = [(tuple(range(machines)),)]
    for mask in range(1, 2 ** (machines - 1)):
        side = tuple(each for each in range(machines) if mask >> each & 1)
        rest = tuple(each for each in range(machines) if not mask >> each & 1)
        ways.append((side, rest))
    return ways


def twins(index: int, seed: int = 0) -> Scenario:
    """The scenario of this number: which replica is doubled, and who hears whom in each round.

    All combinations occur; neighbours in number differ in every round.
    """
    copies = twins_copies(index)
    ways = partitions(TWINS_SIZE + copies)
    total = len(ways) ** TWINS_ROUNDS
    number = (index * 2_654_435_761) % total
    faults = []
    for turn in range(TWINS_ROUNDS):
        number, way = divmod(number, len(ways))
        faults.append(Fault(1 + turn * TWINS_ROUND_MS, "halves", groups=ways[way]))
    return Scenario(
        seed=seed or index,
        size=TWINS_SIZE,
        requests=TWINS_REQUESTS,
        storm_ms=TWINS_ROUNDS * TWINS_ROUND_MS,
        copies={index % TWINS_SIZE: copies},
        faults=tuple(faults),
        kind="twins",
    )


def twins_copies(index: int) -> int:
    """How many machines there are beyond the first with one replica's key."""
    return 2 if index % 5 == 4 else 1


def byzzfuzz(process: int, network: int, scope: str, seed: int) -> Scenario:
    """A scenario with `process` rounds of mutated and `network` rounds of dropped messages."""
    random = Random(seed)
    size = random.choice(SIZES[:-1])
    liar = random.randrange(size)
    mutated = frozenset(random.sample(FUZZED_ROUNDS, k=process))
    act = Act("B18" if scope == "small" else "B19", only=mutated)
    ways = partitions(size)
    cuts = {each: random.choice(ways[1:]) for each in random.sample(FUZZED_ROUNDS, k=network)}
    return Scenario(
        seed=seed,
        size=size,
        requests=20,
        storm_ms=FUZZED_MS,
        liars={liar: (act,)} if process else {},
        round_cuts=cuts,
        kind="byzzfuzz",
    )
