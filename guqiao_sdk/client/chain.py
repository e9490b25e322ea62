"""The client of one chain: submit transactions, read blocks, transactions and state with proof.

It asks any replica, moves on to another one when a replica is away, and believes none: what it
returns was checked against finality certificates with the replica set of its own trust. A
transaction whose outcome is not known is an error (OUTCOME_UNKNOWN), never a success.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Final, Literal, Self, TypeVar, overload

import grpc.aio

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.blocks import VerifiedBlock, check_link
from guqiao_sdk.client.endpoints import ATTEMPT_SECONDS_MAX, CLOCK_CODES, Endpoints, Stub
from guqiao_sdk.client.failures import unknown_outcome
from guqiao_sdk.client.followed_sets import FollowedSets
from guqiao_sdk.client.proven import (
    ProvenState,
    ProvenTransaction,
    check_height,
)
from guqiao_sdk.client.reads import ChainReads
from guqiao_sdk.client.results import ResultChecker
from guqiao_sdk.client.submission import RETRY_CODES, UNCERTAIN_CODES, StreamSubmitter, Submission
from guqiao_sdk.client.transactions import (
    Call,
    ChainPosition,
    Identity,
    TransactionResult,
    build_envelope,
    build_transaction,
    result_from_message,
    transaction_to_message,
)
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.errors import GuqiaoError, error_from_rpc, guqiao_errors
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate
from guqiao_sdk.proof.json_values import Json
from guqiao_sdk.proof.transaction import SignedTransaction

T = TypeVar("T")

CALL_SECONDS: Final = 20.0
SUBMIT_SECONDS: Final = 60.0
EXPIRED: Final = "TRANSACTION_EXPIRED"
SIGNED_ANEW_MAX: Final = 5
WENT_ON_POLL_SECONDS: Final = 0.3
WENT_ON_SECONDS_MAX: Final = 60.0
"""Longer than a chain's heartbeat."""
INCONCLUSIVE_CODES: Final = UNCERTAIN_CODES | {EXPIRED} | RETRY_CODES | CLOCK_CODES
"""Refusals of one attempt that say nothing about an earlier one."""

_NOT_ADMITTED_CODES: Final = INCONCLUSIVE_CODES - UNCERTAIN_CODES
POSITION_SECONDS_MAX: Final = 2.0
WATCH_BACKOFF_SECONDS: Final = 0.2
WATCH_SILENCE_SECONDS: Final = 30.0
_FATAL: Final = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


