"""Blocks and batches that replicas ask one another for: answers to peers, and theirs to us.

Nothing of an answer is believed: a block counts by its certificate, a batch by the digest that was
asked for. Requests wait in bounded queues, a peer's excess is dropped, and what they cost is the
peer's (`Answering`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Final, TypeVar

from guqiao.consensus.v1 import peer_pb2
from guqiao_sdk.client.blocks import VerifiedBlock
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.header import Verify
from services.consensus import wire
from services.consensus.answering import Answering
from services.consensus.catch_up import blocks_answer, verified_blocks
from services.consensus.domain.ledger.admission import AdmittedTransaction, read_transaction
from services.consensus.domain.messages import (
    BatchFetched,
    Digest,
    PeerHeight,
    ReplicaId,
    SequenceNumber,
)
from services.consensus.driver import Driver
from services.consensus.fair_queue import FairQueue
from services.consensus.ledger import Ledger
from services.consensus.peers import Links
from services.consensus.refusals import Reason, Refusals
from services.consensus.repair import Repairs

PEER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of each kind of frame, what waits of one peer: at least one frame, whatever its size."""
PEER_BATCHES_MAX: Final = 2

Frame = peer_pb2.BlockRequest | peer_pb2.BlockResponse | peer_pb2.BatchRequest

T = TypeVar("T")


class Exchange:
    """See the module. `run` lasts until it is cancelled."""

    def __init__(
        self,
        *,
        driver: Driver,
        ledger: Ledger,
        links: Links,
        refusals: Refusals,
        repairs: Repairs,
        verify: Verify,
    ) -> None:
        self._driver = driver
        self._ledger = ledger
        self._links = links
        self._refusals = refusals
        self._repairs = repairs
        self._verify = verify
        self._batches: FairQueue[peer_pb2.BatchResponse] = _queue(PEER_BATCHES_MAX)
        self._batch_requests: Answering[peer_pb2.BatchRequest] = Answering(
            lambda request: (request.sequence, request.digest)
        )
        self._block_requests: Answering[peer_pb2.BlockRequest] = Answering(
            lambda request: (request.from_height, request.to_height)
        )
        self._block_responses: FairQueue[peer_pb2.BlockResponse] = _queue(1)

    async def run(self) -> None:
        """Answer, and take answers, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._batch_loop())
            tasks.create_task(self._batch_answering_loop())
            tasks.create_task(self._block_answering_loop())
            tasks.create_task(self._block_taking_loop())

    def on_frame(self, sender: int, frame: Frame, size: int) -> None:
        """A peer asks or answers. Must not block."""
        match frame:
            case peer_pb2.BlockRequest():
                dropped = self._block_requests.put(sender, frame)
            case peer_pb2.BlockResponse():
                dropped = self._block_responses.put(sender, frame, size)
            case peer_pb2.BatchRequest():
                dropped = self._batch_requests.put(sender, frame)
        self._refusals.count(sender, Reason.FLOOD, times=dropped)

    def put_batch(self, sender: int, response: peer_pb2.BatchResponse, size: int) -> None:
        """A peer answers with a batch, in a frame of `size` bytes. Must not block."""
        dropped = self._batches.put(sender, response, size)
        self._refusals.count(sender, Reason.FLOOD, times=dropped)

    # --- Batches -----------------------------------------------------------------------------

    async def _batch_answering_loop(self) -> None:
        while True:
            sender, request = await self._batch_requests.take()
            frame = self._batch_requests.metered(sender, functools.partial(self._batch, request))()
            if frame is not None:
                self._batch_requests.note_sent(sender, len(frame))
                self._links.send(sender, frame)
            await asyncio.sleep(0)  # Taking never waits while a peer floods.

    def _batch(self, request: peer_pb2.BatchRequest) -> bytes | None:
        batch = self._driver.replica.batch(Digest(request.digest))
        return None if batch is None else wire.batch_response_frame(request.sequence, batch)

    async def _batch_loop(self) -> None:
        """Only the batch that was asked for goes on: nobody signs such an answer."""
        while True:
            for sender, response in await self._batches.take(1):
                wanted = self._driver.wanted_batch(SequenceNumber(response.sequence))
                if wanted is None:
                    self._refusals.count(sender, Reason.UNASKED)
                else:
                    await self._take_batch(sender, response, wanted)
            await asyncio.sleep(0)

    async def _take_batch(
        self, sender: int, response: peer_pb2.BatchResponse, wanted: Digest
    ) -> None:
        try:
            read = await self._ledger.read(functools.partial(_read, response, wanted))
        except MalformedError as error:
            self._refusals.count(sender, Reason.MALFORMED, str(error))
            return
        if read is None:
            self._refusals.count(sender, Reason.UNASKED)
        else:
            self._driver.put_fetched(*read)

    # --- Blocks ------------------------------------------------------------------------------

    async def _block_answering_loop(self) -> None:
        while True:
            sender, request = await self._block_requests.take()
            await self._answer_blocks(sender, request)

    async def _answer_blocks(self, sender: int, request: peer_pb2.BlockRequest) -> None:
        def answer() -> bytes | None:
            certified = self._ledger.store.last_certified
            return blocks_answer(request, self._ledger.block_message, certified)

        frame = await self._ledger.read(self._block_requests.metered(sender, answer))
        if frame is not None:
            self._block_requests.note_sent(sender, len(frame))
            self._links.send(sender, frame, droppable=True)

    async def _block_taking_loop(self) -> None:
        while True:
            for sender, response in await self._block_responses.take(1):
                await self._take_blocks(sender, response)
                await self._repairs.take(sender, response)

    async def _take_blocks(self, sender: int, response: peer_pb2.BlockResponse) -> None:
        due = self._driver.due_block
        if due is None:  # What is not asked for is written least of all where the disk is full.
            self._refusals.count(sender, Reason.UNREADY)
            return
        faults: list[str] = []
        verify = functools.partial(self._verified, response, due, faults.append)
        blocks = await self._ledger.read(verify)
        for fault in faults:
            self._refusals.count(sender, Reason.UNPROVEN, fault)
        if blocks:
            height = SequenceNumber(response.last_certified_height)
            self._driver.put_own(PeerHeight(ReplicaId(sender), height))
            self._driver.offer_blocks(blocks)

    def _verified(
        self, response: peer_pb2.BlockResponse, due: int, refuse: Callable[[str], None]
    ) -> list[VerifiedBlock]:
        """The blocks from `due` on, as far as they hold against our own sets; `refuse` is told why
        the next does not.
        """
        return verified_blocks(response, due, self._ledger.set_at, self._verify, refuse)


def _read(
    response: peer_pb2.BatchResponse, wanted: Digest
) -> tuple[BatchFetched, list[AdmittedTransaction]] | None:
    """The batch of this digest and what it holds; None where it is another one."""
    fetched = wire.read_batch(response)
    if fetched.batch.digest() != wanted:
        return None
    return fetched, [read_transaction(encoded) for encoded in fetched.batch.transactions]


def _queue(count_max: int) -> FairQueue[T]:
    return FairQueue(count_max=count_max, bytes_max=PEER_BYTES_MAX)
