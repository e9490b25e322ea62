"""A checker that cannot fail proves nothing: each mistake that is made here must be found, by the
invariant that it breaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain import said_before
from services.consensus.domain.contracts.host import Host, Refusal
from services.consensus.domain.later import LATER_BATCHES_BYTES_MAX
from services.consensus.domain.log import SPARE_BATCHES_MAX, VOTED_BATCHES_MAX, Entry
from services.consensus.domain.messages import (
    Digest,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.suspicion import Suspicion
from services.consensus.store import FatalStorageError
from tests.simulation import room, workload
from tests.simulation.checkers import Checkers, ViolationError
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk
from tests.simulation.durable import Durable, MemoryLedger
from tests.simulation.fault_plan import Fault, Rot
from tests.simulation.forensics import Forensics
from tests.simulation.machine import Machine
from tests.simulation.network import CALM, Network
from tests.simulation.run import run
from tests.simulation.scenario import Scenario, honest, of_seed
from tests.simulation.stored import Shelf, StoredLedger


def scenario(*faults: Fault, rot: Rot | None = None, stored: bool = False) -> Scenario:
    """A run of four honest replicas with these faults alone."""
    plain = replace(honest(1, 4), requests=20, storm_ms=1_500)
    return replace(plain, faults=faults, rot=rot, stored=stored)


def test_a_replica_whose_damaged_store_never_opens_again_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoiled: set[int] = set()
    opened, rotted = Shelf.open, Shelf.rot

    def open_store(self: Shelf, number: int) -> StoredLedger:
        if number in spoiled:
            raise FatalStorageError("opening the folder", "damaged for good")
        return opened(self, number)

    def rot(self: Shelf) -> None:
        spoiled.add(2)
        rotted(self)

    monkeypatch.setattr(Shelf, "open", open_store)
    monkeypatch.setattr(Shelf, "rot", rot)
    with pytest.raises(AssertionError, match=r"^L3: a replica stops though its disk works"):
        run(scenario(rot=Rot("bit_flip", 2, 700), stored=True))


def test_a_damaged_replica_that_is_never_started_again_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Machine.start

    def never_again(self: Machine) -> None:
        if self.life == 0 or self.number != 2:
            start(self)

    monkeypatch.setattr(Machine, "start", never_again)
    with pytest.raises(ViolationError, match=r"^L3: .* down \[2\]"):
        run(scenario(rot=Rot("bit_flip", 2, 700), stored=True))


def test_a_new_view_that_a_replica_signs_after_it_forgot_its_votes_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others give back has another signature than what it then sends: replica 1 is damaged in
    the view that it opened, while the primary before it is away.
    """
    given = Checkers.before_step

    def before_step(self: Checkers, machine: Machine, core: Replica, message: Message) -> None:
        if isinstance(message, NewView):
            message = replace(message, signature=bytes(64))
        given(self, machine, core, message)

    away = Fault(320, "halves", groups=((0,), (1, 2, 3))), Fault(2_141, "heal_network")
    forgets = scenario(*away, rot=Rot("zeroed_page", 1, 1_325), stored=True)
    forgets = replace(forgets, seed=4, storm_ms=2_941)
    run(forgets)
    monkeypatch.setattr(Checkers, "before_step", before_step)
    with pytest.raises(ViolationError, match=r"^P14: replica 1 votes where it has forgotten"):
        run(forgets)


def test_a_replica_that_votes_on_a_full_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Fault(300, "enospc", machines=(1,), value=1)
    assert run(scenario(full)).fired["enospc"] == 1
    monkeypatch.setattr(Disk, "look", lambda self: False)
    with pytest.raises(ViolationError, match=r"^S8: replica 1 votes on a full disk"):
        run(scenario(full))


def test_a_replica_that_holds_too_many_pending_requests_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "PENDING_REQUESTS_MAX", 0)
    with pytest.raises(ViolationError, match=r"^S8: replica \d has too many pending requests"):
        run(scenario())


