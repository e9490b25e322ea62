"""Campaign: the files of f replicas of a running chain are damaged at once, for n = 4 and 7 (T-13).

Replicas with production drivers, stores and repair run in this process, joined in memory. In each
round f of them stop, by a kill or cleanly, several of their files are damaged, and they start
again while the others go on: whatever they answer meanwhile is true, and from the others alone each
becomes whole, votes again and holds every transaction that was acknowledged.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from guqiao_sdk.proof.json_values import Json
from services.chassis.errors import UnavailableError
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.store import ChainStore, IndexDamagedError, StorageError, StoreOptions
from tests.crash.beside import Beside
from tests.crash.damage import STARTS_MAX, UNTOLD
from tests.crash.spoiling import damage
from tests.crash.writer import fork
from tests.integration.ledger.store_builder import NO_FSYNC
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import position, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

HOW: Final = ("flip", "zero", "truncate", "stale")
TOGETHER: Final = (
    ("segments/first", "nonces", "promise.1.json", "session"),
    ("segments/middle", "evidence/first", "identity.json"),
    ("segments/last", "promise.2.json", "identity.copy.json"),
    ("index/data.mdb", "index/lock.mdb"),
)
"""One file of each that the ledger follows from, with some beside it: one round damages a row. A
file that was written once has no older state.
"""
FAST: Final[dict[str, Json]] = {
    **PARAMETERS,
    "heartbeat_ms": 400,
    "view_timeout_ms": 8_000,
    "view_timeout_max_ms": 16_000,
}
SEGMENT_BYTES_MAX: Final = 60_000
SUBMITTED_A_ROUND: Final = 2
OLD_HEIGHT: Final = 12
KEPT_EARLY: Final = (3,)
KEPT_BESIDE: Final = (5, 10)


def run(folder: Path, *, sizes: list[int], seed: int) -> dict[str, int]:
    """Every file with every damage for each size; returns how often each was done."""
    counts = Counter(dict.fromkeys((*HOW, *itertools.chain(*TOGETHER)), 0))
    # Forked before there are threads: who opens a damaged index can be taken along.
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as opener:
        opener.submit(int).result()
        for each in asyncio.run(_play_all(folder, sizes, seed, opener)):
            counts += each
    return dict(counts)


async def _play_all(
    folder: Path, sizes: list[int], seed: int, opener: ProcessPoolExecutor
) -> list[Counter[str]]:
    """All at the same time: a chain waits for its blocks more than it works."""
    plays = (_play(folder / str(n), n, random.Random(seed + n), opener) for n in sizes)
    return await asyncio.gather(*plays)


async def _play(
    folder: Path, size: int, chance: random.Random, opener: ProcessPoolExecutor
) -> Counter[str]:
    network = ChainNetwork.create(folder / "network", size=size, parameters=FAST)
    async with memory_chain(folder / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        rounds = Rounds(folder, chain, network, chance, opener)
        for number in range(size):
            await chain.start(number)
        chain.founding = False
        await rounds.submit()
        await chain.wait_for(lambda: rounds.are_level(range(size), OLD_HEIGHT))
        for number in range(size):
            await asyncio.to_thread(rounds.keep_beside, number, KEPT_EARLY)
            await chain.stop(number)
            shutil.copytree(chain.folder_of(number), rounds.old(number))
            await chain.start(number)
        cases: list[tuple[tuple[str, ...], str]] = [
            (files, how) for how in HOW for files in TOGETHER
        ]
        chance.shuffle(cases)
        faulty = (size - 1) // 3
        for first in range(0, len(cases), faulty):
            await rounds.play(cases[first : first + faulty])
        rounds.counts[f"acknowledged n={size}"] = len(rounds.acknowledged)
    return rounds.counts


@dataclass(slots=True)
class Rounds:
    """One chain, and what its clients were told."""

    folder: Path
    chain: MemoryChain
    network: ChainNetwork
    chance: random.Random
    opener: ProcessPoolExecutor
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def old(self, number: int) -> Path:
        """What a replica's folder was early on."""
        return self.folder / f"old{number}"

    async def play(self, cases: list[tuple[tuple[str, ...], str]]) -> None:
        """Each case befalls another replica, at the same time."""
        victims = self.chance.sample(range(len(self.network.vote_keys)), len(cases))
        healthy = [number for number in self.chain.members if number not in victims]
        for victim, (files, how) in zip(victims, cases, strict=True):
            await asyncio.to_thread(self.keep_beside, victim, KEPT_BESIDE)
            await self.chain.stop(victim, clean=self.chance.random() < 0.5)
            await self._damage(victim, files, how)
        await self.submit(healthy[0])
        for victim, (files, how) in zip(victims, cases, strict=True):
            member = await self.chain.start(victim)
            self._look(member, self.chain.members[healthy[0]])
            untold = "nonces" in files and how in UNTOLD["nonces"]
            await asyncio.to_thread(self._look_beside, victim, untold)
        await self.submit(healthy[-1])
        height = max(self.acknowledged.values())
        await self.chain.wait_for(lambda: self.are_level(healthy, height))
        for victim in victims:
            await self._become_whole(victim, self.chain.members[healthy[0]], height)

    async def submit(self, number: int = 0) -> None:
        """Acknowledged is what a replica says is final."""
        for _ in range(SUBMITTED_A_ROUND):
            member = self.chain.members[number]
            at = position(height=member.ledger.store.last_certified)
            entry = transaction(self.network, f"t{len(self.acknowledged)}", at=at)
            result = await member.submissions.submit(entry, wait_final=True)
            assert result is not None
            self.acknowledged[entry.id()] = int(result.height)

    def are_level(self, numbers: Iterable[int], height: int) -> bool:
        """Whether these replicas vote and have certified the height."""
        members = [self.chain.members[number] for number in numbers]
        return all(m.driver.votes and m.ledger.store.last_certified >= height for m in members)

    async def _damage(self, victim: int, files: tuple[str, ...], how: str) -> None:
        data = self.chain.folder_of(victim)
        for name in files:
            if damage(data, self.old(victim), name, how, self.chance):
                self.counts.update((name, how))
        if "index/data.mdb" in files:
            loop = asyncio.get_running_loop()
            genesis = self.network.genesis
            await loop.run_in_executor(self.opener, open_until_it_stands, data, genesis, victim)
        elif self.chance.random() < 0.6:
            shutil.rmtree(data / "index")
            self.counts["index lost with it"] += 1

    def _look(self, member: Member, other: Member) -> None:
        """What a damaged replica answers is true, or it says that it cannot answer."""
        for height in set(self.acknowledged.values()):
            try:
                block = member.ledger.block_message(height)
            except UnavailableError as error:
                self.counts[f"said {error.code}"] += 1
                continue
            if block is None:
                self.counts["said a block is missing"] += 1
            else:
                assert _content(member, height) == _content(other, height)
        self.counts["silent at first"] += not member.driver.votes

    async def _become_whole(self, victim: int, other: Member, height: int) -> None:
        """As whoever supervises replicas does: one that fell over its index is started again."""
        for _ in range(STARTS_MAX):
            member = self.chain.members[victim]
            try:
                await self.chain.wait_for(functools.partial(self._is_level, victim, height))
                return await self._check(member, other)
            except IndexDamagedError:
                pass  # Met at work, or by reading all of it.
            self.counts["fell over its index"] += 1
            await self.chain.stop(victim)
            await self.chain.start(victim)
        raise AssertionError("it never stands")

    def _is_level(self, victim: int, height: int) -> bool:
        """As `are_level`; raises the error that ended a part of the replica."""
        for task in self.chain.members[victim].tasks:
            if task.done():
                raise _leaf_of(task.exception())
        return self.are_level([victim], height)

    async def _check(self, member: Member, other: Member) -> None:
        """It is whole: every block, every acknowledged transaction at its place, the state."""
        store = member.ledger.store
        await self.chain.wait_for(lambda: not store.scrub(0, store.last_height))
        assert member.driver.votes
        for transaction_id, height in self.acknowledged.items():
            assert _content(member, height) == _content(other, height)
            place = store.get_transaction(transaction_id)
            assert place is not None, "an acknowledged transaction is lost"
            assert place.height == height
        store.verify_state()
        assert not any(task.done() for task in member.tasks), "a part of the replica ended"
        self.counts["whole again"] += 1

    def keep_beside(self, victim: int, numbers: Iterable[int]) -> None:
        """Nonces and proofs, as of a replica that answers and sees faults."""
        (self.chain.folder_of(victim) / "nonces").unlink(missing_ok=True)
        beside = self._beside(victim)
        for number in numbers:
            beside.use_nonce(number)
            beside.keep_evidence(number)
        beside.close()

    def _look_beside(self, victim: int, may_forget: bool) -> None:
        beside = self._beside(victim)
        for number in KEPT_BESIDE:
            said = beside.said_of_nonce(number)
            assert may_forget or said in ("known", "NONCES_DAMAGED"), said
            beside.keep_evidence(number)
        assert set(beside.proofs()) >= set(KEPT_BESIDE)
        beside.close()

    def _beside(self, victim: int) -> Beside:
        store = self.chain.members[victim].ledger.store
        return Beside(self.chain.folder_of(victim), store, lambda _: NO_FSYNC)


def _content(member: Member, height: int) -> tuple[bytes, bytes, list[bytes]]:
    """A block as the replica tells it; certificates may have other signers."""
    block = member.ledger.block_message(height)
    assert block is not None
    return block.certified_header.header, block.batch, list(block.receipts)


def _leaf_of(error: BaseException | None) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error or AssertionError("a part of the replica ended")


def open_until_it_stands(data: Path, genesis: bytes, number: int) -> None:
    """As whoever supervises replicas does: a start that falls over its index is followed by
    another.
    """

    def start() -> None:
        try:
            options = StoreOptions(reserve_bytes=0)
            ChainStore.open(data, parse_genesis(genesis), replica=number, options=options).close()
        except IndexDamagedError as error:
            raise StorageError("start again") from error

    for _ in range(STARTS_MAX):
        child = fork(lambda _: start())
        os.close(child.lines)
        if child.wait() == 0:
            return
    raise AssertionError("it never stands")
