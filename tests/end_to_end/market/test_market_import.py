"""A market dataset through the command line: outcomes and rosters to the byte, and done once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guqiao.gateway.v1 import gateway_service_pb2
from guqiao.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from guqiao.registry.v1 import registry_service_pb2 as registry
from guqiao.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import parse_payload
from guqiaoctl.network.clients import open_chain, open_identity, open_service
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from services.consensus.domain.contracts.register.contract import REGISTER_V3
from tests.end_to_end.harness import BASIC, OneMachine, wait_until
from tests.end_to_end.market.conftest import Market
from tests.unit.contracts.memory_host import MemoryHost
from tests.unit.contracts.register_market import roster_csv

pytestmark = pytest.mark.end_to_end
CHAINS_OWN = {"REQUEST_ID_REUSED", "PREDECESSOR_MISSING"}
"""The chain's rules, not the contract's: what they refuse never comes to it."""
EXPECTED_ROSTER = (BASIC / "expected" / "roster.csv").read_text(encoding="utf-8")


@pytest.mark.req("N0-14", "N0-15", "N0-16", "N0-17", "N0-18", "T2-01")
def test_results_and_roster_equal_the_expected_ones_to_the_byte(market: Market) -> None:
    assert market.results == (BASIC / "expected" / "results.csv").read_bytes()
    summary = market.imported.json()
    assert (summary["accepted"], summary["rejected"], summary["unsupported"]) == (140, 66, 0)
    wait_roster(market.machine, EXPECTED_ROSTER)


def test_a_roster_as_json_holds_the_same_rows(market: Market) -> None:
    wait_roster(market.machine, EXPECTED_ROSTER)
    rows = market.machine.must("register", "roster", "-o", "json").json()
    lines = EXPECTED_ROSTER.splitlines()
    assert [str(row["total"]) for row in rows] == [line.split(",")[3] for line in lines[1:]]
    product = rows[0]["product_code"]
    of_product = market.machine.must("register", "roster", "--product", product).out.splitlines()
    assert of_product[1:] == [line for line in lines if line.split(",")[1] == product]


@pytest.mark.req("N0-19")
def test_rosters_at_older_heights_equal_an_independent_replay(market: Market) -> None:
    """The blocks are read from a replica, verified, and replayed in memory; the command asks the
    registry's projection.
    """
    wait_roster(market.machine, EXPECTED_ROSTER)
    blocks = asyncio.run(read_blocks(market.machine.network))
    rosters = replay(blocks)
    changed = [h for h in rosters if rosters[h] != rosters.get(h - 1)]
    assert len(changed) > 3
    assert rosters[len(blocks)].decode() == EXPECTED_ROSTER
    for height in (1, changed[len(changed) // 3], changed[len(changed) // 2], changed[-1]):
        shown = market.machine.must("register", "roster", "--height", height)
        assert shown.out.encode() == rosters[height], height


@pytest.mark.req("G2-13-2")
def test_importing_again_repeats_the_outcomes_and_does_nothing_twice(
    market: Market, tmp_path: Path
) -> None:
    wait_roster(market.machine, EXPECTED_ROSTER)
    before = asyncio.run(effects(market.machine.network))
    again = tmp_path / "again.csv"
    market.machine.must("import", BASIC, "--results", again)
    assert again.read_bytes() == market.results
    assert asyncio.run(effects(market.machine.network)) == before
    wait_roster(market.machine, EXPECTED_ROSTER)
    blocks = asyncio.run(read_blocks(market.machine.network))
    assert roster_of(blocks) == EXPECTED_ROSTER.encode()


def wait_roster(machine: OneMachine, expected: str) -> None:
    """The read model follows the chain within moments."""
    wait_until("the roster", lambda: machine.must("register", "roster").out == expected)


async def effects(network: Network) -> tuple[int, int, int]:
    """Operations that took effect, those refused by a rule, packets sent: by the services."""
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_service(network, provider, maker, MARKET, "registry") as channel:
        status = await RegistryServiceStub(channel).GetStatus(registry.GetStatusRequest())
    async with open_service(network, provider, maker, MARKET, "gateway") as channel:
        link = await GatewayServiceStub(channel).GetLink(
            gateway_service_pb2.GetLinkRequest(remote_chain_id=CSRC)
        )
    return status.accepted, status.refused, link.sent


async def read_blocks(network: Network) -> list[VerifiedBlock]:
    """Every certified block of the market's chain, from height 1."""
    provider = open_provider()
    maker = open_identity(network, provider, MARKET, "maker")
    async with open_chain(network, provider, MARKET, maker) as client:
        last = (await client.latest()).height
        return [await client.get_block(height) for height in range(1, last + 1)]


def replay(blocks: Sequence[VerifiedBlock]) -> dict[int, bytes]:
    """The roster after every block, by executing the operations again in memory."""
    host = MemoryHost()
    host.put("parameters", {"historic_import": True})
    rosters: dict[int, bytes] = {0: roster_csv(host)}
    for block in blocks:
        for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
            payload = parse_payload(transaction.payload)
            executed = receipt.outcome in (Outcome.APPLIED, Outcome.REFUSED)
            if payload.contract != "register" or not executed or receipt.code in CHAINS_OWN:
                continue
            body: Any = payload.body
            outcome = host.run(REGISTER_V3, payload.method, body, time=payload.business_time)
            if receipt.outcome is Outcome.APPLIED:
                assert outcome.code is None, (block.height, payload.method)
            else:
                assert outcome.code == receipt.code, (block.height, payload.method)
        rosters[block.height] = roster_csv(host)
    return rosters


def roster_of(blocks: Sequence[VerifiedBlock]) -> bytes:
    """The roster after all blocks."""
    return replay(blocks)[len(blocks)]