@pytest.mark.parametrize("left", ["nothing", "the block after it"])
def test_a_block_that_a_client_was_shown_and_a_replica_lost_is_noticed(
    monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """It was final there when it was shown, and only the last look finds it gone."""
    given = Checkers.at_the_end

    def at_the_end(self: Checkers) -> None:
        ledger = self._cluster.machines[2].ledger
        assert isinstance(ledger, MemoryLedger)
        shown = min(height for height, _ in self._cluster.clients.acknowledged.values())
        if left == "nothing":
            ledger.last_certified = shown - 1
        else:
            ledger._blocks[shown - 1] = ledger._blocks[shown]
        given(self)

    run(scenario())
    monkeypatch.setattr(Checkers, "at_the_end", at_the_end)
    with pytest.raises(ViolationError, match=r"^S7: replica 2 lost acknowledged block"):
        run(scenario())


def test_a_block_that_was_shown_and_misses_after_a_restart_is_noticed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others would give it back, so at the end nothing would miss."""
    given = Cluster.open_ledger

    def open_ledger(self: Cluster, number: int) -> Durable:
        ledger = given(self, number)
        if number == 2 and ledger.last_certified:
            assert isinstance(ledger, MemoryLedger)
            ledger.last_certified -= 1
        return ledger

    def at_the_end(self: Checkers) -> None:
        raise AssertionError("only at the end")

    restarted = scenario(Fault(900, "kill", machines=(2,)), Fault(950, "start", machines=(2,)))
    run(restarted)
    monkeypatch.setattr(Cluster, "open_ledger", open_ledger)
    monkeypatch.setattr(Checkers, "at_the_end", at_the_end)
    with pytest.raises(ViolationError, match=r"^S7: replica 2 lost acknowledged block"):
        run(restarted)


@pytest.mark.parametrize(
    ("voted", "bound"),
    [(False, SPARE_BATCHES_MAX), (True, VOTED_BATCHES_MAX)],
)
def test_a_replica_that_holds_too_many_batches_of_one_height_is_noticed(
    voted: bool, bound: int
) -> None:
    cluster = Cluster(scenario())
    machine = cluster.machines[1]
    core = machine.core
    assert isinstance(core, Replica)
    entry = core._ordering.entries[SequenceNumber(1)] = Entry(SequenceNumber(1))
    for number in range(room.NEEDED_BATCHES_MAX + bound + 1):
        cluster.checkers.on_step(machine, core)
        batch = Batch(number, ())
        digest = Digest(batch.digest())
        entry._fetched[digest] = batch
        if voted:
            entry.voted.add(digest)
    with pytest.raises(ViolationError, match=r"^S8: replica 1 holds too many batches for 1"):
        cluster.checkers.on_step(machine, core)


def test_statements_of_too_many_views_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that forgets none of them, beside liars that sign for view after view."""
    most = said_before.VIEWS_MAX
    monkeypatch.setattr(said_before, "VIEWS_MAX", 1_000)
    cluster = Cluster(scenario())
    machine = cluster.machines[1]
    core = machine.core
    assert isinstance(core, Replica)
    for view in range(most + 1):
        core._suspicion.now_ms += 1
        cluster.checkers.on_step(machine, core)
        sent = Prepare(View(view), SequenceNumber(1), Digest(bytes(32)), ReplicaId(2), bytes(64))
        core._said_before.hear(sent, View(0))
    core._suspicion.now_ms += 1
    with pytest.raises(ViolationError, match=r"^S8: replica 1 keeps statements of too many views"):
        cluster.checkers.on_step(machine, core)


def test_a_chain_that_never_gets_fast_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment at which the liars stop every frame takes most of a second."""

    def stop_lies(self: Cluster) -> None:
        pairs = itertools.permutations(range(len(self.machines)), 2)
        self.network.slow = dict.fromkeys(pairs, 800)

    run(scenario())
    monkeypatch.setattr(Cluster, "stop_lies", stop_lies)
    with pytest.raises(ViolationError, match=r"^L5: the throughput does not return"):
        run(scenario())


def test_too_large_batches_of_later_views_are_noticed() -> None:
    cluster = Cluster(scenario())
    machine = cluster.machines[1]
    core = machine.core
    assert isinstance(core, Replica)
    batch = Batch(1, (bytes(LATER_BATCHES_BYTES_MAX // 2),))
    for number in (1, 2, 3):
        cluster.checkers.on_step(machine, core)
        kept = PrePrepare(View(2), SequenceNumber(number), batch, Digest(bytes(32)), bytes(64))
        core._later.proposals[kept.sequence] = ReplicaId(2), kept
    with pytest.raises(ViolationError, match=r"^S8: replica 1 has too large batches"):
        cluster.checkers.on_step(machine, core)


def test_views_that_change_though_nothing_is_wrong_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a chain under load nobody misses a heartbeat that is asked for too soon."""

    def heartbeats_missed(self: Suspicion, proposal_ms: int) -> bool:
        return self.now_ms - proposal_ms > self._parameters.heartbeat_ms // 2

    run(scenario())
    monkeypatch.setattr(Suspicion, "heartbeats_missed", heartbeats_missed)
    with pytest.raises(ViolationError, match=r"^L2: views change though nothing is wrong"):
        run(scenario())


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("kind", ["lost_write", "torn_write", "fsync_error"])
def test_a_fault_of_the_disk_counts_once_it_meets_a_write(kind: str, stored: bool) -> None:
    fault = Fault(300, kind, machines=(1,), value=1)
    assert run(scenario(fault, stored=stored)).fired[kind] == (stored or kind != "torn_write")
    assert run(scenario(Fault(1_499, kind), stored=stored)).fired[kind] == 0


def test_no_fault_of_a_machine_that_is_down_counts() -> None:
    down = Fault(10, "kill", machines=(1,))
    kinds = ("clock_jump", "clock_drift", "clock_frozen", "enospc", "pause", "fsync_error")
    faults = [Fault(300, kind, machines=(1,), value=1) for kind in kinds[:-1]]
    cleared = Fault(1_400, "enospc", machines=(1,))
    fired = run(scenario(down, *faults, cleared)).fired
    assert {kind: fired[kind] for kind in kinds} == dict.fromkeys(kinds, 0)


def test_frames_are_reordered_only_where_one_overtakes_another() -> None:
    cluster = Cluster(honest(1, 4))
    cluster.network = Network(cluster.random, 4, cluster.fired)
    cluster.network.weather = replace(CALM, delay_max_ms=1)
    arrivals = [cluster.network.arrivals((0, 1), now_ms) for now_ms in range(100)]
    assert arrivals == sorted(arrivals)
    assert cluster.fired["reorder"] == 0
    cluster.network.weather = CALM
    arrivals = [cluster.network.arrivals((0, 1), now_ms) for now_ms in range(100, 200)]
    late = [max(arrivals[:number]) for number in range(1, 100)]
    overtaken = sum(now < before for before, now in zip(late, arrivals[1:], strict=True))
    assert cluster.fired["reorder"] == overtaken > 0


@pytest.mark.parametrize(
    ("makes", "found"), [("writes", "another state root"), ("refusals", "other receipts")]
)
def test_an_execution_that_differs_between_replicas_is_noticed(
    monkeypatch: pytest.MonkeyPatch, makes: str, found: str
) -> None:
    """Something that is no part of the state decides: how often the process executed anything."""
    executed = itertools.count()

    def add(host: Host, body: Mapping[str, Json]) -> None:
        number = next(executed)
        if makes == "refusals":
            raise Refusal("NUMBER", number=number)
        host.put("total", number)

    monkeypatch.setattr(workload, "_add", add)
    with pytest.raises(AssertionError, match=rf"^S5: block \d+ has {found}"):
        run(scenario(stored=True))


def forked() -> Scenario:
    """Two worlds of four replicas: the traitors' copies make a quorum in each."""
    return of_seed(13, size=4, strategies=["B28"])


def test_a_fork_that_the_replicas_own_proofs_do_not_explain_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = run(forked())
    assert (report.counts["forks"], report.fired["B28"]) == (1, 1)
    monkeypatch.setattr(Forensics, "hold_certificate", lambda self, height, certificate: None)
    monkeypatch.setattr(Forensics, "on_evidence", lambda self, evidence: None)
    with pytest.raises(ViolationError, match=r"^B28: a fork, and proof only against set\(\)"):
        run(forked())


def test_a_proof_against_a_correct_replica_is_noticed_though_nothing_forked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lies = of_seed(38, size=6, strategies=["B28"])
    report = run(lies)
    assert (report.counts["forks"], report.fired["B28"]) == (0, 1)
    monkeypatch.setattr(Forensics, "culprits", lambda self: set(range(6)))
    with pytest.raises(ViolationError, match=r"^B28: proof against a correct replica"):
        run(lies)
