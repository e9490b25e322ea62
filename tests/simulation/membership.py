"""Set changes of a run as data, and what follows from them for the checkers.

A plan names the changes in their order; the sets of all epochs follow from it without the code
under test. Which height belongs to which epoch follows from the certified blocks: a set that block
h schedules certifies from h + window on. A restart puts its set in force behind its header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from guqiao_sdk.proof.quorum import Member, ReplicaSet, faulty_max
from services.consensus.domain.signer import Sign
from tests.simulation.keys import Scheme
from tests.simulation.workload import ExecutedBlock

JOINED: Final = "member_joined"
LEFT: Final = "member_left"
ROTATED: Final = "key_rotated"
SCHEDULED: Final = "governance.set_scheduled"
SMALLEST: Final = 4
KEYS_A_NODE: Final = 3
GENERATION: Final = 100
"""Key numbers of one node lie so far apart."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the set: at `seat`, decided not before `at_ms` of the storm."""

    kind: str
    seat: int
    at_ms: int


def plan_changes(
    random: Random, size: int, storm_ms: int, *, late: bool = False
) -> tuple[Change, ...]:
    """A member joins, one leaves, one rotates its key, in some order. `late`: the one who joins is
    new, and there only when half of the storm is over.
    """
    kinds = [JOINED, LEFT, ROTATED]
    random.shuffle(kinds)
    if (late or size == SMALLEST) and kinds.index(LEFT) < kinds.index(JOINED):
        kinds = [{JOINED: LEFT, LEFT: JOINED}.get(kind, kind) for kind in kinds]
    changes, present = [], size
    for number, kind in enumerate(kinds):
        at_ms = random.randint(0, storm_ms // 5) + number * storm_ms // 6
        if late and kind == JOINED:
            at_ms = max(at_ms, storm_ms // 2)
        seat = {JOINED: present, LEFT: present - 1}.get(kind, random.randrange(present))
        present += {JOINED: 1, LEFT: -1}.get(kind, 0)
        changes.append(Change(kind, seat, at_ms))
    return tuple(changes)


def sizes_of(size: int, changes: Iterable[Change]) -> list[int]:
    """n in each epoch."""
    sizes = [size]
    for change in changes:
        sizes.append(sizes[-1] + {JOINED: 1, LEFT: -1}.get(change.kind, 0))
    return sizes


def spare_of(size: int, changes: Iterable[Change]) -> int:
    """How many may lie in every epoch."""
    return min(map(faulty_max, sizes_of(size, changes)))


def key_number(node: int, generation: int) -> int:
    """The number of a node's vote key; it holds those of all generations."""
    return node + GENERATION * generation


def sign_for(scheme: Scheme, key: bytes, nodes: int) -> Sign:
    """The signing function that belongs to a vote key of one of the nodes."""
    numbers = (key_number(node, each) for each in range(KEYS_A_NODE) for node in range(nodes))
    return next(scheme.signer(number) for number in numbers if scheme.key(number) == key)


def sets_of(scheme: Scheme, size: int, changes: Iterable[Change]) -> list[ReplicaSet]:
    """The set of each epoch."""
    sets = [scheme.replica_set(size)]
    used = [1] * size
    for change in changes:
        members, seat = list(sets[-1].members), change.seat
        if seat == len(used):
            used.append(0)
        if change.kind == LEFT:
            members.pop()
        elif change.kind == JOINED:
            key = scheme.key(key_number(seat, used[seat]))
            members.append(Member(seat, key, f"entity-{seat}", f"Entity {seat}"))
        else:
            key = scheme.key(key_number(seat, used[seat]))
            members[seat] = replace(members[seat], public_key=key)
        used[seat] += change.kind != LEFT
        following = ReplicaSet(sets[0].chain_id, sets[-1].epoch + 1, tuple(members))
        following.check()
        sets.append(following)
    return sets


class Sets:
    """Which set certifies which height of a run."""

    def __init__(self, planned: list[ReplicaSet], window: int) -> None:
        self.planned = planned
        self._window = window
        self._first = [0]
        """The first height of each epoch that is scheduled; genesis is below the first."""
        self._restarted: dict[int, int] = {}
        """Header of a restart -> the epoch that it ended."""

    @property
    def epochs(self) -> int:
        """How many are scheduled, as far as the blocks tell."""
        return len(self._first)

    def restart(self, replica_set: ReplicaSet, base: int) -> None:
        """The set certifies from behind `base` on; no block schedules it, and what was scheduled or
        planned to come in its place or later is void.
        """
        epoch = replica_set.epoch
        assert epoch <= len(self._first), "it is the next epoch after one that is known"
        del self.planned[epoch:], self._first[epoch:]
        self.planned.append(replica_set)
        self._first.append(base + 1)
        self._restarted[base] = epoch - 1

    def epoch_at(self, height: int) -> int:
        """The epoch of a height, as far as the blocks tell."""
        return sum(first <= height for first in self._first) - 1

    def at(self, height: int) -> ReplicaSet:
        """The set that certifies a height."""
        return self.planned[self.epoch_at(height)]

    def base(self, epoch: int) -> int:
        """The height that an epoch starts above."""
        return max(0, self._first[epoch] - 1)

    def fault(self, block: ExecutedBlock) -> str | None:
        """Take in a certified block, each in order; what it says otherwise than it follows."""
        height, header = block.header.height, block.header
        for receipt in block.result.receipts:
            for event in receipt.events:
                if event.topic == SCHEDULED:
                    if json.loads(event.body)["from_height"] != height + self._window:
                        return f"block {height} schedules a set for another height than it may"
                    self._first.append(height + self._window)
        if len(self._first) > len(self.planned):
            return f"block {height} schedules a set that nobody planned"
        if header.epoch != self.epoch_at(height):
            return f"block {height} is of epoch {header.epoch}, not of {self.epoch_at(height)}"
        ended = self._restarted.get(height)
        following = self.at(height + 1) if ended is None else self.planned[ended]
        if header.next_set_hash != following.hash():
            return f"block {height} names another next set than follows"
        return None
