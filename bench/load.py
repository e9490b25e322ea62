"""The driver: pre-signed transactions over one gRPC stream a replica, and when each was final.

Closed loop: a fixed number is in flight. Open loop: transactions leave at a fixed rate, whatever
becomes of them, and what a replica refuses comes again after the time that it asked for. The driver
verifies nothing meanwhile: a client's verification is measured apart.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
from google.rpc import status_pb2

from bench.signing import Signed
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import error_from_status
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.signing import STREAM_OPENING, RequestSigner

METHOD: Final = "/guqiao.consensus.v1.NodeService/SubmitTransactions"
PACE_SECONDS: Final = 0.01
SENT_AT_ONCE_MAX: Final = 16
"""Transactions in one message, where so many may leave at once."""
DRAIN_SECONDS_MAX: Final = 20.0
NOT_RETRIED: Final = ", not retried"


@dataclass(frozen=True, slots=True)
class FinalTransaction:
    """A transaction whose effects became final: when it was sent first, when last, after which no
    replica refused it, when the answer came, and where.
    """

    transaction_id: bytes
    sent: float
    admitted: float
    answered: float
    height: int


@dataclass(slots=True)
class Tally:
    """What became of the transactions of one run: only those that were applied are in `finals`. By
    code: how often admission refused one, and how many stand in a block without an effect.
    """

    finals: list[FinalTransaction] = field(default_factory=list)
    sent: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    not_applied: Counter[str] = field(default_factory=Counter)
    broken_streams: int = 0


class Stream:
    """One conversation with one replica."""

    def __init__(self, load: Load, replica: int, call: Any) -> None:
        self._load = load
        self._call = call
        self.replica = replica
        self.in_flight: dict[bytes, Signed] = {}
        self.is_open = True

    async def send(self, items: Sequence[Signed]) -> None:
        """Submit in one message; a broken stream leaves the items to whoever repeats them."""
        now = asyncio.get_running_loop().time()
        for item in items:
            self._load.first_sent.setdefault(item.id, now)
            self._load.last_sent[item.id] = now
            self.in_flight[item.id] = item
        self._load.tally.sent += len(items)
        await self._call.write(b"".join(item.request for item in items))

    async def read_all(self) -> None:
        """Take answers until the stream ends."""
        try:
            while (raw := await self._call.read()) is not grpc.aio.EOF:
                for answer in node.SubmitTransactionsResponse.FromString(raw).answers:
                    item = self.in_flight.pop(answer.transaction_id, None)
                    if item is not None:
                        self._load.take(item, answer)
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass
        self.is_open = False
        self._load.lose(self)

    def cancel(self) -> None:
        """End the conversation."""
        self._call.cancel()


class Load:
    """One run against one set of replicas. Use `closed_loop` or `open_loop` once."""

    def __init__(
        self,
        chain_id: str,
        targets: Sequence[tuple[int, str]],
        identity: Identity,
        provider: GmProvider,
        items: Sequence[Signed],
        *,
        in_a_row: int = 1,
    ) -> None:
        self.tally = Tally()
        self.first_sent: dict[bytes, float] = {}
        self.last_sent: dict[bytes, float] = {}
        self._chain_id = chain_id
        self._targets = targets
        self._identity = identity
        self._provider = provider
        self._items = deque(items)
        self._in_a_row = in_a_row
        self._channels: list[grpc.aio.Channel] = []
        self._streams: list[Stream] = []
        self._readers: list[asyncio.Task[None]] = []
        self._room = asyncio.Semaphore(0)
        self._stopped = False

    @property
    def left(self) -> int:
        """How many transactions were not sent yet."""
        return len(self._items)

    async def closed_loop(
        self, window: int, seconds: float, during: Callable[[], Awaitable[None]] | None = None
    ) -> Tally:
        """Keep `window` transactions in flight, evenly over the replicas."""
        await self._open()
        self._room = asyncio.Semaphore(window)
        sender = asyncio.ensure_future(self._send_with_room())
        work = asyncio.ensure_future(during()) if during is not None else None
        await asyncio.sleep(seconds)
        if work is not None:
            await work
        await self._finish([sender])
        return self.tally

    async def until_done(self, window: int) -> Tally:
        """Submit everything with `window` in flight, and wait for all of it."""
        await self._open()
        self._room = asyncio.Semaphore(window)
        await self._send_with_room()
        await self._finish([])
        return self.tally

    async def one_by_one(self, pause_seconds: float) -> Tally:
        """Submit one, wait for it, pause; each replica in turn."""
        await self._open()
        self._room = asyncio.Semaphore(1)
        for number, item in enumerate(self._items):
            await self._room.acquire()
            await asyncio.sleep(pause_seconds)
            await self._streams[number % len(self._streams)].send([item])
        await self._finish([])
        return self.tally

    async def open_loop(self, rate: float, seconds: float) -> Tally:
        """Send `rate` transactions a second, a share to each replica."""
        await self._open()
        paced = [
            asyncio.ensure_future(self._send_paced(stream, rate / len(self._streams)))
            for stream in self._streams
        ]
        await asyncio.sleep(seconds)
        await self._finish(paced)
        return self.tally

    def take(self, item: Signed, answer: node.TransactionAnswer) -> None:
        """An answer came."""
        loop = asyncio.get_running_loop()
        if answer.WhichOneof("answer") == "result":
            result = answer.result
            sent, admitted = self.first_sent.pop(item.id), self.last_sent.pop(item.id)
            if result.outcome == int(Outcome.APPLIED):
                self.tally.finals.append(
                    FinalTransaction(item.id, sent, admitted, loop.time(), result.height)
                )
            else:
                self.tally.not_applied[result.code or Outcome(result.outcome).name] += 1
        else:
            error = error_from_status(status_pb2.Status.FromString(answer.error))
            if error.retry_after_seconds is not None:
                self.tally.refusals[error.code] += 1
                loop.call_later(error.retry_after_seconds, self._items.append, item)
            else:
                self.tally.refusals[f"{error.code}{NOT_RETRIED}"] += 1
        self._room.release()

    def lose(self, stream: Stream) -> None:
        """A stream broke: what it had in flight goes to another replica."""
        if self._stopped:
            return
        self.tally.broken_streams += 1
        for item in stream.in_flight.values():
            self._items.appendleft(item)
            self._room.release()
        stream.in_flight.clear()

    async def _open(self) -> None:
        for replica, target in self._targets:
            signer = RequestSigner(
                did=self._identity.did,
                key_id=self._identity.key_id,
                private=self._identity.private_key,
                provider=self._provider,
                domain=self._chain_id,
                service=f"consensus/{replica}",
            )
            # A plain channel: one signature opens a stream, and messages are bytes already.
            channel = grpc.aio.insecure_channel(target)
            self._channels.append(channel)
            metadata = signer.metadata(METHOD, STREAM_OPENING, signer.stamp())
            call: Any = channel.stream_stream(METHOD)(metadata=metadata)
            stream = Stream(self, replica, call)
            self._streams.append(stream)
            self._readers.append(asyncio.ensure_future(stream.read_all()))

    async def _send_with_room(self) -> None:
        turn = in_a_row = 0
        while self._items:
            await self._room.acquire()
            open_streams = [stream for stream in self._streams if stream.is_open]
            if not self._items or not open_streams:
                return
            items = [self._items.popleft()]
            while self._items and len(items) < SENT_AT_ONCE_MAX and not self._room.locked():
                await self._room.acquire()
                items.append(self._items.popleft())
            stream = open_streams[turn % len(open_streams)]
            in_a_row += len(items)
            if in_a_row >= self._in_a_row:
                turn, in_a_row = turn + 1, 0
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await stream.send(items)

    async def _send_paced(self, stream: Stream, rate: float) -> None:
        loop = asyncio.get_running_loop()
        begun, done = loop.time(), 0
        while stream.is_open:
            due = int((loop.time() - begun) * rate)
            while done < due and self._items:
                count = min(due - done, len(self._items), SENT_AT_ONCE_MAX)
                await stream.send([self._items.popleft() for _ in range(count)])
                done += count
            done = max(done, due)
            await asyncio.sleep(PACE_SECONDS)

    async def _finish(self, senders: Sequence[asyncio.Future[None]]) -> None:
        """Send no more; take what is under way, for a while."""
        loop = asyncio.get_running_loop()
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        deadline = loop.time() + DRAIN_SECONDS_MAX
        # Answers arrive in no order and may never come: it is looked at now and then.
        while any(stream.in_flight for stream in self._streams) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(PACE_SECONDS)
        self._stopped = True
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
