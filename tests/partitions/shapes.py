"""Shapes of a fault between replicas, as data: steps of wires, and what must be possible meanwhile.

A shape is made for one episode from the seed and the primary of the moment. Where it leaves a
quorum of replicas connected in both directions it names them: they must go on deciding while the
fault lasts. Everywhere, all must be level again once it is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tests.partitions.switch import Wire, Wires

N: Final = 4
REPLICAS: Final = frozenset(range(N))
STEP_SECONDS: Final = 1.5
SHORT_SECONDS: Final = 0.3
CUT: Final = Wire(cut=True)


@dataclass(frozen=True, slots=True)
class Step:
    """These wires for so long; `paused` replicas are stopped (SIGSTOP) meanwhile, the clocks of the
    `astray` ones are `clock_seconds` ahead.
    """

    wires: Wires
    seconds: float = STEP_SECONDS
    paused: frozenset[int] = frozenset()
    astray: frozenset[int] = frozenset()
    clock_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What happens, and which replicas must decide meanwhile (none: nobody need)."""

    steps: tuple[Step, ...]
    deciding: frozenset[int] = frozenset()
    fired: str = "cut"
    """The effect that must have met a packet, a process or a clock, or else the fault was none."""


Make = Callable[[random.Random, int], Shape]


def pairs(sources: Iterable[int], targets: Iterable[int]) -> list[tuple[int, int]]:
    """Both sets' pairs, in this direction."""
    others = frozenset(targets)
    return [(source, target) for source in sources for target in others if source != target]


def between(some: Iterable[int], others: Iterable[int], wire: Wire = CUT) -> Wires:
    """The wires between two sets, in both directions."""
    one, other = frozenset(some), frozenset(others)
    return dict.fromkeys([*pairs(one, other), *pairs(other, one)], wire)


def everywhere(wire: Wire) -> Wires:
    """All wires."""
    return dict.fromkeys(pairs(REPLICAS, REPLICAS), wire)


def backup(chance: random.Random, primary: int) -> int:
    """Some other replica."""
    return chance.choice(sorted(REPLICAS - {primary}))


def halves(chance: random.Random, primary: int) -> Shape:
    """Two and two: nobody has a quorum."""
    side = {primary, backup(chance, primary)}
    return Shape((Step(between(side, REPLICAS - side)),))


def primary_alone(chance: random.Random, primary: int) -> Shape:
    """The primary is cut off with its clients; the others have a quorum."""
    return Shape((Step(between({primary}, REPLICAS)),), REPLICAS - {primary})


def backup_alone(chance: random.Random, primary: int) -> Shape:
    """A backup is cut off."""
    alone = backup(chance, primary)
    return Shape((Step(between({alone}, REPLICAS)),), REPLICAS - {alone})


def ring(chance: random.Random, primary: int) -> Shape:
    """Each sees its two neighbours and not the one opposite."""
    order = sorted(REPLICAS)
    chance.shuffle(order)
    cut = between({order[0]}, {order[2]}) | between({order[1]}, {order[3]})
    return Shape((Step(cut),))


def bridge(chance: random.Random, primary: int) -> Shape:
    """One on this side, two on that side, and one that both sides see: with it, three decide."""
    middle = backup(chance, primary)
    return Shape((Step(between({primary}, REPLICAS - {middle})),), REPLICAS - {primary})


def primary_mute(chance: random.Random, primary: int) -> Shape:
    """The primary hears everything and is not heard."""
    wires = dict.fromkeys(pairs({primary}, REPLICAS), CUT)
    return Shape((Step(wires),), REPLICAS - {primary})


def primary_deaf(chance: random.Random, primary: int) -> Shape:
    """The primary is heard and hears nothing."""
    wires = dict.fromkeys(pairs(REPLICAS, {primary}), CUT)
    return Shape((Step(wires),), REPLICAS - {primary})


def one_way_pair(chance: random.Random, primary: int) -> Shape:
    """One direction between two backups is cut: either of them with the others is a quorum."""
    one, other = chance.sample(sorted(REPLICAS - {primary}), 2)
    return Shape((Step({(one, other): CUT}),), REPLICAS - {other})


def flapping(chance: random.Random, primary: int) -> Shape:
    """The links of one replica come and go."""
    alone = chance.choice(sorted(REPLICAS))
    off = Step(between({alone}, REPLICAS), SHORT_SECONDS)
    return Shape((off, Step({}, SHORT_SECONDS)) * 3)


