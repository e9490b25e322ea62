"""What a simulated replica does before it takes part, where blocks or votes are missing.

The production's `Repairs` without its waiting: the same rules say what to ask for and up to where
the chain must be here; blocks come by the machine's way of catching up. Until then it is silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.consensus import wire
from services.consensus.block_pace import said_by_one_honest
from services.consensus.domain.messages import Hello, ReplicaId, SequenceNumber, View
from services.consensus.repair import (
    ASK_AGAIN_STEPS,
    Silence,
    due_height,
    missing_blocks,
)

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.stored import StoredLedger


class Restoring:
    """One replica until it may vote; `turn` is done at every tick."""

    def __init__(self, machine: Machine, ledger: StoredLedger) -> None:
        self._machine = machine
        self._ledger = ledger
        self._silence = Silence(ledger.genesis.parameters.window)
        self._turns = self._asked = 0
        counts, promise = machine.cluster.counts, ledger.store.promise
        if promise.forgotten and promise.sequence is not None:
            counts["votes_lost"] += 1
            machine.cluster.checkers.on_votes_lost(machine.me)
        counts["blocks_missing"] += ledger.store.restore_to > ledger.store.last_certified

    def turn(self) -> None:
        """Take what was found, end the silence if it is time, or else ask the peers."""
        machine, ledger, store = self._machine, self._ledger, self._ledger.store
        while ledger.take_found():
            machine.after_execution(ledger.last_height)
        present = ledger.set_at(store.last_certified + 1)
        base, heights = ledger.epoch_base(present.epoch), machine.peer_heights
        restarted = ledger.restart_base(present.epoch) is not None
        silent_to = self._silence.through(present, heights, base=base, restarted=restarted)
        due = due_height(store, silent_to, restarted=present.epoch if restarted else 0)
        if due is not None and store.last_certified >= due:
            if store.promise.forgotten:
                ledger.end_silence()
            machine.take_part()
        elif self._turns % ASK_AGAIN_STEPS == 0:
            self._ask()
        self._turns += 1
        if machine.restoring is not None:
            ahead = max(machine.peer_heights.values(), default=0)
            there = said_by_one_honest(ledger.set_at(store.last_certified + 1), heights)
            wanted = ahead > store.last_certified
            machine.fetching.take_state(ledger, wanted=wanted, there=there)

    def _ask(self) -> None:
        machine, certified = self._machine, SequenceNumber(self._ledger.last_certified)
        machine.broadcast(Hello(View(0), True, False, certified))
        first, last = missing_blocks(self._ledger.store, certified + 1)
        ahead = sorted(peer for peer, height in machine.peer_heights.items() if height >= first)
        if ahead:
            self._asked += 1
            peer = ReplicaId(ahead[self._asked % len(ahead)])
            machine.send_frame(peer, wire.block_request_frame(first, last))
