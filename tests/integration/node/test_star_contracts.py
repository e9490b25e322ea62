"""Four replicas with stores and signatures of their own run a contract in star/1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.proof.json_values import Json
from services.consensus.domain.contracts.deployed import FIRST_GAS
from services.consensus.domain.contracts.star.package import package
from tests.integration.node import test_set_changes_in_memory as set_changes
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

APPLIED, REFUSED = ledger_pb2.OUTCOME_APPLIED, ledger_pb2.OUTCOME_REFUSED
TRANSFER = (Path(__file__).parents[3] / "data/contracts/transfer.star").read_bytes()
ISSUE = b"""
def issue(product, holder, shares):
    put("free/" + product + "/" + holder, shares)
"""
GOVERNORS = [f"{number}/governor" for number in range(4)]
ROLES = {name: ("governor",) for name in GOVERNORS} | {"clerk": ("clerk",)}


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return ChainNetwork.create(
        tmp_path / "network",
        roles=ROLES,
        contracts=(("identity", 1), ("governance", 1), ("contracts", 1)),
        parameters={**PARAMETERS, "heartbeat_ms": 60_000},
    )


async def send(
    member: Member,
    network: ChainNetwork,
    maker: str,
    contract: str,
    method: str,
    body: Mapping[str, Json],
) -> ledger_pb2.TransactionResult:
    maker_identity = network.identities[maker]
    return await set_changes.send(member, network, maker_identity, contract, method, body)


async def decide(
    members: list[Member], network: ChainNetwork, method: str, body: dict[str, Json]
) -> None:
    """Three of four entities, each at its own replica."""
    proposed = await send(members[0], network, GOVERNORS[0], "contracts", method, body)
    assert proposed.outcome == APPLIED, (proposed.code, proposed.detail)
    named: dict[str, Json] = {"name": body["name"], "proposal": proposed.transaction_id.hex()}
    for number in (1, 2):
        at = members[number]
        result = await send(at, network, GOVERNORS[number], "contracts", "approve", named)
        assert result.outcome == APPLIED, (result.code, result.detail)


def kept(member: Member, key: str) -> Any:
    with member.ledger.store.state_reader() as state:
        value = state.get(key.encode())
    return None if value is None else json.loads(value)


@pytest.mark.req("G2-08-1")
async def test_replicas_deploy_upgrade_and_call_a_contract_and_agree_on_every_root(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    await decide(members, network, "deploy", {"name": "transfer", **package(TRANSFER + ISSUE)})
    issue: dict[str, Json] = {"product": "P", "holder": "A", "shares": 10}
    issued = await send(members[3], network, "clerk", "transfer", "issue", issue)
    assert issued.outcome == APPLIED, issued.code
    shipped: dict[str, Json] = {"name": "transfer", "compatible": False, **package(TRANSFER)}
    await decide(members, network, "upgrade", shipped)
    move: dict[str, Json] = {"product": "P", "seller": "A", "buyer": "B", "shares": 6}
    results = [
        await send(member, network, "clerk", "transfer", "transfer", move) for member in members[:2]
    ]
    assert [each.outcome for each in results] == [APPLIED, REFUSED]
    assert [each.code for each in results] == ["", "CONTRACT_REFUSED"]
    assert json.loads(results[0].detail)["result"] == 4
    assert json.loads(results[1].detail)["facts"] == {"available": 4, "asked": 6}
    gone = await send(members[2], network, "clerk", "transfer", "issue", issue)
    assert gone.code == "METHOD_UNKNOWN"

    # One replica begins again, without the programs that it had compiled.
    await chain.stop(3, clean=False)
    members[3] = await chain.start(3)
    back: dict[str, Json] = {"product": "P", "seller": "B", "buyer": "A", "shares": 1}
    last = await send(members[3], network, "clerk", "transfer", "transfer", back)
    assert last.outcome == APPLIED, (last.code, last.detail)
    await chain.wait_for(lambda: all(m.finality.certified_height >= last.height for m in members))
    for height in range(1, last.height + 1):
        headers = {member.ledger.header(height).state_root for member in members}
        assert len(headers) == 1, height
    for member in members:
        assert [kept(member, f"transfer/free/P/{who}") for who in "AB"] == [5, 5]
        assert kept(member, "contracts/contract/transfer")["version"] == 2


ATTEMPTS_MAX = 20
SPIN = b"""
def spin():
    for a in range(10000):
        for b in range(10000):
            pass
"""


async def spin(member: Member, network: ChainNetwork) -> list[ledger_pb2.TransactionResult]:
    """One who sends again what had no room, as the SDK does; all that he was told."""
    told: list[ledger_pb2.TransactionResult] = []
    while not told or (told[-1].code == "BLOCK_FULL" and len(told) < ATTEMPTS_MAX):
        told.append(await send(member, network, "clerk", "spinner", "spin", {}))
    return told


@pytest.mark.req("G2-08-1")
async def test_callers_who_spend_all_their_gas_share_blocks_and_stop_nobody(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """More of them than a block has gas for."""
    members = [await chain.start(number) for number in range(4)]
    await decide(members, network, "deploy", {"name": "spinner", **package(SPIN)})
    calls = 2 * FIRST_GAS.block_limit // FIRST_GAS.transaction_limit
    told = await asyncio.gather(*(spin(members[n % 4], network) for n in range(calls)))
    assert {each[-1].code for each in told} == {"CONTRACT_OUT_OF_GAS"}
    last = max(each[-1].height for each in told)
    for height in {each[-1].height for each in told}:
        ended = [each for each in told if each[-1].height == height]
        assert len(ended) <= FIRST_GAS.block_limit // FIRST_GAS.transaction_limit
    await chain.wait_for(lambda: all(m.finality.certified_height >= last for m in members))
    assert len({member.ledger.header(last).state_root for member in members}) == 1
