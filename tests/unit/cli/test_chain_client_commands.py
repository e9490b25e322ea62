"""`guqiao chain draft-client` to `replace-client`, on the contracts and without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.quorum import ReplicaSet
from guqiaoctl.commands import chain_clients, chain_registry
from guqiaoctl.commands.chain_calls import accepted
from guqiaoctl.network.layout import Network, create_network
from guqiaoctl.network.parties import CSRC, MARKET
from tests.unit.cli.running import Command, command_of
from tests.unit.xchain.frozen_client import AFTER, FORK, client, frozen, made, proposal
from tests.unit.xchain.registered_chains import (
    MARKET_SIDE,
    ON_DUTY,
    REGULATOR,
    TECH_SIDE,
    Registry,
    detail,
)

ACCOUNTS = {
    (CSRC, "duty"): ON_DUTY,
    (CSRC, "market"): MARKET_SIDE,
    (CSRC, "tech"): TECH_SIDE,
    (MARKET, "province"): REGULATOR,
}
NEWEST = 20


class MarketNode:
    """Answers for the market's chain after it replaced its keys."""

    @property
    def sets(self) -> MarketNode:
        return self

    async def get_header(self, height: int) -> tuple[BlockHeader, FinalityCertificate]:
        header = AFTER.header(height or NEWEST)
        return header, AFTER.certify(header)

    async def set_of(self, encoded: bytes) -> ReplicaSet:
        assert BlockHeader.decode(encoded).epoch == AFTER.epoch
        return AFTER.set


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return create_network(tmp_path_factory.mktemp("clients") / "network")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The regulatory chain, reached by what the commands reach it with."""
    found = frozen()
    wire(found, monkeypatch)
    return found


def wire(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def submit(
        network: Network, method: str, body: Mapping[str, Any], signers: Any
    ) -> TransactionResult:
        who = signers or chain_registry.SIGNERS.get(method, chain_registry.BOTH)
        receipt = registry.act(method, tuple(ACCOUNTS[each] for each in who), **body)
        facts = {} if receipt.accepted else detail(receipt)
        height = registry.csrc.header.height
        return accepted(
            TransactionResult(
                receipt.transaction_id, receipt.outcome, receipt.code, facts, b"", height, 0, b""
            )
        )

    async def read(network: Network, chain: str) -> dict[str, Any]:
        def record(key: str) -> Any:
            return registry.csrc.value(key)

        names = ("pending", "stale", "suspension", "deregistration", "replacement")
        return {
            "standing": registry.standing(chain),
            "registration": registry.record(chain),
            **{name: record(f"chains/{name}/{chain}") for name in names},
            "client": record(f"light_client/client/{chain}"),
        }

    @asynccontextmanager
    async def open_market(*given: object) -> AsyncIterator[MarketNode]:
        yield MarketNode()

    monkeypatch.setattr(chain_registry, "submit_step", submit)
    monkeypatch.setattr(chain_registry, "read_registered", read)
    monkeypatch.setattr(chain_clients, "open_identity", lambda *given: None)
    monkeypatch.setattr(chain_clients, "open_chain", open_market)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], network: Network
) -> Command:
    run = command_of("chain", monkeypatch, capsys)

    def on_network(*arguments: str | Path, language: str = "en") -> Any:
        return run(*arguments, "--data", network.layout.folder, language=language)

    return on_network


def without_signatures(value: dict[str, Any]) -> dict[str, Any]:
    """SM2 signs the same anew each time."""
    return {**value, "trust": value["trust"] | {"certificate": ""}}


def drafted(file: Path) -> dict[str, Any]:
    return without_signatures(json.loads(file.read_bytes()))


@pytest.mark.req("G2-16-4")
def test_four_persons_replace_a_frozen_client_by_commands(
    command: Command, registry: Registry, tmp_path: Path
) -> None:
    file, reason = tmp_path / "client.json", proposal()["reason"]
    assert "client: FROZEN, fork at height 7" in command("show", MARKET).out
    ended = command("draft-client", MARKET, "--out", file, "--reason", reason)
    assert ended.code == 0, ended.err
    assert drafted(file) == without_signatures(proposal(NEWEST))
    digest = command("propose-client", file).out.split()[1]
    assert f"replacement: {digest}" in command("show", MARKET).out
    ended = command("replace-client", MARKET)
    assert "CLIENT_CONSENT_MISSING" in ended.err
    consent = command("consent-client", MARKET, "--digest", digest)
    assert consent.code == 0, consent.err
    put = command("replace-client", MARKET)
    assert put.code == 0, put.err
    assert AFTER.header(NEWEST).hash().hex() in put.err + put.out
    assert client(registry)["status"] == "ACTIVE"
    assert client(registry)["height"] == NEWEST


def test_a_draft_takes_the_header_of_a_height(
    command: Command, registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "client.json"
    command("draft-client", MARKET, "--out", file, "--reason", "原因", "--height", str(FORK + 1))
    assert drafted(file)["trust"] == without_signatures(proposal(FORK + 1))["trust"]


def test_nothing_is_drafted_for_a_client_that_is_not_frozen(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wire(made(), monkeypatch)
    file = tmp_path / "client.json"
    for language, text in (("en", "is not frozen"), ("zh", "未冻结")):
        ended = command(
            "draft-client", MARKET, "--out", file, "--reason", "原因", language=language
        )
        assert (ended.code, text in ended.err) == (5, True), ended.err
    assert not file.exists()
    ended = command("draft-client", "beijing", "--out", file, "--reason", "原因")
    assert "CHAIN_UNKNOWN" in ended.err


@pytest.mark.parametrize("spoiled", ["[]", "{", '{"trust":{}}'])
def test_a_file_that_is_no_proposal_is_refused_before_it_is_sent(
    command: Command, registry: Registry, tmp_path: Path, spoiled: str
) -> None:
    file = tmp_path / "client.json"
    file.write_text(spoiled)
    ended = command("propose-client", file)
    assert ended.code == 2, ended.err
    assert registry.csrc.value("chains/replacement/shandong") is None


def test_nothing_that_waits_is_signed_for_by_chance(command: Command, registry: Registry) -> None:
    for name in ("consent-client", "replace-client"):
        ended = command(name, MARKET)
        assert (ended.code, "CLIENT_PROPOSAL_OTHER" in ended.err) == (5, True), ended.err
    ended = command("consent-client", MARKET, "--digest", "ab" * 32)
    assert "CLIENT_PROPOSAL_OTHER" in ended.err
