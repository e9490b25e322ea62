"""`guqiao trust show` and `renew`: the file for people, renewed from what the chains prove."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, checkpoint_sign_bytes
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.trust import ChainTrust, parse_trust
from guqiaoctl.commands import trusting
from guqiaoctl.network.bring_up import plan_network
from guqiaoctl.network.layout import Network, create_network
from guqiaoctl.network.parties import CSRC, MARKET
from services.consensus.domain.ledger.genesis_json import parse_genesis
from tests.unit.cli.running import Command, command_of
from tests.unit.proof.proof_keys import FakeKeys, Replicas

pytestmark = pytest.mark.req("T2-14")

PROVIDER = open_provider()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network that was never started, whose regulator issues the TRUST file."""
    made = create_network(tmp_path_factory.mktemp("trust") / "network")
    plan_network(made, lambda text: None)
    return made


@dataclass
class Chains:
    """Answers for both chains with a header that their replicas' own keys certify."""

    network: Network
    heights: dict[str, int] = field(default_factory=lambda: {CSRC: 5, MARKET: 8})
    signers: tuple[int, ...] = (0, 1, 2)
    tag: str = ""

    @asynccontextmanager
    async def client(
        self, network: object, provider: object, chain: ChainTrust
    ) -> AsyncIterator[Node]:
        yield Node(self, chain.chain_id)

    def certified(self, chain: str) -> tuple[BlockHeader, FinalityCertificate]:
        layout = self.network.layout
        replica_set = parse_genesis(layout.genesis(chain).read_bytes()).replica_set
        header = Replicas(FakeKeys(), chain).header(
            self.heights[chain], tag=self.tag, next_set=replica_set
        )
        keys = [
            load_private_key(layout.process(f"{chain}-{number}") / "vote.key", PROVIDER)
            for number in self.signers
        ]
        signatures = [PROVIDER.sign(key, checkpoint_sign_bytes(header)) for key in keys]
        pairs = tuple(zip(self.signers, signatures, strict=True))
        return header, FinalityCertificate(header.hash(), pairs)


@dataclass
class Node:
    """One of them."""

    chains: Chains
    chain: str

    @property
    def sets(self) -> Node:
        return self

    async def get_header(self, height: int) -> tuple[BlockHeader, FinalityCertificate]:
        assert height == 0
        return self.chains.certified(self.chain)

    def changes_to(self, epoch: int) -> tuple[SetChange, ...]:
        assert epoch == 0
        return ()


@pytest.fixture
def chains(network: Network, monkeypatch: pytest.MonkeyPatch) -> Chains:
    found = Chains(network)
    monkeypatch.setattr(trusting, "_client", found.client)
    return found


@pytest.fixture
def command(
    network: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    run = command_of("trust", monkeypatch, capsys)

    def on_network(*arguments: Any, language: str = "en") -> Any:
        return run(*arguments, "--data", network.layout.folder, language=language)

    return on_network


@pytest.fixture(autouse=True)
def as_it_was(network: Network) -> Any:
    content = network.layout.trust.read_bytes()
    yield
    network.layout.trust.write_bytes(content)


def test_a_file_is_shown_with_its_issuer_and_from_where_it_believes(
    command: Command, network: Network
) -> None:
    told = command("show", "-o", "json").json
    trust = parse_trust(network.layout.trust.read_bytes(), PROVIDER.verify)
    assert told["issuer_key_sm3"] == sm3(trust.issuer_key).hex()
    assert [each["chain_id"] for each in told["chains"]] == [CSRC, MARKET]
    for chain, shown in zip(trust.chains, told["chains"], strict=True):
        [point], [row] = chain.checkpoints, shown["checkpoints"]
        assert row["header_hash"] == point.header_hash.hex()
        assert row["set_hash"] == point.replica_set.hash().hex()
    people = {language: command("show", language=language).out for language in ("en", "zh")}
    assert "issuer key SM3" in people["en"]
    assert "签发方公钥" in people["zh"]
    assert sm3(trust.issuer_key).hex() in people["zh"]


def test_a_file_of_another_issuer_or_spoiled_is_not_shown_as_good(
    command: Command, network: Network
) -> None:
    ended = command("show", "--issuer", "ab" * 32)
    assert (ended.code, ended.out) == (7, "")
    content = network.layout.trust.read_bytes()
    network.layout.trust.write_bytes(content.replace(b'"height":0', b'"height":1', 1))
    ended = command("show")
    assert (ended.code, ended.out) == (7, "")


def test_a_renewal_is_what_the_chains_prove_signed_by_the_same_issuer(
    command: Command, network: Network, chains: Chains
) -> None:
    before = parse_trust(network.layout.trust.read_bytes(), PROVIDER.verify)
    told = command("renew", "-o", "json").json
    assert [(each["from_height"], each["height"]) for each in told["chains"]] == [(0, 5), (0, 8)]
    after = parse_trust(network.layout.trust.read_bytes(), PROVIDER.verify, before.issuer_key)
    for old, new in zip(before.chains, after.chains, strict=True):
        assert new.checkpoints[0] == old.checkpoints[0]
        header, _ = chains.certified(new.chain_id)
        assert new.checkpoints[-1].header_hash == header.hash()
        assert new.authorities == old.authorities
    assert after.observed == before.observed
    again = command("renew")
    assert again.code == 0, again.err
    assert "written" in again.out


def test_another_file_may_be_written_and_the_one_that_is_renewed_stays(
    command: Command, network: Network, chains: Chains, tmp_path: Any
) -> None:
    content, out = network.layout.trust.read_bytes(), tmp_path / "new.json"
    assert command("renew", network.layout.trust, "--out", out).code == 0
    assert network.layout.trust.read_bytes() == content
    assert json.loads(out.read_bytes())["issued_at"]
    printed = command("renew", "--out", "-")  # To the descriptor, with no report in between.
    assert (printed.code, printed.out) == (0, "")


@pytest.mark.parametrize("fault", ["unsigned", "fork", "behind"])
def test_a_chain_that_does_not_prove_it_leaves_the_file_as_it_was(
    command: Command, network: Network, chains: Chains, fault: str
) -> None:
    assert command("renew").code == 0
    content = network.layout.trust.read_bytes()
    match fault:
        case "unsigned":
            chains.heights[MARKET], chains.signers = 9, (0, 1)
        case "fork":
            chains.tag = "other"
        case _:
            chains.heights[MARKET] = 7
    ended = command("renew")
    assert (ended.code, ended.out) == (7, ""), ended.err
    assert ("CLIENT_FROZEN" in ended.err) == (fault == "fork")
    assert network.layout.trust.read_bytes() == content


def test_a_file_that_somebody_else_issued_is_not_renewed(
    command: Command, network: Network, chains: Chains, tmp_path: Any
) -> None:
    other = create_network(tmp_path / "other")
    plan_network(other, lambda text: None)
    ended = command("renew", other.layout.trust)
    assert (ended.code, ended.out) == (7, "")
