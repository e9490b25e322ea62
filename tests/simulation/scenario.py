"""A run as data: how many replicas, who lies how, which fault when. All follows from the seed.

Nothing is drawn while a scenario runs but what the network, the liars and the clients do in it, and
that from generators which the seed fixes too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from guqiao_sdk.proof.quorum import faulty_max, quorum
from tests.simulation.byzantine.registry import LYING
from tests.simulation.fault_plan import Fault, Loss, Rot, plan_faults, plan_rot
from tests.simulation.membership import LEFT, ROTATED, Change, plan_changes, sizes_of, spare_of

SIZES: Final = (4, 5, 6, 7, 10)
SIZE_WEIGHTS: Final = (34, 18, 18, 18, 12)
STORM_MS: Final = (2_500, 5_500)
LONGER_MS: Final = 2_000
"""For set changes: one takes a window of blocks."""
CHANGED_LOSSES: Final = 5
"""In one of so many the set changes, unknown to those who are left."""
LOST_EPOCH_MS: Final = (250, 600)
LONG_LOSS_STORM_MS: Final = (3_000, 5_000)
"""So short an epoch, and so long a storm after it, that the new chain comes to heights of which the
old votes are, while those who cast them are back.
"""
LOSS_STORM_MS: Final = (1_200, 3_000)
"""Two of them make one run: before the loss and after it."""
MANY_REQUESTS: Final = 200
BURST_REQUESTS: Final = 400
"""Enough for a batch of the largest size behind the small ones of a window."""
BATCH_REQUESTS_MAX: Final = 8
BATCHES: Final = {"batch1": 1, "batch16": 16, "batch256": 256}
MANY: Final = (10, 9)
TRAITORS: Final = (25, 13)
STORED: Final = (5, 0)
ROTTEN: Final = (10, 0)
"""Of the seeds with the production's store every other has a damaged replica, which counts as one
of the f; the rest have f liars.
"""
SM2: Final = (40, 17)
GOVERNED: Final = (8, 4)
TAKING: Final = (24, 12)
LONG_PACE: Final = (40, 37)
"""(m, r): what happens in the seeds that are r modulo m, where nothing else is asked for."""
BY_TURN: Final = {
    "many": MANY,
    "traitors": TRAITORS,
    "stored": STORED,
    "rot": ROTTEN,
    "sm2": SM2,
    "governed": GOVERNED,
    "newcomer": TAKING,
    "long_pace": LONG_PACE,
}
DRIPS: Final = "drips"
"""The liars give a newcomer blocks now and then (B30)."""
BRIEF: Final = "brief"
"""It ends once all is final: so Twins and ByzzFuzz are played in large numbers."""
TRAITS: Final = (*BY_TURN, *BATCHES, DRIPS)
"""What a storm can have beside its seed; a newcomer comes only where the set changes."""
WITHHELD_BATCH: Final = 60
"""All requests fit into one, but those that come first fill the window one by one."""
WITHHELD_ALONE: Final = range(4)
"""Seeds modulo eight: by turns among those that the campaign gives to such runs."""

Traits = frozenset[str]


@dataclass(frozen=True, slots=True)
class Act:
    """A strategy and the rounds in which it is played: every one, by turns of `rounds`, or `only`
    some.
    """

    strategy: str
    rounds: int = 0
    turn: int = 0
    only: frozenset[int] = frozenset()

    def plays(self, number: int) -> bool:
        """Whether it is played in this round."""
        if self.only:
            return number in self.only
        return self.rounds == 0 or (number // self.rounds) % 2 == self.turn


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. `liars` holds at most f replicas, unless `traitors` says otherwise (B28)."""

    seed: int
    size: int
    requests: int
    storm_ms: int
    liars: dict[int, tuple[Act, ...]] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)
    """B2: how many machines beyond the first hold a replica's key."""
    traitors: bool = False
    faults: tuple[Fault, ...] = ()
    rot: Rot | None = None
    loss: Loss | None = None
    crash_ratio: float = 0.0
    scheme: str = "ideal"
    round_cuts: dict[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """ByzzFuzz: in these rounds only machines of one group hear one another."""
    stored: bool = False
    compacts: bool = False
    batch_max: int = BATCH_REQUESTS_MAX
    """How many requests a primary takes into one batch."""
    at_once: bool = False
    """The clients bring all requests in the beginning, as many as a batch may take."""
    changes: tuple[Change, ...] = ()
    """What becomes of the set of `size` replicas."""
    newcomer: int | None = None
    """Comes late and finds nobody who has the blocks before: it takes a state."""
    long_pace: bool = False
    """Whether heartbeats are as rare, and the window as wide, as in a network, not in a storm."""
    brief: bool = False
    """Ends once all is final after the storm: whether the throughput returns (L5) and views rest
    (L2) is not asked.
    """
    kind: str = "storm"

    @property
    def nodes(self) -> int:
        """The numbers of all that are ever members."""
        return max(sizes_of(self.size, self.changes))

    @property
    def governed(self) -> bool:
        """Whether the chain keeps its set itself: it changes, or the chain is restarted."""
        return bool(self.changes) or self.loss is not None

    @property
    def faulty(self) -> set[int]:
        """The replicas that do not follow the protocol."""
        return {*self.liars, *self.copies}

    @property
    def damaged(self) -> set[int]:
        """Replicas that follow it, but may have lost what they said."""
        return set() if self.rot is None else {self.rot.machine}


def of_seed(
    seed: int,
    size: int | None = None,
    strategies: list[str] | None = None,
    *,
    governed: bool | None = None,
    traits: Traits | None = None,
) -> Scenario:
    """The scenario of a seed with these traits, or those whose turn it is; a size, strategies and
    set changes can be demanded of it.
    """
    traits = by_turn(seed) if traits is None else traits
    random = Random(seed)
    size = random.choices(SIZES, SIZE_WEIGHTS)[0] if size is None else size
    storm_ms = random.randint(*STORM_MS)
    requests = _requests(random, traits)
    if strategies == ["B28"] or (strategies is None and "traitors" in traits):
        return _betrayal(random, seed, size, min(requests, 60))
    governed = "governed" in traits if governed is None else governed
    newcomer = size if governed and "newcomer" in traits else None
    stored = "stored" in traits or newcomer is not None
    if governed:
        storm_ms += LONGER_MS
    is_late = newcomer is not None
    changes = plan_changes(random, size, storm_ms, late=is_late) if governed else ()
    spare = spare_of(size, changes)
    rots = "rot" in traits and strategies is None and newcomer is None
    rot = plan_rot(random, seed // ROTTEN[0], size, storm_ms) if rots else None
    liars: dict[int, tuple[Act, ...]] = {}
    copies: dict[int, int] = {}
    count = spare - (rot is not None)
    if strategies is None and random.random() < 0.15:
        count = 0
    nodes = max(sizes_of(size, changes))
    unable = {newcomer} if rot is None else {rot.machine, newcomer}
    others = [each for each in range(nodes) if each not in unable]
    for replica in _liars(random, others, count, changes):
        acts = _acts(random, seed + replica, strategies)
        if any(act.strategy == "B2" for act in acts):
            copies[replica] = random.choice([1, 1, 2])
        liars[replica] = tuple(act for act in acts if act.strategy != "B2")
        if governed and strategies is None:
            leaves = any(each.kind == LEFT and each.seat == replica for each in changes)
            liars[replica] += _acts_on_changes(random, newcomer, leaves=leaves)
    machines = nodes + sum(copies.values())
    faults = plan_faults(random, seed, size, machines, storm_ms, stored=stored)
    if newcomer is not None:
        arrival = Fault(storm_ms // 3, "newcomer", machines=(newcomer,))
        faults = tuple(sorted([*faults, arrival], key=lambda fault: fault.at_ms))
    scenario = Scenario(
        seed=seed,
        size=size,
        requests=requests,
        storm_ms=storm_ms,
        liars=liars,
        copies=copies,
        faults=faults,
        rot=rot,
        crash_ratio=random.choice([0.0, 0.0, 0.0005, 0.002]),
        stored=stored,
        compacts=random.random() < 0.5,
        changes=changes,
        newcomer=newcomer,
    )
    return _with(scenario, traits)


def of_withheld(seed: int) -> Scenario:
    """B29: f liars, among them the first primary, keep all that they helped to decide from becoming
    final. Half of these runs have one request alone in the storm, so that for long nothing but the
    time-out of what is decided ends it; in the others more come than the window takes.
    """
    random = Random(seed)
    size = random.choices(SIZES, SIZE_WEIGHTS)[0]
    many = random.randint(20, WITHHELD_BATCH)
    return Scenario(
        seed=seed,
        size=size,
        requests=1 if seed % 8 in WITHHELD_ALONE else many,
        storm_ms=random.randint(*STORM_MS),
        liars={each: (Act("B29"),) for each in range(faulty_max(size))},
        batch_max=WITHHELD_BATCH,
        at_once=True,
        long_pace=True,
        kind="withheld",
    )


def by_turn(seed: int) -> Traits:
    """The traits of a seed that is asked for no others."""
    return frozenset(trait for trait, turn in BY_TURN.items() if its_turn(seed, turn))


def _requests(random: Random, traits: Traits) -> int:
    if "many" in traits:
        return MANY_REQUESTS
    drawn = random.randint(20, 60)
    return BURST_REQUESTS if "batch256" in traits else drawn


def _with(scenario: Scenario, traits: Traits) -> Scenario:
    """The traits that change nothing of what was drawn."""
    batches = [BATCHES[trait] for trait in BATCHES if trait in traits]
    dripping = (Act("B30"),) if DRIPS in traits and scenario.newcomer is not None else ()
    return replace(
        scenario,
        liars={each: (*acts, *dripping) for each, acts in scenario.liars.items()},
        scheme="sm2" if "sm2" in traits else "ideal",
        batch_max=max(batches, default=BATCH_REQUESTS_MAX),
        at_once=max(batches, default=0) > BATCH_REQUESTS_MAX,
        long_pace="long_pace" in traits,
    )


def of_loss(seed: int, number: int, traits: Traits = frozenset()) -> Scenario:
    """The storm of a seed in which the quorum is then lost for good, in the ways of `number`:
    production's store, whose folders are what a ceremony works on, and no rot beside the loss.
    Of the traits it can have `sm2` and `many`.
    """
    random = Random(seed)
    size = random.choices(SIZES, SIZE_WEIGHTS)[0]
    storm_ms = random.randint(*LOSS_STORM_MS)
    liars = {
        replica: _acts(random, seed + replica, None)
        for replica in random.sample(range(size), k=random.randint(0, faulty_max(size)))
    }
    honest = [each for each in range(size) if each not in liars]
    survivor = random.choice(honest)
    others = [each for each in range(size) if each != survivor]
    gone = random.randint(size - quorum(size) + 1, size - 1)
    lost = tuple(sorted(random.sample(others, k=gone)))
    returned = random.sample(lost, k=random.randint(1, min(gone, quorum(size) - 1)))
    second_ms = random.randint(*LOSS_STORM_MS)
    if number % CHANGED_LOSSES == 3:
        return _lost_with_changes(random, seed, size, traits)
    loss = Loss(
        lost=lost,
        settles=random.random() < 0.5,
        second=number % 3 != 1,
        returned=tuple(sorted(returned)) if number % 3 != 0 else (),
        newcomers=frozenset(each for each in lost if random.random() < 0.5),
        storm_ms=second_ms,
        faults=plan_faults(random, seed // 2, size, size, second_ms, stored=True),
    )
    requests = random.randint(20, 40)
    scenario = Scenario(
        seed=seed,
        size=size,
        requests=MANY_REQUESTS if "many" in traits else requests,
        storm_ms=storm_ms,
        liars={each: tuple(a for a in acts if a.strategy != "B2") for each, acts in liars.items()},
        faults=plan_faults(random, seed, size, size, storm_ms, stored=True),
        loss=loss,
        crash_ratio=random.choice([0.0, 0.0, 0.0005, 0.002]),
        stored=True,
        compacts=random.random() < 0.5,
        kind="ceremony",
    )
    return _with(scenario, traits)


def _lost_with_changes(random: Random, seed: int, size: int, traits: Traits) -> Scenario:
    """Those who are lost are a quorum: parted from the others they begin an epoch, or two, that the
    restart does not know of. One of them comes back, and another in its place keeps its key.
    """
    gone = random.randint(quorum(size), size - 1)
    lost = tuple(sorted(random.sample(range(size), k=gone)))
    survivors = tuple(each for each in range(size) if each not in lost)
    forgetful = random.sample(lost, k=random.randint(1, quorum(size) - 1 - len(survivors)))
    renewed = [each for each in lost if each not in forgetful]
    parted_ms, second_ms = random.randint(300, 900), random.randint(*LONG_LOSS_STORM_MS)
    loss = Loss(
        lost=lost,
        settles=random.random() < 0.5,
        second=random.random() < 0.5,
        returned=tuple(sorted(forgetful)),
        newcomers=frozenset(each for each in renewed if random.random() < 0.5),
        storm_ms=second_ms,
        faults=plan_faults(random, seed // 2, size, size, second_ms, stored=True),
        forgetful=tuple(sorted(forgetful)),
    )
    change = Change(ROTATED, random.choice(survivors), at_ms=random.choice([0, *[parted_ms] * 3]))
    requests = random.randint(80, 120)
    scenario = Scenario(
        seed=seed,
        size=size,
        requests=MANY_REQUESTS if "many" in traits else requests,
        storm_ms=parted_ms + random.randint(*LOST_EPOCH_MS),
        faults=(Fault(parted_ms, "halves", groups=(survivors, lost)),),
        loss=loss,
        stored=True,
        compacts=random.random() < 0.5,
        changes=(change,),
        kind="ceremony",
    )
    return _with(scenario, traits)


def its_turn(seed: int, turn: tuple[int, int]) -> bool:
    """Whether the seed is one of those."""
    return seed % turn[0] == turn[1]


def honest(seed: int, size: int) -> Scenario:
    """Nothing goes wrong."""
    return Scenario(seed=seed, size=size, requests=0, storm_ms=0)


def _liars(random: Random, others: list[int], count: int, changes: tuple[Change, ...]) -> list[int]:
    """Who lies; where the set changes it is often the one that is removed or changes its key."""
    kind = random.choice([LEFT, ROTATED]) if changes else None
    struck = [each.seat for each in changes if each.kind == kind and each.seat in others]
    if count and struck and random.random() < 0.7:
        rest = [each for each in others if each not in struck]
        return sorted([*struck, *random.sample(rest, k=count - 1)])
    return sorted(random.sample(others, k=count))


def _acts_on_changes(random: Random, newcomer: int | None, *, leaves: bool) -> tuple[Act, ...]:
    """What only a set change lets a liar do, and who comes late."""
    name = random.choice(["B17", "B26"])
    name = "B26" if leaves else name
    return (Act(name),) if newcomer is None else (Act(name), Act("B22"))


def _acts(random: Random, turn: int, strategies: list[str] | None) -> list[Act]:
    """The strategy whose turn it is (each gets its seeds) and up to two more."""
    names = strategies or [
        LYING[turn % len(LYING)],
        *random.sample(LYING, k=random.choice([0, 0, 1, 1, 2])),
    ]
    acts = []
    for number, name in enumerate(dict.fromkeys(names)):
        rounds = 0 if strategies or random.random() < 0.6 else random.choice([1, 2, 3, 7])
        acts.append(Act(name, rounds, number % 2))
    return acts


def _betrayal(random: Random, seed: int, size: int, requests: int) -> Scenario:
    """B28: f + 1 traitors. Half of these runs are two worlds, in each of which the traitors' copies
    make a quorum with some of the others; the rest are lies without bound.
    """
    traitors = sorted(random.sample(range(size), k=faulty_max(size) + 1))
    if size % 3 == 1:
        return _two_worlds(random, seed, size, traitors, requests)
    names = ["B3", "B4", "B11", "B15"]
    liars = {each: tuple(Act(name) for name in names) for each in traitors}
    return Scenario(
        seed=seed,
        size=size,
        requests=requests,
        storm_ms=random.randint(*STORM_MS),
        liars=liars,
        traitors=True,
        kind="betrayal",
    )


def _two_worlds(
    random: Random, seed: int, size: int, traitors: list[int], requests: int
) -> Scenario:
    others = [each for each in range(size) if each not in traitors]
    half = len(others) // 2
    worlds = (
        (*traitors, *others[:half]),
        (*range(size, size + len(traitors)), *others[half:]),
    )
    storm_ms = random.randint(*STORM_MS)
    return Scenario(
        seed=seed,
        size=size,
        requests=requests,
        storm_ms=storm_ms,
        copies=dict.fromkeys(traitors, 1),
        traitors=True,
        faults=(
            Fault(1, "halves", groups=worlds),
            Fault(storm_ms - 1, "heal_network"),
        ),
        kind="betrayal",
    )
