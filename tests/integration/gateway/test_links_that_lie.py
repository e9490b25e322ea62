"""Two of three links to a chain tell the same lie: what is proven decides, not how many say it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from services.gateway.observed.fisco import FiscoObserved
from services.gateway.observed.guqiao import GuqiaoObserved
from services.gateway.observed.json_rpc import JsonRpcNodes, Limits
from services.gateway.observed.port import ObservedChain
from tests.plugins.fisco_chain import FiscoChain, hexed, provider
from tests.plugins.fisco_node import FiscoNode
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains

pytestmark = pytest.mark.req("T2-13", "T2-14", "G2-10-2e")

LIARS = 2
HEIGHT = 2
"""What the liars lie about; of the other heights they tell the truth."""


@dataclass
class Links:
    """Links to one chain: `read_over` gives a reader of so many that lie, then so many that do
    not; `lies` counts what the liars told.
    """

    read_over: Callable[[int, int], ObservedChain]
    lies: Callable[[], int]


@dataclass
class LyingNode(LedgerNode):
    """Serves another state root of one block, under the signatures of the true one."""

    lies: int = 0

    async def GetConsensusState(
        self, request: node.GetConsensusStateRequest, context: Any
    ) -> node.GetConsensusStateResponse:
        answer = await super().GetConsensusState(request, context)
        self._forge(answer.certified_header)
        return answer

    async def GetBlock(self, request: node.GetBlockRequest, context: Any) -> node.GetBlockResponse:
        answer = await super().GetBlock(request, context)
        self._forge(answer.block.certified_header)
        return answer

    async def GetTransaction(
        self, request: node.GetTransactionRequest, context: Any
    ) -> node.GetTransactionResponse:
        answer = await super().GetTransaction(request, context)
        self._forge(answer.certified_header)
        return answer

    def _forge(self, certified: ledger_pb2.CertifiedHeader) -> None:
        header = BlockHeader.decode(certified.header)
        if header.height != HEIGHT:
            return
        self.lies += 1
        forged = replace(header, state_root=b"\x01" * 32)
        signatures = FinalityCertificate.decode(certified.certificate).signatures
        certified.header = forged.encode()
        certified.certificate = FinalityCertificate(forged.hash(), signatures).encode()


async def ours(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Links:
    chain, _ = link_chains()
    for _ in range(3):
        chain.call("reports", "report", {"count": 1, "broken": False})
    liars, honest = [LyingNode(chain) for _ in range(LIARS)], LedgerNode(chain)
    for each in (*liars, honest):
        await each.start()
        stack.push_async_callback(each.stop)

    def read_over(lying: int, true: int) -> ObservedChain:
        served = [*liars[:lying], *[honest] * true]
        endpoints = [f"{number}@127.0.0.1:{each.port}" for number, each in enumerate(served)]
        signer = identity_of(chain, KEYS)
        client = ChainClient("shandong", endpoints, signer, honest.trust, KEYS.provider)
        stack.push_async_callback(client.close)
        monkeypatch.setattr(client._endpoints, "_preferred", 0)
        return GuqiaoObserved(client)

    return Links(read_over, lambda: sum(each.lies for each in liars))


async def foreign(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Links:
    chain, told = FiscoChain(), []
    for _ in range(3):
        chain.add_block(2)

    def lie(method: str, result: Any) -> Any:
        if method != "getBlockByNumber" or result["number"] != HEIGHT:
            return result
        told.append(method)
        return {**result, "stateRoot": hexed(b"\x01" * 32)}

    liars, honest = [FiscoNode(chain, spoil=lie) for _ in range(LIARS)], FiscoNode(chain)
    for each in (*liars, honest):
        await each.start()
        stack.push_async_callback(each.stop)

    def read_over(lying: int, true: int) -> ObservedChain:
        urls = [each.url for each in (*liars[:lying], *[honest] * true)]
        nodes = JsonRpcNodes(urls, limits=Limits(attempt_seconds=5.0, call_seconds=20.0))
        return FiscoObserved(chain.trusted(), nodes, provider().verify)

    return Links(read_over, lambda: len(told))


@pytest.fixture(params=[ours, foreign], ids=["guqiao", "fisco"])
async def links(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Links]:
    make: Callable[..., Awaitable[Links]] = request.param
    async with AsyncExitStack() as stack:
        yield await make(stack, monkeypatch)


async def test_g41_one_honest_link_is_believed_against_two_that_tell_the_same_lie(
    links: Links,
) -> None:
    truth = links.read_over(0, 1)
    header, ids = await truth.header(HEIGHT), await truth.transactions(HEIGHT)
    assert links.lies() == 0
    read = links.read_over(LIARS, 1)
    assert await read.header(HEIGHT) == header
    assert links.lies() >= LIARS, "the liars were asked first"
    assert await links.read_over(LIARS, 1).transactions(HEIGHT) == ids
    found = await links.read_over(LIARS, 1).transaction(ids[0])
    assert found == await truth.transaction(ids[0])


async def test_g41_two_links_that_lie_alike_are_believed_by_nobody(links: Links) -> None:
    (name, *_) = await links.read_over(0, 1).transactions(HEIGHT)
    read = links.read_over(LIARS, 0)
    with pytest.raises(ProofError):
        await read.header(HEIGHT)
    with pytest.raises(ProofError):
        await read.transactions(HEIGHT)
    with pytest.raises(ProofError):
        await read.transaction(name)
    assert (await read.header(HEIGHT - 1)).height == HEIGHT - 1
    assert (await read.header(HEIGHT + 1)).height == HEIGHT + 1
