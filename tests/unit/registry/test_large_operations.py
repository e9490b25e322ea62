"""Operations of any size through the pipeline: what fits no transaction is said beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from guqiao_sdk.client.operations import (
    IN_FLIGHT_MAX,
    SLOT_BYTES,
    Operation,
    OperationError,
    OperationPipeline,
)
from guqiao_sdk.client.transactions import ChainPosition, Identity, build_transaction
from guqiao_sdk.gm.provider import open_provider
from guqiao_sdk.proof.transaction import BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, parse_payload

PROVIDER = open_provider()
MAKER = Identity(
    "did:rem:shandong:" + "9" * 64, "k" * 32, "did:rem:shandong:" + "9" * 64, PROVIDER.keygen()
)
BODY_BYTES = len('{"text":""}')


def operation(body_bytes: int) -> Operation:
    body: dict[str, Any] = {"text": "x" * (body_bytes - BODY_BYTES)}
    return Operation("0" * 36, "m" * 64, body, "2025-09-01T10:00:00+08:00", MAKER)


class Unused:
    """Nothing may be sent."""

    def SubmitOperations(self, requests: Any) -> Any:
        raise AssertionError("sent")


async def nowhere() -> ChainPosition:
    raise AssertionError("asked")


def pipeline() -> OperationPipeline:
    stub: Any = Unused()
    return OperationPipeline(stub, PROVIDER, nowhere, frozenset({"open_account"}))


async def test_a_body_that_fits_no_transaction_is_named_before_anything_is_sent() -> None:
    too_large = operation(BODY_BYTES_MAX + 1)
    with pytest.raises(OperationError) as refused:
        await pipeline().run([operation(100), too_large], lambda index, answer: None)
    assert (refused.value.code, refused.value.index) == ("TRANSACTION_TOO_LARGE", 1)


async def test_the_largest_body_fits_a_transaction_with_everything_around_it() -> None:
    largest = operation(BODY_BYTES_MAX)
    with pytest.raises(AssertionError, match="asked"):
        await pipeline().run([largest], lambda index, answer: None)
    transaction = build_transaction(
        PROVIDER,
        MAKER,
        ChainPosition("s" * 32, (1 << 53) - 2_000, b"", (1 << 53) - 10_000_000),
        contract="c" * 64,
        method=largest.method,
        body=largest.body,
        request_id="01234567-0123-0123-0123-0123456789ab",
        business_time=largest.business_time,
        after=bytes(32),
    )
    assert len(transaction.payload) <= PAYLOAD_BYTES_MAX
    parse_payload(transaction.payload)
    assert PAYLOAD_BYTES_MAX // SLOT_BYTES < IN_FLIGHT_MAX, "the largest finds its places"
