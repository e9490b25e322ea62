"""What a client has at hand for one replica leaves in one message, and messages are bounded."""

from __future__ import annotations

import asyncio

from guqiao_sdk.client import submission
from guqiao_sdk.client.transactions import transaction_from_message
from guqiao_sdk.proof.transaction import SignedTransaction

PAYLOAD_BYTES = 100 * 1024
SIGNATURE = (b"\x04" + bytes(64), bytes(64))


def transaction(number: int) -> SignedTransaction:
    return SignedTransaction(b"%06d" % number + bytes(PAYLOAD_BYTES - 6), (SIGNATURE,), None)


async def test_what_is_at_hand_leaves_together_in_order_and_in_bounded_messages() -> None:
    outgoing: asyncio.Queue[SignedTransaction | None] = asyncio.Queue()
    sent = [transaction(number) for number in range(7)]
    for each in (*sent, None):
        outgoing.put_nowait(each)
    requests = [request async for request in submission._requests(outgoing)]
    assert [len(request.transactions) for request in requests] == [3, 3, 1]
    found = [
        transaction_from_message(each) for request in requests for each in request.transactions
    ]
    assert found == sent


async def test_one_that_is_alone_does_not_wait_for_company() -> None:
    outgoing: asyncio.Queue[SignedTransaction | None] = asyncio.Queue()
    requests = submission._requests(outgoing)
    for number in range(2):
        outgoing.put_nowait(transaction(number))
        async with asyncio.timeout(10):
            assert len((await anext(requests)).transactions) == 1
