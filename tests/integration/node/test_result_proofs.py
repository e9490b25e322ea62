"""A result that one replica told is proven at another one, which may be behind it or lie.

All replicas serve one ledger; what a test makes one of them withhold or falsify is the only
difference. A replica catches up after a number of questions, so no clock decides.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client import endpoints, results
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import TransactionResult
from guqiao_sdk.errors import NotFoundError, OutcomeUnknownError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.transaction import SignedTransaction
from tests.plugins.ledger_node import LedgerNode, abort, identity_of
from tests.plugins.link_lab import KEYS, link_chains
from tests.unit.xchain.ledger_chain import LedgerChain

NEVER = 1_000_000
Submit = Callable[[ChainClient, SignedTransaction], Awaitable[TransactionResult]]


@dataclass
class Replica(LedgerNode):
    """Honest and level unless told otherwise."""

    is_busy: bool = False
    """Answers submissions and is away when it is asked to prove them."""

    questions_behind: int = 0
    """How many questions it still answers as one that has not reached the block."""

    asked: int = 0
    told_height: int = 0
    """Added to the height in every result that it tells."""

    proven_height: int = 0
    """Added to the height for which it gives proofs."""

    async def GetTransaction(
        self, request: node.GetTransactionRequest, context: Any
    ) -> node.GetTransactionResponse:
        await self._consider(context, "TRANSACTION_UNKNOWN")
        response = await super().GetTransaction(request, context)
        response.result.height += self.proven_height
        return response

    async def GetBlock(self, request: node.GetBlockRequest, context: Any) -> node.GetBlockResponse:
        await self._consider(context, "HEIGHT_UNKNOWN")
        request.height += self.proven_height
        return await super().GetBlock(request, context)

    async def _consider(self, context: Any, code: str) -> None:
        self.asked += 1
        if self.is_busy:
            await abort(context, "CHAIN_UNAVAILABLE")
        if self.questions_behind > 0:
            self.questions_behind -= 1
            await abort(context, code)

    def _result(self, height: int, index: int) -> ledger_pb2.TransactionResult:
        told = super()._result(height, index)
        told.height += self.told_height
        return told


@dataclass
class Replicas:
    """One chain that stands at height 2, and the replicas that serve it."""

    chain: LedgerChain
    stack: AsyncExitStack
    running: list[Replica] = field(default_factory=list)

    async def client(self, *replicas: Replica) -> ChainClient:
        """A client that asks the replicas in this order."""
        for replica in replicas:
            await replica.start()
            self.stack.push_async_callback(replica.stop)
        return await self.another_client(*replicas)

    async def another_client(self, *replicas: Replica) -> ChainClient:
        """The same for replicas that are running."""
        first = replicas[0]
        targets = [f"{number}@127.0.0.1:{one.port}" for number, one in enumerate(replicas)]
        signer = identity_of(self.chain, KEYS)
        client = ChainClient("shandong", targets, signer, first.trust, KEYS.provider)
        return await self.stack.enter_async_context(client)

    def replica(self, **manners: Any) -> Replica:
        return Replica(self.chain, **manners)

    def busy(self) -> Replica:
        """The one that takes submissions in the tests, so that others must prove them."""
        return self.replica(is_busy=True)


@pytest.fixture
async def replicas(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Replicas]:
    monkeypatch.setattr(endpoints, "BEHIND_SECONDS", 0.001)
    monkeypatch.setattr(random, "randrange", lambda count: 0)
    chain, _ = link_chains()
    for _ in range(2):
        chain.call("reports", "report", {"count": 1, "broken": False})
    async with AsyncExitStack() as stack:
        yield Replicas(chain, stack)


async def report(client: ChainClient) -> SignedTransaction:
    return await client.build("reports", "report", {"count": 1, "broken": False})


async def alone(client: ChainClient, transaction: SignedTransaction) -> TransactionResult:
    """Submit by a call of its own; proven by the transaction."""
    return await client.submit(transaction)


async def in_a_stream(client: ChainClient, transaction: SignedTransaction) -> TransactionResult:
    """Submit in a stream; proven by the block."""
    (submission,) = [one async for one in client.submit_many([transaction])]
    if submission.error is not None:
        raise submission.error
    assert submission.result is not None
    return submission.result


both_ways = pytest.mark.parametrize("submit", [alone, in_a_stream])


def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replica is asked, and nobody is waited for."""
    monkeypatch.setattr(results, "PROOF_SECONDS", 0.0)


