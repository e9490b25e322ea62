"""Drivers against clients and replicas that want the chain to stand still.

Each test plays one attack on real drivers, stores and signatures, and asks that honest
transactions become final all the same.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao_sdk.client.transactions import build_transaction
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX, SignedTransaction
from services.chassis.errors import ServiceError
from services.consensus import wire
from services.consensus.domain.effects import Effect
from services.consensus.domain.ledger.admission import AdmittedTransaction
from services.consensus.domain.messages import (
    BatchFetched,
    Commit,
    Digest,
    Hello,
    Message,
    PrePrepare,
    ReplicaId,
    SequenceNumber,
    View,
)
from services.consensus.domain.replica import Replica
from services.consensus.domain.statements import sign_bytes
from services.consensus.jobs import Pause
from services.consensus.pacing import IN_FLIGHT_TRANSACTIONS_MAX as IN_FLIGHT
from tests.integration.node.memory_chain import MemoryChain, now_ms
from tests.integration.node.test_driver_in_memory import APPLIED, position, submit, transaction
from tests.plugins.chain_network import ADMIN, PARAMETERS, ChainNetwork


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


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

    assert (await submit(members[0], transaction(network, "behind"))).outcome == APPLIED
    assert {member.driver.replica.view for member in members} == {0}


def pre_prepare(
    chain: MemoryChain, network: ChainNetwork, view: int, sequence: int, batch: Batch
) -> PrePrepare:
    """A pre-prepare with the signature of its view's primary."""
    unsigned = PrePrepare(
        View(view), SequenceNumber(sequence), batch, Digest(batch.digest()), bytes(64)
    )
    said = sign_bytes(unsigned, chain.genesis.replica_set)
    signature = network.provider.sign(network.vote_keys[view % 4], said)
    return replace(unsigned, signature=signature)


