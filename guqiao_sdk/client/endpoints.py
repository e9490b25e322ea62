"""The replicas that a client may ask, and the order in which it does.

A call goes to the preferred replica and moves on to the next one when that is away, slow or behind;
attempts are bounded by the caller's time. Every attempt is signed anew for the replica it goes to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

import grpc.aio

from guqiao.consensus.v1 import node_service_pb2_grpc
from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.failures import failure
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.errors import GuqiaoError, NotFoundError, UnavailableError, error_from_rpc
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.signing import RequestSigner

T = TypeVar("T")

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A block of the largest batch with its receipts."""

ATTEMPT_SECONDS_MAX: Final = 10.0
BACKOFF_SECONDS_FIRST: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 1.0
BEHIND_SECONDS: Final = 0.2
"""How long replicas that are behind are left alone before they are asked again."""

CLOCK_CODES: Final = frozenset({"REQUEST_EXPIRED"})
"""Whether the caller's clock is wrong or the replica's shows when the others are asked."""

Stub: TypeAlias = "node_service_pb2_grpc.NodeServiceAsyncStub"
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)


@dataclass(slots=True)
class Refusals:
    """What replicas answered, one after the other: what says that all would refuse? One alone may
    lie, so `needed` of them must.
    """

    fatal: frozenset[grpc.StatusCode]
    endpoints: int
    needed: int
    _failed: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    _clock: GuqiaoError | None = None

    def judge(self, index: int, code: grpc.StatusCode, error: GuqiaoError) -> GuqiaoError | None:
        """The error where asking on is useless; None where the next one is to be asked. A refusal
        for the clock is that once nobody has served: one that is away does not hide it.
        """
        if error.code in CLOCK_CODES:
            self._clock = error
        elif code in self.fatal:
            self._refused.add(index)
            if len(self._refused) >= self.needed:
                return error
        self._failed.add(index)
        return self._clock if len(self._failed) == self.endpoints else None

    def forget(self) -> None:
        """A replica listened."""
        self._failed.clear()
        self._refused.clear()
        self._clock = None


@dataclass(slots=True)
class _Endpoint:
    replica: int
    target: str
    channel: grpc.aio.Channel | None = None


