"""Faults as data: what happens when, to whom. Drawn once from a seed, applied by `faults`.

Each seed gets a handful of kinds, one of them by turn, so that every kind has its seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.simulation.membership import JOINED, LEFT, ROTATED


@dataclass(frozen=True, slots=True)
class Fault:
    """At `at_ms` of the storm, `kind` happens to `machines` (or between `groups` of them)."""

    at_ms: int
    kind: str
    machines: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Loss:
    """More replicas than the quorum can spare are gone for good; the survivors restart the chain.

    `settles`: the survivors run on for a while, in vain; else all stop at once, with the power.
    `second`: two statements of one epoch are signed. `returned` of the lost come back as they were.
    `newcomers`: seats that another entity takes. `faults` is what goes wrong in the new epoch.
    `forgetful` of the lost keep their vote keys, though they lost all that they said with them.
    """

    lost: tuple[int, ...]
    settles: bool
    second: bool
    returned: tuple[int, ...]
    newcomers: frozenset[int]
    storm_ms: int
    faults: tuple[Fault, ...]
    forgetful: tuple[int, ...] = ()

    @property
    def renewed(self) -> tuple[int, ...]:
        """The lost seats that get new keys."""
        return tuple(each for each in self.lost if each not in self.forgetful)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of `LOSSES` it is to fire."""
        happens = (True, self.second, bool(self.returned), bool(self.forgetful))
        found = zip(LOSSES, happens, strict=True)
        return tuple(kind for kind, planned in found if planned)


@dataclass(frozen=True, slots=True)
class Rot:
    """What happens to one replica's files while it is down (production's store only)."""

    kind: str
    machine: int
    at_ms: int


NETWORK_FAULTS: Final = (
    "drop",
    "duplicate",
    "delay",
    "reorder",
    "one_way",
    "halves",
    "ring",
    "bridge",
    "minority_primary",
    "swizzle",
    "flapping",
    "corrupt_over",
    "corrupt_under",
    "slow_link",
    "tcp_reset",
)
PROCESS_FAULTS: Final = (
    "kill",
    "pause",
    "restart_storm",
    "all_at_once",
    "rolling",
    "old_binary",
    "old_config",
)
CLOCK_FAULTS: Final = ("clock_jump", "clock_drift", "clock_frozen")
WRITE_FAULTS: Final = ("lost_write", "torn_write", "fsync_error", "enospc", "slow_disk")
READ_FAULTS: Final = ("read_error",)
ROT_FAULTS: Final = (
    "bit_flip",
    "zeroed_page",
    "promise_flip",
    "lost_segments",
    "truncated_tail",
    "stale_file",
)
MEMBERSHIP_FAULTS: Final = (JOINED, LEFT, ROTATED)
NOTICED: Final = ("bit_flip", "zeroed_page", "promise_flip", "lost_segments")
"""The store always sees them; a shorter or an older file can look like a power cut's."""
LOSSES: Final = ("quorum_lost", "second_restart", "lost_returned", "epoch_lost")
"""What happens in a run whose chain is restarted: see `ceremony`."""
STORED_ONLY: Final = ("torn_write", *READ_FAULTS)
"""What needs files."""
FAULTS: Final = (
    *NETWORK_FAULTS,
    "partition_heal",
    "crash",
    *PROCESS_FAULTS,
    *CLOCK_FAULTS,
    *WRITE_FAULTS,
    *READ_FAULTS,
    *ROT_FAULTS,
    *MEMBERSHIP_FAULTS,
    *LOSSES,
)
"""Everything that a campaign must have fired."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where a fault is to happen: between whom, from when to when."""

    random: Random
    size: int
    machines: int
    at_ms: int
    lasts_ms: int

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.lasts_ms

    def some(self, count: int) -> tuple[int, ...]:
        return tuple(sorted(self.random.sample(range(self.machines), k=min(count, self.machines))))

    def any_link(self) -> tuple[int, int]:
        a, b = self.random.sample(range(self.machines), k=2)
        return a, b


def plan_faults(
    random: Random, seed: int, size: int, machines: int, storm_ms: int, *, stored: bool
) -> tuple[Fault, ...]:
    """The faults of one storm, by time."""
    kinds = [kind for kind in _PLANS if stored or kind not in STORED_ONLY]
    plan = list(_weather(_Stage(random, size, machines, 1, storm_ms)))
    at_ms, number = random.randint(50, 400), 0
    while at_ms < storm_ms:
        kind = kinds[seed % len(kinds)] if number == 0 else random.choice(kinds)
        stage = _Stage(random, size, machines, at_ms, random.randint(150, 900))
        plan += _PLANS[kind](stage, kind)
        at_ms, number = at_ms + random.randint(100, 900), number + 1
    within = [fault for fault in plan if fault.at_ms < storm_ms]  # Then all is healed anyway.
    return tuple(sorted(within, key=lambda fault: fault.at_ms))


