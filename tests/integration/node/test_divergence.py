"""A replica that computes another header than a quorum certified halts and keeps both (C3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, verify_certificate
from services.consensus.divergence import Divergence
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.ledger.execution import BlockResult
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger
from tests.integration.node.memory_chain import MemoryChain
from tests.integration.node.test_set_changes_in_memory import ROLES, register
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return ChainNetwork.create(
        tmp_path / "network", roles=ROLES, parameters={**PARAMETERS, "heartbeat_ms": 60_000}
    )


def compute_otherwise(ledger: Ledger) -> None:
    """Every block writes one key more than it should."""
    execute = ledger._execute

    def wrong(batch: Batch, transactions: Sequence[AdmittedTransaction] | None) -> BlockResult:
        result = execute(batch, transactions)
        return replace(result, write_set={**result.write_set, b"wrong": b"wrong"})

    ledger._execute = wrong  # type: ignore[method-assign]


@pytest.mark.req("G2-07-3")
@pytest.mark.parametrize("damaged", [None, b"", bytes(100)], ids=["whole", "truncated", "zeroed"])
async def test_a_replica_that_diverged_keeps_both_headers_and_votes_no_more_after_a_restart(
    chain: MemoryChain, network: ChainNetwork, damaged: bytes | None
) -> None:
    members = [await chain.start(number) for number in range(4)]
    await register(members[0], network, "before")
    await chain.wait_for(lambda: members[3].finality.certified_height == 1)
    compute_otherwise(members[3].ledger)
    await register(members[0], network, "two")
    await chain.wait_for(lambda: members[3].driver.pause is Pause.HALTED)

    kept = json.loads((chain.folder_of(3) / "divergence.json").read_bytes())
    own = BlockHeader.decode(bytes.fromhex(kept["own_header"]))
    certificate = FinalityCertificate.decode(bytes.fromhex(kept["certificate"]))
    certified = members[0].ledger.header(2)
    assert (kept["height"], own.height) == (2, 2)
    assert own.hash() != certified.hash() == bytes.fromhex(kept["certified_hash"])
    verify_certificate(certified, certificate, chain.genesis.replica_set, network.provider.verify)

    await chain.stop(3)
    found = (chain.folder_of(3) / "divergence.json").read_bytes() if damaged is None else damaged
    (chain.folder_of(3) / "divergence.json").write_bytes(found)
    spoke: list[int] = []

    def watch(sender: int, data: bytes) -> None:
        if peer_pb2.PeerFrame.FromString(data).WhichOneof("content") == "message":
            spoke.append(sender)

    chain.watch = watch
    again = await chain.start(3)
    assert again.driver.pause is Pause.HALTED
    await register(members[0], network, "three")
    assert 3 not in spoke
    assert again.driver.pause is Pause.HALTED
    assert (chain.folder_of(3) / "divergence.json").read_bytes() == found


@pytest.mark.req("G2-07-3")
async def test_a_block_taken_from_others_that_comes_out_otherwise_is_kept_on_both_sides(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(3)]
    await register(members[0], network, "one")
    late = await chain.start(3)
    compute_otherwise(late.ledger)
    await chain.wait_for(lambda: late.driver.pause is Pause.HALTED)
    kept = json.loads((chain.folder_of(3) / "divergence.json").read_bytes())
    certified = BlockHeader.decode(bytes.fromhex(kept["certified_header"]))
    own = BlockHeader.decode(bytes.fromhex(kept["own_header"]))
    assert certified == members[0].ledger.header(1) != own
    assert FinalityCertificate.decode(bytes.fromhex(kept["certificate"])).header_hash


@pytest.mark.req("G2-07-3")
async def test_a_certified_block_that_follows_another_one_halts_the_replica_and_is_kept(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """More than f liars forked the chain: the other branch's block is older than the one here, so
    it cannot be executed at all.
    """
    members = [await chain.start(number) for number in range(4)]
    await register(members[0], network, "one")
    await chain.wait_for(lambda: members[3].finality.certified_height == 1)
    here = members[3].ledger.header(1)
    time_ms = here.block_time_ms - 1
    other = replace(here, height=2, parent=bytes(32), block_time_ms=time_ms)
    certificate = FinalityCertificate(other.hash(), ())
    batch, message = Batch(time_ms, ()), ledger_pb2.Block()
    block = VerifiedBlock(other, certificate, batch, (), (), message)
    assert members[3].driver.offer_blocks([block])
    await chain.wait_for(lambda: members[3].driver.pause is Pause.HALTED)
    kept = json.loads((chain.folder_of(3) / "divergence.json").read_bytes())
    assert kept["height"] == 2
    assert BlockHeader.decode(bytes.fromhex(kept["own_header"])) == here
    assert BlockHeader.decode(bytes.fromhex(kept["certified_header"])) == other


@pytest.mark.req("G2-07-3")
async def test_a_halt_while_silence_ends_is_not_taken_back(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """C3: whatever comes back meanwhile, it votes no more."""
    chain.founding = False  # Each begins without memory of what it signed, and is silent at first.
    for number in range(3):
        await chain.start(number)
    halted = await chain.start(3)
    end_silence, driver = halted.ledger.end_silence, halted.driver

    async def meets_another_header() -> None:
        await end_silence()
        driver.halt(Divergence(1, "another header is certified"))

    halted.ledger.end_silence = meets_another_header  # type: ignore[method-assign]
    await chain.wait_for(lambda: halted.ledger.divergence.is_there)
    others = [chain.members[number] for number in range(3)]
    await chain.wait_for(lambda: all(each.driver.votes for each in others))
    await register(others[0], network, "goes-on")
    assert driver.pause is Pause.HALTED
