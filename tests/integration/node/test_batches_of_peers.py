"""Batches that peers answer with: they may be long, so they are read in a thread, and only where
they were asked for.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.proof.batch import Batch
from services.consensus import wire
from services.consensus.domain.messages import BatchFetched
from services.consensus.refusals import Reason
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms
from tests.integration.node.test_driver_hostile import leave_out
from tests.integration.node.test_driver_in_memory import transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In which threads batches of peers are read."""
    threads: list[int] = []
    read = wire.read_batch

    def noting(response: peer_pb2.BatchResponse) -> BatchFetched:
        threads.append(threading.get_ident())
        return read(response)

    monkeypatch.setattr(wire, "read_batch", noting)
    return threads


@pytest.mark.req("G2-07-1")
async def test_a_batch_that_was_asked_for_is_read_in_a_thread(
    chain: MemoryChain, network: ChainNetwork, read_by: list[int]
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    batch = Batch(now_ms(), (transaction(network, "left-out").encode(),))
    leave_out(chain, network, batch)
    await chain.wait_for(lambda: all(m.finality.certified_height >= 1 for m in members))
    assert {m.ledger.header(1).batch_digest for m in members} == {batch.digest()}
    assert read_by
    assert threading.get_ident() not in read_by


@pytest.mark.req("G2-07-1")
async def test_a_batch_that_nobody_asked_for_is_not_read(
    chain: MemoryChain, network: ChainNetwork, read_by: list[int]
) -> None:
    member, batch = await chain.start(0), Batch(now_ms(), (b"long" * 100_000,))
    for _ in range(20):
        chain.deliver(3, 0, wire.batch_response_frame(1, batch))
    await chain.wait_for(lambda: b'reason="unasked"' in member.metrics.render())
    assert read_by == []


@pytest.mark.req("G2-07-1")
async def test_d1_another_batch_than_the_one_asked_for_and_bytes_that_are_none_go_no_further(
    chain: MemoryChain, network: ChainNetwork, read_by: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    member, sent = await chain.start(0), list[tuple[int, Reason]]()
    wanted = Batch(now_ms(), (transaction(network, "wanted").encode(),))
    monkeypatch.setattr(member.driver, "wanted_batch", lambda sequence: wanted.digest())
    taken = _watched(member, sent, monkeypatch)
    nonsense = peer_pb2.BatchResponse(sequence=1, batch=b"x")
    chain.deliver(2, 0, peer_pb2.PeerFrame(batch_response=nonsense).SerializeToString())
    chain.deliver(3, 0, wire.batch_response_frame(1, Batch(now_ms(), ())))
    chain.deliver(3, 0, wire.batch_response_frame(1, wanted))
    await chain.wait_for(lambda: bool(taken))
    assert [each.batch for each in taken] == [wanted]
    assert sent == [(2, Reason.MALFORMED), (3, Reason.UNASKED)]


def _watched(
    member: Member, refused: list[tuple[int, Reason]], monkeypatch: pytest.MonkeyPatch
) -> list[BatchFetched]:
    """What the driver is given, while what is refused is noted."""
    taken: list[BatchFetched] = []
    put = member.driver.put_fetched

    def noting(fetched: BatchFetched, held: Any) -> None:
        taken.append(fetched)
        put(fetched, held)

    def count(sender: int, reason: Reason, why: str = "", *, times: int = 1) -> None:
        refused.extend([(sender, reason)] * times)

    monkeypatch.setattr(member.driver, "put_fetched", noting)
    monkeypatch.setattr(member.intake._exchange._refusals, "count", count)
    return taken
