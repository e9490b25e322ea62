"""Drivers against a primary that lies, a full disk and clients of every kind.

The chain runs in one process with real stores and signatures; replica 0, the first primary, is
played by the test where it has to be Byzantine.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.transactions import (
    Call,
    ChainPosition,
    Identity,
    build_envelope,
    build_transaction,
)
from guqiao_sdk.proof.batch import Batch
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import SignedTransaction, transaction_sign_bytes
from services.chassis.errors import ServiceError
from services.consensus import compaction, wire
from services.consensus.domain.messages import Digest, PrePrepare, SequenceNumber, View
from services.consensus.domain.statements import sign_bytes
from services.consensus.jobs import Pause
from tests.integration.node.memory_chain import Member, MemoryChain, now_ms
from tests.plugins.chain_network import ADMIN, OBSERVER, PARAMETERS, ChainNetwork

APPLIED = ledger_pb2.OUTCOME_APPLIED


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    """Keys and genesis only; no process is started."""
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


def position(chain_id: str = "shandong", *, height: int = 0, time_ms: int = 0) -> ChainPosition:
    return ChainPosition(chain_id, height, bytes(32), time_ms or now_ms())


def registration(network: ChainNetwork, maker: Identity, name: str) -> Call:
    key: dict[str, Json] = {
        "id": "k1",
        "public_key": network.identities[OBSERVER].private_key.public_key.hex(),
        "not_before_ms": 0,
        "not_after_ms": 4 * 10**12,
    }
    identity: dict[str, Json] = {
        "did": f"{maker.organisation}.{name}",
        "organisation": maker.organisation,
        "roles": ["observer"],
        "keys": [key],
    }
    return Call("identity", "register_identity", {"identity": identity})


def transaction(
    network: ChainNetwork,
    name: str,
    *,
    maker: Identity | None = None,
    at: ChainPosition | None = None,
    after: bytes | None = None,
    request_id: str | None = None,
) -> SignedTransaction:
    maker = maker if maker is not None else network.identities[ADMIN]
    call = registration(network, maker, name)
    return build_transaction(
        network.provider,
        maker,
        at if at is not None else position(),
        contract=call.contract,
        method=call.method,
        body=call.body,
        after=after,
        request_id=request_id,
    )


async def submit(member: Member, entry: SignedTransaction) -> ledger_pb2.TransactionResult:
    async with asyncio.timeout(20):
        result = await member.submissions.submit(entry, wait_final=True)
    assert result is not None
    return result


@pytest.mark.req("G2-07-1", "G2-07-3")
async def test_a_transaction_submitted_at_a_backup_is_final_on_every_replica(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    result = await submit(members[2], transaction(network, "one"))
    assert (result.outcome, result.height) == (APPLIED, 1)
    await chain.wait_for(lambda: all(m.finality.certified_height == 1 for m in members))
    assert len({m.ledger.header(1).hash() for m in members}) == 1


async def test_the_same_transaction_answers_the_same_before_and_after_it_is_final(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    entry = transaction(network, "one")
    results = await asyncio.gather(*(submit(member, entry) for member in members))
    results.append(await submit(members[1], entry))
    places = {(result.height, result.index, result.outcome) for result in results}
    assert places == {(1, 0, APPLIED)}


async def test_a_chain_of_successors_sent_backwards_takes_effect_in_order(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    entries = [transaction(network, "s0")]
    for number in range(1, 12):
        entries.append(transaction(network, f"s{number}", after=entries[-1].id()))
    submitting = [asyncio.ensure_future(submit(members[0], entry)) for entry in entries[::-1]]
    results = (await asyncio.gather(*submitting))[::-1]
    assert {result.outcome for result in results} == {APPLIED}
    places = [(result.height, result.index) for result in results]
    assert places == sorted(places)


async def test_an_envelope_shuffled_over_the_replicas_takes_effect_in_order(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    maker = network.identities[ADMIN]
    calls = [registration(network, maker, f"e{number}") for number in range(60)]
    entries = build_envelope(network.provider, maker, position(), calls)
    submitting = {
        entry.id(): asyncio.ensure_future(submit(members[number % 4], entry))
        for number, entry in random.Random(1).sample(list(enumerate(entries)), len(entries))
    }
    results = [await submitting[entry.id()] for entry in entries]
    assert {result.outcome for result in results} == {APPLIED}
    places = [(result.height, result.index) for result in results]
    assert places == sorted(places)
    await chain.wait_for(lambda: all(m.finality.certified_height >= places[-1][0] for m in members))
    for height in {height for height, _ in places}:
        assert len({m.ledger.header(height).hash() for m in members}) == 1
    block = members[3].ledger.store.get_block(places[7][0])
    assert block is not None
    assert SignedTransaction.decode(block.batch.transactions[places[7][1]]) == entries[7]


async def test_an_orphan_is_told_that_its_predecessor_is_missing_and_may_come_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    first = transaction(network, "first")
    second = transaction(network, "second", after=first.id())
    assert (await submit(members[0], second)).code == "PREDECESSOR_MISSING"
    assert (await submit(members[0], first)).outcome == APPLIED
    assert (await submit(members[0], second)).outcome == APPLIED


def spoiled(network: ChainNetwork) -> dict[str, SignedTransaction]:
    """A transaction for each code of admission, each spoiled in one way."""
    good = transaction(network, "spoiled")
    admin = network.identities[ADMIN]
    stranger = replace(admin, did=f"{admin.organisation}.stranger")
    (public_key, signature), other = good.signatures[0], network.provider.keygen()
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    large = transaction(network, "x" * 1_100_000)
    return {
        "TRANSACTION_MALFORMED": replace(good, payload=good.payload + b"}"),
        "TRANSACTION_SIGNATURE_INVALID": replace(good, signatures=((public_key, flipped),)),
        "CHAIN_MISMATCH": transaction(network, "a", at=position("beijing")),
        "TRANSACTION_EXPIRED": transaction(network, "b", at=position(time_ms=now_ms() - 400_000)),
        "TRANSACTION_EXPIRY_TOO_FAR": transaction(network, "c", at=position(height=2_000)),
        "SENDER_UNKNOWN": transaction(network, "d", maker=stranger),
        "KEY_MISMATCH": transaction(network, "e", maker=replace(admin, private_key=other)),
        "TRANSACTION_TOO_LARGE": large,
    }


STATELESS_CODES = [
    "TRANSACTION_MALFORMED",
    "TRANSACTION_SIGNATURE_INVALID",
    "CHAIN_MISMATCH",
    "TRANSACTION_EXPIRED",
    "TRANSACTION_EXPIRY_TOO_FAR",
    "TRANSACTION_TOO_LARGE",
]
STATEFUL_CODES = ["SENDER_UNKNOWN", "KEY_MISMATCH"]


@pytest.mark.req("G2-09-3", "G2-09-4")
async def test_what_admission_refuses_is_told_its_code_and_leaves_no_trace(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    found = {}
    for code, entry in spoiled(network).items():
        with pytest.raises(ServiceError) as refused:
            await submit(members[1], entry)
        found[refused.value.code] = code
    assert set(found) == {*STATELESS_CODES, *STATEFUL_CODES}
    assert all(told == meant for told, meant in found.items())
    assert len(members[1].driver.mempool) == 0
    assert (await submit(members[1], transaction(network, "good"))).height == 1


@pytest.mark.req("G2-07-1", "G2-09-3", "G2-09-4")
@pytest.mark.parametrize("code", STATELESS_CODES)
async def test_a_primary_that_proposes_what_admission_refuses_is_replaced(
    chain: MemoryChain, network: ChainNetwork, code: str
) -> None:
    """Submission and proposal are judged by the same rule: nobody prepares the batch, the view
    changes, and the honest three go on.
    """
    members = [await chain.start(number) for number in (1, 2, 3)]
    bad = spoiled(network)[code].encode()
    send_pre_prepare(chain, network, Batch(now_ms(), (bad,)))
    await chain.wait_for(lambda: all(m.driver.replica.view >= 1 for m in members))
    result = await submit(members[0], transaction(network, "after"))
    assert result.outcome == APPLIED
    for member in members:
        block = member.ledger.store.get_block(1)
        assert block is not None
        assert bad not in block.batch.transactions


def under_another_key(network: ChainNetwork, entry: SignedTransaction) -> SignedTransaction:
    """The payload as anybody may sign it who has seen it: the same id."""
    thief = network.provider.keygen()
    signature = network.provider.sign(thief, transaction_sign_bytes(entry.payload))
    return SignedTransaction(entry.payload, ((thief.public_key, signature),))


@pytest.mark.req("G2-16-4")
async def test_a_copy_under_another_key_that_a_liar_passes_on_keeps_nobody_out(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """Replica 3 is played by the test."""
    members = [await chain.start(number) for number in range(3)]
    genuine = transaction(network, "victim")
    copy = under_another_key(network, genuine)
    assert copy.id() == genuine.id()
    for other in range(3):
        chain.deliver(3, other, wire.gossip_frame([copy.encode()]))
    await submit(members[0], transaction(network, "beside"))
    assert not any(genuine.id() in member.driver.mempool for member in members)
    assert [receipt.code for receipt in members[0].ledger.receipts(1)] == [""], "no copy among them"
    assert (await submit(members[0], genuine)).outcome == APPLIED


@pytest.mark.req("G2-16-4")
async def test_a_copy_under_another_key_that_a_primary_proposes_is_not_the_outcome(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    """Replica 0, the first primary, is played by the test and proposes nothing else."""
    members = [await chain.start(number) for number in (1, 2, 3)]
    genuine = transaction(network, "victim")
    follower = transaction(network, "follower", after=genuine.id())
    submitted = [asyncio.ensure_future(submit(members[0], each)) for each in (genuine, follower)]
    await chain.wait_for(lambda: genuine.id() in members[0].driver.mempool)
    copy = under_another_key(network, genuine)
    send_pre_prepare(chain, network, Batch(now_ms(), (copy.encode(),)))
    results = await asyncio.gather(*submitted)
    assert [result.outcome for result in results] == [APPLIED, APPLIED]
    first = members[0].ledger.receipts(1)
    assert [receipt.code for receipt in first] == ["KEY_MISMATCH"]
    assert results[0].height > 1


def send_pre_prepare(chain: MemoryChain, network: ChainNetwork, batch: Batch) -> None:
    """Replica 0, played by the test, proposes `batch` for sequence number 1."""
    message = pre_prepare(chain, network, batch, signer=0)
    for other in (1, 2, 3):
        chain.deliver(0, other, wire.message_frame(message))


def pre_prepare(
    chain: MemoryChain, network: ChainNetwork, batch: Batch, *, signer: int
) -> PrePrepare:
    """A pre-prepare of view 0, signed with the vote key of replica `signer`."""
    unsigned = PrePrepare(View(0), SequenceNumber(1), batch, Digest(batch.digest()), bytes(64))
    signed = sign_bytes(unsigned, chain.genesis.replica_set)
    signature = network.provider.sign(network.vote_keys[signer], signed)
    return replace(unsigned, signature=signature)


@pytest.mark.req("G2-07-1")
async def test_a_primary_that_is_silent_about_a_pending_transaction_is_replaced(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    result = await submit(members[1], transaction(network, "starved"))
    assert result.outcome == APPLIED
    assert members[1].driver.replica.view >= 1


@pytest.mark.req("G2-09-3")
async def test_a_message_under_another_replicas_name_goes_no_further(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in (1, 2, 3)]
    batch = Batch(now_ms(), (transaction(network, "forged").encode(),))
    message = pre_prepare(chain, network, batch, signer=3)
    chain.deliver(0, 1, wire.message_frame(message))
    counted = b'rejected_messages_total{reason="unauthentic",replica="0"} 1.0'
    await chain.wait_for(lambda: counted in members[0].metrics.render())
    assert members[0].driver.replica.executed == 0
    assert list(members[0].ledger.records()) == []


@pytest.mark.req("G2-13-2")
async def test_a_replica_with_a_full_disk_stops_voting_and_says_so_and_goes_on_with_space(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [await chain.start(number) for number in range(4)]
    full = members[3]
    monkeypatch.setattr(full.ledger, "_reserve_bytes", 2**62)
    await chain.wait_for(lambda: full.driver.pause is Pause.DISK_FULL)
    with pytest.raises(ServiceError) as refused:
        await submit(full, transaction(network, "refused"))
    assert refused.value.code == "DISK_FULL"
    assert (await submit(members[0], transaction(network, "three"))).outcome == APPLIED
    assert list(full.ledger.records()) == [], "it voted for nothing"
    monkeypatch.setattr(full.ledger, "_reserve_bytes", 0)
    await chain.wait_for(lambda: full.finality.certified_height == 1)
    assert full.ledger.header(1).hash() == members[0].ledger.header(1).hash()


@pytest.mark.req("G2-13-2")
async def test_records_are_compacted_by_their_bytes_and_the_index_is_measured(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_BYTES", 4_000)
    members = [await chain.start(number) for number in range(4)]
    log = members[0].ledger.store.core_log
    for number in range(4):
        result = await submit(members[0], transaction(network, f"filler{number}"))
        assert result.outcome == APPLIED
    await chain.wait_for(lambda: log.kept_bytes > 0)
    await chain.stop(0, clean=False)
    again = await chain.start(0)
    assert (await submit(again, transaction(network, "later"))).outcome == APPLIED

    def is_told() -> bool:
        lines = dict(line.rsplit(b" ", 1) for line in again.metrics.render().splitlines())
        told = float(lines[b"guqiao_consensus_index_bytes"])
        return told == again.ledger.store.index_bytes

    assert again.ledger.store.index_bytes > 0
    await chain.wait_for(is_told)
