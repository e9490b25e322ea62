"""Many transactions in a row, each after the one before: a replica that lets some wait breaks no
chain of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Call
from guqiao_sdk.proof.transaction import SignedTransaction
from services.consensus.domain.ledger.admission import Refused
from tests.integration.node.test_result_proofs import Replica, Replicas, replicas

__all__ = ["replicas"]

REPORT = Call("reports", "report", {"count": 1, "broken": False})


@dataclass
class Full(Replica):
    """Has no room for some submissions, counted from 0; every other one it executes at once."""

    without_room: frozenset[int] = field(default_factory=frozenset)

    def _submit(self, message: ledger_pb2.Transaction) -> ledger_pb2.TransactionResult | Refused:
        if self.submissions in self.without_room:
            self.submissions += 1
            return Refused("QUEUE_FULL", {})
        return super()._submit(message)


async def codes(client: ChainClient, transactions: list[SignedTransaction]) -> list[str]:
    """What became of each, in their order."""
    answers = {one.transaction.id(): one async for one in client.submit_many(transactions)}
    results = [answers[transaction.id()].result for transaction in transactions]
    assert None not in results
    return [result.code for result in results if result is not None]


@pytest.mark.parametrize("without_room", [{0}, {0, 1}, {1, 4}])
async def test_successors_of_one_that_was_told_to_come_again_come_again_with_it(
    replicas: Replicas, without_room: set[int]
) -> None:
    replica = Full(replicas.chain, without_room=frozenset(without_room))
    client = await replicas.client(replica)
    transactions = await client.build_many([REPORT] * 5)
    assert await codes(client, transactions) == [""] * 5
    assert replica.submissions > 5 + len(without_room), "a successor was tried in vain"


async def test_the_successor_of_one_that_nobody_sent_is_told_so(replicas: Replicas) -> None:
    client = await replicas.client(replicas.replica())
    first, second = await client.build_many([REPORT] * 2)
    assert await codes(client, [second]) == ["PREDECESSOR_MISSING"]
    assert await codes(client, [first, second]) == ["", ""]


async def test_an_unrelated_transaction_does_not_make_a_lost_predecessor_ours(
    replicas: Replicas,
) -> None:
    client = await replicas.client(replicas.replica())
    _, second = await client.build_many([REPORT] * 2)
    other = await client.build("reports", "report", {"count": 1, "broken": False})
    assert await codes(client, [other, second]) == ["", "PREDECESSOR_MISSING"]


async def test_the_successor_of_one_that_the_chain_has_forgotten_is_told_so(
    replicas: Replicas,
) -> None:
    client = await replicas.client(replicas.replica())
    first, second, third = await client.build_many([REPORT] * 3)
    is_forgotten = asyncio.Event()

    async def one_after_a_long_time() -> AsyncIterator[SignedTransaction]:
        yield first
        await is_forgotten.wait()
        yield second
        yield third

    told = []
    async for one in client.submit_many(one_after_a_long_time()):
        assert one.error is None
        assert one.result is not None
        told.append(one.result.code)
        replicas.chain.state.ids.discard(first.id())
        is_forgotten.set()
    assert told == ["", "PREDECESSOR_MISSING", "PREDECESSOR_MISSING"]
