"""A replica whose storage is damaged: what it says meanwhile, and how it becomes whole again.

Goal: no wrong answer ever, no vote that contradicts a lost one, and repair from peers alone.
Method: replicas of one chain in one process with real stores; one is stopped, its files are
damaged, it is started again while the others go on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.archive.records import RecordType
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ServiceError, UnavailableError
from services.consensus.domain.codec import decode_message
from services.consensus.domain.messages import Hello
from services.consensus.jobs import Pause
from services.consensus.store import FatalStorageError, FileOperations
from services.consensus.store.files import SYSTEM_FILES
from tests.integration.ledger.store_builder import edit_file, flip, position_of, segment_files
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

APPLIED = ledger_pb2.OUTCOME_APPLIED
FAST: dict[str, Json] = {**PARAMETERS, "heartbeat_ms": 100, "view_timeout_ms": 5_000}


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms."""
    return ChainNetwork.create(tmp_path / "network", parameters=FAST)


async def submit(member: Member, entry: SignedTransaction) -> int:
    result = await member.submissions.submit(entry, wait_final=True)
    assert result is not None
    assert result.outcome == APPLIED
    return int(result.height)


async def grown(chain: MemoryChain, network: ChainNetwork) -> int:
    """All four at work; the height of a transaction that all of them have."""
    members = [await chain.start(number) for number in range(4)]
    height = await submit(members[0], transaction(network, "early"))
    await chain.wait_for(
        lambda: all(each.ledger.store.last_certified > height + 3 for each in members)
    )
    return height


def spoil_block(folder: Path, height: int) -> None:
    position = position_of(folder, RecordType.BLOCK, height)
    edit_file(segment_files(folder)[0], lambda data: flip(data, position.offset + 60))


def content(member: Member, height: int) -> tuple[bytes, bytes, list[bytes]]:
    """A block as the replica tells it; certificates may have other signers."""
    block = member.ledger.block_message(height)
    assert block is not None
    return block.certified_header.header, block.batch, list(block.receipts)


