"""An archive over set changes: each set is believed because the one before certified its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.archive.folder import prove_transaction, read_manifests, verify_archive
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.json_values import canonical_json
from guqiao_sdk.proof.trust import Checkpoint
from guqiao_sdk.verify import verify_bundle
from tests.integration.ledger.set_chain import CHANGES_AT, SetChain
from tests.unit.proof.proof_keys import FakeKeys


@pytest.fixture
def chain() -> SetChain:
    return SetChain(FakeKeys())


@pytest.fixture
def place(chain: SetChain, tmp_path: Path) -> Path:
    chain.write(tmp_path)
    return tmp_path


@pytest.mark.req("G2-07-3")
def test_an_archive_follows_the_sets_from_genesis_on(chain: SetChain, place: Path) -> None:
    verdict = verify_archive(place / "archive", chain.trust(), chain.keys.verify)
    assert (verdict.epoch, verdict.set_changes, verdict.manifests) == (2, 2, 2)
    assert verdict.height > max(CHANGES_AT)
    assert any(manifest.certificates for manifest in read_manifests(place / "archive"))


@pytest.mark.req("G2-07-3", "G2-19-3")
def test_a_proof_carries_the_changes_since_the_last_epoch_that_is_trusted(
    chain: SetChain, place: Path
) -> None:
    later = Checkpoint(1, 10, chain.header(10).hash(), chain.set_of(1))
    genesis = chain.trust().chains[0].checkpoints[0]
    for points, carried in (((genesis,), 2), ((genesis, later), 1)):
        trust = chain.trust(points)
        found = prove_transaction(place / "archive", trust, chain.transaction(17).id())
        assert found is not None
        assert len(found.certified.set_changes) == carried
        verdict = verify_bundle(found.encode(), trust, chain.keys.verify, now_ms=0)
        assert (verdict.block.height, verdict.block.epoch) == (17, 2)


@pytest.mark.req("G2-07-3")
def test_a_set_that_no_manifest_holds_or_that_trust_contradicts_is_refused(
    chain: SetChain, place: Path
) -> None:
    genesis = chain.trust().chains[0].checkpoints[0]
    other = Checkpoint(1, 12, chain.header(12).hash(), chain.set_of(7))
    other = replace(other, replica_set=replace(chain.set_of(7), epoch=1))
    with pytest.raises(ProofError, match="another replica set for its epoch"):
        verify_archive(place / "archive", chain.trust((genesis, other)), chain.keys.verify)
    path = place / "archive" / "guqiao-archive-00000001.json"
    members = json.loads(path.read_bytes())
    members["replica_sets"] = []
    path.write_bytes(canonical_json(members))
    with pytest.raises(ProofError, match=r"no manifest holds the set|does not follow"):
        verify_archive(place / "archive", chain.trust(), chain.keys.verify)


@pytest.mark.req("G2-07-3")
def test_an_archive_that_begins_with_another_set_than_the_trusted_one_is_refused(
    chain: SetChain, place: Path
) -> None:
    point = chain.trust().chains[0].checkpoints[0]
    stranger = replace(point, replica_set=replace(chain.set_of(3), epoch=0))
    with pytest.raises(ProofError, match="it names another set than the trust file"):
        verify_archive(place / "archive", chain.trust((stranger,)), chain.keys.verify)
    unknown = Checkpoint(1, 12, chain.header(12).hash(), chain.set_of(1))
    with pytest.raises(ProofError, match="no checkpoint of testing epoch 0"):
        verify_archive(place / "archive", chain.trust((unknown,)), chain.keys.verify)
