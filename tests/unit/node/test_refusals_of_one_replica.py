"""A replica that refuses what the others grant moves nobody: nor does it hide what became of a
transaction that it passed on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client import submission
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.submission import Submission
from guqiao_sdk.client.transactions import (
    ChainPosition,
    build_transaction,
    transaction_from_message,
)
from guqiao_sdk.errors import STATUS_METADATA_KEY, DeniedError, GuqiaoError, OutcomeUnknownError
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction
from services.chassis.grpc_server import error_of_code, to_rpc_status
from services.chassis.grpc_server.grpc_errors import grpc_code
from tests.plugins.ledger_node import LedgerNode, identity_of
from tests.plugins.link_lab import KEYS, link_chains

N = 4
Behaviour = Callable[[Any], Any]
"""Answers a request, or raises."""


def status(code: str) -> Any:
    return to_rpc_status(error_of_code(code))


def refusing(code: str) -> Behaviour:
    def refuse(request: Any) -> Any:
        metadata = ((STATUS_METADATA_KEY, status(code).SerializeToString()),)
        raise grpc.aio.AioRpcError(
            grpc_code(status(code)), grpc.aio.Metadata(), grpc.aio.Metadata(*metadata)
        )

    return refuse


def executed(request: node.SubmitTransactionRequest) -> node.SubmitTransactionResponse:
    name = transaction_from_message(request.transaction).id()
    result = ledger_pb2.TransactionResult(
        transaction_id=name, outcome=ledger_pb2.Outcome.ValueType(int(Outcome.APPLIED)), height=7
    )
    return node.SubmitTransactionResponse(transaction_id=name, result=result)


def status_told(request: Any) -> node.GetNetworkStatusResponse:
    return node.GetNetworkStatusResponse(chain_id="shandong", height=5)


@dataclass
class Replicas:
    """Four replicas and a client that asks the first of them first."""

    client: ChainClient
    behaviours: Mapping[int, Behaviour]
    asked: Counter[int] = field(default_factory=Counter)

    def stub(self, index: int) -> Any:
        async def call(request: Any, **options: float) -> Any:
            self.asked[index] += 1
            return self.behaviours[index](request)

        def stream(requests: AsyncIterator[node.SubmitTransactionsRequest]) -> Any:
            return Conversation(self.behaviours[index], requests)

        return SimpleNamespace(
            GetNetworkStatus=call, SubmitTransaction=call, SubmitTransactions=stream
        )


@dataclass
class Conversation:
    """The stream of submissions with one replica."""

    behaviour: Behaviour
    requests: AsyncIterator[node.SubmitTransactionsRequest]

    async def __aiter__(self) -> AsyncIterator[node.SubmitTransactionsResponse]:
        async for request in self.requests:
            answers = [self.answer(each) for each in request.transactions]
            yield node.SubmitTransactionsResponse(answers=answers)

    def answer(self, transaction: ledger_pb2.Transaction) -> node.TransactionAnswer:
        name = transaction_from_message(transaction).id()
        try:
            told = self.behaviour(node.SubmitTransactionRequest(transaction=transaction))
        except grpc.aio.AioRpcError as error:
            status = dict(error.trailing_metadata() or ())[STATUS_METADATA_KEY]
            assert isinstance(status, bytes)
            return node.TransactionAnswer(transaction_id=name, error=status)
        return node.TransactionAnswer(transaction_id=name, result=told.result)

    def cancel(self) -> None: ...


def replicas(monkeypatch: pytest.MonkeyPatch, *behaviours: Behaviour) -> Replicas:
    chain, _ = link_chains()
    signer, trust = identity_of(chain, KEYS), LedgerNode(chain).trust
    endpoints = [f"{number}@127.0.0.1:1" for number in range(len(behaviours))]
    client = ChainClient("shandong", endpoints, signer, trust, KEYS.provider, verify_results=False)
    monkeypatch.setattr(client._endpoints, "_preferred", 0)
    found = Replicas(client, dict(enumerate(behaviours)))
    monkeypatch.setattr(client._endpoints, "stub", found.stub)
    return found


def transaction(client: ChainClient) -> SignedTransaction:
    position = ChainPosition("shandong", 1, bytes(32), 1_700_000_000_000)
    return build_transaction(
        KEYS.provider, client.signer, position, contract="reports", method="report", body={}
    )


async def submitted(found: Replicas, one: SignedTransaction, seconds: float = 30.0) -> Submission:
    async with asyncio.timeout(60):
        [answer] = [each async for each in found.client.submit_many([one], timeout_seconds=seconds)]
    return answer


LIES = ["ROLE_MISSING", "KEY_UNKNOWN", "TRANSACTION_SIGNATURE_INVALID", "METHOD_UNKNOWN"]


@pytest.mark.req("G2-16-1")
@pytest.mark.parametrize("lie", LIES)
async def test_what_one_refuses_the_next_one_gives_and_is_asked_first_from_then_on(
    lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replicas(monkeypatch, refusing(lie), *[status_told] * 3)
    for _ in range(3):
        assert (await found.client.get_status()).height == 5
    assert found.asked == {0: 1, 1: 3}


@pytest.mark.req("G2-16-1")
async def test_what_two_refuse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replicas(monkeypatch, *[refusing("ROLE_MISSING")] * 2, *[status_told] * 2)
    with pytest.raises(DeniedError):
        await found.client.get_status()
    assert found.asked == {0: 1, 1: 1}


async def test_the_only_one_that_is_named_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replicas(monkeypatch, refusing("ROLE_MISSING"))
    with pytest.raises(DeniedError):
        await found.client.get_status()
    one = transaction(found.client)
    assert refused_with(await submitted(found, one)) == "ROLE_MISSING"
    assert found.asked == {0: 1}


def refused_with(submission: Submission) -> str:
    assert submission.error is not None
    return submission.error.code


@pytest.mark.req("G2-13-2")
@pytest.mark.parametrize("lie", LIES)
async def test_a_transaction_that_a_liar_refuses_and_passes_on_has_its_outcome(
    lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as refused, it would be sent anew under another request id, and done twice."""
    found = replicas(monkeypatch, refusing(lie), *[executed] * 3)
    one = transaction(found.client)
    assert (await found.client.submit(one)).height == 7
    monkeypatch.setattr(found.client._endpoints, "_preferred", 0)
    streamed = await submitted(found, one)
    assert streamed.error is None
    assert streamed.result is not None
    assert (streamed.result.transaction_id, streamed.result.height) == (one.id(), 7)


