"""An operation that follows one of long ago: the chain no longer knows that one, and need not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from guqiao.consensus.v1 import ledger_pb2
from guqiao.registry.v1 import registry_service_pb2 as pb
from guqiao_sdk.client import operations
from guqiao_sdk.client.operations import Answer, Operation, OperationPipeline
from guqiao_sdk.client.transactions import ChainPosition, Identity, transaction_from_message
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.transaction import EXPIRY_HEIGHTS_MAX, parse_payload

PROVIDER = open_provider()
MAKER = Identity("did:rem:shandong:1", "k1", "did:rem:shandong:2", PROVIDER.keygen())
ATTEMPTS_MAX = 3


def operation(number: int) -> Operation:
    request_id = f"{number:08}-0000-4000-8000-000000000000"
    return Operation(request_id, "open_account", {"a": 1}, "2025-09-01T10:00:00+08:00", MAKER)


class Registry:
    """Executes each operation in a block of its own, by the chain's rule for `after`."""

    def __init__(self) -> None:
        self.height = 0
        self.attempts: list[bytes | None] = []
        self._executed: dict[bytes, int] = {}

    async def position(self) -> ChainPosition:
        return ChainPosition("shandong", self.height, b"", 1_700_000_000_000)

    def SubmitOperations(self, requests: AsyncIterator[Any]) -> Any:
        return Call(self, requests)

    def execute(self, request: Any) -> pb.SubmitOperationsResponse:
        assert len(self.attempts) < ATTEMPTS_MAX, "it would be tried until the time is up"
        self.height += 1
        transaction = transaction_from_message(request.transaction)
        after = parse_payload(transaction.payload).after
        self.attempts.append(after)
        result = ledger_pb2.TransactionResult(
            transaction_id=transaction.id(), outcome=ledger_pb2.OUTCOME_APPLIED, height=self.height
        )
        if after is None or self._knows(after):
            self._executed[transaction.id()] = self.height
        else:
            result.outcome, result.code = ledger_pb2.OUTCOME_REFUSED, "PREDECESSOR_MISSING"
        return pb.SubmitOperationsResponse(item=request.item, result=result)

    def _knows(self, transaction_id: bytes) -> bool:
        executed = self._executed.get(transaction_id)
        return executed is not None and self.height - executed <= EXPIRY_HEIGHTS_MAX + 1


class Call:
    """One stream of operations."""

    def __init__(self, registry: Registry, requests: AsyncIterator[Any]) -> None:
        self._registry, self._requests = registry, requests

    def cancel(self) -> None:
        """The pipeline ends every call that it made."""

    async def __aiter__(self) -> AsyncIterator[pb.SubmitOperationsResponse]:
        async for request in self._requests:
            yield self._registry.execute(request)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "RETRY_DELAY_SECONDS", 0.0)


async def after_a_pause(heights: int) -> list[bytes | None]:
    """What two operations named as the one before them; others make blocks in between."""
    registry, answers = Registry(), dict[int, Answer]()
    stub: Any = registry
    pipeline = OperationPipeline(stub, PROVIDER, registry.position, frozenset({"open_account"}))
    for number in range(2):
        await pipeline.run([operation(number)], answers.__setitem__)
        assert answers.pop(0).code == ""
        registry.height += heights
    return registry.attempts


async def test_what_comes_soon_names_the_one_before_it() -> None:
    first, second = await after_a_pause(EXPIRY_HEIGHTS_MAX - 1)
    assert first is None
    assert second is not None


@pytest.mark.parametrize("beyond", [0, 1, 2, 1_000])
async def test_what_comes_when_the_chain_has_forgotten_the_one_before_it_names_nothing(
    beyond: int,
) -> None:
    assert await after_a_pause(EXPIRY_HEIGHTS_MAX + beyond) == [None, None]
