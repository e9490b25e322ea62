"""Votes and promises that are lost around a set change: pbft.md R5, R6; ledger.md, rule of silence.

Goal: no view or height is voted in twice, and nothing of an old epoch binds a replica in a new one.
Method: replica 3 is stopped as by a kill, files of it are removed, it is started again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import PrivateKey
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.codec import encode_log_record
from services.consensus.domain.messages import EpochStarted, LogRecord
from services.consensus.domain.replica import Replica
from services.consensus.jobs import Pause
from services.consensus.store import ChainStore
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_repair import is_vote
from tests.integration.node.test_set_changes_in_memory import ROLES, WINDOW, decide, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

PROMISE_FILES = ("promise.1.json", "promise.2.json")
BEATING: dict[str, Json] = {**PARAMETERS, "heartbeat_ms": 100, "view_timeout_ms": 1_000}
IDLE: dict[str, Json] = {**PARAMETERS, "heartbeat_ms": 60_000}


@pytest.fixture(params=[BEATING])
def network(tmp_path: Path, request: pytest.FixtureRequest) -> ChainNetwork:
    """Keys and genesis only; a block is made every 100 ms unless the chain is to be idle."""
    contracts = (("identity", 1), ("governance", 1))
    folder = tmp_path / "network"
    return ChainNetwork.create(folder, roles=ROLES, contracts=contracts, parameters=request.param)


@pytest.fixture
def new(network: ChainNetwork) -> PrivateKey:
    """The key with which replica 3 votes in epoch 1."""
    return network.provider.keygen()


async def started(chain: MemoryChain, network: ChainNetwork, new: PrivateKey) -> list[Member]:
    """All four at work; replica 3 holds both keys."""
    members = [await chain.start(number) for number in range(3)]
    return [*members, await chain.start(3, (network.vote_keys[3], new))]


async def in_epoch_1(chain: MemoryChain, network: ChainNetwork, new: PrivateKey) -> None:
    """The set has changed, and everybody is in the new one."""
    await decide(chain, network, [*network.vote_keys[:3], new])
    live = list(chain.members.values())
    await chain.wait_for(lambda: all(m.driver.replica.epoch == 1 for m in live))


async def in_a_later_view(chain: MemoryChain) -> None:
    """The primary is away for a while: everybody ends in a view above 0 and votes there."""
    await chain.stop(0)
    await chain.wait_for(lambda: all(m.driver.replica.view > 0 for m in chain.members.values()))
    await chain.start(0)
    await chain.wait_for(lambda: all(is_in_a_later_view(m) for m in chain.members.values()))
    store = chain.members[3].ledger.store
    height = store.last_certified + 2
    await chain.wait_for(lambda: store.promise.view > 0 and store.last_certified >= height)


def is_in_a_later_view(member: Member) -> bool:
    core = member.driver.replica
    return core.active and core.view > 0


def lose(folder: Path, *what: str) -> None:
    for name in what:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


async def back(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey, heard: list[bytes]
) -> Member:
    """Replica 3 starts again; `heard` gets what it says before it takes part."""
    member = await chain.start(3, (network.vote_keys[3], new))

    def watch(sender: int, frame: bytes) -> None:
        if sender == 3 and not member.driver.votes:
            heard.append(frame)

    chain.watch = watch
    return member


async def its_vote_counts(chain: MemoryChain, network: ChainNetwork, name: str) -> None:
    """Without replica 1 nothing is certified unless 3 votes."""
    await chain.stop(1)
    await register(chain.members[0], network, name)
    await chain.start(1)


@pytest.mark.req("G2-07-1", "G2-10-3", "G2-13-2")
async def test_a_replica_without_any_memory_comes_back_into_a_later_epoch_and_votes_after_its_time(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey
) -> None:
    """It knows the first set only, and is silent until two windows beyond what the others have."""
    members = await started(chain, network, new)
    await in_epoch_1(chain, network, new)
    past = 2 * WINDOW
    await chain.wait_for(lambda: members[0].ledger.store.last_certified > past)
    await chain.stop(3, clean=False)
    lose(chain.folder, "member3")
    chain.founding = False
    certified = min(chain.members[n].ledger.store.last_certified for n in (0, 1, 2))
    heard: list[bytes] = []
    member = await back(chain, network, new, heard)
    assert member.driver.pause is Pause.RESTORING
    await chain.wait_for(lambda: member.driver.votes)
    assert member.ledger.store.last_certified >= certified + 2 * WINDOW
    assert heard, "it says where it stands"
    assert not any(is_vote(frame) for frame in heard)
    core = member.driver.replica
    assert (type(core), core.epoch) == (Replica, 1)
    await its_vote_counts(chain, network, "after")
    assert member.ledger.store.promise.epoch == 1


@pytest.mark.req("G2-07-1", "G2-10-3")
async def test_a_promise_that_is_gone_is_made_again_from_the_votes_of_its_epoch(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey
) -> None:
    """Nothing but the two files is lost, so nothing is forgotten."""
    await started(chain, network, new)
    await in_epoch_1(chain, network, new)
    await in_a_later_view(chain)
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), *PROMISE_FILES)
    member = await chain.start(3, (network.vote_keys[3], new))
    made = member.ledger.store.promise
    assert member.driver.votes
    assert (made.forgotten, made.epoch) == (False, 1)
    assert made.view >= member.driver.replica.view > 0
    assert made.sequence is not None
    assert made.sequence >= member.driver.replica.executed
    await its_vote_counts(chain, network, "after")


async def lost_its_votes(chain: MemoryChain, network: ChainNetwork, new: PrivateKey) -> None:
    """Replica 3 left the first view, stopped, and lost its segments with all votes."""
    await started(chain, network, new)
    await in_a_later_view(chain)
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), "segments", "index")


@pytest.mark.req("G2-07-1", "G2-10-3")
async def test_a_floor_of_the_first_epoch_holds_in_it_and_in_no_later_one(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey
) -> None:
    """R6: the views that a replica left before it lost its votes are barred for that epoch only."""
    await lost_its_votes(chain, network, new)
    heard: list[bytes] = []
    member = await back(chain, network, new, heard)
    assert member.ledger.store.promise.forgotten
    left = member.ledger.store.promise.view
    await chain.wait_for(lambda: member.driver.votes)
    assert not any(is_vote(frame) for frame in heard)
    assert (member.ledger.view_floor(0), member.ledger.view_floor(1)) == (left, 0)
    assert member.driver.replica.view >= left > 0
    await in_epoch_1(chain, network, new)
    await its_vote_counts(chain, network, "after")
    made = member.ledger.store.promise
    assert (made.epoch, made.floor, member.ledger.view_floor(1)) == (1, 0, 0)


def nothing_yet(store: ChainStore) -> None:
    """The kill comes before anything of the new epoch is written."""


def the_mark(store: ChainStore) -> None:
    """It comes when the log says where the new epoch begins, and the promise is of the old one."""
    store.compact_records([encode_log_record(EpochStarted(1))])


def mark_and_promise(store: ChainStore) -> None:
    """It comes when both are of the new epoch, and no vote is."""
    the_mark(store)
    store.begin_epoch(1, store.last_certified)


@pytest.mark.req("G2-07-1", "G2-10-3", "G2-13-2")
@pytest.mark.parametrize("network", [IDLE], indirect=True)
@pytest.mark.parametrize("lost", [(), PROMISE_FILES, ("segments", "index")], ids=len)
@pytest.mark.parametrize("written", [nothing_yet, the_mark, mark_and_promise])
async def test_a_kill_between_the_last_certificate_of_an_epoch_and_the_first_vote_of_the_next(
    chain: MemoryChain,
    network: ChainNetwork,
    new: PrivateKey,
    written: Callable[[ChainStore], None],
    lost: tuple[str, ...],
) -> None:
    """The chain is idle, so nobody votes in the new epoch before the kill; whatever is lost with
    it, the replica comes back into the new epoch and its first view.
    """
    members = await started(chain, network, new)
    await in_epoch_1(chain, network, new)
    store = members[3].ledger.store
    assert store.promise.epoch == 0, "it has not voted yet"
    end = store.last_certified
    written(store)
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), *lost)
    heard: list[bytes] = []
    member = await back(chain, network, new, heard)
    forgot = "segments" in lost
    assert (member.driver.votes, member.ledger.store.promise.forgotten) == (not forgot, forgot)
    for number in range(2 * WINDOW):
        if member.driver.votes:
            break
        await register(members[0], network, f"meanwhile{number}")
        await chain.wait_for(lambda: certified_alike(members[0], member))
    await chain.wait_for(lambda: member.driver.votes)
    assert not any(is_vote(frame) for frame in heard)
    core = member.driver.replica
    assert (core.epoch, core.view, core.base) == (1, 0, end)
    await its_vote_counts(chain, network, "after")
    assert member.ledger.store.promise.epoch == 1


def certified_alike(one: Member, other: Member) -> bool:
    return one.ledger.store.last_certified <= other.ledger.store.last_certified


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_floor_outlives_the_promise_and_a_second_loss(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey
) -> None:
    """Votes are lost, then both files of the promise, then votes again: the views that were left
    before the first loss stay left.
    """
    await lost_its_votes(chain, network, new)
    member = await back(chain, network, new, [])
    left = member.ledger.store.promise.view
    assert left > 0
    await chain.wait_for(lambda: member.driver.votes)
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), *PROMISE_FILES)
    member = await back(chain, network, new, [])
    made = member.ledger.store.promise
    assert member.driver.votes
    assert made.view >= member.ledger.view_floor(0) >= left
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), "segments", "index")
    heard: list[bytes] = []
    member = await back(chain, network, new, heard)
    through = member.ledger.store.promise.sequence
    assert member.ledger.store.promise.forgotten
    assert through is not None
    assert through >= (made.sequence or 0) > 0
    await chain.wait_for(lambda: member.driver.votes)
    assert member.ledger.store.last_certified >= through
    assert not any(is_vote(frame) for frame in heard)
    assert member.driver.replica.view >= left
    await its_vote_counts(chain, network, "after")


async def compact_now(chain: MemoryChain, member: Member) -> None:
    """What every few hundred heights does: the log begins anew with the records that matter."""
    compact, done = member.ledger.compact, list[bool]()

    async def noted(records: Sequence[LogRecord]) -> None:
        await compact(records)
        done.append(True)

    member.ledger.compact = noted  # type: ignore[method-assign]
    member.driver.compact_soon()
    await chain.wait_for(lambda: bool(done))


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_floor_outlives_a_compaction_and_then_the_promise(
    chain: MemoryChain, network: ChainNetwork, new: PrivateKey
) -> None:
    """The mark that the compacted log begins with is the only other place that knows the floor."""
    await lost_its_votes(chain, network, new)
    member = await back(chain, network, new, [])
    await chain.wait_for(lambda: member.driver.votes)
    left = member.ledger.store.promise.floor
    assert left > 0
    await compact_now(chain, member)
    await chain.stop(3, clean=False)
    lose(chain.folder_of(3), *PROMISE_FILES)
    member = await back(chain, network, new, [])
    made = member.ledger.store.promise
    assert (made.forgotten, made.floor, member.ledger.view_floor(0)) == (False, left, left)
    assert member.driver.votes
    assert member.driver.replica.view >= left
    await its_vote_counts(chain, network, "after")
