"""Replicas whose old segments were moved to archives: who catches up misses nothing while one
archive is at hand, and where all are away it is said and nothing else stops (archive.md, A10-A12;
pbft.md C7).
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from guqiao_sdk.archive.folder import prove_transaction, verify_archive
from guqiao_sdk.gm.provider import PrivateKey
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust
from guqiao_sdk.verify import verify_bundle
from services.chassis.errors import UnavailableError
from services.consensus.domain.ledger.genesis import genesis_header
from services.consensus.jobs import Pause
from services.consensus.store import SegmentArchivedError
from services.consensus.store.archive import add_sealed_segments, remove_archived_segments
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import transaction
from tests.integration.node.test_repair import FAST, content, submit
from tests.plugins.chain_network import ChainNetwork

SEGMENT_BYTES_MAX = 4_000
BLOCKS_ENOUGH = 10


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """A chain that makes an empty block every 100 ms."""
    return ChainNetwork.create(tmp_path / "network", parameters=FAST)


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        chain.segment_bytes_max = SEGMENT_BYTES_MAX
        yield chain


def archive_of(chain: MemoryChain, number: int) -> Path:
    return chain.folder / f"archive{number}"


async def archived(chain: MemoryChain, network: ChainNetwork, numbers: Sequence[int]) -> int:
    """Replicas 0 to 2 at work with the first blocks of `numbers` removed; the height of a
    transaction in them.
    """
    members = [await chain.start(number) for number in range(3)]
    height = await submit(members[0], transaction(network, "early"))
    await remove_old_blocks(chain, height, numbers)
    return height


async def remove_old_blocks(
    chain: MemoryChain,
    height: int,
    numbers: Sequence[int],
    vote_keys: Mapping[int, Sequence[PrivateKey]] = MappingProxyType({}),
) -> None:
    """Let these go on past `height` and move what comes before to archives."""
    members = [chain.members[number] for number in numbers]
    certified = members[0].ledger.store
    await chain.wait_for(lambda: certified.last_certified > height + BLOCKS_ENOUGH)
    for member in members:
        member.driver.compact_soon()
    reached = certified.last_certified + BLOCKS_ENOUGH
    await chain.wait_for(lambda: all(m.ledger.store.last_certified > reached for m in members))
    for number in numbers:
        await chain.stop(number)
        folder, archive = chain.folder_of(number), archive_of(chain, number)
        add_sealed_segments(folder, archive, chain.genesis, chain.provider.verify)
        step = remove_archived_segments(folder, archive, chain.genesis)
        assert "00000001.seg" in step.segments
        await chain.start(number, vote_keys.get(number, ()))


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_c7_who_catches_up_gets_old_blocks_through_the_archives(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await archived(chain, network, (0, 1, 2))
    late = await chain.start(3)
    await chain.wait_for(lambda: late.ledger.store.last_certified > height)
    assert content(late, height) == content(chain.members[0], height)
    assert await submit(late, transaction(network, "late")) > height


@pytest.mark.req("G2-13-2", "G2-07-3")
async def test_c7_with_one_archive_away_others_answer_and_the_replica_says_where_its_block_is(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await archived(chain, network, (0, 1))
    for number in (0, 1):
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    late = await chain.start(3)
    await chain.wait_for(lambda: late.ledger.store.last_certified > height)
    member = chain.members[0]
    assert member.driver.votes
    with pytest.raises(UnavailableError) as refused:
        member.ledger.block_message(height)
    assert refused.value.code == "SEGMENT_ARCHIVED"
    facts = refused.value.fields
    name, block = str(facts["segment"]), late.ledger.block_message(height)
    assert block is not None
    assert block.certified_header.header in (chain.folder / "away0" / name).read_bytes()
    assert facts["archive"] == str(archive_of(chain, 0).resolve() / name)
    assert member.ledger.damaged_heights == set(), "it is away, not damaged"
    assert await submit(member, transaction(network, "late")) > height


@pytest.mark.req("G2-13-2")
async def test_while_every_archive_is_away_a_new_member_waits_and_the_chain_goes_on(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await archived(chain, network, (0, 1, 2))
    for number in range(3):
        archive_of(chain, number).rename(chain.folder / f"away{number}")
    late = await chain.start(3)
    later = await submit(chain.members[0], transaction(network, "meanwhile"))
    assert later > height
    assert late.ledger.store.last_certified == 0
    (chain.folder / "away1").rename(archive_of(chain, 1))
    await chain.wait_for(lambda: late.ledger.store.last_certified >= later)


@pytest.mark.req("G2-13-2")
async def test_a_lost_index_is_not_built_from_peers_because_an_archive_is_not_mounted(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    await archived(chain, network, (0,))
    await chain.stop(0)
    shutil.rmtree(chain.folder_of(0) / "index")
    archive_of(chain, 0).rename(chain.folder / "away")
    with pytest.raises(SegmentArchivedError):
        await chain.start(0)
    (chain.folder / "away").rename(archive_of(chain, 0))
    member = await chain.start(0)
    assert member.driver.pause is not Pause.RESTORING
    assert await submit(member, transaction(network, "late")) > 0


@pytest.mark.req("G2-07-3", "G2-19-3")
async def test_the_archive_of_a_replica_proves_its_transactions_by_itself(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    height = await archived(chain, network, (2,))
    genesis, verify = chain.genesis, chain.provider.verify
    point = Checkpoint(genesis.epoch, 0, genesis_header(genesis).hash(), genesis.replica_set)
    trusted = ChainTrust(genesis.chain_id, genesis.hash(), (point,))
    trust = Trust("did:rem:csrc:issuer", bytes(65), "2026-01-05T09:30:00+08:00", (trusted,))
    assert verify_archive(archive_of(chain, 2), trust, verify).height >= height
    wanted = chain.members[0].ledger.receipts(height)[0].transaction_id
    found = prove_transaction(archive_of(chain, 2), trust, wanted)
    assert found is not None
    verdict = verify_bundle(found.encode(), trust, verify, now_ms=0)
    assert (verdict.block.height, verdict.transaction_id) == (height, wanted)
