"""A state from the peers for a simulated replica whose missing blocks nobody gives: the
production's `StateTransfer`, without its waiting, over the machine's store and the simulated wire.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from structlog.testing import capture_logs

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from services.consensus.chain_sets import ChainSets
from services.consensus.domain.ledger.state_parts import Entry
from services.consensus.domain.messages import ReplicaId
from services.consensus.driver import Driver
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger
from services.consensus.metrics import ReplicaMetrics
from services.consensus.peers import Links
from services.consensus.refusals import Reason
from services.consensus.state_transfer import StateFrame, StateTransfer
from services.consensus.store.segment import Position
from services.consensus.store.state_intake import Snapshot

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.stored import StoredLedger

T = TypeVar("T")

PART_BYTES_MAX: Final = 1_500
"""So little that the small state of a run comes in many parts."""
WITHOUT_BLOCKS_TURNS: Final = 8


class StateTaking:
    """One machine's side; as long as it lives with one opened store."""

    def __init__(self, machine: Machine, ledger: StoredLedger) -> None:
        self._transfer = StateTransfer(
            driver=cast(Driver, _Driver(machine, ledger)),
            ledger=cast(Ledger, _Ledger(ledger)),
            links=cast(Links, _Links(machine)),
            metrics=cast(ReplicaMetrics, self),
            verify=machine.cluster.scheme.verify,
            without_blocks_steps=WITHOUT_BLOCKS_TURNS,
        )
        self._transfer.part_bytes_max = PART_BYTES_MAX
        self._machine, self._cluster = machine, machine.cluster
        self._judged = b""
        self.refusals = self  # Of the metrics, only what is refused matters here.

    def step(self, *, wanted: bool, there: int | None) -> None:
        """One turn of restoring."""
        with capture_logs():
            self._transfer.step(wanted=wanted, there=there)

    def count(self, sender: int, reason: Reason, detail: str = "") -> None:
        """Whose piece of a state is refused; what comes too late is nobody's fault."""
        if reason is Reason.UNASKED:
            self._cluster.counts["state_late"] += 1
            return
        self._cluster.counts["state_lies"] += 1
        self._cluster.refuse(self._machine, ReplicaId(sender), detail, self._judged)

    def on_frame(self, sender: ReplicaId, frame: StateFrame, data: bytes) -> None:
        """A peer asks or answers."""
        transfer, self._judged = self._transfer, data
        with capture_logs():
            if isinstance(frame, peer_pb2.StateRequest):
                _finish(transfer._answer(sender, frame))
            else:
                _finish(transfer._take(sender, frame))


def _finish(work: Coroutine[object, object, None]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("nothing waits in the simulator")


@dataclass(frozen=True, slots=True)
class _Driver:
    machine: Machine
    ledger: StoredLedger

    @property
    def pause(self) -> Pause:
        return Pause.NONE if self.machine.restoring is None else Pause.RESTORING

    def adopt_state(self, snapshot: Snapshot) -> None:
        if snapshot.header.height > self.ledger.last_height:
            self.ledger.adopt(snapshot)
            self.machine.on_adopted(snapshot.header.height)


class _Ledger(ChainSets):
    def __init__(self, ledger: StoredLedger) -> None:
        super().__init__(ledger.store, ledger.genesis)
        self.header = ledger.header
        self._stored = ledger

    async def read(self, question: Callable[[], T]) -> T:
        return question()

    async def keep_state_part(self, entries: Sequence[Entry]) -> Position:
        return self.store.keep_state_part(entries)

    def certified_header_message(self, height: int) -> ledger_pb2.CertifiedHeader | None:
        certificate = self._stored.certificate(height)
        assert certificate is not None, "it is asked for certified heights only"
        return ledger_pb2.CertifiedHeader(
            header=self.header(height).encode(), certificate=certificate.encode()
        )


@dataclass(frozen=True, slots=True)
class _Links:
    machine: Machine

    def send(self, to: int, frame: bytes, *, droppable: bool = False) -> None:
        liar = self.machine.liar
        if liar is not None and droppable:
            frame = liar.state_frame(frame)
        self.machine.send_frame(ReplicaId(to), frame)

    def connected(self) -> frozenset[int]:
        return frozenset(range(self.machine.cluster.nodes)) - {self.machine.me}


def note_blocks_below(machine: Machine, first: int, last: int) -> None:
    """What a replica has by a state counts as final there as if its blocks had come."""
    cluster = machine.cluster
    whole = next(
        each.ledger
        for each in cluster.machines
        if each is not machine
        and each.core is not None
        and each.ledger.history_from == 0
        and each.ledger.last_certified >= last
    )
    for height in range(first, last + 1):
        cluster.clients.note_final(machine.number, height, whole.block(height))