class ChainClient:
    """See the module. Use it as an asynchronous context manager, or call `close`."""

    def __init__(
        self,
        chain_id: str,
        endpoints: Sequence[str],
        signer: Identity,
        trust: ChainTrust,
        provider: GmProvider,
        *,
        verify_results: bool = True,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        """`endpoints` are `host:port` in the order of the replicas, or `replica@host:port`;
        `interceptors` see every call, for instance to trace it.

        `verify_results=False` is for senders that may not read blocks: they take one replica's word
        for the result of a submission.
        """
        if trust.chain_id != chain_id:
            raise ValueError(f"the trust is for {trust.chain_id}, not for {chain_id}")
        self.chain_id = chain_id
        self.signer = signer
        self._trust = trust
        self.provider = provider
        self._verify_results = verify_results
        needed = trust.replica_set.faulty_max + 1
        self._endpoints = Endpoints(chain_id, endpoints, signer, provider, needed, interceptors)
        self.sets = FollowedSets(trust, provider, self._endpoints)
        self._reads = ChainReads(trust, self._endpoints, self.sets, provider)
        self._results = ResultChecker(self._reads, self._endpoints)
        self._position: tuple[float, ChainPosition] | None = None

    @property
    def trust(self) -> ChainTrust:
        """From where on this client believes; later sets are proven from there."""
        return self._trust

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoints.close()

    async def latest(self) -> ChainPosition:
        """The latest certified height that the replica asked knows of, verified.

        Block 0 has no certificate: before the first block, the answer is checked only to be of the
        chain and the replica set that this client trusts.
        """
        header = await self._reads.latest()
        position = ChainPosition(self.chain_id, header.height, header.hash(), header.block_time_ms)
        self._position = (asyncio.get_running_loop().time(), position)
        return position

    async def build(
        self,
        contract: str,
        method: str,
        body: Mapping[str, Json],
        *,
        maker: Identity | None = None,
        checker: Identity | None = None,
        request_id: str | None = None,
        business_time: str | None = None,
        after: bytes | None = None,
    ) -> SignedTransaction:
        """Make and sign a transaction (`maker` is the client's own identity unless given); it
        expires 500 blocks or 5 minutes from now, whichever comes first.
        """
        return build_transaction(
            self.provider,
            self.signer if maker is None else maker,
            await self._recent_position(),
            contract=contract,
            method=method,
            body=body,
            checker=checker,
            request_id=request_id,
            business_time=business_time,
            after=after,
        )

    async def build_many(
        self,
        calls: Sequence[Call],
        *,
        maker: Identity | None = None,
        checker: Identity | None = None,
        after: bytes | None = None,
    ) -> list[SignedTransaction]:
        """The same for 1 to 1,000 calls under one signature of each signer, to be executed in this
        order; `submit_many` takes them like any others.
        """
        return build_envelope(
            self.provider,
            self.signer if maker is None else maker,
            await self._recent_position(),
            calls,
            checker=checker,
            after=after,
        )

    async def call(
        self,
        contract: str,
        method: str,
        body: Mapping[str, Json],
        *,
        checker: Identity | None = None,
        request_id: str | None = None,
    ) -> TransactionResult:
        """Build, and submit until it is final. What expired had no effect: the first transaction
        after a rest of minutes does, whose expiry follows from the chain's time, which stood still.
        It is signed anew for the same request, so nothing is done twice, once that time went on:
        with a block, or with the next heartbeat.
        """
        request = str(uuid.uuid4()) if request_id is None else request_id
        for left in reversed(range(SIGNED_ANEW_MAX + 1)):
            stood = await self._recent_position()
            transaction = await self.build(
                contract, method, body, checker=checker, request_id=request
            )
            try:
                result = await self.submit(transaction)
            except GuqiaoError as error:
                if error.code != EXPIRED or not left or not await self._went_on(stood):
                    raise
            else:
                if result.code != EXPIRED or not left or not await self._went_on(stood):
                    return result
        raise AssertionError("the last attempt returns or raises")

    async def _went_on(self, stood: ChainPosition) -> bool:
        """Wait until the chain's time is later than it was; False where a minute does not do."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WENT_ON_SECONDS_MAX
        while (await self.latest()).block_time_ms <= stood.block_time_ms:
            if loop.time() > deadline:
                return False
            await asyncio.sleep(WENT_ON_POLL_SECONDS)
        return True

    @overload
    async def submit(
        self,
        transaction: SignedTransaction,
        *,
        wait_final: Literal[True] = True,
        timeout_seconds: float = SUBMIT_SECONDS,
    ) -> TransactionResult: ...

    @overload
    async def submit(
        self,
        transaction: SignedTransaction,
        *,
        wait_final: Literal[False],
        timeout_seconds: float = SUBMIT_SECONDS,
    ) -> None: ...

    async def submit(
        self,
        transaction: SignedTransaction,
        *,
        wait_final: bool = True,
        timeout_seconds: float = SUBMIT_SECONDS,
    ) -> TransactionResult | None:
        """Submit, to another replica too if need be, until it is final (or admitted).

        Repeating is harmless: the id is the same. When the time is up, or no replica proves in time
        what one has answered, the error says OUTCOME_UNKNOWN: submit the same transaction again, or
        ask `get_transaction`.
        """
        request = node.SubmitTransactionRequest(
            transaction=transaction_to_message(transaction), wait_final=wait_final
        )

        is_uncertain = False

        async def attempt(stub: Stub, seconds: float) -> node.SubmitTransactionResponse:
            nonlocal is_uncertain
            try:
                return await stub.SubmitTransaction(request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                # A broken call says nothing, and one replica that refuses may have passed it on.
                is_uncertain = is_uncertain or error_from_rpc(error).code not in _NOT_ADMITTED_CODES
                raise

        try:
            response = await self._endpoints.call(attempt, timeout_seconds)
        except GuqiaoError as error:
            if is_uncertain and error.code in INCONCLUSIVE_CODES:
                raise unknown_outcome(transaction) from error
            raise
        if not wait_final:
            return None
        result = result_from_message(response.result)
        if self._verify_results:
            await self._results.check(transaction, result)
        return result

    async def submit_many(
        self,
        transactions: AsyncIterable[SignedTransaction] | Iterable[SignedTransaction],
        *,
        in_flight_max: int = 512,
        timeout_seconds: float = SUBMIT_SECONDS,
    ) -> AsyncIterator[Submission]:
        """Submit a stream and yield one `Submission` a transaction, in the order of finality.

        After a failure the unanswered ones go to another replica. Each ends with a result, with the
        error that refused it, or with OUTCOME_UNKNOWN after `timeout_seconds`.
        """
        submitter = StreamSubmitter(
            self._endpoints, in_flight_max=in_flight_max, timeout_seconds=timeout_seconds
        )
        answered = submitter.run(transactions)
        # Checked side by side, so that fetching and verifying blocks does not hold the stream up.
        checking: asyncio.Queue[asyncio.Future[Submission] | None] = asyncio.Queue(in_flight_max)

        async def checked(submission: Submission) -> Submission:
            return await self._results.checked(submission) if self._verify_results else submission

        async def check_all() -> None:
            try:
                async for submission in answered:
                    await checking.put(asyncio.ensure_future(checked(submission)))
            finally:
                await checking.put(None)

        work = asyncio.ensure_future(check_all())
        try:
            while (due := await checking.get()) is not None:
                yield await due
            await work
        finally:
            work.cancel()
            while not checking.empty():
                left = checking.get_nowait()
                if left is not None:
                    left.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def get_header(self, height: int = 0) -> tuple[BlockHeader, FinalityCertificate]:
        """The certified header of a height (0: the latest certified one), verified."""
        return await self._anywhere(lambda: self._reads.get_header(height))

    async def get_block(self, height: int) -> VerifiedBlock:
        """The block of a height, verified whole."""
        return await self._anywhere(lambda: self._reads.get_block(height))

    async def get_transaction(self, transaction_id: bytes) -> ProvenTransaction:
        """A final transaction, its receipt and the proofs of both, verified."""
        return await self._anywhere(lambda: self._reads.get_transaction(transaction_id))

    async def get_state_proof(self, key: str, height: int = 0) -> ProvenState:
        """What stands under a state key (`<contract>/<key>`) at a height, proven either way."""
        return await self._anywhere(lambda: self._reads.get_state_proof(key, height))

    async def get_state_proofs(self, keys: Sequence[str], height: int = 0) -> list[ProvenState]:
        """The same for several keys, in their order and all at one height, with few calls."""
        return await self._anywhere(lambda: self._reads.get_state_proofs(keys, height))

    async def list_objects(self, height: int) -> list[node.ObjectReference]:
        """References of the data objects that a block recorded. Prove them by `get_transaction`."""
        return await self._anywhere(lambda: self._reads.list_objects(height))

    async def get_object(self, object_id: str, version: int) -> node.GetObjectResponse:
        """A data object with its place. Prove it by `get_state_proof` or `get_transaction`."""
        return await self._anywhere(lambda: self._reads.get_object(object_id, version))

    async def watch_blocks(self, from_height: int) -> AsyncGenerator[VerifiedBlock]:
        """Certified blocks in order from a height on, for ever, each verified and linked to the one
        before; the stream moves to another replica when one is away.
        """
        earlier: BlockHeader | None = None
        height = from_height
        refusals = self._endpoints.refusals(_FATAL)
        while True:
            index = self._endpoints.preferred
            try:
                async for block in self._watch_one(index, height):
                    if earlier is not None:
                        check_link(earlier, block.header)
                    yield block
                    earlier, height = block.header, block.height + 1
                    refusals.forget()
            except TimeoutError:
                pass  # The next replica may have more to say.
            except grpc.aio.AioRpcError as error:
                refusal = refusals.judge(index, error.code(), error_from_rpc(error))
                if refusal is not None:
                    raise refusal from None
            except ProofError:
                self._endpoints.move_on(index)  # Whoever asks again should not ask the same one.
                raise
            self._endpoints.move_on(index)
            await asyncio.sleep(WATCH_BACKOFF_SECONDS)

    async def get_identity(self, did: str) -> node.GetIdentityResponse | None:
        """The keys, roles and organisation of a DID, or that there is none such, as f + 1 replicas
        say alike. Raises `UnavailableError`: one replica's word opens no door and closes none.
        """
        request = node.GetIdentityRequest(did=did)

        async def attempt(stub: Stub, seconds: float) -> node.GetIdentityResponse | None:
            try:
                response = await stub.GetIdentity(request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                if error_from_rpc(error).code != "IDENTITY_UNKNOWN":
                    raise
                return None
            response.ClearField("height")  # They need not stand at one height to say the same.
            return response

        return await self._endpoints.agreed(attempt, CALL_SECONDS)

    async def get_status(self, endpoint: int | None = None) -> node.GetNetworkStatusResponse:
        """Where a replica stands (the one at this place of the list, or any). Not proven."""
        request = node.GetNetworkStatusRequest()

        async def attempt(stub: Stub, seconds: float) -> node.GetNetworkStatusResponse:
            return await stub.GetNetworkStatus(request, timeout=seconds)

        if endpoint is not None:
            with guqiao_errors():
                return await attempt(self._endpoints.stub(endpoint), ATTEMPT_SECONDS_MAX)
        return await self._endpoints.call(attempt, CALL_SECONDS)

    async def get_operations(self) -> tuple[str, ...]:
        """`contract.method` of every active contract, as f + 1 replicas say alike. Raises
        `UnavailableError`.
        """
        request = node.GetNetworkOptionsRequest()

        async def attempt(stub: Stub, seconds: float) -> tuple[str, ...]:
            return tuple((await stub.GetNetworkOptions(request, timeout=seconds)).operations)

        return await self._endpoints.agreed(attempt, CALL_SECONDS)

    @property
    def replicas(self) -> int:
        """How many different replicas the endpoints name."""
        return self._endpoints.replicas

    @property
    def needed(self) -> int:
        """f + 1: of so many replicas one is honest."""
        return self._endpoints.needed

    async def _anywhere(self, read: Callable[[], Awaitable[T]]) -> T:
        """What one replica does not have yet, or lies about, another one has: none of them speaks
        for all. Raises the error of the last one asked when nobody has it.
        """
        return await self._endpoints.reached(read, timeout_seconds=0.0)

    async def _watch_one(self, index: int, height: int) -> AsyncIterator[VerifiedBlock]:
        stub = self._endpoints.stub(index)
        responses = aiter(stub.WatchBlocks(node.WatchBlocksRequest(from_height=height)))
        while True:
            # A replica that fell behind or halted keeps its streams open and says nothing.
            async with asyncio.timeout(WATCH_SILENCE_SECONDS):
                response = await anext(responses, None)
            if response is None:
                return
            block = await self.sets.verified_block(response.block)
            check_height("watched block", block.header, height)
            yield block
            height += 1

    async def _recent_position(self) -> ChainPosition:
        """The position for an expiry: two seconds more or less make no difference there."""
        now = asyncio.get_running_loop().time()
        if self._position is not None and now - self._position[0] < POSITION_SECONDS_MAX:
            return self._position[1]
        return await self.latest()
