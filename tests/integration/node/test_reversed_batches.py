"""A primary that puts transactions before those that they follow: none gets lost.

Method: four replicas in memory; the first primary reverses what it proposes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.transactions import build_envelope
from guqiao_sdk.proof.transaction import SignedTransaction
from services.consensus.domain.messages import ReplicaId
from services.consensus.mempool import Mempool
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms
from tests.integration.node.test_driver_in_memory import position, registration
from tests.plugins.chain_network import ADMIN, PARAMETERS, ChainNetwork

COUNT = 24


def envelope(network: ChainNetwork, names: list[str]) -> list[SignedTransaction]:
    """Transactions under one signature, each after the one before."""
    admin = network.identities[ADMIN]
    calls = [registration(network, admin, name) for name in names]
    return build_envelope(network.provider, admin, position(time_ms=now_ms()), calls)


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    return ChainNetwork.create(tmp_path / "network", parameters=PARAMETERS)


def reverse(pool: Mempool, monkeypatch: pytest.MonkeyPatch) -> None:
    take: Callable[..., Any] = pool.take
    monkeypatch.setattr(pool, "take", lambda *given: tuple(reversed(take(*given))))


async def submit(member: Member, each: SignedTransaction) -> ledger_pb2.TransactionResult:
    result = await member.submissions.submit(each, wait_final=True)
    assert result is not None
    return result


@pytest.mark.req("G2-07-1")
async def test_b9_a_reversed_batch_loses_nothing(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await chain.start(number) for number in range(4)]
    reverse(members[0].driver.mempool, monkeypatch)
    transactions = envelope(network, [f"r{number}" for number in range(COUNT)])
    results = await asyncio.gather(*(submit(members[1], each) for each in transactions))
    assert [result.code for result in results] == [""] * COUNT
    heights = [(result.height, result.index) for result in results]
    assert heights == sorted(heights), "each took effect after the one that it follows"
    await chain.wait_for(lambda: all(not len(each.driver.mempool) for each in members))


async def test_what_follows_nothing_that_is_here_is_told_so(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    assert members[0].driver.replica.primary == ReplicaId(0)
    transactions = envelope(network, [f"r{number}" for number in range(4)])
    results = await asyncio.gather(*(submit(members[1], each) for each in transactions[1:]))
    assert {result.code for result in results} == {"PREDECESSOR_MISSING"}
    await chain.wait_for(lambda: all(not len(each.driver.mempool) for each in members))
