"""Above what it can do, a replica says so: RESOURCE_EXHAUSTED and when to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import transaction_to_message
from guqiao_sdk.errors import ExhaustedError as ClientExhaustedError
from guqiao_sdk.errors import error_from_status
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.errors import ExhaustedError, InvalidError, UnavailableError
from services.chassis.grpc_server import Caller, RpcRefusals
from services.chassis.grpc_server.grpc_errors import to_rpc_status
from services.consensus import api, offered, wire
from services.consensus.api import NodeApi
from services.consensus.jobs import Pause
from services.consensus.pacing import AdmissionLimit
from tests.integration.node.memory_chain import Member, MemoryChain, memory_chain
from tests.integration.node.test_driver_in_memory import submit, transaction
from tests.plugins.chain_network import PARAMETERS, ChainNetwork

ROOM = 3


@pytest.fixture
def network(tmp_path: Path) -> ChainNetwork:
    parameters = {**PARAMETERS, "heartbeat_ms": 60_000}
    return ChainNetwork.create(tmp_path / "network", parameters=parameters)


@pytest.fixture
async def chain(
    network: ChainNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MemoryChain]:
    """One backup alone: nothing is ordered, so what it admits waits."""
    monkeypatch.setattr(AdmissionLimit, "value", ROOM)
    async with memory_chain(tmp_path / "data", network.genesis, network.vote_keys) as chain:
        await chain.start(1)
        yield chain


@pytest.mark.req("G2-13-2")
async def test_a_client_above_the_limit_is_told_to_come_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member = chain.members[1]
    for number in range(ROOM):
        await member.submissions.submit(transaction(network, f"in{number}"), wait_final=False)
    with pytest.raises(ExhaustedError) as refused:
        await member.submissions.submit(transaction(network, "out"), wait_final=False)
    status = to_rpc_status(refused.value)
    hint = error_details_pb2.RetryInfo()
    assert (refused.value.code, status.code) == ("QUEUE_FULL", code_pb2.RESOURCE_EXHAUSTED)
    assert any(detail.Unpack(hint) for detail in status.details)
    assert hint.retry_delay.ToMilliseconds() > 0
    assert len(member.driver.mempool) == ROOM


@pytest.mark.req("G2-13-2")
async def test_room_lets_the_refused_transaction_in(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member = chain.members[1]
    entries = [transaction(network, f"in{number}") for number in range(ROOM + 1)]
    for entry in entries[:ROOM]:
        await member.submissions.submit(entry, wait_final=False)
    with pytest.raises(ExhaustedError):
        await member.submissions.submit(entries[ROOM], wait_final=False)
    member.driver.mempool.remove([entries[0].id()])
    await member.submissions.submit(entries[ROOM], wait_final=False)
    assert entries[ROOM].id() in member.driver.mempool


@pytest.mark.req("G2-13-2")
async def test_a_client_that_keeps_too_many_bytes_waiting_is_told_to_come_again(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be judged is bounded before anybody knows whether it is worth anything."""
    member, entry = chain.members[1], transaction(network, "in")
    monkeypatch.setattr(offered, "CLIENT_BYTES_MAX", len(entry.encode()) - 1)
    with pytest.raises(ExhaustedError, match="QUEUE_FULL"):
        await member.submissions.submit(entry, wait_final=False, client="broker")
    monkeypatch.setattr(offered, "CLIENT_BYTES_MAX", len(entry.encode()))
    await member.submissions.submit(entry, wait_final=False, client="broker")
    assert entry.id() in member.driver.mempool


CALLER = Caller("did:rem:test:client", "k1", "did:rem:test:broker", frozenset())


@pytest.fixture(autouse=True)
def one_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard, which says who calls, is not before the node RPC here."""
    monkeypatch.setattr(api, "caller", lambda: CALLER)


def api_of(member: Member) -> NodeApi:
    """Its node RPC."""
    links = member.repairs._links
    return NodeApi(
        member.submissions,
        member.ledger,
        member.driver,
        member.finality,
        links,
        (),
        "1",
        RpcRefusals(member.metrics),
    )


async def stream_of(
    member: Member, entries: Sequence[SignedTransaction]
) -> AsyncIterator[node.TransactionAnswer]:
    """The answers to these on one stream of the node RPC, each in a message of its own."""

    async def requests() -> AsyncIterator[node.SubmitTransactionsRequest]:
        for entry in entries:
            yield node.SubmitTransactionsRequest(transactions=[transaction_to_message(entry)])

    async for response in api_of(member).SubmitTransactions(requests(), None):
        for answer in response.answers:
            yield answer


@pytest.mark.req("G2-13-2")
async def test_on_a_stream_each_is_refused_by_its_id_and_told_when_to_come_again(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    member = chain.members[1]
    for number in range(ROOM):
        await member.submissions.submit(transaction(network, f"in{number}"), wait_final=False)
    entries = [transaction(network, f"out{number}") for number in range(3)]
    answers = [answer async for answer in stream_of(member, entries)]
    assert [answer.transaction_id for answer in answers] == [entry.id() for entry in entries]
    for answer in answers:
        error = error_from_status(status_pb2.Status.FromString(answer.error))
        assert isinstance(error, ClientExhaustedError)
        assert (error.code, error.fields["pending"]) == ("QUEUE_FULL", str(ROOM))
        assert error.retry_after_seconds is not None
    assert len(member.driver.mempool) == ROOM
    counted = b'refusals_total{code="QUEUE_FULL",organisation="did:rem:test:broker"} 3.0'
    assert counted in member.metrics.render()


@pytest.mark.req("G2-13-2")
async def test_a_stream_is_read_slowly_while_nothing_more_is_let_in(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flow control holds its client back; to refuse each item at once would cost more than that."""
    monkeypatch.setattr(AdmissionLimit, "value", 0)
    monkeypatch.setattr(api, "REFUSED_PAUSE_SECONDS", 3_600.0)
    answers = stream_of(chain.members[1], [transaction(network, "a"), transaction(network, "b")])
    assert (await anext(answers)).WhichOneof("answer") == "error"
    later = asyncio.ensure_future(anext(answers))
    done, _ = await asyncio.wait([later], timeout=0.2)
    assert not done
    later.cancel()


