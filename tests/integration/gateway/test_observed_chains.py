"""Every observed chain is read through one port, whatever kind it is: the same tests for each.

Ours is a real ledger behind a real client; the other one a stand-in node with blocks that our own
code signed. What real nodes of that kind answered is judged in `tests/unit/fisco`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client import reads
from guqiao_sdk.client.proven import verify_transaction
from guqiao_sdk.proof.canonical import Reader
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.execution import verify_execution
from guqiao_sdk.proof.fisco.header import parse_header
from guqiao_sdk.proof.fisco.trusted import check_header
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate, verify_certificate
from guqiao_sdk.proof.json_values import Json, parse_json_strict
from services.chassis.errors import ServiceError
from services.gateway.observed.fisco import FiscoObserved
from services.gateway.observed.follow import follow
from services.gateway.observed.guqiao import GuqiaoObserved
from services.gateway.observed.json_rpc import JsonRpcNodes, Limits
from services.gateway.observed.port import ObservedChain, ObservedHeader
from tests.plugins.fisco_chain import FiscoChain, provider
from tests.plugins.fisco_node import FiscoNode
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains

pytestmark = pytest.mark.req("T2-13", "T2-14")


class Made(Protocol):
    """A chain for these tests, and who reads it."""

    @property
    def observed(self) -> ObservedChain:
        """As the regulator reads it."""

    def grow(self) -> None:
        """One more block, with a transaction."""

    async def restart(self, *, away: bool) -> None:
        """Take its node away, or bring it back."""

    def proven_header(self, proof: bytes) -> bytes:
        """The hash of the header that a kept proof proves, without a network."""

    def proven_transaction(self, header: bytes, proof: bytes) -> tuple[bytes, int]:
        """The transaction, and its place, that kept proofs prove."""


@dataclass
class Ours:
    observed: GuqiaoObserved
    node: LedgerNode

    def grow(self) -> None:
        self.node.chain.call("reports", "report", {"count": 1, "broken": False})

    async def restart(self, *, away: bool) -> None:
        await (self.node.stop() if away else self.node.start())

    def proven_header(self, proof: bytes) -> bytes:
        reader = Reader(proof)
        header = BlockHeader.decode(reader.blob())
        certificate = FinalityCertificate.decode(reader.blob())
        reader.end()
        verify_certificate(header, certificate, self.node.trust.replica_set, KEYS.verify)
        return header.hash()

    def proven_transaction(self, header: bytes, proof: bytes) -> tuple[bytes, int]:
        message = node.GetTransactionResponse.FromString(proof)
        proven = verify_transaction(message, self.node.trust.replica_set, KEYS.verify)
        assert proven.header.hash() == self.proven_header(header)
        return proven.transaction.id(), proven.result.index


@dataclass
class Foreign:
    observed: FiscoObserved
    node: FiscoNode

    def grow(self) -> None:
        self.node.chain.add_block(3)

    async def restart(self, *, away: bool) -> None:
        await (self.node.stop() if away else self.node.start())

    def proven_header(self, proof: bytes) -> bytes:
        certified = parse_header(_json(proof))
        check_header(self.node.chain.trusted(), certified, provider().verify)
        return certified.header.hash()

    def proven_transaction(self, header: bytes, proof: bytes) -> tuple[bytes, int]:
        self.proven_header(header)
        kept = _json(proof)
        assert isinstance(kept, dict)
        proven = verify_execution(
            self.node.chain.trusted(),
            parse_header(_json(header)).header,
            kept["transaction"],
            kept["receipt"],
            provider().verify,
        )
        return proven.transaction.hash(), proven.index


def _json(data: bytes) -> Json:
    return parse_json_strict(data, depth_max=12, size_max=1_000_000)


async def ours(stack: AsyncExitStack) -> Made:
    chain, _ = link_chains()
    served = LedgerNode(chain)
    await served.start()
    stack.push_async_callback(served.stop)
    client = served.client(KEYS.provider, identity_of(chain, KEYS))
    return Ours(GuqiaoObserved(client), served)


async def foreign(stack: AsyncExitStack) -> Made:
    served = FiscoNode(FiscoChain())
    await served.start()
    stack.push_async_callback(served.stop)
    nodes = JsonRpcNodes([served.url], limits=Limits(attempt_seconds=1.0, call_seconds=3.0))
    return Foreign(FiscoObserved(served.chain.trusted(), nodes, provider().verify), served)


@pytest.fixture(params=[ours, foreign], ids=["guqiao", "fisco"])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    make: Callable[[AsyncExitStack], Any] = request.param
    async with AsyncExitStack() as stack:
        chain: Made = await make(stack)
        stack.push_async_callback(chain.observed.close)
        for _ in range(3):
            chain.grow()
        yield chain


async def test_headers_are_linked_and_certified_by_distinct_keys(made: Made) -> None:
    latest = await made.observed.header()
    assert latest.height == 3
    assert await made.observed.header(3) == latest
    before = await made.observed.header(2)
    assert (latest.parent, before.height) == (before.header_hash, 2)
    assert len(set(latest.signers)) == len(latest.signers) >= 3
    assert {len(key) for key in latest.signers} == {64}


async def test_a_transaction_is_found_in_the_list_of_its_block(made: Made) -> None:
    ids = await made.observed.transactions(2)
    assert ids
    for place, transaction_id in enumerate(ids):
        found = await made.observed.transaction(transaction_id)
        assert (found.transaction_id, found.height, found.index) == (transaction_id, 2, place)
        assert found.succeeded
        assert found.sender
        assert found.target
        assert found.body


async def test_what_was_verified_is_kept_and_verified_again_without_a_network(made: Made) -> None:
    header = await made.observed.header(2)
    ids = await made.observed.transactions(2)
    found = await made.observed.transaction(ids[-1])
    await made.restart(away=True)
    assert made.proven_header(header.proof) == header.header_hash
    assert made.proven_transaction(header.proof, found.proof) == (ids[-1], found.index)
    later = header.proof.replace(header.transactions_root, b"\x01" * 32).replace(
        header.transactions_root.hex().encode(), b"01" * 32
    )
    with pytest.raises(ProofError):
        made.proven_header(later)


async def test_the_status_tells_the_height(made: Made) -> None:
    told = await made.observed.status()
    header = await made.observed.header()
    assert (told.height, told.header_hash) == (header.height, header.header_hash)
    assert (told.is_catching_up, told.voters) == (False, 4)


async def test_what_is_not_there_is_refused_by_a_code(made: Made) -> None:
    with pytest.raises(ServiceError) as height:
        await made.observed.header(99)
    with pytest.raises(ServiceError) as transaction:
        await made.observed.transaction(b"\x07" * 32)
    known = ("OBSERVED_ITEM_UNKNOWN", "OBSERVED_NODE_REFUSED")
    assert height.value.code == "OBSERVED_ITEM_UNKNOWN"
    assert transaction.value.code in known


async def test_a_follower_gets_every_block_once_also_after_an_outage(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await made.observed.header(1)
    first = [block async for block in follow(made.observed, known)]
    assert [block.header.height for block in first] == [2, 3]
    assert all(block.transactions for block in first)
    await made.restart(away=True)
    with monkeypatch.context() as hasty:
        hasty.setattr(reads, "CALL_SECONDS", 1.0)
        with pytest.raises(ServiceError) as caught:
            await made.observed.header()
    assert caught.value.code == "OBSERVED_NODE_UNAVAILABLE"
    for _ in range(4):
        made.grow()
    await made.restart(away=False)
    later = [block async for block in follow(made.observed, first[-1].header)]
    assert [block.header.height for block in later] == [4, 5, 6, 7]
    assert [b async for b in follow(made.observed, later[-1].header)] == []


async def test_a_follower_takes_so_many_blocks_at_a_time(made: Made) -> None:
    known = await made.observed.header(1)
    some = [block async for block in follow(made.observed, known, blocks_max=1)]
    assert [block.header.height for block in some] == [2]


async def test_a_block_that_does_not_follow_the_known_one_is_refused(made: Made) -> None:
    known: ObservedHeader = replace(await made.observed.header(1), header_hash=b"\x01" * 32)
    with pytest.raises(ProofError, match="parent"):
        [block async for block in follow(made.observed, known)]


async def test_the_chain_has_the_name_that_is_trusted(made: Made) -> None:
    assert made.observed.chain_id in ("shandong", "chain0/group0")
