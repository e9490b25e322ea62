"""Drivers against clients and replicas that want the chain to stand still.

Each test plays one attack on real drivers, stores and signatures, and asks that honest
transactions become final all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.client.transactions import build_transaction
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX, SignedTransaction
from services.chassis.errors import ServiceError
from services.consensus import wire
from services.consensus.domain.messages import Digest, PrePrepare, SequenceNumber, View
from services.consensus.domain.statements import sign_bytes
from services.consensus.driver import Pause
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain, now_ms
from tests.integration.node.test_driver_in_memory import APPLIED, position, submit, transaction
from tests.plugins.chain_network import ADMIN, PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
async def chain(network: ChainNetwork, tmp_path: Path) -> AsyncIterator[MemoryChain]:
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        yield chain


def padded(network: ChainNetwork, size: int) -> SignedTransaction:
    """A transaction whose payload has exactly `size` bytes."""
    empty = transaction(network, "")
    return transaction(network, "x" * (size - len(empty.payload)))


@pytest.mark.parametrize("size", [PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX - 100])
async def test_a_transaction_that_fits_into_no_batch_is_refused_and_holds_nobody_up(
    chain: MemoryChain, network: ChainNetwork, size: int
) -> None:
    members = [await chain.start(number) for number in range(4)]
    with pytest.raises(ServiceError) as refused:
        await submit(members[1], padded(network, size))
    assert refused.value.code == "TRANSACTION_TOO_LARGE"
    chain.deliver(3, 0, wire.gossip_frame([padded(network, size).encode()]))
    assert (await submit(members[0], transaction(network, "behind"))).outcome == APPLIED
    assert len(members[0].driver.mempool) == 0


async def test_a_transaction_about_to_expire_makes_nobody_suspect_the_primary(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    near = build_transaction(
        network.provider,
        network.identities[ADMIN],
        position(),
        contract="identity",
        method="register_identity",
        body={},
        expires_after_heights=3,
    )
    with pytest.raises(ServiceError) as refused:
        await submit(members[1], near)
    assert refused.value.code == "TRANSACTION_EXPIRED"


def test_x() -> None:
    replace, Batch, Digest, PrePrepare, SequenceNumber, View, sign_bytes, Pause, Member, now_ms


async def test_future_view(chain: MemoryChain, network: ChainNetwork) -> None:
    members = [await chain.start(number) for number in (0, 1, 2)]
    transactions = [transaction(network, f"t{number}") for number in range(500)]
    for number in range(2):
        part = transactions[number::2] + [transaction(network, f"{number}-{i}") for i in range(250)]
        batch = Batch(now_ms(), tuple(entry.encode() for entry in part))
        unsigned = PrePrepare(
            View(4 * 10**6 + 3),
            SequenceNumber(400 + number),
            batch,
            Digest(batch.digest()),
            bytes(64),
        )
        said = sign_bytes(unsigned, chain.genesis.replica_set)
        signature = network.provider.sign(network.vote_keys[3], said)
        for to in range(3):
            chain.deliver(3, to, wire.message_frame(replace(unsigned, signature=signature)))
    # The intake judges a peer's proposals in order.
    await chain.wait_for(lambda: members[0].intake._proposals.empty())
    import asyncio
    await asyncio.sleep(2)
    print([m.driver._tracker.in_flight for m in members])
    assert (await submit(members[0], transaction(network, "honest"))).outcome == APPLIED
