"""A network with market-basic imported, brought up once for the tests of this folder."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.transaction import parse_payload
from guqiaoctl.demo.checks import wait_anchored
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import MARKET
from tests.end_to_end.harness import BASIC, BASIC_ANCHORED, Answer, OneMachine, wait_until


@dataclass(frozen=True, slots=True)
class Market:
    """A network that holds market-basic, and how its import ended."""

    machine: OneMachine
    imported: Answer
    results: bytes


@pytest.fixture(scope="package")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A network with market-basic imported. Tests leave its register as it is."""
    folder: Path = tmp_path_factory.mktemp("market")
    machine = OneMachine(folder / "data")
    try:
        machine.up()
        imported = machine.must("import", BASIC, "--results", folder / "results.csv", "-o", "json")
        # What its acknowledgements still change on the chain is over before tests look at it.
        asyncio.run(wait_anchored(machine.network, open_provider(), BASIC_ANCHORED))
        yield Market(machine, imported, (folder / "results.csv").read_bytes())
    finally:
        machine.close()


@pytest.fixture(scope="package")
def transfer(market: Market) -> str:
    """The id of a transfer that was accepted."""
    return asyncio.run(find_transfer(market.machine.network))


@pytest.fixture(scope="package")
def papers(
    market: Market, transfer: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """An auditor's folder: a proof bundle of the transfer, and the trust file."""
    desk = tmp_path_factory.mktemp("auditor")
    bundle = desk / "transfer.gqb"
    wait_until(
        "the anchor",
        lambda: market.machine.run("tx", "proof", transfer, "--to", bundle).code == 0,
    )
    shutil.copy(market.machine.network.layout.trust, desk / "trust.json")
    return bundle, desk / "trust.json"


async def find_transfer(network: Network) -> str:
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        for height in range((await client.latest()).height, 0, -1):
            block = await client.get_block(height)
            for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
                if parse_payload(transaction.payload).method == "transfer" and receipt.events:
                    return transaction.id().hex()
    raise AssertionError("market-basic holds transfers")
