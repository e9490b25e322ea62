"""A run in which the quorum is lost for good, and the chain is restarted (ADR 0026; pbft.md, Q).

More replicas than the quorum can spare never come back as they were. Those that are left come to a
stand; production's `compose`, `judge` and `put_in_force` work on their folders; they and fresh
replicas go on in a new epoch, in which every checker holds again and progress is demanded.

What may be lost, and is counted as `acknowledged_lost`: transactions of blocks above the header of
the statement, though clients were shown them. That header must be the highest one whose certificate
the disk of any survivor holds, counted here from the votes and not by production; so what is lost
is what lost replicas alone knew to be final, or a power cut took from every survivor. Everything at
and below it stays, block for block, at everybody (S2, S7), nothing of it is applied again (S4), and
above it there is one history, of the new epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.restart import (
    APPROVAL_INVALID,
    TOO_LOW,
    Restart,
    RestartStatement,
    restarted_set,
)
from guqiao_sdk.proof.restart_rules import double_approval
from services.consensus.catch_up import verified_blocks
from services.consensus.restart import APPLIED, Survivor, compose
from services.consensus.store import ChainStore
from tests.simulation.durable import apply_certified, blocks_from
from tests.simulation.fault_plan import Loss
from tests.simulation.faults import apply_fault
from tests.simulation.machine import Machine
from tests.simulation.people import (
    approve,
    governors_of,
    half_approved,
    next_members,
)
from tests.simulation.stored import StoredLedger

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.stored import Shelf

FIRST_BLOCK_MS: Final = 20_000
SETTLES_MS: Final = 2_000
"""Until then votes from before the loss may still certify something."""
STANDS_MS: Final = 1_500
_RULES: Final = {
    APPROVAL_INVALID: "Q2: its approvals do not hold",
    TOO_LOW: "Q3: more is final here",
    APPLIED: "Q5: the epoch began otherwise",
}
"""What forbids that a replica takes a restart which it should refuse with a code."""


def lose_and_restart(cluster: Cluster, loss: Loss) -> Ceremony:
    """From the end of the first storm to the end of the second."""
    ceremony = Ceremony(cluster, loss)
    ceremony.lose()
    ceremony.restart()
    ceremony.storm()
    return ceremony


class Ceremony:
    """One loss and what follows."""

    def __init__(self, cluster: Cluster, loss: Loss) -> None:
        assert cluster.shelf is not None, "a ceremony works on folders"
        self._cluster = cluster
        self._loss = loss
        self._shelf: Shelf = cluster.shelf
        self._survivors = [each for each in range(cluster.size) if each not in loss.lost]
        self._returned: list[tuple[Machine, int]] = []
        self._restart: Restart

    # --- The loss -----------------------------------------------------------------------------

    def lose(self) -> None:
        """They are gone, and whoever is left comes to a stand."""
        cluster, loss = self._cluster, self._loss
        self._await_first_block()
        for number in loss.lost:
            cluster.machines[number].crash()
            cluster.machines[number].lost = True
        if loss.settles:
            self._stand_still()
        for number in self._survivors:
            cluster.machines[number].crash(power_cut=not loss.settles)
        for machine in cluster.machines:
            machine.disk.mend()
            machine.paused = False
        cluster.fired["quorum_lost"] += 1

    def _await_first_block(self) -> None:
        """Nothing certified that outlasts the loss, and the chain would be founded anew."""
        cluster = self._cluster
        limit_ms = cluster.now_ms + FIRST_BLOCK_MS
        if not self._is_kept():
            cluster.heal()
        while not self._is_kept():
            if cluster.now_ms >= limit_ms:
                cluster.fail("L1: no certified block is kept after the storm")
            cluster.clients.submit()
            cluster.advance(cluster.now_ms + 100)

    def _is_kept(self) -> bool:
        """Whether a power cut leaves a survivor a certified block."""
        ledgers = [self._cluster.machines[each].ledger for each in self._survivors]
        return any(isinstance(each, StoredLedger) and each.kept_certified for each in ledgers)

    def _certified(self) -> int:
        ledgers = [self._cluster.machines[each].ledger for each in self._survivors]
        return max(ledger.last_certified for ledger in ledgers)

    def _stand_still(self) -> None:
        """Without a quorum nothing more becomes final."""
        cluster = self._cluster
        cluster.heal()
        cluster.clients.submit()
        cluster.advance(cluster.now_ms + SETTLES_MS)
        certified = self._certified()
        cluster.advance(cluster.now_ms + STANDS_MS)
        if self._certified() != certified:
            cluster.fail(f"S3: block {self._certified()} is certified without a quorum")

    # --- The ceremony -------------------------------------------------------------------------

    def restart(self) -> None:
        """Statement, approvals, and in force at whoever stays and whoever comes."""
        cluster, loss = self._cluster, self._loss
        with self._folders(self._survivors) as folders:
            statement = self._compose(folders, generation=1)
            heights = self._check_kept(folders, statement)
            low = [each for each in folders if 0 < heights[each.number] < statement.height]
            lower = approve(self._compose(low, generation=1)) if low else None
        self._restart = approve(statement)
        others = self._second(statement, heights, lower) if loss.second else []
        misled = self._misled(heights) if loss.second else None
        for number in loss.lost:
            if number in loss.returned:
                place = cluster.size + loss.returned.index(number)
                self._shelf.move(number, place)
            self._shelf.wipe(number)
        for number in (*self._survivors, *loss.lost):
            chosen = others[-1] if number == misled else self._restart
            if not self._shelf.put_in_force(number, chosen):
                cluster.fail(f"Q5: replica {number} goes by a restart that it was not given")
            if chosen is self._restart:
                for other in others:
                    self._refused(number, other, APPLIED)
        if misled is not None:
            cluster.astray.add(misled)
        self._begin(statement, heights, misled)

    def _begin(
        self, statement: RestartStatement, heights: dict[int, int], misled: int | None
    ) -> None:
        cluster, loss = self._cluster, self._loss
        cluster.fired["epoch_lost"] += cluster.checkers.sets.epochs > statement.epoch
        cluster.begin_epoch(self._restart, loss)
        holds = [each for each in heights if heights[each] == statement.height]
        if misled is not None or not cluster.correct.intersection(holds):
            # More than f would be faulty, or only a liar could give the blocks.
            for machine in cluster.machines:
                if machine.liar is not None:
                    machine.liar.lies = False
        cluster.network.heal()
        for machine in cluster.machines:
            machine.start()
        lost = cluster.clients.begin_epoch(
            statement.height, cluster.scenario.requests // 2, loss.storm_ms
        )
        cluster.counts["acknowledged_lost"] += lost

    def _compose(self, folders: Sequence[Survivor], generation: int) -> RestartStatement:
        cluster, loss = self._cluster, self._loss
        highest = max(folders, key=lambda each: each.held().height)
        old = highest.sets.set_at(highest.held().height + 1)
        return compose(
            folders,
            next_members(old, loss.renewed, loss.newcomers, generation, cluster.scheme),
            governors_of(loss.newcomers),
            reason="the machines are gone",
            time_ms=cluster.now_ms,
        )

    def _check_kept(
        self, folders: Sequence[Survivor], statement: RestartStatement
    ) -> dict[int, int]:
        """Q3: it goes on from the highest height that a survivor's disk holds with a quorum's
        signatures, and so with everything that clients were shown up to there. Returns what each
        survivor holds.
        """
        cluster = self._cluster
        heights = {each.number: self._held(each.store) for each in folders}
        highest = max(heights.values())
        if statement.height != highest:
            cluster.fail(f"Q3: it goes on from {statement.height}, a survivor holds {highest}")
        for height, header_hash in cluster.clients.acknowledged.values():
            for each in folders:
                header = each.store.get_header(height)
                if height <= heights[each.number] and (
                    header is None or header.hash() != header_hash
                ):
                    cluster.fail(f"S7: survivor {each.number} lost acknowledged block {height}")
        return heights

    def _held(self, store: ChainStore) -> int:
        """Up to where the folder holds headers, one after another, that a quorum signed."""
        proofs, height = self._cluster.checkers.proofs, 0
        while True:
            header, certificate = store.get_header(height + 1), store.get_certificate(height + 1)
            if header is None or certificate is None or certificate.header_hash != header.hash():
                return height
            if not proofs.is_final(height + 1, certificate):
                return height
            height += 1

    # --- Two statements -----------------------------------------------------------------------

    def _second(
        self, statement: RestartStatement, heights: dict[int, int], lower: Restart | None
    ) -> list[Restart]:
        """Other restarts of the epoch, all signed by the governors of who stays, and what must be
        refused before any is in force. Returns those that CSRC and the province signed, too: only
        what is in force already refuses them, and they are evidence against their signers.
        """
        cluster = self._cluster
        cluster.fired["second_restart"] += 1
        other = replace(statement, reason="another reason")
        if cluster.random.random() < 0.5:
            renewed, newcomers = self._loss.renewed, self._loss.newcomers
            members = next_members(statement.old_set, renewed, newcomers, 2, cluster.scheme)
            new_set = restarted_set(other.header, other.old_set, members)
            other = replace(other, new_set=new_set)
        second, half = approve(other), half_approved(other, self._restart)
        for number, height in heights.items():
            self._refused(number, half, APPROVAL_INVALID)
            if lower is not None and height > lower.statement.height:
                self._refused(number, lower, TOO_LOW)
        convicted = double_approval(self._restart, second, cluster.scheme.verify)
        if {each.signer for each in convicted} != {each.signer for each in second.approvals}:
            cluster.fail("Q2: who signed two restarts of one epoch is not convicted by them")
        return [second]

    def _misled(self, heights: dict[int, int]) -> int | None:
        """A survivor that goes by the other restart: one whose blocks others have, too."""
        correct = [each for each in self._survivors if each in self._cluster.correct]
        for number in correct:
            if any(heights[each] == max(heights.values()) for each in correct if each != number):
                return number
        return None

    def _refused(self, number: int, restart: Restart, *codes: str) -> None:
        try:
            self._shelf.put_in_force(number, restart)
        except ProofError as error:
            if error.code in codes:
                return
            raise
        self._cluster.fail(
            f"{_RULES[codes[0]]}, and replica {number} takes the restart all the same"
        )

    # --- Afterwards ---------------------------------------------------------------------------

    def storm(self) -> None:
        """Faults in the new epoch, while lost replicas are back with what they had signed."""
        cluster, loss = self._cluster, self._loss
        start_ms = cluster.now_ms
        for number in loss.returned:
            machine = cluster.come_back(number)
            self._returned.append((machine, machine.ledger.last_certified))
            cluster.fired["lost_returned"] += 1
        for fault in loss.faults:
            cluster.schedule(fault.at_ms, apply_fault, cluster, fault)
        cluster.crash_ratio = cluster.scenario.crash_ratio
        cluster.advance(start_ms + loss.storm_ms)
        cluster.crash_ratio = 0.0
        for machine, _ in self._returned:
            machine.crash()
            machine.lost = True

    def take_in(self) -> None:
        """Q7: nothing more became final in the old epoch; who came back goes by the restart, too,
        and follows, unless it knows something above it to be final.
        """
        cluster, height = self._cluster, self._restart.statement.height
        known = max((before for _, before in self._returned), default=0)
        for machine, before in self._returned:
            number, held = machine.number, machine.ledger.last_certified
            if held > max(height, known):
                cluster.fail(f"Q7: block {held} becomes final in an epoch that is over")
            if held > height:
                self._refused(number, self._restart, TOO_LOW, APPLIED)
                continue
            assert before <= height
            if not self._shelf.put_in_force(number, self._restart):
                cluster.fail(f"Q7: replica {machine.me} was given no restart and goes by it")
            self._follow(number)

    def _follow(self, number: int) -> None:
        """It takes the certified blocks of the others, and nothing of its own stands above."""
        cluster, height = self._cluster, self._restart.statement.height
        source = cluster.machines[min(cluster.correct)].ledger
        ledger = self._shelf.open(number)
        if ledger.last_height > height:
            cluster.fail(f"Q6: block {ledger.last_height} of the old epoch is not void")
        while ledger.last_certified < source.last_certified:
            due = ledger.last_certified + 1
            blocks = blocks_from(source, due, due)
            response = peer_pb2.BlockResponse(blocks=blocks)
            verified = verified_blocks(
                response, due, ledger.set_at, cluster.scheme.verify, cluster.fail
            )
            if not verified or not apply_certified(ledger, verified[0]):
                cluster.fail(f"Q7: replica {number} cannot follow at {due}")
        ledger.close(power_cut=False)

    @contextmanager
    def _folders(self, numbers: Sequence[int]) -> Iterator[list[Survivor]]:
        """The folders of stopped replicas, opened as an operator does."""
        genesis = self._cluster.execution.genesis
        opened: list[Survivor] = []
        try:
            for number in numbers:
                store = ChainStore.open(
                    self._shelf.folder(number),
                    genesis,
                    replica=number,
                    options=self._shelf.options(number),
                )
                opened.append(Survivor(number, store, genesis))
            yield opened
        finally:
            for each in opened:
                each.store.close()
