"""A cluster under one seed: virtual time, the scenario's faults, then healing and demands.

`Random(seed)` is the only source of chance. First safety under any faults (crashes of any replicas,
lies of at most f), then everything is healed but the liars, and every request must become final at
every correct replica within a bound; then the liars stop, and the throughput must return.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Final, NoReturn

from guqiao_sdk.proof.restart import Restart
from services.consensus import wire
from services.consensus.domain.authentication import authenticate
from services.consensus.domain.effects import Evidence, Reject
from services.consensus.domain.epochs import Core
from services.consensus.domain.messages import (
    Message,
    PeerMessage,
    ProtocolParameters,
    ReplicaId,
)
from services.consensus.domain.signer import Sign, Signer
from services.consensus.store import FatalStorageError
from tests.simulation.admission import Admission
from tests.simulation.byzantine.elsewhere import OtherChain
from tests.simulation.byzantine.liar import Liar
from tests.simulation.checkers import Checkers, ViolationError
from tests.simulation.clients import Clients
from tests.simulation.clock import Clock
from tests.simulation.durable import Durable, MemoryLedger
from tests.simulation.fault_plan import NOTICED, Loss
from tests.simulation.faults import apply_fault
from tests.simulation.forensics import Forensics
from tests.simulation.governors import Governors
from tests.simulation.keys import IDEAL, Scheme, sm2
from tests.simulation.machine import Machine
from tests.simulation.membership import KEYS_A_NODE, Change, key_number, sign_for
from tests.simulation.network import Network
from tests.simulation.people import restartable
from tests.simulation.scenario import Scenario
from tests.simulation.state_taking import note_blocks_below
from tests.simulation.stored import Shelf
from tests.simulation.workload import (
    CATALOGUE,
    OLD_CATALOGUE,
    START_MS,
    Execution,
    genesis_of,
)

STEPS_MAX: Final = 400_000
FOUNDING_MS: Final = 2_000

OLD_PACE: Final = 3
"""How much more slowly a machine with an old configuration repeats what it said."""
PARAMETERS: Final = ProtocolParameters(
    window=4,
    timeout_ms=400,
    timeout_max_ms=3_200,
    heartbeat_ms=600,
    resend_ms=150,
    block_time_bound_ms=2_000,
)
LONG_PACE: Final = replace(PARAMETERS, window=8, heartbeat_ms=15 * PARAMETERS.timeout_ms)
"""The window of a network, and a ratio of heartbeat and time-out between 5 and 60, as there."""


class Cluster:
    """Machines, network, clients and checkers of one run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.seed = scenario.seed
        self.size = scenario.size
        self.nodes = scenario.nodes
        self.random = Random(scenario.seed * 7_919 + 1)
        self.scheme: Scheme = IDEAL if scenario.scheme == "ideal" else sm2()
        self.replica_set = self.scheme.replica_set(self.size)
        self.parameters = LONG_PACE if scenario.long_pace else PARAMETERS
        self.now_ms = START_MS
        self.fired: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.torn = False
        self.archived = 0
        """Up to here nobody has blocks at hand any more."""
        self._round_cuts = scenario.round_cuts
        self.crash_ratio = 0.0
        self._stormy = False
        self.disk_delays: Counter[int] = Counter()
        self.old_configs: set[int] = set()
        """Machines that run with the configuration of earlier times."""
        self.old_binaries: set[int] = set()
        """Machines on which the software of earlier times is installed."""
        genesis = genesis_of(self.replica_set, governed=scenario.governed)
        self.execution = Execution(genesis if scenario.loss is None else restartable(genesis))
        self.restart: Restart | None = None
        self.base = 0
        """The height behind which the chain was restarted."""
        self.astray: set[int] = set()
        """Machines that go by no chain of ours: they came back, or took another restart."""
        self._generations: dict[int, range] = {}
        """Machine -> generations of its vote keys, where it does not have all."""
        self._events: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._scheduled = 0
        self._trace = hashlib.blake2b(digest_size=16)
        self._verdicts: dict[tuple[bytes, int], Reject | None] = {}
        self._damaged: set[bytes] = set()
        self.admission = Admission()
        self.correct = {each for each in range(self.nodes) if each not in scenario.faulty}
        if scenario.rot is not None and scenario.rot.kind not in NOTICED:
            self.correct.discard(scenario.rot.machine)
        self.required = self.correct - scenario.damaged
        self.forensics = Forensics(self.scheme.verify, self.parameters.window)
        self.checkers = Checkers(self, self.forensics)
        self.other_chain = OtherChain(
            lambda key: sign_for(self.scheme, key, self.nodes), self.checkers.authorship.note
        )
        copies = [owner for owner, count in scenario.copies.items() for _ in range(count)]
        self.owners = [*range(self.nodes), *copies]
        self._places: dict[int, list[int]] = {}
        for number, owner in enumerate(self.owners):
            self._places.setdefault(owner, []).append(number)
        self.network = Network(self.random, len(self.owners), self.fired)
        self.shelf = Shelf(self) if scenario.stored else None
        self._ledgers: dict[int, Durable] = {}
        self.clients = Clients(self)
        self.governors = Governors(self)
        self.machines: list[Machine] = []
        for number, owner in enumerate(self.owners):
            liar = self._liar(owner) if number < self.nodes else None
            self.machines.append(Machine(self, number, ReplicaId(owner), liar))

    def storm(self) -> None:
        """Faults of every kind for a while; whatever happens, nothing unsafe may happen."""
        self._found()
        scenario, start_ms = self.scenario, self.now_ms
        for fault in scenario.faults:
            self.schedule(fault.at_ms, apply_fault, self, fault)
        if scenario.rot is not None and self.shelf is not None:
            self.schedule(scenario.rot.at_ms, self.shelf.rot)
        self.clients.start(scenario.requests, scenario.storm_ms)
        self.governors.start()
        self.crash_ratio, self._stormy = scenario.crash_ratio, True
        self.advance(start_ms + scenario.storm_ms)
        self.crash_ratio, self._stormy = 0.0, False

    def _found(self) -> None:
        """Replicas with empty folders hear of one another before they vote, and before the storm:
        one that came to a grown chain would count as faulty until it has followed for a while.
        """
        limit_ms = self.now_ms + FOUNDING_MS
        while any(machine.restoring is not None for machine in self.machines):
            if self.now_ms >= limit_ms:
                self.fail("L1: the replicas of a new chain do not begin to vote")
            self.advance(self.now_ms + 1)

    def heal(self) -> None:
        """Everything works again, but those who lie."""
        self.network.heal()
        self.disk_delays.clear()
        self._round_cuts = {}
        self.network.clogged = set()
        self.release()
        for machine in self.machines:
            machine.clock.right()
            machine.disk.mend()
            machine.resume()
            if machine.number in self.old_configs:
                machine.crash()
        self.old_configs.clear()
        self.old_binaries.clear()
        damaged = self.scenario.damaged
        for machine in sorted(self.machines, key=lambda each: each.number in damaged):
            machine.start()

    def stop_lies(self) -> None:
        """From here on everybody follows the protocol, in one copy."""
        for machine in self.machines:
            if machine.liar is not None:
                machine.liar.lies = False
            if machine.number >= self.nodes or machine.number in self.astray:
                machine.crash()
                machine.lost = True

    def advance(self, until_ms: int) -> None:
        """Run all events up to a time."""
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, action, arguments = heapq.heappop(self._events)
            action(*arguments)
        self.now_ms = until_ms

    def close(self) -> None:
        """Let go of files."""
        if self.shelf is not None:
            self.shelf.close()

    # --- For machines -------------------------------------------------------------------------

    def schedule(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        """Do something later in virtual time; equal times keep their order."""
        self._schedule_at(self.now_ms + delay_ms, action, *arguments)

    def _schedule_at(self, at_ms: int, action: Callable[..., None], *arguments: object) -> None:
        self._scheduled += 1
        heapq.heappush(self._events, (at_ms, self._scheduled, action, arguments))

    def send(self, sender: Machine, receiver: ReplicaId, data: bytes, number: int = -1) -> None:
        """Put a frame on the wire, to every machine that holds the receiver's key; `number` is the
        protocol's round, where the frame belongs to one.
        """
        groups = self._round_cuts.get(number, ())
        for place in self._places[receiver]:
            if place == sender.number:
                continue
            if groups and not any(sender.number in each and place in each for each in groups):
                self.fired["round_cut"] += 1
                continue
            if sender.number >= self.nodes:
                self.fired["B2"] += 1
            link = (sender.number, place)
            if not (self.network.clogged and self.network.holds(link, data)):
                self._carry(link, data)

    def release(self) -> None:
        """Carry what a clog held back."""
        for link, data in self.network.released():
            self._carry(link, data)

    def _carry(self, link: tuple[int, int], data: bytes) -> None:
        network = self.network
        resets = network.resets_of(link)
        for arrival_ms in network.arrivals(link, self.now_ms):
            arrived = network.damaged(data)
            if arrived is not data or link[0] in self.astray:
                self._damaged.add(arrived)
            self._schedule_at(arrival_ms, self._arrive, link, arrived, resets, self.base)

    def _arrive(self, link: tuple[int, int], data: bytes, resets: int, base: int) -> None:
        is_gone = base != self.base  # All were stopped meanwhile, and their connections closed.
        if not self.network.is_broken(link, resets) and not is_gone:
            self.machines[link[1]].receive(ReplicaId(self.owners[link[0]]), data)

    def read_frame(self, data: bytes, epoch: int) -> wire.Frame:
        """The production's frame reader; what it makes of bytes depends on nothing else."""
        return _read_frame(data, epoch)

    def authenticate(
        self, machine: Machine, core: Core, message: PeerMessage, sender: ReplicaId, data: bytes
    ) -> Reject | None:
        """The production's authentication, once for the same bytes from the same sender: they name
        their epoch, which is the core's, and everybody knows the same of it but who went astray.
        """
        place, is_astray = (data, sender), machine.number in self.astray
        known = _UNKNOWN if is_astray else self._verdicts.get(place, _UNKNOWN)
        if known is not _UNKNOWN:
            return known
        verify, window = self.scheme.verify, self.parameters.window
        reject = authenticate(message, sender, core.replica_set, verify, window, core.base)
        if not is_astray:
            self._verdicts[place] = reject
            if reject is None:
                self.checkers.on_authentic(message, core)
        return reject

    def refuse(self, machine: Machine, sender: ReplicaId, reason: str, data: bytes) -> None:
        """Somebody's message does not hold: never a correct replica's, unless it was damaged, or
        one of both goes by no chain of ours.
        """
        self.counts["rejects"] += 1
        if machine.number in self.astray or data in self._damaged or self.checkers.forked:
            return
        if sender in self.correct:
            self.fail(f"S10: correct replica {sender} is refused: {reason}")

    def refuse_epoch(self, machine: Machine, sender: ReplicaId, data: bytes) -> None:
        """A vote of another epoch: one of both may not know of it yet, or any more."""
        self.counts["other_epoch"] += 1
        if len(self.checkers.sets.planned) == 1:
            self.refuse(machine, sender, "of an epoch that never was", data)

    def judges(self, machine: Machine) -> bool:
        """Whether the machine follows the protocol and is held to it."""
        return machine.number in self.correct

    def crashes_now(self) -> bool:
        """Whether a machine dies before its next effect."""
        if self.crash_ratio and self.random.random() < self.crash_ratio:
            self.fired["crash"] += 1
            return True
        return False

    def disk_delay_ms(self, number: int) -> int:
        """How much longer a machine takes to keep a block now."""
        delay_ms = self.disk_delays[number]
        self.fired["slow_disk"] += delay_ms > 0
        return delay_ms

    def fail_if_told(self, machine: Machine) -> None:
        """The fault that makes one fsync fail."""
        in_memory = self.shelf is None or machine.number >= self.nodes
        if in_memory and machine.disk.meets_fault():
            raise FatalStorageError("fsync of a segment", "Input/output error")

    def new_clock(self) -> Clock:
        """A clock that is right."""
        return Clock(lambda: self.now_ms)

    def open_ledger(self, number: int) -> Durable:
        """What a machine finds when it starts."""
        if self.shelf is not None and (number < self.nodes or number in self.astray):
            return self.shelf.open(number)
        if number not in self._ledgers:
            self._ledgers[number] = MemoryLedger(self.execution)
        return self._ledgers[number]

    def refuses_to_start(self, number: int) -> bool:
        """Whether the software on a machine lacks a contract of the chain, as `serve` asks."""
        catalogue = OLD_CATALOGUE if number in self.old_binaries else CATALOGUE
        lacks = catalogue.missing(self.execution.genesis) is not None
        self.fired["old_binary"] += lacks
        return lacks

    def signers_of(self, number: int) -> dict[bytes, Sign]:
        """A machine's vote keys, the present one and those to come."""
        generations = self._generations.get(number, range(KEYS_A_NODE))
        keys = [key_number(self.owners[number], each) for each in generations]
        return {self.scheme.key(key): self.scheme.signer(key) for key in keys}

    def config_of(self, number: int) -> tuple[dict[bytes, Sign], ProtocolParameters]:
        """What a machine is configured with: vote keys, and a pace, which is its own."""
        signers = self.signers_of(number)
        if number not in self.old_configs:
            return signers, self.parameters
        resend_ms = OLD_PACE * self.parameters.resend_ms
        return dict(list(signers.items())[:1]), replace(self.parameters, resend_ms=resend_ms)

    def begin_epoch(self, restart: Restart, loss: Loss) -> None:
        """The chain was restarted: everything is judged by the new set above its header. Those in
        the seats of the lost are correct: most never voted, and who keeps its key has forgotten
        only what holds no more.
        """
        replica_set, base = restart.statement.new_set, restart.statement.height
        self.restart, self.replica_set, self.base = restart, replica_set, base
        self.correct |= set(loss.lost)
        self.correct -= self.astray
        self.required = set(self.correct)
        self.checkers.begin_epoch(replica_set, base)
        self.governors.begin_epoch()
        self._verdicts.clear()  # An epoch that is void may have had the number of this one.
        for number in loss.lost:
            machine = self.machines[number]
            machine.liar, machine.lost, machine.known = None, False, set()
            self._generations[number] = range(1) if number in loss.forgetful else range(1, 2)

    def come_back(self, number: int) -> Machine:
        """A lost replica returns with its key and a folder of its own, at another place."""
        place = len(self.machines)
        assert self.shelf is not None
        self.owners.append(number)
        self._places[number].append(place)
        self.astray.add(place)
        self._generations[place] = range(1)
        machine = Machine(self, place, ReplicaId(number), None)
        self.machines.append(machine)
        return machine

    def wipe(self, number: int) -> None:
        """All that a machine kept is gone, but the restart that it goes by is given to it again."""
        self.checkers.on_forgotten(number)
        self._ledgers.pop(number, None)
        if self.shelf is not None:
            self.shelf.wipe(number)
            if self.restart is not None:
                self.shelf.put_in_force(number, self.restart)

    def on_final(self, machine: Machine, height: int) -> None:
        """A machine has a certified block."""
        if self.judges(machine):
            self.checkers.on_stored(machine, height)
        if machine.number in self.required:
            self.clients.on_final(machine, height)

    def on_adopted(self, machine: Machine, height: int) -> None:
        """A machine took the state of a height."""
        self.counts["states_taken"] += 1
        if self.judges(machine):
            self.checkers.on_adopted(machine, height)
        if machine.number in self.required:
            note_blocks_below(machine, 1, height)

    def on_evidence(self, machine: Machine, evidence: Evidence) -> None:
        """A machine found evidence."""
        self.counts["evidence"] += 1
        self.counts[type(evidence.offence).__name__] += 1
        if self.judges(machine):
            self.forensics.on_evidence(evidence)

    def on_halt(self, machine: Machine, reason: str) -> None:
        """A machine found that two headers of one height exist."""
        if self.judges(machine):
            self.checkers.violate(f"S5: correct replica {machine.me} halted: {reason}", fork=True)
        machine.crash()
        machine.lost = True

    def on_set_changed(self, change: Change) -> None:
        """A correct replica is the first to go on with another set; it counts in the storm."""
        if self._stormy:
            self.fired[change.kind] += 1
        else:
            self.counts["set_changes_in_calm"] += 1

    def trace(self, number: int, message: Message) -> None:
        """Count a step and note it in the run's fingerprint (H1)."""
        self.counts["steps"] = steps = self.counts["steps"] + 1
        if steps > STEPS_MAX:
            self.fail(f"S8: more than {STEPS_MAX} steps")
        self._trace.update(b"%d %d %s" % (self.now_ms, number, type(message).__name__.encode()))

    def trace_frame(self, data: bytes) -> None:
        """Note what arrived; where signing draws on chance of its own, only how much."""
        self._trace.update(data if self.scheme.exact else b"%d" % len(data))

    def fingerprint(self) -> str:
        """The run so far, to its last byte."""
        return self._trace.hexdigest()

    def fail(self, text: str) -> NoReturn:
        """An invariant does not hold."""
        raise ViolationError(text)

    def _liar(self, owner: int) -> Liar | None:
        acts = self.scenario.liars.get(owner)
        if not acts:
            return None
        return Liar(
            Signer(ReplicaId(owner), self.replica_set, self.scheme.signer(owner)),
            self.scheme,
            Random(self.random.random()),
            self.fired,
            acts,
            self.parameters.timeout_ms,
            self.parameters.window,
            other_chain=self.other_chain.new_view,
        )


_UNKNOWN: Final = Reject(ReplicaId(0), "not judged yet")


_read_frame = lru_cache(maxsize=2_048)(wire.read_frame)
