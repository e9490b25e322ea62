"""What a machine does with the requests that wait at it: production's timers over a plain pool.

Clients bring their transactions to everybody, again and again, so only what a liar passed on needs
to be passed on from here (pbft.md D5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from services.consensus import wire
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import Message, ReplicaId
from services.consensus.timers import RequestTimers
from tests.simulation.pool import Pool

if TYPE_CHECKING:
    from tests.simulation.machine import Machine


class Requests:
    """Of one machine, from one start to the next."""

    def __init__(self, machine: Machine) -> None:
        self.pool = Pool(machine.ledger)
        self._machine = machine
        self._told: list[Message] = []
        self._timers = RequestTimers(
            self.pool,
            self._told.append,
            lambda _: True,
            pass_on=self._pass_on,
            clock_ms=lambda: machine.cluster.now_ms,
            resend_ms=machine.cluster.parameters.resend_ms,
        )

    def receive(self, sender: ReplicaId, transactions: Iterable[bytes]) -> None:
        """A peer passes these on."""
        for encoded in transactions:
            self._machine.request(encoded, sender)

    def add(self, transaction: AdmittedTransaction, source: ReplicaId | None) -> None:
        """A client brought it, or a peer, the source, passed it on."""
        if self.pool.add(transaction, source):
            self._timers.start()
            self._tell()

    def restart(self) -> None:
        """Another core is at work, which was told nothing yet."""
        self.pool.return_proposed()
        self._timers.restart()
        self._tell()

    def enter_view(self) -> None:
        """What the view dropped must come again."""
        self.pool.return_proposed()
        self._timers.enter_view()

    def resend(self) -> None:
        """Time passed."""
        self._timers.resend()

    def gone(self, ids: Iterable[bytes], *, executed: bool) -> None:
        """These wait no more."""
        self._timers.stop(ids, executed=executed)
        self._timers.start()
        self._tell()

    def _tell(self) -> None:
        told = list(self._told)
        self._told.clear()
        for message in told:
            self._machine.step(message)

    def _pass_on(self, transactions: Sequence[AdmittedTransaction]) -> None:
        core = self._machine.core
        if core is None or core.primary == self._machine.me:
            return
        not_ours = (None, core.primary)
        passed = [each for each in transactions if self.pool.source(each.id) not in not_ours]
        if passed:
            self._machine.cluster.counts["passed_on"] += len(passed)
            frame = wire.gossip_frame([each.encoded for each in passed])
            self._machine.send_frame(core.primary, frame)
