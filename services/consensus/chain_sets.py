"""The replica sets of a chain, as one replica's state and the restarts of its folder tell them.

A restart that no block was executed behind yet lies over the state as if it had been: who votes,
and how the epoch began, is answered alike before and after the first block of the epoch.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Final

from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.light_client import SET_CHANGES_MAX, SetChange
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiao_sdk.proof.restart import Restart
from services.consensus.domain.contracts.replica_sets import (
    Cause,
    latest_set,
    restart_of_epoch,
    set_of_epoch,
)
from services.consensus.domain.ledger.execution import replica_set_at
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.restarting import GovernanceState, restarted
from services.consensus.domain.ledger.state import Layer
from services.consensus.domain.messages import SequenceNumber
from services.consensus.store import ChainStore

SET_CHANGES_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the set changes of one answer, unless its first is larger: a restart takes half a MiB."""


class ChainSets:
    """Reads; nothing here writes."""

    def __init__(self, store: ChainStore, genesis: Genesis) -> None:
        self.store = store
        self.genesis = genesis

    def set_at(self, height: int) -> ReplicaSet:
        """The set that certifies `height`, as far as the executed blocks tell, and above the header
        of a restart that is not reached yet, that restart: an earlier set certifies nothing there.
        """
        here = self.store.last_height if self.store.restarts else height
        for each in reversed(self.store.restarts):
            if here < each.statement.height < height:
                return each.statement.new_set
        with self._state() as state:
            return replica_set_at(state, self.genesis, height)

    def sets(self) -> list[ReplicaSet]:
        """The sets of all epochs up to the last that is scheduled."""
        with self._governance() as governance:
            latest = latest_set(governance)
            if latest is None:
                return [self.genesis.replica_set]
            epochs = range(self.genesis.epoch, latest.replica_set.epoch + 1)
            found = [set_of_epoch(governance, epoch) for epoch in epochs]
        return [each.replica_set for each in found if each is not None]

    def was_ever_member(self, replica: int, keys: Container[bytes]) -> bool:
        """Whether any set so far, one that is scheduled, or one that a restart here begins with,
        has one of these keys as `replica`.
        """
        begun = [each.statement.new_set for each in self.store.restarts]
        return any(
            member.public_key in keys
            for each in (*self.sets(), *begun)
            for member in each.members
            if member.replica == replica
        )

    def set_changes(self, epoch: int) -> list[SetChange]:
        """The certified changes after `epoch`, in order: at most as many as a light client takes at
        once, and as fit into one answer. Whoever lacks more asks again from the last of them.
        """
        first = max(epoch, self.genesis.epoch) + 1
        found: list[SetChange] = []
        room = SET_CHANGES_BYTES_MAX
        for following in range(first, first + SET_CHANGES_MAX):
            change = self._change_to(following)
            if change is None:
                break
            room -= len(change.encode())
            if found and room < 0:
                break
            found.append(change)
        return found

    def epoch_base(self, epoch: int) -> SequenceNumber:
        """The height that `epoch` starts above: genesis, or the last one of the epoch before."""
        with self._governance() as governance:
            found = set_of_epoch(governance, epoch)
        return SequenceNumber(0 if found is None else found.base)

    def epoch_end(self, epoch: int) -> SequenceNumber | None:
        """The last height of `epoch`, once the set that follows it is scheduled."""
        with self._governance() as governance:
            following = set_of_epoch(governance, epoch + 1)
        return None if following is None else SequenceNumber(following.from_height - 1)

    def is_over(self, epoch: int) -> bool:
        """Whether a restart of this folder begins a later epoch, though its header may not be here
        yet.
        """
        return any(each.statement.epoch > epoch for each in self.store.restarts)

    def restart_base(self, epoch: int) -> SequenceNumber | None:
        """The height behind which `epoch` began by a restart; None where it began otherwise."""
        with self._governance() as governance:
            found = set_of_epoch(governance, epoch)
        if found is None or found.cause is not Cause.RESTART:
            return None
        return SequenceNumber(found.base)

    def next_set_of(self, header: BlockHeader) -> ReplicaSet | None:
        """The set of the next height, where the header names another than its own."""
        with self._governance() as governance:
            following = set_of_epoch(governance, header.epoch + 1)
        if following is None or following.replica_set.hash() != header.next_set_hash:
            return None
        return following.replica_set

    def restarts_before(self, header: BlockHeader) -> list[Restart]:
        """The restarts that this header's block is the first one after: none but once an epoch."""
        found: list[Restart] = []
        with self._governance() as governance:
            for epoch in range(header.epoch, self.genesis.epoch, -1):
                began = set_of_epoch(governance, epoch)
                if began is None or began.from_height != header.height:
                    break
                restart = restart_of_epoch(governance, epoch)
                if restart is None:
                    break
                found.insert(0, restart)
        return found

    def restarts_behind(self, header: BlockHeader) -> list[Restart]:
        """The restarts of this folder that go on from `header`."""
        return [each for each in self.store.restarts if each.statement.header == header]

    def _change_to(self, epoch: int) -> SetChange | None:
        """The change to `epoch`; None where there is none, or it is not certified yet."""
        with self._governance() as governance:
            began = set_of_epoch(governance, epoch)
            restart = restart_of_epoch(governance, epoch)
        if restart is not None:
            return SetChange.of_restart(restart)
        certificate = None if began is None else self.store.get_certificate(began.base)
        if began is None or certificate is None:
            return None
        header = self.store.get_header(began.base)
        assert header is not None, f"block {began.base} is stored"
        return SetChange(header, certificate, began.replica_set)

    @contextmanager
    def _state(self) -> Iterator[Layer]:
        with self.store.state_reader() as state:
            # Hardly any folder has one, and the sets are asked for with every block.
            behind = self.restarts_behind(state.last_header) if self.store.restarts else ()
            yield restarted(state, behind)

    @contextmanager
    def _governance(self) -> Iterator[GovernanceState]:
        with self._state() as state:
            yield GovernanceState(state)
