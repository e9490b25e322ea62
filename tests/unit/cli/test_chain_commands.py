"""`guqiao chain`: drafts and proofs of keys, and what is refused before it reaches a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.certificates import parse_certificate_pem
from guqiao_sdk.proof.possession import possession_sign_bytes
from guqiao_sdk.proof.seals import issuer_among, require_for_sealing
from guqiaoctl.network.genesis import ensure_genesis
from guqiaoctl.network.layout import Network, create_network
from guqiaoctl.network.parties import CSRC, MARKET
from guqiaoctl.network.pki import ensure_certificates
from services.consensus.domain.contracts.chain_registry.form import read_registration
from services.consensus.domain.contracts.deployed import PRESENT_GAS
from services.consensus.domain.ledger.genesis_json import parse_genesis
from tests.unit.cli.running import Command, command_of


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_of("chain", monkeypatch, capsys)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network's folder with keys, certificates and genesis files; nothing of it runs."""
    provider = open_provider()
    made = create_network(tmp_path_factory.mktemp("chains") / "network")
    ensure_certificates(made.layout, provider, print)
    ensure_genesis(made.layout, provider, print)
    return made


@pytest.fixture
def draft(command: Command, network: Network, tmp_path: Path) -> Path:
    path = tmp_path / "registration.json"
    ended = command("draft", "--out", path, "--data", network.layout.folder)
    assert ended.code == 0, ended.err
    return path


def test_new_chains_begin_with_the_present_prices_of_gas(network: Network) -> None:
    """Named in the file: what a file means that names none never changes."""
    for chain in (CSRC, MARKET):
        genesis = parse_genesis(network.layout.genesis(chain).read_bytes())
        (deploying,) = (each for each in genesis.contracts if each.name == "contracts")
        assert deploying.parameters["gas"] == PRESENT_GAS.to_json()
        assert not PRESENT_GAS.prices.is_first


def changed(path: Path, **changes: Any) -> Path:
    value = json.loads(path.read_bytes()) | changes
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.req("G2-10-1")
def test_the_regulatory_chain_of_a_new_network_has_the_register(network: Network) -> None:
    genesis = parse_genesis(network.layout.genesis(CSRC).read_bytes())
    assert "chains" in [each.name for each in genesis.contracts]
    [province] = [each for each in genesis.identities if "provincial_regulator" in each.roles]
    assert province.organisation.startswith(f"did:rem:{MARKET}:")


@pytest.mark.req("G2-10-1", "G2-10-2d")
def test_a_draft_is_a_whole_registration_of_the_markets_chain(
    draft: Path, network: Network
) -> None:
    found = read_registration(json.loads(draft.read_bytes()))
    genesis = parse_genesis(network.layout.genesis(MARKET).read_bytes())
    assert found.trust() == json.loads(network.layout.chain_trust(MARKET).read_bytes())
    assert found.replica_set == genesis.replica_set
    provider = open_provider()
    root = parse_certificate_pem((network.layout.authority(MARKET) / "ca.pem").read_text())
    for each in found.validators:
        message = possession_sign_bytes(MARKET, each.node_id, each.public_key)
        assert provider.verify(each.public_key, message, each.possession)
        issued = parse_certificate_pem(each.certificate)
        assert (issued.public_key, issued.organisation) == (each.public_key, each.entity_name)
        assert each.entity_uscc in issued.codes
        assert provider.verify(root.public_key, issued.signed, issued.signature)


@pytest.mark.req("G2-10-2d")
def test_the_proof_of_a_key_is_what_a_registration_asks_for(
    command: Command, network: Network
) -> None:
    key = network.layout.process("shandong-0") / "vote.key"
    told = command("prove-key", "shandong", "node-0", "--key", key).json
    public_key = bytes.fromhex(told["sm2_pubkey"])
    message = possession_sign_bytes("shandong", "node-0", public_key)
    assert open_provider().verify(public_key, message, bytes.fromhex(told["pop"]))
    assert command("prove-key", "shandong", "node-0", "--key", "nowhere").code != 0


@pytest.mark.req("G2-10-2a", "G2-07-1", "G2-17-7")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_missing_or_wrong_is_told_before_anything_is_sent(
    command: Command, draft: Path, network: Network, language: str
) -> None:
    good = json.loads(draft.read_bytes())
    persons = good["responsible_persons"]
    for changes, code in (
        ({"platform": {**good["platform"], "vm": ""}}, "CHAIN_FIELD_MISSING"),
        ({"consensus": {**good["consensus"], "protocol": "raft"}}, "CONSENSUS_NOT_BFT"),
        ({"responsible_persons": persons[:2]}, "RESPONSIBLE_PERSON_MISSING"),
        ({"responsible_persons": [{**persons[0], "name": "某某"}]}, "TIER_NONPUBLIC_ONCHAIN"),
    ):
        path = changed(draft, **{**good, **changes})
        options = ("--data", network.layout.folder)
        ended = command("register", path, *options, language=language)
        assert (ended.code, ended.err.split(":")[0].split("：")[0]) == (2, code)
        assert "某某" not in ended.err


def test_a_file_that_is_none_or_no_json_is_refused(command: Command, tmp_path: Path) -> None:
    assert command("register", tmp_path / "none.json").code == 3
    path = tmp_path / "broken.json"
    path.write_text('{"a": 1, "a": 2}', encoding="utf-8")
    ended = command("update", path)
    assert (ended.code, ended.err.split(":")[0]) == (2, "REQUEST_MALFORMED")


@pytest.mark.req("G2-19-5")
def test_the_markets_authority_certifies_the_keys_of_those_who_sign_there(
    command: Command, network: Network, tmp_path: Path
) -> None:
    folder, where = tmp_path / "seals", ("--data", network.layout.folder)
    ended = command("draft-certificates", "--out", folder, *where)
    assert ended.code == 0, ended.err
    provider, root = open_provider(), network.layout.authority(MARKET) / "ca.pem"
    authority = parse_certificate_pem(root.read_text(encoding="ascii"))
    for name in ("maker", "checker", "institution"):
        found = parse_certificate_pem((folder / f"{name}.pem").read_text(encoding="ascii"))
        key = load_private_key(network.layout.account(MARKET, name), provider)
        assert found.public_key == key.public_key
        assert issuer_among(found, [authority], provider.verify) is authority
        require_for_sealing(found, MARKET, "")


@pytest.mark.req("G2-19-5")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("file-certificate", MARKET), "CERTIFICATE_MALFORMED"),
        (("publish-crl",), "CRL_MALFORMED"),
    ],
)
def test_a_file_of_another_kind_is_refused_before_anything_is_sent(
    command: Command, network: Network, tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    path = tmp_path / "file.pem"
    path.write_text("no certificate", encoding="ascii")
    ended = command(*arguments, path, "--data", network.layout.folder)
    assert (ended.code, ended.err.split(":")[0]) == (2, code)