@pytest.mark.req("G2-13-2")
async def test_what_all_refuse_is_told_as_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replicas(monkeypatch, *[refusing("TRANSACTION_SIGNATURE_INVALID")] * N)
    one = transaction(found.client)
    with pytest.raises(GuqiaoError) as refused:
        await found.client.submit(one)
    assert refused.value.code == "TRANSACTION_SIGNATURE_INVALID"
    assert refused_with(await submitted(found, one)) == "TRANSACTION_SIGNATURE_INVALID"


@pytest.mark.req("G2-13-2")
async def test_what_one_refused_while_the_others_were_away_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = refusing("CHAIN_UNAVAILABLE")
    found = replicas(monkeypatch, refusing("TRANSACTION_SIGNATURE_INVALID"), *[away] * 3)
    one = transaction(found.client)
    submission = await submitted(found, one, seconds=1.0)
    assert isinstance(submission.error, OutcomeUnknownError)
    with pytest.raises(OutcomeUnknownError):
        await found.client.submit(one, timeout_seconds=1.0)


def nonsense(request: Any) -> node.SubmitTransactionResponse:
    """A result with a detail that is no JSON."""
    told = executed(request)
    told.result.detail = b"{"
    return told


def unreadable(request: Any) -> Any:
    """A refusal whose status is no status."""
    metadata = grpc.aio.Metadata((STATUS_METADATA_KEY, b"\xff\xff"))
    raise grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, grpc.aio.Metadata(), metadata)


@pytest.mark.req("G2-13-2", "G2-16-1")
@pytest.mark.parametrize("lie", [nonsense, unreadable])
async def test_an_answer_that_makes_no_sense_ends_no_run(
    lie: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica is asked: one liar would end the import of every client otherwise."""
    monkeypatch.setattr(submission, "RECONNECT_SECONDS", 0.0)
    found = replicas(monkeypatch, lie, *[executed] * 3)
    streamed = await submitted(found, transaction(found.client))
    assert streamed.error is None
    assert streamed.result is not None
    assert streamed.result.height == 7