class Endpoints:
    """The node RPC of a chain's replicas: endpoint i is replica i unless it says `i@host:port`."""

    def __init__(
        self,
        chain_id: str,
        targets: Sequence[str],
        identity: Identity,
        provider: GmProvider,
        needed: int,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """`needed`: how many replicas must say the same to be believed unproven, f + 1."""
        if not targets:
            raise ValueError(f"no node RPC endpoint of {chain_id} is known; name at least one")
        self._chain_id = chain_id
        self._identity = identity
        self._provider = provider
        self._interceptors = interceptors
        self.needed = needed
        self._endpoints = [_parse(target, index) for index, target in enumerate(targets)]
        # Clients that start together should not all ask replica 0.
        self._preferred = random.randrange(len(targets))  # noqa: S311 - no secret depends on it

    def __len__(self) -> int:
        return len(self._endpoints)

    @property
    def believed(self) -> int:
        """How many must refuse to be believed: `needed`, or all that there are."""
        return min(self.needed, len(self._endpoints))

    @property
    def preferred(self) -> int:
        """Which endpoint is asked first, by its place in the list."""
        return self._preferred

    def refusals(self, fatal: frozenset[grpc.StatusCode]) -> Refusals:
        """To judge by what these replicas answer."""
        return Refusals(fatal, len(self._endpoints), self.believed)

    def stub(self, index: int) -> Stub:
        """The node RPC of one endpoint."""
        endpoint = self._endpoints[index]
        if endpoint.channel is None:
            signer = RequestSigner(
                did=self._identity.did,
                key_id=self._identity.key_id,
                private=self._identity.private_key,
                provider=self._provider,
                domain=self._chain_id,
                service=f"consensus/{endpoint.replica}",
            )
            endpoint.channel = open_channel(
                endpoint.target,
                signer,
                message_bytes_max=MESSAGE_BYTES_MAX,
                interceptors=self._interceptors,
            )
        return node_service_pb2_grpc.NodeServiceStub(endpoint.channel)

    def move_on(self, failed: int) -> None:
        """`failed` did not serve: prefer the next one, unless that was done meanwhile."""
        if self._preferred == failed:
            self._preferred = (failed + 1) % len(self._endpoints)

    async def call(
        self, attempt: Callable[[Stub, float], Awaitable[T]], timeout_seconds: float
    ) -> T:
        """Make `attempt(stub, seconds)` at one replica after the other until one answers, so many
        refuse that all would, or the time is up. That one does not have a thing is an answer,
        which says nothing of the others: `reached` asks them.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        backoff = BACKOFF_SECONDS_FIRST
        tried = 0
        refusals = self.refusals(frozenset(grpc.StatusCode) - _RETRYABLE)
        error: GuqiaoError = failure(UnavailableError, "CHAIN_UNAVAILABLE", chain=self._chain_id)
        while (left := deadline - loop.time()) > 0:
            index = self._preferred
            try:
                return await attempt(self.stub(index), min(left, ATTEMPT_SECONDS_MAX))
            except grpc.aio.AioRpcError as rpc_error:
                error = error_from_rpc(rpc_error)
                if rpc_error.code() is grpc.StatusCode.NOT_FOUND:
                    raise error from None
                refusal = refusals.judge(index, rpc_error.code(), error)
                self.move_on(index)
                # A limit that passes says when to come again; a size limit does not.
                if refusal is not None and refusal.retry_after_seconds is None:
                    raise refusal from None
            tried += 1
            if tried % len(self._endpoints) == 0:
                await asyncio.sleep(min(backoff, max(deadline - loop.time(), 0)))
                backoff = min(2 * backoff, BACKOFF_SECONDS_MAX)
        raise error

    async def reached(self, call: Callable[[], Awaitable[T]], timeout_seconds: float) -> T:
        """Make `call` until it gives what a replica has told of: the one asked may be behind that
        one, or lie, so after it the next one is asked. Raises the last error when the time is up,
        but at once when all of them lied. Each is asked once at least.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while True:
            behind: NotFoundError | None = None
            lie: ProofError | None = None
            for _ in self._endpoints:
                asked = self._preferred
                try:
                    return await call()
                except NotFoundError as error:
                    behind = error
                except ProofError as error:
                    lie = error
                self.move_on(asked)
            if behind is None:
                assert lie is not None, "a round ends with an error"
                raise lie
            if loop.time() >= deadline:
                raise behind
            await asyncio.sleep(BEHIND_SECONDS)

    @property
    def replicas(self) -> int:
        """How many different replicas there are among the endpoints."""
        return len({endpoint.replica for endpoint in self._endpoints})

    async def agreed(
        self, attempt: Callable[[Stub, float], Awaitable[T]], timeout_seconds: float
    ) -> T:
        """What `needed` replicas answer alike (by `==`): with f + 1 of them, an honest one does
        (Castro and Liskov, OSDI 1999, section 4.1). All are asked at once, so one that is slow,
        away or lies holds nobody up. Raises REPLICAS_DISAGREE where too few answer alike, and
        what a replica refused with where too few answer at all.
        """
        seconds = min(timeout_seconds, ATTEMPT_SECONDS_MAX)
        waiting = {
            asyncio.ensure_future(attempt(self.stub(index), seconds)): endpoint.replica
            for index, endpoint in enumerate(self._endpoints)
        }
        votes: list[tuple[T, set[int]]] = []
        answered: set[int] = set()
        refusal: grpc.aio.AioRpcError | None = None
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    replica = waiting.pop(each)
                    try:
                        answer = each.result()
                    except grpc.aio.AioRpcError as error:
                        refusal = error
                        continue
                    answered.add(replica)
                    if _count_vote(votes, answer, replica) >= self.needed:
                        return answer
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if refusal is not None and len(answered) < self.needed:
            raise error_from_rpc(refusal) from None
        raise failure(
            UnavailableError, "REPLICAS_DISAGREE", chain=self._chain_id, needed=str(self.needed)
        )

    async def close(self) -> None:
        """Close the channels."""
        for endpoint in self._endpoints:
            if endpoint.channel is not None:
                await endpoint.channel.close()
                endpoint.channel = None


def _count_vote(votes: list[tuple[T, set[int]]], answer: T, replica: int) -> int:
    """How many replicas have answered this, `replica` among them."""
    for known, voters in votes:
        if known == answer:
            voters.add(replica)
            return len(voters)
    votes.append((answer, {replica}))
    return 1


def _parse(target: str, index: int) -> _Endpoint:
    replica, separator, address = target.partition("@")
    if not separator:
        return _Endpoint(index, target)
    if not replica.isdigit():
        raise ValueError(f"{target!r} is not `replica@host:port`")
    return _Endpoint(int(replica), address)
