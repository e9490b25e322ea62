"""What a client has at hand for one replica leaves in one message, and messages are bounded."""

from __future__ import annotations

import asyncio

from guqiao.consensus.v1 import ledger_pb2, peer_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client import submission
from guqiao_sdk.client.transactions import transaction_from_message
from guqiao_sdk.proof.merkle import MerklePath
from guqiao_sdk.proof.transaction import PAYLOAD_BYTES_MAX, Payload, SignedTransaction
from services.chassis.strict_protobuf import parse_strict
from services.consensus.app import REQUEST_BYTES_MAX
from services.consensus.catch_up import BLOCK_BYTES_ANSWERED_MAX

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


SMALLEST = Payload(
    chain="c",
    maker=("did:rem:a:b", "k"),
    checker=("did:rem:a:c", "k"),
    organisation="did:rem:a",
    request_id="r",
    expires_height=1,
    expires_time_ms=1_700_000_000_000,
    after=None,
    contract="share",
    method="mint",
    business_time=None,
    body={},
).to_bytes()
PATH = MerklePath(999, 1_000, (bytes(32),) * 10)


async def test_the_largest_request_that_a_client_sends_is_taken() -> None:
    outgoing: asyncio.Queue[SignedTransaction | None] = asyncio.Queue()
    small = SignedTransaction(SMALLEST, (SIGNATURE,) * 2, PATH)
    for _ in range(submission.REQUEST_BYTES // len(SMALLEST)):
        outgoing.put_nowait(small)
    outgoing.put_nowait(SignedTransaction(bytes(PAYLOAD_BYTES_MAX), (SIGNATURE,) * 2, PATH))
    outgoing.put_nowait(None)
    [request] = [request async for request in submission._requests(outgoing)]
    data = request.SerializeToString()
    assert 0.9 * REQUEST_BYTES_MAX < len(data) <= REQUEST_BYTES_MAX
    assert parse_strict(node.SubmitTransactionsRequest, data) == request


def test_the_answer_with_the_most_blocks_is_taken() -> None:
    """Blocks of the smallest transactions and receipts, up to the bound of an answer, and one
    more of the most transactions.
    """
    receipt, transaction = bytes(70), SignedTransaction(SMALLEST, (SIGNATURE,)).encode()
    a_block = BLOCK_BYTES_ANSWERED_MAX // 99
    count = a_block // (len(receipt) + len(transaction))
    block, last = (
        ledger_pb2.Block(
            certified_header=ledger_pb2.CertifiedHeader(header=bytes(300), certificate=bytes(300)),
            batch=transaction * each,
            receipts=[receipt] * each,
        )
        for each in (count, 4_000)
    )
    frame = peer_pb2.PeerFrame(block_response=peer_pb2.BlockResponse(blocks=[block] * 99 + [last]))
    assert parse_strict(peer_pb2.PeerFrame, frame.SerializeToString()) == frame