def swizzle(chance: random.Random, primary: int) -> Shape:
    """Replicas are cut off one after another, and come back in another order."""
    going = chance.sample(sorted(REPLICAS), 3)
    coming = chance.sample(going, 3)
    away: set[int] = set()
    steps = []
    for number in going:
        away.add(number)
        steps.append(Step(between(away, REPLICAS), SHORT_SECONDS))
    for number in coming:
        away.discard(number)
        steps.append(Step(between(away, REPLICAS), SHORT_SECONDS))
    return Shape(tuple(steps))


def lossy(chance: random.Random, primary: int) -> Shape:
    """A packet in five is lost, everywhere."""
    return Shape((Step(everywhere(Wire(loss=0.2))),), fired="loss")


def delayed(chance: random.Random, primary: int) -> Shape:
    """Every packet takes its time, another time each: they arrive in another order."""
    wire = Wire(delay_seconds=0.05, jitter_seconds=0.15)
    return Shape((Step(everywhere(wire)),), fired="delay")


def slow_primary(chance: random.Random, primary: int) -> Shape:
    """What the primary sends comes at modem speed."""
    wire = Wire(bytes_per_second=6_000)
    return Shape((Step(dict.fromkeys(pairs({primary}, REPLICAS), wire)),), fired="slow")


def doubled(chance: random.Random, primary: int) -> Shape:
    """A packet in three comes twice."""
    return Shape((Step(everywhere(Wire(duplicate=0.3))),), fired="duplicate")


def corrupted(chance: random.Random, primary: int) -> Shape:
    """Of one replica's packets some are changed under the checksum: only GM-TLS can notice."""
    wire = Wire(corrupt=0.05)
    one = chance.choice(sorted(REPLICAS))
    return Shape((Step(between({one}, REPLICAS, wire)),), fired="corrupt")


def primary_paused(chance: random.Random, primary: int) -> Shape:
    """The primary is stopped and goes on later, with its links as they were."""
    return Shape((Step({}, paused=frozenset({primary})),), REPLICAS - {primary}, fired="paused")


def backup_paused(chance: random.Random, primary: int) -> Shape:
    """A backup is stopped and goes on later."""
    paused = backup(chance, primary)
    return Shape((Step({}, paused=frozenset({paused})),), REPLICAS - {paused}, fired="paused")


def clock_ahead(chance: random.Random, primary: int) -> Shape:
    """One replica's clock jumps by an hour."""
    one = frozenset({chance.choice(sorted(REPLICAS))})
    step = Step({}, astray=one, clock_seconds=3_600)
    return Shape((step,), REPLICAS - one, fired="clock")


def clock_behind(chance: random.Random, primary: int) -> Shape:
    """The primary's clock jumps back by ten minutes."""
    one = frozenset({primary})
    step = Step({}, astray=one, clock_seconds=-600)
    return Shape((step,), REPLICAS - one, fired="clock")


def primary_clock_ahead(chance: random.Random, primary: int) -> Shape:
    """The primary's clock jumps by an hour: no backup votes for its times."""
    one = frozenset({primary})
    step = Step({}, astray=one, clock_seconds=3_600)
    return Shape((step,), REPLICAS - one, fired="clock")


def backup_clock_behind(chance: random.Random, primary: int) -> Shape:
    """A backup's clock jumps back by ten minutes."""
    one = frozenset({backup(chance, primary)})
    step = Step({}, astray=one, clock_seconds=-600)
    return Shape((step,), REPLICAS - one, fired="clock")


def two_clocks_ahead(chance: random.Random, primary: int) -> Shape:
    """The clocks of two jump by an hour: neither side has a quorum of times that it accepts."""
    two = frozenset({primary, backup(chance, primary)})
    return Shape((Step({}, astray=two, clock_seconds=3_600),), fired="clock")


def clocks_behind(chance: random.Random, primary: int) -> Shape:
    """All clocks jump back by ten minutes, and then ahead: callers are refused meanwhile."""
    return Shape((Step({}, astray=REPLICAS, clock_seconds=-600),), fired="clock")


CLOCK_SHAPES: Final[tuple[Make, ...]] = (
    *(clock_ahead, clock_behind, primary_clock_ahead, backup_clock_behind),
    *(two_clocks_ahead, clocks_behind),
)
"""Each is two jumps: away, and back to the right time."""
SHAPES: Final[dict[str, Make]] = {
    make.__name__: make
    for make in (
        *(halves, primary_alone, backup_alone, ring, bridge, primary_mute, primary_deaf),
        *(one_way_pair, flapping, swizzle, lossy, delayed, slow_primary, doubled, corrupted),
        *(primary_paused, backup_paused, *CLOCK_SHAPES),
    )
}
