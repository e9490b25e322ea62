"""A cluster under one seed: virtual time, a schedule of faults, then healing and a demand.

`Random(seed)` is the only source of chance. First safety under any faults (crashes of any replicas,
lies of at most f), then everything is healed but the liars, and every request must become final at
every correct replica within a bound.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NoReturn

from guqiao_sdk.proof.quorum import faulty_max
from services.consensus.domain.codec import decode_message, encode_message
from services.consensus.domain.messages import (
    Message,
    PeerMessage,
    ProtocolParameters,
    ReplicaId,
)
from services.consensus.domain.signer import Signer
from tests.simulation.byzantine import STRATEGIES, Liar
from tests.simulation.checkers import Checkers, ViolationError
from tests.simulation.disk import Block
from tests.simulation.keys import public_key, replica_set, sign_with
from tests.simulation.machine import Machine, Packet
from tests.simulation.network import CALM, Network, Weather

SIZES: Final = (4, 5, 6, 7)
STORM_MS: Final = (3_000, 7_000)
CALM_LIMIT_MS: Final = 60_000
QUIET_MS: Final = 3_000
RESUBMIT_MS: Final = 700
STEPS_MAX: Final = 2_000_000

PARAMETERS: Final = ProtocolParameters(
    window=4,
    timeout_ms=400,
    timeout_max_ms=3_200,
    heartbeat_ms=600,
    resend_ms=150,
    block_time_bound_ms=2_000,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one seed did."""

    seed: int
    steps: int
    height: int
    view_changes: int
    batches_fetched: int
    evidence: int
    fired: Counter[str]
    trace: str