@pytest.mark.req("G2-07-1")
async def test_batches_for_views_that_may_never_come_hold_up_no_honest_primary(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (0, 1, 2)]
    honest = transaction(network, "honest")
    for number in range(2):
        entries = [transaction(network, f"{number}-{part}") for part in range(IN_FLIGHT // 2)]
        batch = Batch(now_ms(), tuple(entry.encode() for entry in [*entries, honest]))
        message = pre_prepare(chain, network, 4_000_003, 400 + number, batch)
        for to in range(3):
            chain.deliver(3, to, wire.message_frame(message))
    dropped = b'ignored_messages_total{reason="future",replica="3"} 2.0'
    await chain.wait_for(lambda: all(dropped in m.metrics.render() for m in members))
    assert (await submit(members[0], honest)).outcome == APPLIED
    assert {member.driver.replica.view for member in members} == {0}


@pytest.mark.req("G2-07-1", "G2-16-4")
async def test_a_primary_that_proposes_many_batches_for_one_place_holds_memory_with_one(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test is the primary and floods one victim, who alone suspects it: no view change comes to
    the rescue.
    """
    victim, *_ = [await chain.start(number) for number in (1, 2, 3)]
    put, judged = victim.driver.put_pre_prepare, list[Digest]()

    def count(sender: ReplicaId, message: PrePrepare, admitted: list[AdmittedTransaction]) -> None:
        judged.append(message.digest)
        put(sender, message, admitted)

    monkeypatch.setattr(victim.driver, "put_pre_prepare", count)
    started_ms, entries = now_ms(), [padded(network, 10_000 + number) for number in range(60)]
    for entry in entries:
        batch = Batch(started_ms, (entry.encode(),))
        message = pre_prepare(chain, network, 0, 1, batch)
        chain.deliver(0, 1, wire.message_frame(message))
        await chain.wait_for(functools.partial(operator.contains, judged, message.digest))
    core = victim.driver.replica
    assert isinstance(core, Replica)
    await chain.wait_for(lambda: core._ordering.fault is not None)
    await chain.wait_for(lambda: not victim.driver._inbox)
    tracked = victim.driver._tracker._tracked.values()
    assert [len(each.transactions) for each in tracked] == [1]
    held = core._ordering.entries[SequenceNumber(1)].pre_prepares()
    assert [each.batch.transactions for each in held] == [(entries[0].encode(),)]
    assert b'guqiao_consensus_evidence_total{replica="0"}' in victim.metrics.render()


@pytest.mark.req("G2-13-2")
async def test_a_block_executed_while_the_disk_filled_up_is_not_forgotten(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await chain.start(number) for number in range(4)]
    full = members[3]
    execute = full.ledger.execute

    async def fill(batch: Batch, transactions: Sequence[AdmittedTransaction] | None) -> BlockHeader:
        header = await execute(batch, transactions)
        full.driver.pause = Pause.DISK_FULL
        monkeypatch.setattr(full.ledger, "_reserve_bytes", 2**62)
        return header

    monkeypatch.setattr(full.ledger, "execute", fill)
    assert (await submit(members[0], transaction(network, "one"))).outcome == APPLIED
    await chain.wait_for(lambda: full.ledger.store.last_height == 1)
    await chain.wait_for(lambda: full.driver.pause is Pause.DISK_FULL)
    monkeypatch.setattr(full.ledger, "execute", execute)
    monkeypatch.setattr(full.ledger, "_reserve_bytes", 0)
    await chain.wait_for(lambda: full.driver.pause is Pause.NONE)
    for number in range(3):
        assert (await submit(full, transaction(network, f"later{number}"))).outcome == APPLIED
    await chain.wait_for(lambda: len({m.finality.certified_height for m in members}) == 1)


@pytest.mark.req("G2-07-1")
async def test_a_batch_that_nobody_asked_for_goes_no_further_than_the_intake(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await chain.start(number) for number in (0, 1, 2)]
    stepped: list[object] = []
    step = members[0].driver.replica.step

    def watch(sender: ReplicaId, message: Message) -> list[Effect]:
        stepped.append(message)
        return step(sender, message)

    monkeypatch.setattr(members[0].driver.replica, "step", watch)
    for number in range(50):
        chain.deliver(3, 0, wire.batch_response_frame(1, Batch(now_ms() + number, ())))
        chain.deliver(3, 0, wire.message_frame(Hello(View(0), True, False, SequenceNumber(0))))
    assert (await submit(members[1], transaction(network, "honest"))).outcome == APPLIED
    assert not [each for each in stepped if isinstance(each, BatchFetched)]
    assert [each for each in stepped if isinstance(each, Hello)]


def leave_out(chain: MemoryChain, network: ChainNetwork, batch: Batch) -> None:
    """The primary 0, which the test plays, proposes the batch to 1 and 2 alone."""
    message = pre_prepare(chain, network, 0, 1, batch)
    unsigned = Commit(View(0), SequenceNumber(1), message.digest, ReplicaId(0), bytes(64))
    said = sign_bytes(unsigned, chain.genesis.replica_set)
    commit = replace(unsigned, signature=network.provider.sign(network.vote_keys[0], said))
    for to in (1, 2):
        chain.deliver(0, to, wire.message_frame(message))
    for to in (1, 2, 3):
        chain.deliver(0, to, wire.message_frame(commit))


@pytest.mark.req("G2-07-1")
async def test_a_replica_that_the_primary_left_out_fetches_the_batch_that_was_decided(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    batch = Batch(now_ms(), (transaction(network, "left-out").encode(),))
    leave_out(chain, network, batch)
    # Three of four must vote for the header, so nobody has it certified before replica 3 executed.
    await chain.wait_for(lambda: all(m.finality.certified_height >= 1 for m in members))
    assert {m.ledger.header(1).batch_digest for m in members} == {batch.digest()}


@pytest.mark.req("G2-07-1")
async def test_a_primary_whose_batch_is_larger_than_genesis_allows_is_replaced(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    count = chain.genesis.parameters.batch_transactions_max + 1
    entries = [transaction(network, f"many{number}") for number in range(count)]
    batch = Batch(now_ms(), tuple(entry.encode() for entry in entries))
    for to in (1, 2, 3):
        chain.deliver(0, to, wire.message_frame(pre_prepare(chain, network, 0, 1, batch)))
    await chain.wait_for(lambda: all(m.driver.replica.view >= 1 for m in members))
    assert (await submit(members[0], entries[0])).outcome == APPLIED
    assert len(members[0].ledger.receipts(1)) == 1
