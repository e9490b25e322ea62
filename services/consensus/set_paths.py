"""The set changes between the set known here and that of a state which peers offer, taken in steps.

An answer brings as many changes as fit; whoever gave it is asked for the next ones, from the epoch
that its changes reached. Each peer has a path of its own, since lost replicas may have gone on with
epochs that a restart made void, but what several of them prove is kept once.
docs/protocol/pbft.md, steps T3, T8 and T9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.header import (
    BlockHeader,
    FinalityCertificate,
    Verify,
    verify_certificate,
)
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, advance, follow_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet
from services.consensus.store.state_intake import SET_CHANGES_MAX

PATH_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of the changes on one path: what a state is kept with is one record of the segments."""


class UnaskedError(Exception):
    """The answer repeats one, or goes on from an epoch whose path was forgotten since it was asked
    from.
    """


class PathTooLongError(Exception):
    """More set changes are proven than a state can be kept with; `epoch` is the last of them."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the set changes up to epoch {epoch} are all that a state is kept with")
        self.epoch = epoch


@dataclass(frozen=True, slots=True)
class Head:
    """A certified header whose state peers offer, the set changes that lead to it, and its set."""

    header: BlockHeader
    certificate: FinalityCertificate
    set_changes: tuple[SetChange, ...]
    replica_set: ReplicaSet

    def counts(self, sender: int) -> bool:
        """Whether the sender's offer says something: f of these are liars at most."""
        return sender < self.replica_set.size and sender not in self.replica_set.jailed


@dataclass(frozen=True, slots=True)
class Partway:
    """The answer proved the changes up to `epoch`, and its head lies behind more of them.

    `is_new`: the sender's path had not come so far, so the next changes are to be asked for.
    """

    epoch: int
    is_new: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """What is believed after a set change, and those that are proven to follow on it.

    `size`: bytes of all changes up to here.
    """

    trusted: TrustedChain
    change: SetChange | None = None
    before: _Step | None = None
    count: int = 0
    size: int = 0
    following: dict[tuple[bytes, bytes, bytes], _Step] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        return self.trusted.replica_set.epoch

    def back(self) -> Iterator[_Step]:
        """This step and all before it, the known set last."""
        step: _Step | None = self
        while step is not None:
            yield step
            step = step.before

    def changes(self) -> tuple[SetChange, ...]:
        """Those that lead here, in order."""
        found = [step.change for step in self.back() if step.change is not None]
        return tuple(reversed(found))


class SetPaths:
    """The paths of all peers from one known set. One thread at a time judges."""

    def __init__(
        self, verify: Verify, *, count_max: int = SET_CHANGES_MAX, bytes_max: int = PATH_BYTES_MAX
    ) -> None:
        self._verify = verify
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._known: _Step | None = None
        self._reached: dict[int, _Step] = {}
        self._asked: defaultdict[int, Counter[int]] = defaultdict(Counter)
        """Of each peer: how often it was asked from an epoch, and gave no answer from there yet."""

    def forget(self) -> None:
        """Begin anew, from the set that is known by then."""
        self._known, self._reached = None, {}

    def ask_from(self, sender: int, known_epoch: int) -> int:
        """The epoch from which `sender` is asked now: the last that its answers reached."""
        reached = self._reached.get(sender)
        epoch = known_epoch if reached is None else max(known_epoch, reached.epoch)
        self._asked[sender][epoch] += 1
        return epoch

    def judge(
        self, sender: int, response: peer_pb2.StateResponse, known: TrustedChain
    ) -> Head | Partway:
        """What the answer to a question for a head gives: the head, where its certificate holds, or
        how far its set changes lead.

        Raises `ProofError` or `MalformedError` where they do not hold, or none is new;
        `UnaskedError` and `PathTooLongError` accuse nobody. Changes up to the known set say
        nothing: an answer can be to a question of an earlier epoch.
        """
        message = response.certified_header
        header = BlockHeader.decode(message.header)
        certificate = FinalityCertificate.decode(message.certificate)
        changes = [SetChange.decode(each) for each in response.set_changes]
        was_asked = self._was_asked(sender, _goes_on_from(header, changes))
        root = self._root(known)
        ahead = [each for each in changes if each.replica_set.epoch > root.epoch]
        start = self._step_of(sender, root, _goes_on_from(header, ahead))
        if start is None and was_asked:
            raise UnaskedError
        reached = self._follow(start or root, ahead)
        is_new = reached.count > self._reached.get(sender, root).count
        if is_new:
            self._reached[sender] = reached
        if ahead and header.epoch > reached.epoch:
            if not (is_new or was_asked):
                raise UnaskedError
            return Partway(reached.epoch, is_new)
        believed = advance(reached.trusted, header, certificate, self._verify)
        return Head(header, certificate, reached.changes(), believed.replica_set)

    def _was_asked(self, sender: int, epoch: int) -> bool:
        """Whether a question from `epoch` is open; this is the answer to it."""
        asked = self._asked[sender]
        if asked[epoch] <= 1:
            return asked.pop(epoch, 0) == 1
        asked[epoch] -= 1
        return True

    def _root(self, known: TrustedChain) -> _Step:
        if self._known is None or self._known.trusted.replica_set != known.replica_set:
            self.forget()
            self._known = _Step(known)
        return self._known

    def _step_of(self, sender: int, root: _Step, epoch: int) -> _Step | None:
        """The step of an epoch on the sender's path."""
        path = self._reached.get(sender, root).back()
        return next((step for step in path if step.epoch == epoch), None)

    def _follow(self, step: _Step, changes: Sequence[SetChange]) -> _Step:
        for change in changes:
            key = _key(change)
            following = step.following.get(key)
            if following is None:
                following = step.following[key] = self._proven(step, change)
            else:
                self._check_same(step, following, change)
            step = following
        return step

    def _check_same(self, step: _Step, following: _Step, change: SetChange) -> None:
        """A change that is proven: nothing is left to prove but another certificate for it."""
        known = following.change
        if known is not None and change.certificate != known.certificate:
            replica_set = step.trusted.replica_set
            verify_certificate(change.header, change.certificate, replica_set, self._verify)

    def _proven(self, step: _Step, change: SetChange) -> _Step:
        size = step.size + len(change.encode())
        if step.count == self._count_max or size > self._bytes_max:
            raise PathTooLongError(step.epoch)
        trusted = follow_set_changes(step.trusted, [change], self._verify)
        return _Step(trusted, change, step, step.count + 1, size)


def _key(change: SetChange) -> tuple[bytes, bytes, bytes]:
    """What a change is, whichever quorum a peer shows for it; a restart is its signatures, too."""
    restart = b"" if change.restart is None else change.restart.encode()
    return change.header.hash(), change.replica_set.hash(), restart


def _goes_on_from(header: BlockHeader, changes: Sequence[SetChange]) -> int:
    """The epoch behind which an answer begins."""
    return changes[0].replica_set.epoch - 1 if changes else header.epoch