class Cluster:
    """Machines, network, clients and checkers of one run."""

    def __init__(
        self,
        seed: int,
        size: int | None = None,
        strategies: list[str] | None = None,
        *,
        honest: bool = False,
    ) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.size = self.random.choice(SIZES) if size is None else size
        self.replica_set = replica_set(self.size)
        self.parameters = PARAMETERS
        self.now_ms = 1_000_000
        self.fired: Counter[str] = Counter()
        self.steps = self.view_changes = self.batches_fetched = self.evidence = self.rejected = 0
        self.lies = True
        self.compacts = self.random.random() < 0.5
        self.crash_ratio = 0.0
        self.requests: dict[bytes, None] = {}
        self.final: Counter[bytes] = Counter()
        self.network = Network(self.random, self.size, self.fired)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._storm_ends_ms = self.now_ms
        self._trace = hashlib.blake2b(digest_size=16)
        liars = {} if honest else self._choose_liars(strategies)
        correct = {ReplicaId(each) for each in range(self.size)} - set(liars)
        self.checkers = Checkers(self.replica_set, correct, self.parameters.window)
        self._correct = correct
        self.machines: dict[ReplicaId, Machine] = {}
        for number in range(self.size):
            me = ReplicaId(number)
            self.machines[me] = Machine(self, me, liars.get(me))

    def run(self) -> Report:
        """Storm, healing, demand; raises `ViolationError`."""
        self.storm()
        self.calm()
        return Report(
            seed=self.seed,
            steps=self.steps,
            height=max(len(each.disk.blocks) for each in self._correct_machines()),
            view_changes=self.view_changes,
            batches_fetched=self.batches_fetched,
            evidence=self.evidence,
            fired=self.fired,
            trace=self._trace.hexdigest(),
        )

    def storm(self) -> None:
        """Faults of every kind for a while; whatever happens, nothing unsafe may happen."""
        self.schedule(1, self._submit)
        self.schedule(self.random.randint(50, 400), self._fault)
        self.crash_ratio = self.random.choice([0.0, 0.0002, 0.002])
        self._storm_ends_ms = self.now_ms + self.random.randint(*STORM_MS)
        self.advance(self._storm_ends_ms)

    def calm(self) -> None:
        """Heal, then demand that all requests become final everywhere within the bound (L1)."""
        self.crash_ratio = 0.0
        self.network.heal()
        self.network.weather = CALM
        for machine in self.machines.values():
            machine.clock_offset_ms = 0
            if machine.core is None:
                machine.start()
        for number in range(5):
            self.requests[b"calm %d" % number] = None
        limit_ms = self.now_ms + CALM_LIMIT_MS
        while not self._all_final():
            if self.now_ms >= limit_ms:
                self.fail("L1: not all requests are final at all correct replicas in time")
            self.advance(self.now_ms + 100)
        if len(self._correct) == self.size:
            views = self.view_changes
            self.advance(self.now_ms + QUIET_MS)
            if self.view_changes != views:
                self.fail("L2: views change though nothing is wrong")

    def advance(self, until_ms: int) -> None:
        """Run all events up to a time."""
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, action = heapq.heappop(self._events)
            action()
        self.now_ms = until_ms

    # --- For machines -------------------------------------------------------------------------

    def schedule(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later in virtual time; equal times keep their order."""
        self._scheduled += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._scheduled, action))

    def send(self, sender: ReplicaId, receiver: ReplicaId, packet: Packet) -> None:
        """Put bytes on the wire: protocol messages go through their codec."""
        if sender == receiver:
            return
        wire: Packet = packet
        if isinstance(packet, PeerMessage):
            wire = decode_message(encode_message(packet))
        for arrival_ms in self.network.arrivals(sender, receiver, self.now_ms):
            self.schedule(
                arrival_ms - self.now_ms,
                lambda: self.machines[receiver].receive(sender, wire),
            )

    def is_correct(self, replica: ReplicaId) -> bool:
        """Whether `replica` follows the protocol."""
        return replica in self._correct

    def crashes_now(self, replica: ReplicaId) -> bool:
        """Whether the replica dies before its next effect."""
        if self.crash_ratio and self.random.random() < self.crash_ratio:
            self.fired["crash"] += 1
            return True
        return False

    def on_final(self, replica: ReplicaId, block: Block) -> None:
        """A correct replica has a certified block."""
        machine = self.machines[replica]
        self.checkers.on_stored(replica, machine.disk, block)
        for request in set(block.batch.transactions):
            self.final[request] += 1

    def trace(self, replica: ReplicaId, message: Message) -> None:
        """Count a step and note it in the run's fingerprint (H1)."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            self.fail(f"S8: more than {STEPS_MAX} steps")
        self._trace.update(f"{self.now_ms} {replica} {type(message).__name__}".encode())
        if isinstance(message, PeerMessage):
            self._trace.update(encode_message(message))

    def fail(self, text: str) -> NoReturn:
        """An invariant does not hold."""
        raise ViolationError(text)

    # --- Clients and faults -------------------------------------------------------------------

    def _choose_liars(self, strategies: list[str] | None) -> dict[ReplicaId, Liar]:
        random = self.random
        count = faulty_max(self.size)
        if strategies is None and random.random() < 0.25:
            count = 0
        liars: dict[ReplicaId, Liar] = {}
        for number in sorted(random.sample(range(self.size), k=count)):
            turn = STRATEGIES[(self.seed + number) % len(STRATEGIES)]  # Each gets its seeds.
            chosen = strategies or [turn, *random.sample(STRATEGIES, k=random.randint(0, 1))]
            me = ReplicaId(number)
            signer = Signer(me, self.replica_set, sign_with(public_key(number)))
            liars[me] = Liar(signer, Random(random.random()), self.fired, list(chosen))
        return liars

    def _submit(self) -> None:
        """Clients: new requests during the storm, and patience with those that are not final."""
        if self.now_ms < self._storm_ends_ms:
            for _ in range(self.random.randint(0, 3)):
                self.requests[b"request %d" % len(self.requests)] = None
        for request in self.requests:
            if not self._is_final(request):
                self._offer(request)
        self.schedule(self.random.randint(RESUBMIT_MS // 3, RESUBMIT_MS), self._submit)

    def _offer(self, request: bytes) -> None:
        for machine in self.machines.values():
            if self.now_ms >= self._storm_ends_ms or self.random.random() < 0.9:
                delay_ms = self.random.randint(1, 30)
                self.schedule(delay_ms, lambda machine=machine: machine.request(request))  # type: ignore[misc]

    def _fault(self) -> None:
        if self.now_ms >= self._storm_ends_ms:
            return
        self.schedule(self.random.randint(50, 600), self._fault)
        faults = (self._crash, self._restart, self._split, self._heal, self._weather, self._clock)
        self.random.choice(faults)()

    def _crash(self) -> None:
        up = [each for each in self.machines.values() if each.core is not None]
        for machine in self.random.sample(up, k=min(len(up), self.random.choice([1, 1, 1, 2, 7]))):
            self.fired["crash"] += 1
            machine.crash()

    def _restart(self) -> None:
        for machine in self.machines.values():
            if machine.core is None and self.random.random() < 0.8:
                self.fired["restart"] += 1
                machine.start()

    def _split(self) -> None:
        self.network.split()

    def _heal(self) -> None:
        self.network.heal()
        self._restart()

    def _weather(self) -> None:
        random = self.random
        self.fired["reorder"] += 1
        self.network.weather = Weather(
            drop=random.choice([0.0, 0.02, 0.2]),
            duplicate=random.choice([0.0, 0.05, 0.3]),
            slow=random.choice([0.0, 0.1, 0.5]),
            delay_max_ms=random.choice([5, 20, 60]),
            slow_max_ms=random.choice([100, 1_000]),
        )

    def _clock(self) -> None:
        self.fired["clock"] += 1
        machine = self.random.choice(list(self.machines.values()))
        machine.clock_offset_ms = self.random.choice([-3_600_000, -500, 500, 3_600_000])

    def _correct_machines(self) -> list[Machine]:
        return [self.machines[each] for each in sorted(self._correct)]

    def _is_final(self, request: bytes) -> bool:
        return self.final[request] >= len(self._correct)

    def _all_final(self) -> bool:
        return all(self._is_final(request) for request in self.requests)
