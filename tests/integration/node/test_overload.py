"""Above what it can do, a replica says so: RESOURCE_EXHAUSTED and when to come again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import code_pb2, error_details_pb2

from services.chassis.errors import ExhaustedError
from services.chassis.grpc_server.grpc_errors import to_rpc_status
from services.consensus import wire
from services.consensus.pacing import AdmissionLimit
from tests.integration.node.memory_chain import MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

ROOM = 3


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
async def chain(
    network: ChainNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MemoryChain]:
    """One backup alone: nothing is ordered, so what it admits waits."""
    monkeypatch.setattr(AdmissionLimit, "value", ROOM)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        await chain.start(1)
        yield chain


@pytest.mark.req("G2-13-2")
async def test_a_client_above_the_limit_is_told_to_come_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member = chain.members[1]
    for number in range(ROOM):
        await member.submissions.submit(transaction(network, f"in{number}"), wait_final=False)
    with pytest.raises(ExhaustedError) as refused:
        await member.submissions.submit(transaction(network, "out"), wait_final=False)
    status = to_rpc_status(refused.value)
    hint = error_details_pb2.RetryInfo()
    assert (refused.value.code, status.code) == ("QUEUE_FULL", code_pb2.RESOURCE_EXHAUSTED)
    assert any(detail.Unpack(hint) for detail in status.details)
    assert hint.retry_delay.ToMilliseconds() > 0
    assert len(member.driver.mempool) == ROOM


@pytest.mark.req("G2-13-2")
async def test_room_lets_the_refused_transaction_in(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member = chain.members[1]
    entries = [transaction(network, f"in{number}") for number in range(ROOM + 1)]
    for entry in entries[:ROOM]:
        await member.submissions.submit(entry, wait_final=False)
    with pytest.raises(ExhaustedError):
        await member.submissions.submit(entries[ROOM], wait_final=False)
    member.driver.mempool.remove([entries[0].id()])
    await member.submissions.submit(entries[ROOM], wait_final=False)
    assert entries[ROOM].id() in member.driver.mempool


async def test_what_another_replica_admitted_is_taken_in_above_the_limit(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    passed_on = [transaction(network, f"peer{number}") for number in range(ROOM + 2)]
    chain.deliver(2, 1, wire.gossip_frame([entry.encode() for entry in passed_on]))
    mempool = chain.members[1].driver.mempool
    await chain.wait_for(lambda: all(entry.id() in mempool for entry in passed_on))