async def test_who_reads_no_answers_is_read_no_further_than_a_stream_may_hold(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that waits for the client to read is bounded by what he may have in flight."""
    monkeypatch.setattr(AdmissionLimit, "value", 0)
    monkeypatch.setattr(api, "STREAM_IN_FLIGHT_MAX", 3)
    monkeypatch.setattr(api, "ANSWERS_AT_ONCE_MAX", 1)
    monkeypatch.setattr(api, "REFUSED_PAUSE_SECONDS", 0.0)
    message = transaction_to_message(transaction(network, "again and again"))
    read: list[int] = []

    async def requests() -> AsyncIterator[node.SubmitTransactionsRequest]:
        for number in range(50):
            read.append(number)
            yield node.SubmitTransactionsRequest(transactions=[message])

    answers = api_of(chain.members[1]).SubmitTransactions(requests(), None)
    await anext(answers)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(read) <= 3 + 2, "one was answered, and one waits for room"
    assert len([each async for each in answers]) == 49


async def test_items_of_one_message_are_answered_each_and_together(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdmissionLimit, "value", 0)
    count = api.ANSWERS_AT_ONCE_MAX + 1
    entries = [transaction(network, f"t{number}") for number in range(count)]
    request = node.SubmitTransactionsRequest(transactions=map(transaction_to_message, entries))

    async def requests() -> AsyncIterator[node.SubmitTransactionsRequest]:
        yield request

    responses = [
        each async for each in api_of(chain.members[1]).SubmitTransactions(requests(), None)
    ]
    assert [len(response.answers) for response in responses] == [count - 1, 1]
    told = [answer.transaction_id for response in responses for answer in response.answers]
    assert told == [entry.id() for entry in entries]


@pytest.mark.req("G2-13-2", "G2-07-1")
async def test_what_is_final_is_answered_although_nothing_more_is_let_in(
    tmp_path: Path, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever repeats what was lost on the way must not be refused for others' load."""
    final, fresh = (transaction(network, name) for name in ("final", "fresh"))
    async with memory_chain(tmp_path / "whole", network.genesis, network.vote_keys) as chain:
        members = [await chain.start(number) for number in range(4)]
        await submit(members[0], final)
        monkeypatch.setattr(AdmissionLimit, "value", 0)
        answers = {
            answer.transaction_id: answer.WhichOneof("answer")
            async for answer in stream_of(members[0], [fresh, final])
        }
    assert answers == {fresh.id(): "error", final.id(): "result"}


@pytest.mark.req("G2-13-2")
async def test_what_is_final_in_a_block_that_cannot_be_read_ends_no_stream(
    tmp_path: Path, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is no room, too: that one is told so, and the others of the stream as ever."""
    final, fresh = (transaction(network, name) for name in ("final", "fresh"))
    async with memory_chain(tmp_path / "whole", network.genesis, network.vote_keys) as chain:
        members = [await chain.start(number) for number in range(4)]
        await submit(members[0], final)
        monkeypatch.setattr(AdmissionLimit, "value", 0)
        read = members[0].ledger.final_result

        def is_away(transaction_id: bytes) -> ledger_pb2.TransactionResult | None:
            if transaction_id == final.id():
                raise UnavailableError("SEGMENT_ARCHIVED", segment="00000001.seg")
            return read(transaction_id)

        monkeypatch.setattr(type(members[0].ledger), "final_result", lambda _, key: is_away(key))
        told = [answer async for answer in stream_of(members[0], [final, fresh])]
    codes = {
        answer.transaction_id: error_from_status(status_pb2.Status.FromString(answer.error)).code
        for answer in told
    }
    assert codes == {final.id(): "SEGMENT_ARCHIVED", fresh.id(): "QUEUE_FULL"}


async def test_a_paused_replica_says_so_and_not_that_it_is_full(
    chain: MemoryChain, network: ChainNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = chain.members[1]
    monkeypatch.setattr(AdmissionLimit, "value", 0)
    member.driver.pause = Pause.RESTORING
    [answer] = [answer async for answer in stream_of(member, [transaction(network, "one")])]
    error = error_from_status(status_pb2.Status.FromString(answer.error))
    assert error.code == "CHAIN_NOT_CAUGHT_UP"


async def test_requests_that_cannot_be_read_end_the_stream_with_their_error(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    async def broken() -> AsyncIterator[node.SubmitTransactionsRequest]:
        yield node.SubmitTransactionsRequest()
        raise InvalidError("REQUEST_MALFORMED")

    with pytest.raises(ExceptionGroup) as raised:
        async for _ in api_of(chain.members[1]).SubmitTransactions(broken(), None):
            pass
    assert raised.group_contains(InvalidError)


async def test_what_another_replica_admitted_is_taken_in_above_the_limit(
    chain: MemoryChain, network: ChainNetwork
) -> None:
    passed_on = [transaction(network, f"peer{number}") for number in range(ROOM + 2)]
    chain.deliver(2, 1, wire.gossip_frame([entry.encode() for entry in passed_on]))
    mempool = chain.members[1].driver.mempool
    await chain.wait_for(lambda: all(entry.id() in mempool for entry in passed_on))