def is_vote(frame: bytes) -> bool:
    """Whether a frame binds its sender."""
    read = peer_pb2.PeerFrame.FromString(frame)
    if read.WhichOneof("content") != "message":
        return False
    return not isinstance(decode_message(read.message), Hello)


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_a_damaged_block_is_fetched_from_a_peer_while_the_replica_takes_part(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await grown(chain, network)
    await chain.stop(3)
    spoil_block(chain.folder_of(3), height)
    member = await chain.start(3)
    assert member.driver.votes
    with pytest.raises(UnavailableError) as refused:
        member.ledger.block_message(height)
    assert refused.value.code == "STORAGE_RECORD_DAMAGED"
    await chain.wait_for(lambda: b"repaired_blocks_total 1.0" in member.metrics.render())
    assert content(member, height) == content(chain.members[0], height)
    assert member.ledger.damaged_heights == set()
    assert await submit(member, transaction(network, "late")) > height


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_a_replica_without_index_and_with_a_damaged_block_restores_it_before_it_votes(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await grown(chain, network)
    certified = chain.members[3].ledger.store.last_certified
    await chain.stop(3)
    spoil_block(chain.folder_of(3), height)
    shutil.rmtree(chain.folder_of(3) / "index")
    kept = {number: chain.members.pop(number) for number in (0, 1, 2)}
    member = await chain.start(3)
    assert (member.driver.pause, member.ledger.store.last_height) == (
        Pause.RESTORING,
        height - 1,
    )
    assert member.ledger.block_message(height) is None, "what is missing is never made up"
    with pytest.raises(ServiceError) as refused:
        await submit(member, transaction(network, "too-early"))
    assert refused.value.code == "CHAIN_NOT_CAUGHT_UP"
    assert not any(is_vote(frame) for sender, _, frame in chain.heard if sender == 3)
    chain.members.update(kept)
    await chain.wait_for(lambda: member.driver.votes)
    assert member.ledger.store.last_certified >= certified
    assert content(member, height) == content(chain.members[0], height)
    member.ledger.store.verify_state()
    assert await submit(member, transaction(network, "late")) > height


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_replica_that_lost_votes_says_nothing_until_the_chain_is_past_them(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """ledger.md, rule of silence, step 3."""
    await grown(chain, network)
    await chain.stop(3)
    shutil.rmtree(chain.folder_of(3) / "segments")
    shutil.rmtree(chain.folder_of(3) / "index")
    kept = {number: chain.members.pop(number) for number in (0, 1, 2)}
    member = await chain.start(3)
    through = member.ledger.store.promise.sequence
    assert through is not None
    assert member.ledger.store.promise.forgotten
    chain.members.update(kept)
    heard: list[bytes] = []

    def watch(sender: int, frame: bytes) -> None:
        if sender == 3 and not member.driver.votes:
            heard.append(frame)

    chain.watch = watch
    await chain.wait_for(lambda: member.driver.votes)
    assert member.ledger.store.last_certified >= through
    assert heard, "it asks for blocks and says where it stands"
    assert not any(is_vote(frame) for frame in heard)
    certified = member.ledger.store.last_certified
    await chain.stop(1)
    await submit(member, transaction(network, "needs-its-vote"))
    assert member.ledger.store.last_certified > certified


@pytest.mark.req("G2-13-2")
async def test_an_empty_folder_waits_for_what_the_others_say(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """ledger.md, rule of silence, step 5."""
    await grown(chain, network)
    window = chain.genesis.parameters.window
    await chain.wait_for(lambda: chain.members[0].ledger.store.last_certified > 2 * window)
    await chain.stop(3)
    shutil.rmtree(chain.folder_of(3))
    chain.founding = False
    certified = min(chain.members[n].ledger.store.last_certified for n in (0, 1, 2))
    member = await chain.start(3)
    assert member.driver.pause is Pause.RESTORING
    await chain.wait_for(lambda: member.driver.votes)
    assert member.ledger.store.last_certified >= certified + 2 * window
    assert not member.ledger.store.promise.forgotten


@pytest.mark.req("G2-07-1")
async def test_damaged_votes_that_the_index_holds_are_written_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    await grown(chain, network)
    await chain.stop(3)
    folder = chain.folder_of(3)
    position = position_of(folder, RecordType.CORE, 0, nth=-1)
    edit_file(segment_files(folder)[0], lambda data: flip(data, position.offset + 40))
    member = await chain.start(3)
    assert member.driver.votes
    await chain.wait_for(lambda: not member.ledger.store.votes_damaged())
    await chain.stop(3)
    shutil.rmtree(folder / "index")
    again = await chain.start(3)
    assert again.driver.votes, "nothing was lost"


@pytest.mark.req("G2-13-2")
async def test_a_failed_fsync_ends_the_replica_and_nothing_that_relied_on_it_is_sent(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """Its vote is never durable, so nobody may hear it; the process ends with the error."""
    members = [await chain.start(number) for number in range(3)]
    await submit(members[0], transaction(network, "early"))
    broken: list[bool] = []

    def fsync(descriptor: int) -> None:
        if broken:
            raise OSError(5, "Input/output error")
        os.fsync(descriptor)

    chain.files = FileOperations(fsync=fsync)
    member = await chain.start(3)
    await chain.wait_for(lambda: member.ledger.store.last_certified > 0)
    heard: list[bytes] = []
    chain.watch = lambda sender, frame: heard.append(frame) if sender == 3 else None
    broken.append(True)
    await chain.wait_for(lambda: member.tasks[0].done())
    error = member.tasks[0].exception()
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(FatalStorageError) is not None
    heard.clear()
    await submit(members[0], transaction(network, "late"))
    assert not any(is_vote(frame) for frame in heard)
    with pytest.raises(FatalStorageError):
        member.ledger.store.sync()
    chain.members.pop(3)
    for task in member.tasks:
        task.cancel()
    with pytest.raises(FatalStorageError):
        await member.stack.aclose()
    chain.files = SYSTEM_FILES
    again = await chain.start(3)
    await chain.wait_for(
        lambda: again.ledger.store.last_certified >= members[0].ledger.store.last_certified
    )


@pytest.mark.req("G2-07-1", "G2-07-3", "G2-13-2")
async def test_two_of_seven_replicas_are_damaged_at_once_and_both_are_repaired(
    tmp_path: Path,
) -> None:
    """f = 2: the chain goes on without them, and each becomes whole from the other five."""
    network = ChainNetwork.create(
        tmp_path / "network", size=7, parameters={**PARAMETERS, "view_timeout_ms": 8_000}
    )
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        members = [await chain.start(number) for number in range(7)]
        height = await submit(members[0], transaction(network, "early"))
        await chain.wait_for(
            lambda: all(each.ledger.store.last_certified >= height for each in members)
        )
        for number in (5, 6):
            await chain.stop(number)
            spoil_block(chain.folder_of(number), height)
        shutil.rmtree(chain.folder_of(5) / "index")
        later = await submit(members[0], transaction(network, "meanwhile"))
        again = [await chain.start(number) for number in (5, 6)]
        assert (again[0].driver.votes, again[1].driver.votes) == (False, True)
        await chain.wait_for(
            lambda: (
                all(each.ledger.store.last_certified >= later for each in again)
                and again[0].driver.votes
                and b"repaired_blocks_total 1.0" in again[1].metrics.render()
            )
        )
        for each in again:
            assert content(each, height) == content(members[0], height)
            each.ledger.store.verify_state()
