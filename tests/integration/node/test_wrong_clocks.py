"""A replica whose clock is wrong refuses every caller; the others serve, and a wrong clock of the
caller's own is told as such.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.errors import DeniedError, OutcomeUnknownError
from tests.integration.node.test_result_proofs import (
    Replica,
    Replicas,
    alone,
    in_a_stream,
    replicas,
    report,
)
from tests.plugins.ledger_node import abort

__all__ = ["replicas"]


@dataclass
class WrongClock(Replica):
    """Refuses whatever is signed now; with `breaks_off`, it takes a submission first and goes."""

    breaks_off: bool = False
    refused: int = 0

    async def _refuse(self, context: Any) -> None:
        self.refused += 1
        await abort(context, "REQUEST_EXPIRED")

    async def GetConsensusState(
        self, request: node.GetConsensusStateRequest, context: Any
    ) -> node.GetConsensusStateResponse:
        await self._refuse(context)
        return await super().GetConsensusState(request, context)

    async def GetBlock(self, request: node.GetBlockRequest, context: Any) -> node.GetBlockResponse:
        await self._refuse(context)
        return await super().GetBlock(request, context)

    async def SubmitTransaction(
        self, request: node.SubmitTransactionRequest, context: Any
    ) -> node.SubmitTransactionResponse:
        if self.breaks_off:
            self.breaks_off = False
            self._submit(request.transaction)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        await self._refuse(context)
        return await super().SubmitTransaction(request, context)

    async def SubmitTransactions(
        self, request_iterator: AsyncIterator[node.SubmitTransactionsRequest], context: Any
    ) -> AsyncIterator[node.SubmitTransactionsResponse]:
        if self.breaks_off:
            self.breaks_off = False
            async for request in request_iterator:
                self._submit(request.transactions[0])
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        await self._refuse(context)
        async for response in super().SubmitTransactions(request_iterator, context):
            yield response

    async def WatchBlocks(
        self, request: node.WatchBlocksRequest, context: Any
    ) -> AsyncIterator[node.WatchBlocksResponse]:
        await self._refuse(context)
        async for response in super().WatchBlocks(request, context):
            yield response


async def read(client: ChainClient) -> int:
    return (await client.get_block(2)).height


async def read_the_latest(client: ChainClient) -> int:
    return (await client.latest()).height


async def watch(client: ChainClient) -> int:
    async with aclosing(client.watch_blocks(2)) as blocks:
        return (await anext(blocks)).height


Ask = Callable[[ChainClient], Awaitable[int]]
every_question = pytest.mark.parametrize("ask", [read, read_the_latest, watch])


def wrong_clocks(replicas: Replicas, count: int, **manners: Any) -> list[Replica]:
    return [WrongClock(replicas.chain, **manners) for _ in range(count)]


@every_question
@pytest.mark.req("G2-13-2")
async def test_a_replica_whose_clock_is_wrong_is_passed_over(replicas: Replicas, ask: Ask) -> None:
    client = await replicas.client(*wrong_clocks(replicas, 2), replicas.replica())
    assert await ask(client) == 2


@every_question
@pytest.mark.req("G2-16-1")
async def test_a_caller_whose_clock_is_wrong_hears_it_after_each_was_asked(
    replicas: Replicas, ask: Ask
) -> None:
    wrong = wrong_clocks(replicas, 3)
    client = await replicas.client(*wrong)
    with pytest.raises(DeniedError) as denied:
        await ask(client)
    assert denied.value.code == "REQUEST_EXPIRED"
    assert [one.refused for one in wrong if isinstance(one, WrongClock)] == [1, 1, 1]


@every_question
@pytest.mark.req("G2-16-1")
async def test_a_replica_that_is_away_does_not_hide_that_the_callers_clock_is_wrong(
    replicas: Replicas, ask: Ask
) -> None:
    away, *wrong = wrong_clocks(replicas, 3)
    client = await replicas.client(away, *wrong)
    await away.stop()
    with pytest.raises(DeniedError) as denied:
        await ask(client)
    assert denied.value.code == "REQUEST_EXPIRED"


@pytest.mark.parametrize("submit", [alone, in_a_stream])
@pytest.mark.req("G2-13-2", "G2-16-1")
async def test_a_submission_is_passed_on_too_and_a_caller_with_a_wrong_clock_is_refused(
    replicas: Replicas, submit: Any
) -> None:
    transaction = await report(await replicas.client(replicas.replica()))
    wrong = wrong_clocks(replicas, 2)
    client = await replicas.client(*wrong, replicas.replica())
    assert (await submit(client, transaction)).height == 3
    assert [one.refused for one in wrong if isinstance(one, WrongClock)] >= [1, 1]
    nobody = await replicas.client(*wrong_clocks(replicas, 3))
    with pytest.raises(DeniedError) as denied:
        await submit(nobody, transaction)
    assert denied.value.code == "REQUEST_EXPIRED"


@pytest.mark.parametrize("submit", [alone, in_a_stream])
@pytest.mark.req("G2-13-2")
async def test_what_was_sent_before_the_clocks_were_wrong_may_have_happened(
    replicas: Replicas, submit: Any
) -> None:
    transaction = await report(await replicas.client(replicas.replica()))
    client = await replicas.client(*wrong_clocks(replicas, 2, breaks_off=True))
    with pytest.raises(OutcomeUnknownError):
        await submit(client, transaction)
    assert replicas.chain.header.height == 3, "and it has"
