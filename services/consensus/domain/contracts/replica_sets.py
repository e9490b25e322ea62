"""Which replica set certifies which height, as the state keeps it.

A set is scheduled by the block of a height h for a height from h + window on. Nobody votes at or
above that height before the block of h is certified at its replica (the low watermark would be
below h, the high one below h + window), so everybody who votes there knows the set.

Sets are kept for ever under their epoch: evidence names the epoch in which it was signed. What is
scheduled within the window is fixed. A change for later still moves: a jailing goes in front of it
and counts its epoch up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import Restart

GOVERNANCE: Final = "governance"
LATEST_KEY: Final = "sets/latest"
_SET_KEY: Final = re.compile(rb"governance/sets/[0-9]{20}")
_RESTART_KEY: Final = re.compile(rb"governance/restarts/[0-9]{20}")


class Cause(StrEnum):
    """Why a set began."""

    GENESIS = "GENESIS"
    GOVERNANCE = "GOVERNANCE"
    JAILING = "JAILING"
    RESTART = "RESTART"


@dataclass(frozen=True, slots=True)
class SetInForce:
    """A replica set, the first height that it certifies, and why it began."""

    from_height: int
    cause: Cause
    replica_set: ReplicaSet

    @property
    def base(self) -> int:
        """The height that the epoch of the set starts above: genesis, or the last one before it."""
        return max(self.from_height - 1, 0)

    def to_json(self) -> dict[str, Json]:
        """The record as the state keeps it: the set as its canonical bytes in hex."""
        return {
            "from_height": self.from_height,
            "cause": self.cause.value,
            "replica_set": self.replica_set.encode().hex(),
        }


class SetsReader(Protocol):
    """The keys of the governance contract, for reading."""

    def get(self, key: str) -> Json | None:
        """Return the value of `key`, or None."""
        ...


class SetsWriter(SetsReader, Protocol):
    """The same for writing."""

    def put(self, key: str, value: Json) -> None:
        """Write `value` under `key`."""
        ...


def first_records(replica_set: ReplicaSet, window: int) -> Mapping[str, Json]:
    """What genesis writes: the first set, in force from the start."""
    first = SetInForce(0, Cause.GENESIS, replica_set)
    latest: Json = {"epoch": replica_set.epoch, "window": window}
    return {set_key(replica_set.epoch): first.to_json(), LATEST_KEY: latest}


def set_key(epoch: int) -> str:
    """The key of an epoch's set."""
    return f"sets/{epoch:020d}"


def restart_key(epoch: int) -> str:
    """The key of the restart that an epoch began with, if one did."""
    return f"restarts/{epoch:020d}"


def restart_of_epoch(state: SetsReader, epoch: int) -> Restart | None:
    """The restart that an epoch began with; None where it began otherwise."""
    value = state.get(restart_key(epoch))
    if value is None:
        return None
    assert isinstance(value, str), "a restart of another shape"
    return Restart.decode(bytes.fromhex(value))


def restart_records(state: SetsReader, restart: Restart) -> Mapping[str, Json | None]:
    """What a restart writes: its set from the next height on, and itself. What was scheduled for
    later is void, for it was to follow a set that decides no more.
    """
    statement = restart.statement
    new = SetInForce(statement.height + 1, Cause.RESTART, statement.new_set)
    later = range(statement.epoch + 1, _epoch(_present(state)[0]) + 1)
    return {
        **{set_key(epoch): None for epoch in later},
        set_key(statement.epoch): new.to_json(),
        LATEST_KEY: {"epoch": statement.epoch, "window": window_of(state)},
        restart_key(statement.epoch): restart.encode().hex(),
    }


def written_sets(writes: Mapping[bytes, bytes | None]) -> list[ReplicaSet]:
    """The sets that a block's write set schedules."""
    values = [value for key, value in writes.items() if _SET_KEY.fullmatch(key) and value]
    return [ReplicaSet.decode(bytes.fromhex(json.loads(each)["replica_set"])) for each in values]


def written_restarts(writes: Mapping[bytes, bytes | None]) -> list[Restart]:
    """The restarts that a block's write set records, in the order of their epochs."""
    found = [
        Restart.decode(bytes.fromhex(json.loads(value)))
        for key, value in writes.items()
        if _RESTART_KEY.fullmatch(key) and value
    ]
    return sorted(found, key=lambda each: each.statement.epoch)


def set_of_epoch(state: SetsReader, epoch: int) -> SetInForce | None:
    """The set of an epoch, in force, scheduled or past; None where there is none."""
    value = state.get(set_key(epoch))
    if value is None:
        return None
    match value:
        case {"from_height": int(height), "cause": str(cause), "replica_set": str(encoded)}:
            return SetInForce(height, Cause(cause), ReplicaSet.decode(bytes.fromhex(encoded)))
    raise AssertionError("a replica set of another shape")