def plan_rot(random: Random, turn: int, size: int, storm_ms: int) -> Rot:
    """Damage to one replica's files, of each kind by turn: it counts as one of the f."""
    kind = ROT_FAULTS[turn % len(ROT_FAULTS)]
    return Rot(kind, random.randrange(size), random.randint(300, storm_ms))


def _weather(stage: _Stage) -> Iterator[Fault]:
    random, at_ms = stage.random, stage.at_ms
    while at_ms < stage.ends_ms:
        yield Fault(at_ms, "weather", value=random.randrange(2**16))
        at_ms += random.randint(300, 1_500)


def _halves(stage: _Stage, kind: str) -> Iterator[Fault]:
    everyone = list(range(stage.machines))
    stage.random.shuffle(everyone)
    half = stage.random.randint(1, stage.machines - 1)
    groups = (tuple(everyone[:half]), tuple(everyone[half:]))
    yield Fault(stage.at_ms, kind, groups=groups)
    yield Fault(stage.ends_ms, "heal_network")


def _ring(stage: _Stage, kind: str) -> Iterator[Fault]:
    everyone = list(range(stage.machines))
    stage.random.shuffle(everyone)
    pairs = zip(everyone, [*everyone[1:], everyone[0]], strict=True)
    yield Fault(stage.at_ms, kind, groups=tuple(pairs))
    yield Fault(stage.ends_ms, "heal_network")


def _bridge(stage: _Stage, kind: str) -> Iterator[Fault]:
    everyone = list(range(stage.machines))
    stage.random.shuffle(everyone)
    bridge, rest = everyone[0], everyone[1:]
    half = len(rest) // 2
    groups = ((bridge, *rest[:half]), (bridge, *rest[half:]))
    yield Fault(stage.at_ms, kind, groups=groups)
    yield Fault(stage.ends_ms, "heal_network")


def _at_will(stage: _Stage, kind: str) -> Iterator[Fault]:
    """Who is the primary is known only then."""
    yield Fault(stage.at_ms, kind)
    yield Fault(stage.ends_ms, "heal_network")


