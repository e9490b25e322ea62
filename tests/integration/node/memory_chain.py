"""Replicas of one chain in one process, joined by queues instead of links: real drivers, stores and
signatures. A place without a replica can be played by the test, which holds its vote key.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.gm.provider import GmProvider, PrivateKey
from services.chassis.telemetry import Metrics
from services.consensus.domain.contracts.catalogue import Catalogue, standard_catalogue
from services.consensus.domain.learner import Learner
from services.consensus.domain.ledger.genesis import Genesis
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.domain.messages import (
    Commit,
    Digest,
    Prepare,
    ProtocolParameters,
    ReplicaId,
    SequenceNumber,
)
from services.consensus.domain.replica import Replica
from services.consensus.driver import Driver
from services.consensus.epochs import Epochs
from services.consensus.evidence import EvidenceFolder, EvidenceReporter
from services.consensus.finality import FinalityBoard
from services.consensus.intake import Intake
from services.consensus.ledger import Ledger
from services.consensus.mempool import Mempool
from services.consensus.metrics import ReplicaMetrics
from services.consensus.repair import Repairs
from services.consensus.signing import Admission, Authenticator, signer
from services.consensus.state_transfer import WITHOUT_BLOCKS_STEPS
from services.consensus.store import ChainStore, FileOperations, StoreOptions
from services.consensus.store.files import SYSTEM_FILES
from services.consensus.store.segment import SEGMENT_BYTES_MAX
from services.consensus.submission import Submissions
from tests.plugins.chain_network import one_provider

WAIT_SECONDS_MAX = 180.0
RESERVE_BYTES = 1024
REPAIR_STEP_SECONDS = 0.01
SEQUENCES_A_PROMISE = 8


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class MemoryLinks:
    """Delivers frames in the same process, in order, on a later turn of the loop."""

    me: int
    chain: MemoryChain

    def broadcast(self, frame: bytes, *, droppable: bool = False, latest: bool = False) -> None:
        self._note(frame)
        for other in range(max(self.chain.places, self.chain.genesis.replica_set.size)):
            if other != self.me:
                self._deliver_soon(other, frame)

    def send(self, to: int, frame: bytes, *, droppable: bool = False) -> None:
        self._note(frame)
        self._deliver_soon(to, frame)

    def _note(self, frame: bytes) -> None:
        if self.chain.on_send is not None:
            self.chain.on_send(self.me, frame)

    def _deliver_soon(self, to: int, frame: bytes) -> None:
        carry = self.chain.carry or self.chain.deliver
        asyncio.get_running_loop().call_soon(carry, self.me, to, frame)

    def connected(self) -> frozenset[int]:
        return frozenset(self.chain.members) - {self.me}


@dataclass(slots=True)
class Member:
    """One replica that runs here."""

    driver: Driver
    intake: Intake
    ledger: Ledger
    submissions: Submissions
    finality: FinalityBoard
    metrics: Metrics
    repairs: Repairs
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    tasks: list[asyncio.Future[None]] = field(default_factory=list)


@dataclass(slots=True)
class MemoryChain:
    """Use `async with MemoryChain(...)`: the replicas in `run` are at work inside."""

    folder: Path
    genesis: Genesis
    vote_keys: list[PrivateKey]
    founding: bool = True
    files: FileOperations = SYSTEM_FILES
    segment_bytes_max: int = SEGMENT_BYTES_MAX
    without_blocks_steps: int = WITHOUT_BLOCKS_STEPS
    places: int = 0
    """Where members to come have a place, too: more than the first set has."""
    reporters: dict[int, Identity] = field(default_factory=dict)
    provider: GmProvider = field(default_factory=one_provider)
    catalogue: Catalogue = field(default_factory=standard_catalogue)
    members: dict[int, Member] = field(default_factory=dict)
    heard: list[tuple[int, int, bytes]] = field(default_factory=list)
    watch: Callable[[int, bytes], None] | None = None
    """Told the sender and the frame of each delivery."""
    on_send: Callable[[int, bytes], None] | None = None
    """Told the same in the very call of a replica that sends, once however many it sends to."""
    loses: Callable[[bytes], bool] | None = None
    """Which frames get lost on the way."""
    carry: Callable[[int, int, bytes], None] | None = None
    """In the place of `deliver`: from whom, to whom, what."""

    def deliver(self, sender: int, to: int, frame: bytes) -> None:
        """A frame arrives; those for a place that the test plays are kept for it."""
        if self.watch is not None:
            self.watch(sender, frame)
        if self.loses is not None and self.loses(frame):
            return
        member = self.members.get(to)
        if member is None:
            self.heard.append((sender, to, frame))
        else:
            member.intake.on_frame(sender, frame)

    def folder_of(self, number: int) -> Path:
        """The data folder of a replica."""
        return self.folder / f"member{number}"

    async def stop(self, number: int, *, clean: bool = True) -> None:
        """End a replica; not `clean`: its folder stays as a kill at this moment would leave it."""
        member, folder = self.members.pop(number), self.folder_of(number)
        kept = folder.with_name(f"{folder.name}.kept")
        if not clean:
            # By the thread that writes, so that nothing changes meanwhile: a kill has one moment.
            writer, loop = member.ledger._writer, asyncio.get_running_loop()
            await loop.run_in_executor(writer, shutil.copytree, folder, kept)
        await member.stack.aclose()
        if not clean:
            shutil.rmtree(folder)
            kept.rename(folder)

    async def start(self, number: int, vote_keys: Sequence[PrivateKey] = ()) -> Member:
        """Put one replica together, with the vote key of its number or others, and set it to
        work.
        """
        genesis = self.genesis
        folder = self.folder_of(number)
        options = StoreOptions(
            reserve_bytes=0,
            segment_bytes_max=self.segment_bytes_max,
            sequences_a_promise=SEQUENCES_A_PROMISE,
            files=self.files,
        )
        store = ChainStore.open(folder, genesis, replica=number, options=options)
        if self.founding and store.promise.forgotten and store.promise.sequence is None:
            store.end_silence()
        ledger = Ledger(
            store,
            genesis,
            self.catalogue,
            self.provider.verify,
            folder=folder,
            reserve_bytes=RESERVE_BYTES,
        )
        parameters = protocol_of(genesis)
        keys = vote_keys or (self.vote_keys[number],)
        signers = {key.public_key: signer(self.provider, key) for key in keys}
        metrics, links = Metrics(), MemoryLinks(number, self)
        of_replica = ReplicaMetrics(metrics)
        finality = FinalityBoard(store.last_certified)
        evidence = EvidenceFolder(folder / "evidence", ledger, self.files, of_replica)
        driver = Driver(
            epochs=Epochs(ReplicaId(number), ledger, signers, parameters, now_ms),
            evidence=evidence,
            ledger=ledger,
            links=links,
            mempool=Mempool(ledger.was_executed),
            finality=finality,
            metrics=of_replica,
            now_ms=now_ms,
        )
        repairs = Repairs(
            driver=driver,
            ledger=ledger,
            links=links,
            metrics=of_replica,
            verify=self.provider.verify,
            step_seconds=REPAIR_STEP_SECONDS,
            without_blocks_steps=self.without_blocks_steps,
        )
        intake = Intake(
            driver=driver,
            ledger=ledger,
            authenticator=Authenticator(parameters.window, self.provider),
            admission=Admission(genesis.chain_id, self.provider),
            provider=self.provider,
            metrics=of_replica,
            links=links,
            now_ms=now_ms,
            repairs=repairs,
        )
        submissions = Submissions(driver, intake, ledger, finality)
        member = Member(driver, intake, ledger, submissions, finality, metrics, repairs)
        self.members[number] = member
        member.stack.callback(ledger.close)
        runs = [driver.run(), intake.run(), repairs.run()]
        runs += [reporter.run() for reporter in self._reporters(number, evidence, member)]
        member.tasks = [asyncio.ensure_future(run) for run in runs]
        member.stack.push_async_callback(_end, member.tasks)
        return member

    def _reporters(
        self, number: int, evidence: EvidenceFolder, member: Member
    ) -> list[EvidenceReporter]:
        """Who submits the replica's evidence, where the test says as whom."""
        identity = self.reporters.get(number)
        if identity is None:
            return []
        submit = member.submissions.submit
        return [EvidenceReporter(evidence, member.ledger, submit, self.provider, identity, now_ms)]

    async def __aenter__(self) -> MemoryChain:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for number in list(self.members):
            await self.stop(number)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds; fails after a bound, and says where every replica stands."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, f"it did not come true: {self._standing()}"
            await asyncio.sleep(0.01)

    def _standing(self) -> list[str]:
        """For whoever reads why a wait was in vain; a part of a replica that ended says nothing."""
        return [self._stands(number) for number in sorted(self.members)]

    def _stands(self, number: int) -> str:
        member = self.members[number]
        core, store = member.driver.replica, member.ledger.store
        ended = [repr(task.exception()) for task in member.tasks if task.done()]
        return (
            f"{number}: view {core.view}, executed {store.last_height}, certified "
            f"{store.last_certified}, pending {len(member.driver.mempool)}, votes for the next "
            f"{_votes_for(core, store.last_height + 1)}, ended {ended}"
        )


def _votes_for(core: Replica | Learner, height: int) -> list[list[int]]:
    """Whose prepares and commits for the next height the core holds."""
    if isinstance(core, Learner):
        return []
    at = core.view, SequenceNumber(height), Digest(bytes(32)), ReplicaId(0), b""
    held = [core.held_votes.signers(vote) for vote in (Prepare(*at), Commit(*at))]
    return [sorted(signers or ()) for signers in held]


def protocol_of(genesis: Genesis) -> ProtocolParameters:
    """What the core is given, with a resend interval for tests."""
    shared = genesis.parameters
    return ProtocolParameters(
        window=shared.window,
        timeout_ms=shared.view_timeout_ms,
        timeout_max_ms=shared.view_timeout_max_ms,
        heartbeat_ms=shared.heartbeat_ms,
        resend_ms=400,
        block_time_bound_ms=shared.clock_bound_ms,
    )


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def memory_chain(folder: Path, genesis: bytes, vote_keys: list[PrivateKey]) -> MemoryChain:
    """A chain of this genesis; no replica runs yet."""
    return MemoryChain(folder, parse_genesis(genesis), vote_keys)