@both_ways
@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_a_replica_that_lags_and_catches_up_proves_the_result(
    replicas: Replicas, submit: Submit
) -> None:
    behind = replicas.replica(questions_behind=5)
    client = await replicas.client(replicas.busy(), behind)
    transaction = await report(client)
    result = await submit(client, transaction)
    assert (result.transaction_id, result.height) == (transaction.id(), 3)
    assert behind.questions_behind == 0
    assert behind.asked == 6


@both_ways
@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_another_replica_proves_what_one_that_stays_behind_cannot(
    replicas: Replicas, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_time(monkeypatch)
    behind, level = replicas.replica(questions_behind=NEVER), replicas.replica()
    client = await replicas.client(replicas.busy(), behind, level)
    result = await submit(client, await report(client))
    assert result.height == 3
    assert (behind.asked > 0, level.asked) == (True, 1)


@both_ways
@pytest.mark.req("G2-07-3", "G2-13-2")
async def test_a_result_that_nobody_proves_in_time_is_unknown_and_may_be_asked_for_again(
    replicas: Replicas, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_time(monkeypatch)
    behind = replicas.replica(questions_behind=NEVER)
    client = await replicas.client(replicas.busy(), behind)
    transaction = await report(client)
    with pytest.raises(OutcomeUnknownError) as unknown:
        await submit(client, transaction)
    assert unknown.value.code == "OUTCOME_UNKNOWN"
    assert unknown.value.fields["transaction_id"] == transaction.id().hex()
    assert "Ask or retry" in unknown.value.en
    behind.questions_behind = 0
    assert (await submit(client, transaction)).height == 3
    assert replicas.chain.header.height == 3  # One effect.


@both_ways
@pytest.mark.parametrize("told", [-1, 1, NEVER], ids=["lower", "next", "far"])
@pytest.mark.req("G2-07-3")
async def test_a_replica_that_tells_another_height_than_the_certified_one_is_not_believed(
    replicas: Replicas, submit: Submit, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_time(monkeypatch)
    client = await replicas.client(replicas.replica(told_height=told), replicas.replica())
    refusal = ProofError if told < 0 else OutcomeUnknownError
    with pytest.raises(refusal):
        await submit(client, await report(client))


@both_ways
@pytest.mark.req("G2-07-3")
async def test_a_proof_for_another_height_is_not_believed_and_the_next_replica_is_asked(
    replicas: Replicas, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_time(monkeypatch)
    liar, honest = replicas.replica(proven_height=-1), replicas.replica()
    client = await replicas.client(replicas.busy(), liar, honest)
    assert (await submit(client, await report(client))).height == 3
    assert (liar.asked > 0, honest.asked) == (True, 1)


@both_ways
@pytest.mark.req("G2-07-3")
async def test_where_every_proof_is_for_another_height_the_result_is_refused_at_once(
    replicas: Replicas, submit: Submit
) -> None:
    client = await replicas.client(replicas.busy(), replicas.replica(proven_height=-1))
    with pytest.raises(ProofError):
        await submit(client, await report(client))


Read = Callable[[ChainClient, SignedTransaction], Awaitable[int]]


async def the_transaction(client: ChainClient, transaction: SignedTransaction) -> int:
    return (await client.get_transaction(transaction.id())).header.height


async def its_block(client: ChainClient, transaction: SignedTransaction) -> int:
    return (await client.get_block(3)).header.height


both_reads = pytest.mark.parametrize("read", [the_transaction, its_block])


@both_reads
@pytest.mark.parametrize("manners", [{"questions_behind": NEVER}, {"proven_height": -1}])
@pytest.mark.req("G2-07-3")
async def test_what_one_replica_lacks_or_falsifies_is_read_at_the_next_one(
    replicas: Replicas, read: Read, manners: dict[str, int]
) -> None:
    wrong, level = replicas.replica(**manners), replicas.replica()
    client = await replicas.client(replicas.busy(), wrong, level)
    transaction = await report(client)
    await client.submit(transaction)
    client = await replicas.another_client(wrong, level)
    wrong.asked = 0
    assert await read(client, transaction) == 3
    assert wrong.asked == 1


@both_reads
@pytest.mark.req("G2-07-3")
async def test_what_no_replica_has_is_not_found_after_each_was_asked_once(
    replicas: Replicas, read: Read
) -> None:
    behind = [replicas.replica(questions_behind=NEVER) for _ in range(4)]
    client = await replicas.client(*behind)
    with pytest.raises(NotFoundError):
        await read(client, await report(client))
    assert [replica.asked for replica in behind] == [1, 1, 1, 1]
