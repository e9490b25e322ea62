"""The archive of a restarted chain: what is void proves nothing, and trust is anchored anew."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from guqiao_sdk.archive.folder import prove_transaction, verify_archive
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.restart import Restart, RestartAuthorities
from guqiao_sdk.proof.transaction import SignedTransaction
from guqiao_sdk.proof.trust import ChainTrust, Checkpoint, Trust
from guqiao_sdk.verify import verify_bundle
from services.consensus.domain.ledger.genesis import genesis_header
from services.consensus.domain.ledger.genesis_json import parse_genesis
from services.consensus.store import ChainStore
from services.consensus.store.archive import add_sealed_segments
from tests.integration.node.memory_chain import memory_chain
from tests.integration.node.test_restart_in_memory import NEW, Lab, lose_quorum, network_of
from tests.integration.node.test_set_changes_in_memory import register
from tests.plugins.ceremony import OPTIONS, Authorities

SEGMENT_BYTES_MAX = 4_000
AFTER = 6


@dataclass(frozen=True, slots=True)
class Archived:
    """A survivor's archive, and what to ask of it."""

    folder: Path
    restart: Restart
    genesis_point: Checkpoint
    new_point: Checkpoint
    authorities: RestartAuthorities
    void: bytes
    after: bytes

    def trust(self, *points: Checkpoint, authorities: RestartAuthorities | None = None) -> Trust:
        genesis_hash = self.restart.statement.genesis_hash
        chain = ChainTrust("shandong", genesis_hash, points, authorities)
        return Trust("did:rem:csrc:issuer", bytes(65), "2026-01-05T09:30:00+08:00", (chain,))


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    folder = tmp_path_factory.mktemp("chain")
    authorities = Authorities.create(open_provider())
    network = network_of(folder, authorities)

    async def prepare() -> Archived:
        async with memory_chain(folder / "data", network.genesis, network.vote_keys) as chain:
            chain.segment_bytes_max = SEGMENT_BYTES_MAX
            lab = Lab(chain, network, authorities)
            height, _ = await lose_quorum(lab)
            void = transaction_at(lab, height + 1)
            restart = lab.ceremony.approve(lab.statement(0, 1))
            lab.put_in_force(restart, 0, 1, *NEW)
            members = await lab.start_restarted()
            for number in range(AFTER):
                last = await register(members[0], network, f"after{number}")
            ledger = members[0].ledger
            header = ledger.header(height + 1)
            batch = ledger.store.get_block(last - 2)
            assert batch is not None
            return Archived(
                chain.folder_of(0),
                restart,
                Checkpoint(0, 0, genesis_header(chain.genesis).hash(), chain.genesis.replica_set),
                Checkpoint(1, height + 1, header.hash(), restart.statement.new_set),
                authorities.public,
                void,
                first_id(batch.batch),
            )

    found = asyncio.run(prepare())
    genesis, verify = parse_genesis(network.genesis), network.provider.verify
    step = add_sealed_segments(found.folder, folder / "archive", genesis, verify)
    assert step.height is not None
    assert step.height > found.restart.statement.height + 1, "the restart lies within"
    assert not add_sealed_segments(found.folder, folder / "archive", genesis, verify).segments
    return replace(found, folder=folder / "archive")


def first_id(batch: Batch) -> bytes:
    return SignedTransaction.decode(batch.transactions[0]).id()


def transaction_at(lab: Lab, height: int) -> bytes:
    """Of the block that was executed at a survivor and never certified."""
    store = ChainStore.open(lab.chain.folder_of(0), lab.chain.genesis, replica=0, options=OPTIONS)
    block = store.get_block(height)
    store.close()
    assert block is not None
    return first_id(block.batch)


@pytest.mark.req("G2-13-2", "G2-19-3")
def test_an_archive_holds_over_a_restart_by_its_approvals_or_by_a_new_checkpoint(
    archived: Archived,
) -> None:
    verify = open_provider().verify
    for trust in (
        archived.trust(archived.genesis_point, authorities=archived.authorities),
        archived.trust(archived.genesis_point, archived.new_point),
    ):
        verdict = verify_archive(archived.folder, trust, verify)
        assert (verdict.epoch, verdict.set_changes) == (1, 1)


@pytest.mark.req("G2-16-4", "G2-19-3")
def test_an_old_trust_file_refuses_what_stands_behind_the_restart(archived: Archived) -> None:
    verify = open_provider().verify
    with pytest.raises(ProofError, match="take a new trust file") as refused:
        verify_archive(archived.folder, archived.trust(archived.genesis_point), verify)
    assert refused.value.code == "RESTART_UNAVAILABLE"
    others = Authorities.create(open_provider()).public
    strange = archived.trust(archived.genesis_point, authorities=others)
    with pytest.raises(ProofError, match="a key that is not his"):
        verify_archive(archived.folder, strange, verify)


@pytest.mark.req("G2-19-3")
def test_a_bundle_from_behind_the_restart_verifies_and_the_void_proves_nothing(
    archived: Archived,
) -> None:
    verify = open_provider().verify
    trust = archived.trust(archived.genesis_point, authorities=archived.authorities)
    bundle = prove_transaction(archived.folder, trust, archived.after)
    assert bundle is not None
    verdict = verify_bundle(bundle.encode(), trust, verify, now_ms=0)
    assert verdict.block.epoch == 1
    with pytest.raises(ProofError, match="take a new trust file"):
        verify_bundle(bundle.encode(), archived.trust(archived.genesis_point), verify, now_ms=0)
    assert prove_transaction(archived.folder, trust, archived.void) is None