def latest_set(state: SetsReader) -> SetInForce | None:
    """The set that was scheduled last; None on a chain that keeps none."""
    known = _latest(state)
    return None if known is None else _kept(state, known[0])


def set_at(state: SetsReader, height: int) -> SetInForce | None:
    """The set that certifies `height`; None on a chain that keeps none."""
    found = latest_set(state)
    while found is not None and found.from_height > height:
        found = set_of_epoch(state, found.replica_set.epoch - 1)
    return found


def window_of(state: SetsReader) -> int:
    """How far above the certified height is voted: a number of genesis."""
    return _present(state)[1]


def schedule(
    state: SetsWriter,
    wanted: ReplicaSet,
    *,
    guilty: Collection[bytes],
    height: int,
    not_before: int,
) -> SetInForce:
    """Let the members of `wanted` certify from `not_before` on, or as soon as can be after
    `height`; the epoch follows from what is scheduled, and `guilty` vote keys are jailed. Raises
    `ReplicaSetError` where those are more than f.
    """
    latest, window = _present(state)
    from_height = max(height + window, not_before, latest.from_height)
    epoch = latest.replica_set.epoch + (from_height > latest.from_height)
    jailed = tuple(each.replica for each in wanted.members if each.public_key in guilty)
    lineage = latest.replica_set.lineage
    following = replace(wanted, epoch=epoch, jailed=jailed, lineage=lineage)
    new = SetInForce(from_height, Cause.GOVERNANCE, following)
    new.replica_set.check()
    _keep(state, new)
    return new


def jail(state: SetsWriter, public_key: bytes, *, height: int) -> list[SetInForce]:
    """Let the votes of `public_key` count no more, as soon as can be after `height`, and in every
    set that is scheduled for later, be it the one that the key comes back with.

    Returns the sets that jail it now, in the order of their epochs. It is left as it is in a set
    that lacks it, has it jailed, or has f others jailed: who would be left could not be outvoted.
    """
    latest, window = _present(state)
    from_height = height + window
    base = set_at(state, from_height)
    assert base is not None, "the first set is in force from the start"
    later = [_kept(state, e) for e in range(base.replica_set.epoch + 1, _epoch(latest) + 1)]
    jailed = _with_jailed(base, public_key)
    shift = int(jailed is not None and base.from_height < from_height)
    jailing: list[SetInForce] = []
    if jailed is not None:
        cause = Cause.JAILING if shift else base.cause
        jailing.append(SetInForce(from_height, cause, replace(jailed, epoch=jailed.epoch + shift)))
        _keep(state, jailing[0])
    for each in later:
        jailed = _with_jailed(each, public_key)
        if jailed is None and not shift:
            continue
        changed = jailed or each.replica_set
        moved = replace(each, replica_set=replace(changed, epoch=changed.epoch + shift))
        _keep(state, moved)
        if jailed is not None:
            jailing.append(moved)
    return jailing


def _with_jailed(known: SetInForce, public_key: bytes) -> ReplicaSet | None:
    replica_set = known.replica_set
    if len(replica_set.jailed) >= replica_set.faulty_max:
        return None
    for member in replica_set.members:
        if member.public_key == public_key and member.replica not in replica_set.jailed:
            return replace(replica_set, jailed=tuple(sorted((*replica_set.jailed, member.replica))))
    return None


def _keep(state: SetsWriter, record: SetInForce) -> None:
    epoch, known = record.replica_set.epoch, _latest(state)
    state.put(set_key(epoch), record.to_json())
    assert known is not None
    state.put(LATEST_KEY, {"epoch": max(epoch, known[0]), "window": known[1]})


def _present(state: SetsReader) -> tuple[SetInForce, int]:
    known = _latest(state)
    assert known is not None, "genesis writes the first set where governance is active"
    return _kept(state, known[0]), known[1]


def _kept(state: SetsReader, epoch: int) -> SetInForce:
    found = set_of_epoch(state, epoch)
    assert found is not None, f"the set of epoch {epoch} is kept"
    return found


def _latest(state: SetsReader) -> tuple[int, int] | None:
    """The last epoch that is known, and the window."""
    value = state.get(LATEST_KEY)
    if value is None:
        return None
    match value:
        case {"epoch": int(epoch), "window": int(window)}:
            return epoch, window
    raise AssertionError("the latest set is named in another shape")


def _epoch(record: SetInForce) -> int:
    return record.replica_set.epoch
