"""Payloads that cost much to read and nothing to make: who sends them delays nobody, and is slowed.

An unsigned JSON list of empty objects, which took a second of a processor for each 2.5 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.rpc import status_pb2

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import transaction_to_message
from guqiao_sdk.errors import error_from_status
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.grpc_server import Caller
from services.consensus import api, credit, offered, wire
from services.consensus.domain.ledger.admission import PAYLOAD_VALUES_MAX
from services.consensus.refusals import Reason
from tests.integration.node.memory_chain import Member, MemoryChain
from tests.integration.node.test_driver_in_memory import APPLIED, submit, transaction
from tests.integration.node.test_flood_of_one_peer import LIAR, counted, three
from tests.integration.node.test_overload import api_of
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

PAYLOAD_BYTES = 1_000_000
KEY = b"\x04" + bytes(64)
CALLER = Caller("did:rem:test:client", "k1", "did:rem:test:broker", frozenset())


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture(autouse=True)
def one_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard, which says who calls, is not before the node RPC here."""
    monkeypatch.setattr(api, "caller", lambda: CALLER)


def costly(number: int, objects: int) -> SignedTransaction:
    """A list of empty objects, behind white space up to PAYLOAD_BYTES."""
    payload = (b"[%d" % number + b",{}" * objects + b"]").rjust(PAYLOAD_BYTES)
    return SignedTransaction(payload, ((KEY, bytes(64)),))


READ = PAYLOAD_VALUES_MAX // 2 - 1_000
"""As many as are read."""
UNREAD = PAYLOAD_BYTES // 3 - 1_000


def without_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first refusal a source rests for longer than any test."""
    monkeypatch.setattr(offered, "CREDIT_SECONDS", 0.0)
    monkeypatch.setattr(credit, "SHARE", 1e-6)


async def answers_of(member: Member, entries: list[SignedTransaction]) -> list[str]:
    """The codes that one stream of a client is answered."""

    async def requests() -> AsyncIterator[node.SubmitTransactionsRequest]:
        for entry in entries:
            messages: list[ledger_pb2.Transaction] = [transaction_to_message(entry)]
            yield node.SubmitTransactionsRequest(transactions=messages)

    found: list[str] = []
    async for response in api_of(member).SubmitTransactions(requests(), None):
        for answer in response.answers:
            found.append(error_from_status(status_pb2.Status.FromString(answer.error)).code)
    return found


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_clients_costly_payloads_are_refused_unread_while_others_go_on(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    members = [await chain.start(number) for number in range(4)]
    entries = [costly(number, UNREAD) for number in range(12)]
    flooding = asyncio.gather(*(answers_of(members[number], entries) for number in (1, 2)))
    for number in range(3):
        entry = transaction(network, f"honest{number}")
        assert (await submit(members[number], entry)).outcome == APPLIED
    assert await flooding == [["TRANSACTION_TOO_LARGE"] * len(entries)] * 2


@pytest.mark.req("G2-07-1", "G2-13-2")
async def test_a_client_whose_refusals_cost_too_much_waits_and_the_others_go_on(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_credit(monkeypatch)
    members = [await chain.start(number) for number in range(4)]
    entries = [costly(number, READ) for number in range(12)]
    flooding = asyncio.ensure_future(answers_of(members[1], entries))
    queue = members[1].intake.transactions._offered
    await chain.wait_for(lambda: queue._credits.rest(CALLER.organisation) > 0)
    for number in range(3):
        entry = transaction(network, f"honest{number}")
        assert (await submit(members[1], entry)).outcome == APPLIED
    assert not flooding.done()
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


@pytest.mark.req("G2-07-1", "G2-16-4")
@pytest.mark.parametrize("objects", [UNREAD, READ])
async def test_a_traitor_that_passes_on_costly_payloads_is_counted_and_slowed(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    without_credit(monkeypatch)
    members = await three(chain, network)
    for number in range(12):
        frame = wire.gossip_frame([costly(number, objects).encode()])
        for member in members[:2]:
            member.intake.on_frame(LIAR, frame)
    queue = members[1].intake.transactions._offered
    await chain.wait_for(lambda: queue._credits.rest(LIAR) > 0)
    for number in range(3):
        entry = transaction(network, f"honest{number}")
        assert (await submit(members[number], entry)).outcome == APPLIED
    await chain.wait_for(lambda: counted(members[1])[LIAR, Reason.INADMISSIBLE] > 0)
    assert counted(members[1])[LIAR, Reason.INADMISSIBLE] == 1
