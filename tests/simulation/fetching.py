"""What a simulated replica asks of others and gives them beside consensus: batches, and certified
blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from services.consensus import wire
from services.consensus.catch_up import verified_blocks
from services.consensus.domain.messages import (
    CertifiedElsewhere,
    Digest,
    PeerHeight,
    ReplicaId,
    SequenceNumber,
)
from services.consensus.state_transfer import StateFrame
from tests.simulation.durable import apply_certified, blocks_for
from tests.simulation.state_taking import StateTaking
from tests.simulation.stored import StoredLedger

if TYPE_CHECKING:
    from tests.simulation.byzantine.liar import Liar
    from tests.simulation.machine import Machine


class Fetching:
    """One machine's side of it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._state: tuple[StoredLedger, StateTaking] | None = None

    def ask_for_batch(
        self, sequence: SequenceNumber, digest: Digest, holders: Iterable[ReplicaId]
    ) -> None:
        """As the driver does: of those who are known to have it, and of nobody else."""
        machine = self._machine
        frame = wire.batch_request_frame(sequence, digest)
        for holder in holders:
            if holder != machine.me:
                machine.send_frame(holder, frame)

    def answer_blocks(self, sender: ReplicaId, request: peer_pb2.BlockRequest) -> None:
        """Give what is here of the blocks asked for, in a row."""
        machine = self._machine
        if request.from_height <= machine.cluster.archived:
            return
        blocks = blocks_for(machine.ledger, request)
        if machine.liar is not None:
            blocks = machine.liar.blocks(blocks)
        if blocks:
            frame = wire.block_response_frame(blocks, machine.ledger.last_certified)
            machine.send_frame(sender, frame)

    def drip(self, liar: Liar) -> None:
        """B30: give the next block, and no more, to who misses those that nobody else gives."""
        machine, now_ms = self._machine, self._machine.cluster.now_ms
        if not liar.drips(now_ms):
            return
        for peer, height in sorted(machine.peer_heights.items()):
            if height < machine.cluster.archived:
                request = peer_pb2.BlockRequest(from_height=height + 1, to_height=height + 1)
                if blocks := blocks_for(machine.ledger, request):
                    frame = wire.block_response_frame(blocks, machine.ledger.last_certified)
                    machine.send_frame(peer, frame)
                    liar.dripped_ms = now_ms
                    liar.fired["B30"] += 1

    def take_state(self, ledger: StoredLedger, *, wanted: bool, there: int | None) -> None:
        """One turn of taking a state, while the machine restores."""
        self._taking(ledger).step(wanted=wanted, there=there)

    def on_state_frame(self, sender: ReplicaId, frame: StateFrame, data: bytes) -> None:
        """Give a piece of the state, or take one."""
        ledger = self._machine.ledger
        if isinstance(ledger, StoredLedger):
            self._taking(ledger).on_frame(sender, frame, data)

    def _taking(self, ledger: StoredLedger) -> StateTaking:
        if self._state is None or self._state[0] is not ledger:
            self._state = ledger, StateTaking(self._machine, ledger)
        return self._state[1]

    def take_blocks(self, sender: ReplicaId, response: peer_pb2.BlockResponse, data: bytes) -> None:
        """Catch-up: nothing is stored without its certificate."""
        machine = self._machine
        if machine.disk.is_paused:
            return
        verified = verified_blocks(
            response,
            machine.ledger.last_certified + 1,
            machine.ledger.set_at,
            machine.cluster.scheme.verify,
            lambda why: machine.cluster.refuse(machine, sender, why, data),
        )
        if verified:
            machine.step(PeerHeight(sender, SequenceNumber(response.last_certified_height)))
        for block in verified:
            if machine.core is not None and block.height == machine.ledger.last_certified + 1:
                self._take_block(block)

    def _take_block(self, block: VerifiedBlock) -> None:
        machine, height, known = self._machine, block.height, self._machine.ledger.last_height
        if not apply_certified(machine.ledger, block):
            machine.cluster.on_halt(machine, f"block {height} is certified otherwise")
            return
        if known < height:
            machine.after_execution(height)
        machine.announce(height)
        machine.step(
            CertifiedElsewhere(
                SequenceNumber(height),
                Digest(block.header.hash()),
                block.header.block_time_ms,
                block.certificate,
                machine.ledger.epoch_end(block.header.epoch),
            )
        )