def _one_way(stage: _Stage, kind: str) -> Iterator[Fault]:
    count = max(1, stage.machines * (stage.machines - 1) // 4)
    links = {stage.any_link() for _ in range(count)}
    yield Fault(stage.at_ms, kind, links=tuple(sorted(links)))
    yield Fault(stage.ends_ms, "heal_network")


def _flapping(stage: _Stage, kind: str) -> Iterator[Fault]:
    """One machine's links go down and up, again and again."""
    machine = stage.some(1)
    for at_ms in range(stage.at_ms, stage.ends_ms, 120):
        yield Fault(at_ms, kind, machines=machine)
        yield Fault(at_ms + 60, "heal_network")


def _swizzle(stage: _Stage, kind: str) -> Iterator[Fault]:
    """Machines clog one after another and are freed in another order."""
    chosen = list(stage.some(stage.random.randint(1, stage.machines)))
    stage.random.shuffle(chosen)
    for number, machine in enumerate(chosen):
        yield Fault(stage.at_ms + 30 * number, kind, machines=(machine,), value=1)
    stage.random.shuffle(chosen)
    for number, machine in enumerate(chosen):
        yield Fault(stage.ends_ms + 40 * number, kind, machines=(machine,), value=0)


def _slow_link(stage: _Stage, kind: str) -> Iterator[Fault]:
    links = tuple({stage.any_link() for _ in range(stage.machines)})
    yield Fault(stage.at_ms, kind, links=tuple(sorted(links)), value=stage.random.randint(50, 350))
    yield Fault(stage.ends_ms, kind, links=tuple(sorted(links)), value=0)


def _tcp_reset(stage: _Stage, kind: str) -> Iterator[Fault]:
    """Connections break again and again, with what was on its way in them."""
    for at_ms in range(stage.at_ms, stage.ends_ms, 40):
        yield Fault(at_ms, kind, links=tuple({stage.any_link() for _ in range(3)}))


def _slow_disk(stage: _Stage, kind: str) -> Iterator[Fault]:
    chosen = stage.some(stage.random.choice([1, 2, stage.machines]))
    yield Fault(stage.at_ms, kind, machines=chosen, value=stage.random.choice([30, 150, 400]))
    yield Fault(stage.ends_ms, kind, machines=chosen, value=0)


def _corrupt_over(stage: _Stage, kind: str) -> Iterator[Fault]:
    yield Fault(stage.at_ms, kind, value=stage.random.choice([0.02, 0.2]))
    yield Fault(stage.ends_ms, kind, value=0.0)


def _kill(stage: _Stage, kind: str) -> Iterator[Fault]:
    chosen = stage.some(stage.random.choice([1, 1, 2, 3]))
    yield Fault(stage.at_ms, kind, machines=chosen)
    yield Fault(stage.ends_ms, "start", machines=chosen)


def _pause(stage: _Stage, kind: str) -> Iterator[Fault]:
    chosen = stage.some(stage.random.choice([1, 1, 2]))
    yield Fault(stage.at_ms, kind, machines=chosen, value=1)
    yield Fault(stage.ends_ms, kind, machines=chosen, value=0)


def _restart_storm(stage: _Stage, kind: str) -> Iterator[Fault]:
    for _ in range(stage.random.randint(4, 10)):
        at_ms, chosen = stage.at_ms + stage.random.randint(0, stage.lasts_ms), stage.some(1)
        yield Fault(at_ms, kind, machines=chosen)
        yield Fault(at_ms + stage.random.randint(1, 80), "start", machines=chosen)


def _all_at_once(stage: _Stage, kind: str) -> Iterator[Fault]:
    everyone = tuple(range(stage.machines))
    yield Fault(stage.at_ms, kind, machines=everyone)
    for machine in everyone:
        at_ms = stage.at_ms + stage.random.randint(1, stage.lasts_ms)
        yield Fault(at_ms, "start", machines=(machine,))


def _rolling(stage: _Stage, kind: str) -> Iterator[Fault]:
    for machine in range(stage.machines):
        yield Fault(stage.at_ms + 120 * machine, kind, machines=(machine,))
        yield Fault(stage.at_ms + 120 * machine + 70, "start", machines=(machine,))


def _clock(stage: _Stage, kind: str) -> Iterator[Fault]:
    value: float = stage.random.choice([-3_600_000, -1_500, -300, 300, 1_500, 3_600_000])
    if kind == "clock_drift":
        value = stage.random.choice([-0.5, -0.05, 0.05, 0.5])
    yield Fault(stage.at_ms, kind, machines=stage.some(stage.random.choice([1, 1, 2])), value=value)
    if stage.random.random() < 0.6:
        yield Fault(stage.ends_ms, "clock_right", machines=tuple(range(stage.machines)))


def _another_time(stage: _Stage, kind: str) -> Iterator[Fault]:
    """Somebody starts a machine with what was installed on it in earlier times."""
    chosen = stage.some(stage.random.choice([1, 1, 2]))
    yield Fault(stage.at_ms, "kill", machines=chosen)
    yield Fault(stage.at_ms + 30, kind, machines=chosen, value=1)
    yield Fault(stage.ends_ms, kind, machines=chosen, value=0)


def _read_error(stage: _Stage, kind: str) -> Iterator[Fault]:
    """The disks of some give nothing when another, which was away, asks for what it missed."""
    late, *chosen = stage.random.sample(range(stage.machines), k=stage.random.choice([2, 3]))
    yield Fault(stage.at_ms, "kill", machines=(late,))
    yield Fault(stage.ends_ms, "start", machines=(late,))
    yield Fault(stage.at_ms, kind, machines=tuple(chosen), value=1)
    yield Fault(stage.ends_ms + 400, kind, machines=tuple(chosen), value=0)


def _disk(stage: _Stage, kind: str) -> Iterator[Fault]:
    """Power cuts and failed writes stop the process; a full disk pauses it."""
    chosen = stage.some(stage.random.choice([1, 1, 2, stage.machines]))
    yield Fault(stage.at_ms, kind, machines=chosen, value=1)
    if kind == "enospc":
        yield Fault(stage.ends_ms, kind, machines=chosen, value=0)
    else:
        yield Fault(stage.ends_ms, "start", machines=chosen)


_PLANS: Final[dict[str, Callable[[_Stage, str], Iterator[Fault]]]] = {
    "one_way": _one_way,
    "halves": _halves,
    "ring": _ring,
    "bridge": _bridge,
    "minority_primary": _at_will,
    "swizzle": _swizzle,
    "flapping": _flapping,
    "corrupt_over": _corrupt_over,
    "slow_link": _slow_link,
    "tcp_reset": _tcp_reset,
    "slow_disk": _slow_disk,
    "kill": _kill,
    "pause": _pause,
    "restart_storm": _restart_storm,
    "all_at_once": _all_at_once,
    "rolling": _rolling,
    "old_binary": _another_time,
    "old_config": _another_time,
    "clock_jump": _clock,
    "clock_drift": _clock,
    "clock_frozen": _clock,
    "lost_write": _disk,
    "torn_write": _disk,
    "fsync_error": _disk,
    "enospc": _disk,
    "read_error": _read_error,
}
