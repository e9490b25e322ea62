"""Four real replica processes over GM-TLS: what a client was told stays true whatever dies.

Goal: D1, D2 and S7 of the reliability document on real processes. Method: a client logs every
acknowledgement outside the fault domain while the primary is killed under load; afterwards every
replica must hold exactly what was acknowledged, in one order, with one state root.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction
from tests.plugins.chain_network import ADMIN, OBSERVER, ChainNetwork

pytestmark = [pytest.mark.end_to_end, pytest.mark.crash]
LEVEL_SECONDS_MAX = 90.0
NEXT_BLOCK_SECONDS_MAX = 90.0


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[ChainNetwork]:
    network = ChainNetwork.create(
        tmp_path, roles={ADMIN: ("identity_admin", "observer"), OBSERVER: ("observer",)}
    )
    network.start()
    try:
        await network.wait_ready()
        yield network
    finally:
        await network.close()


async def registration(
    client: ChainClient, network: ChainNetwork, name: str, after: bytes | None = None
) -> SignedTransaction:
    """A transaction that registers an identity `name`."""
    organisation = client.signer.organisation
    public_key = network.identities[OBSERVER].private_key.public_key.hex()
    key: dict[str, Json] = {
        "id": "k1",
        "public_key": public_key,
        "not_before_ms": 0,
        "not_after_ms": 4 * 10**12,
    }
    identity: dict[str, Json] = {
        "did": f"{organisation}.{name}",
        "organisation": organisation,
        "roles": ["observer"],
        "keys": [key],
    }
    return await client.build("identity", "register_identity", {"identity": identity}, after=after)


async def wait_level(network: ChainNetwork, height: int) -> set[bytes]:
    """Until every running replica has certified `height`; returns their state roots there."""
    roots = set()
    for replica in network.replicas:
        assert replica.process is not None
        client = network.client(endpoints=[network.endpoint(replica.number)])
        deadline = time.monotonic() + LEVEL_SECONDS_MAX
        while (await client.latest()).height < height:
            assert time.monotonic() < deadline, network.log(replica.number)
            await asyncio.sleep(0.05)
        header, _ = await client.get_header(height)
        roots.add(header.state_root)
    return roots


@pytest.mark.req("G2-07-1", "G2-07-3", "G2-09-3", "G2-09-4")
@pytest.mark.parametrize("is_chained", [True, False], ids=["chained", "independent"])
async def test_nothing_acknowledged_is_lost_when_the_primary_is_killed_under_load(
    network: ChainNetwork, tmp_path: Path, is_chained: bool
) -> None:
    client = network.client(ADMIN)
    transactions = []
    after = None
    for number in range(120):
        transaction = await registration(client, network, f"u{number:03d}", after)
        after = transaction.id() if is_chained else None
        transactions.append(transaction)
    acknowledged: dict[bytes, tuple[int, int]] = {}
    killed: int | None = None
    with (tmp_path / "acknowledged").open("w") as log:
        async for submission in client.submit_many(transactions, in_flight_max=40):
            assert submission.error is None, submission.error
            assert submission.result is not None
            assert submission.result.outcome is Outcome.APPLIED, submission.result
            transaction_id = submission.transaction.id()
            log.write(transaction_id.hex() + "\n")
            log.flush()
            acknowledged[transaction_id] = (submission.result.height, submission.result.index)
            if len(acknowledged) == 20:
                killed = (await client.get_status()).primary
                network.kill(killed)
    assert len(acknowledged) == len(transactions)
    assert killed is not None
    if is_chained:  # Import order is kept: each transaction named the one before it.
        places = [acknowledged[transaction.id()] for transaction in transactions]
        assert places == sorted(places)

    network.start(killed)
    await network.wait_ready(killed)
    last = max(height for height, _ in acknowledged.values())
    assert len(await wait_level(network, last)) == 1

    executed = await executed_transactions(network.client(endpoints=network.endpoints[:1]), last)
    assert sorted(executed) == sorted(transaction.id() for transaction in transactions)


async def executed_transactions(client: ChainClient, last: int) -> list[bytes]:
    """The ids of all transactions that took effect up to `last`, from verified blocks."""
    applied = []
    async for block in client.watch_blocks(1):
        applied += [
            receipt.transaction_id
            for receipt in block.receipts
            if receipt.outcome is Outcome.APPLIED
        ]
        if block.height >= last:
            return applied
    raise AssertionError("a watch ends only when it is left")


@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_the_chain_survives_that_all_replicas_are_killed_at_once(
    network: ChainNetwork,
) -> None:
    client = network.client(ADMIN)
    first = await client.submit(await registration(client, network, "before"))
    network.kill(0, 1, 2, 3)
    network.start()
    await network.wait_ready()
    proven = await client.get_transaction(first.transaction_id)
    assert (proven.result.height, proven.result.index) == (first.height, first.index)
    second = await client.submit(await registration(client, network, "after"))
    assert second.outcome is Outcome.APPLIED
    assert second.height > first.height
    assert len(await wait_level(network, second.height)) == 1


@pytest.mark.req("G2-07-1")
async def test_a_backup_that_was_down_fetches_what_it_missed(network: ChainNetwork) -> None:
    client = network.client(ADMIN)
    backup = ((await client.get_status()).primary + 2) % 4
    assert network.stop(backup) == [0], network.log(backup)
    for number in range(12):
        last = await client.submit(await registration(client, network, f"m{number}"))
        assert last.outcome is Outcome.APPLIED
    network.start(backup)
    await network.wait_ready(backup)
    assert len(await wait_level(network, last.height)) == 1
    again = network.client(ADMIN, endpoints=[network.endpoint(backup)])
    assert (await again.get_transaction(last.transaction_id)).result.height == last.height
