"""The node RPC: translates between protobuf and the ledger; decides only who may read what.

Every answer that matters carries what is needed to check it. Bodies of objects, state values and
whole blocks are for restricted readers; an organisation always sees its own transactions. Each call
is audited by the server before it comes here.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1.node_service_pb2_grpc import NodeServiceServicer
from guqiao_sdk import roles
from guqiao_sdk.client.proven import STATE_KEYS_MAX
from guqiao_sdk.client.transactions import transaction_from_message
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.merkle import merkle_path
from guqiao_sdk.proof.receipt import Outcome
from guqiao_sdk.proof.transaction import SignedTransaction, parse_payload, transaction_id
from services.chassis.errors import (
    FailedPreconditionError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ServiceError,
    TooLargeError,
)
from services.chassis.grpc_server import ANY_ROLE, Policy, RpcRefusals, StreamItems, caller
from services.chassis.grpc_server.grpc_errors import to_rpc_status
from services.consensus.domain.ledger.admission import TRANSACTION_BYTES_MAX
from services.consensus.domain.ledger.authorisation import Identities
from services.consensus.domain.ledger.block_size import block_bytes_max
from services.consensus.domain.replica import Replica
from services.consensus.driver import Driver
from services.consensus.finality import FinalityBoard
from services.consensus.jobs import Pause
from services.consensus.ledger import Ledger, result_message
from services.consensus.objects import find_object, objects_of_block
from services.consensus.peers import Links
from services.consensus.store.index import PROVABLE_HEIGHTS
from services.consensus.submission import Submissions, full_error

SERVICE: Final = "/guqiao.consensus.v1.NodeService/"
CRYPTO_SUITE: Final = "SM2-SM3-SM4"
STREAM_IN_FLIGHT_MAX: Final = 2_000
ANSWERS_AT_ONCE_MAX: Final = 64
REFUSED_PAUSE_SECONDS: Final = 0.03
"""Until more of a stream is read while nothing more is let in: its client is held back by
the flow control of gRPC, at no cost, and what is refused costs no block.
"""
SUBMIT_SECONDS_MAX: Final = 120.0
STATE_ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of values and proofs in one answer, unless the first alone takes more."""

_Answers: TypeAlias = asyncio.Queue[node.TransactionAnswer | None]

_SUBMIT = Policy(ANY_ROLE, deadline_seconds=SUBMIT_SECONDS_MAX)
_READ = Policy(roles.CHAIN_READERS)
_READ_RESTRICTED = Policy(roles.RESTRICTED_READERS)

POLICIES: Final[Mapping[str, Policy]] = {
    f"{SERVICE}SubmitTransaction": _SUBMIT,
    f"{SERVICE}SubmitTransactions": Policy(ANY_ROLE, StreamItems.TRANSACTIONS),
    f"{SERVICE}ListNetworks": _READ,
    f"{SERVICE}GetNetworkOptions": _READ,
    f"{SERVICE}GetNetworkStatus": _READ,
    f"{SERVICE}GetBlock": _READ_RESTRICTED,
    f"{SERVICE}GetTransaction": _READ,
    f"{SERVICE}GetConsensusState": _READ,
    f"{SERVICE}ListSetChanges": _READ,
    f"{SERVICE}ListObjects": _READ,
    f"{SERVICE}GetObject": _READ_RESTRICTED,
    f"{SERVICE}GetStateProof": _READ_RESTRICTED,
    f"{SERVICE}GetStateProofs": _READ_RESTRICTED,
    f"{SERVICE}WatchBlocks": _READ_RESTRICTED,
    f"{SERVICE}GetIdentity": _READ,
}


@dataclass(frozen=True, slots=True)
class NodeApi(NodeServiceServicer):
    """One replica's node RPC."""

    submissions: Submissions
    ledger: Ledger
    driver: Driver
    finality: FinalityBoard
    links: Links
    operations: tuple[str, ...]
    software_version: str
    refusals: RpcRefusals

    async def SubmitTransaction(
        self, request: node.SubmitTransactionRequest, context: Any
    ) -> node.SubmitTransactionResponse:
        """Admit one transaction and, if asked, wait until it is final."""
        transaction = _transaction(request.transaction)
        result = await self.submissions.submit(
            transaction, wait_final=request.wait_final, client=caller().organisation
        )
        return node.SubmitTransactionResponse(transaction_id=transaction.id(), result=result)

    async def SubmitTransactions(
        self, request_iterator: AsyncIterator[node.SubmitTransactionsRequest], context: Any
    ) -> AsyncIterator[node.SubmitTransactionsResponse]:
        """The same for a stream; answers come in the order of finality."""
        answers: _Answers = asyncio.Queue(STREAM_IN_FLIGHT_MAX + 1)  # And None behind the last.
        room = asyncio.Semaphore(STREAM_IN_FLIGHT_MAX)

        async def read_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                async for request in request_iterator:
                    await self._take(request.transactions, answers, room, tasks)

        reading = asyncio.ensure_future(read_all())
        reading.add_done_callback(lambda _: answers.put_nowait(None))
        try:
            async for at_hand in _at_hand(answers):
                for _ in at_hand:
                    room.release()
                yield node.SubmitTransactionsResponse(answers=at_hand)
            await reading  # If the requests could not be read, that is the call's error.
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def ListNetworks(
        self, request: node.ListNetworksRequest, context: Any
    ) -> node.ListNetworksResponse:
        """The chain that this replica serves."""
        return node.ListNetworksResponse(chain_ids=[self.ledger.genesis.chain_id])

    async def GetNetworkOptions(
        self, request: node.GetNetworkOptionsRequest, context: Any
    ) -> node.GetNetworkOptionsResponse:
        """Software version, operations, outcomes, cryptography, genesis hash and largest block."""
        return node.GetNetworkOptionsResponse(
            software_version=self.software_version,
            operations=self.operations,
            outcomes=[outcome.name for outcome in Outcome],
            crypto_suite=CRYPTO_SUITE,
            genesis_hash=self.ledger.genesis.hash(),
            block_bytes_max=block_bytes_max(self.ledger.genesis.parameters),
        )

    async def GetNetworkStatus(
        self, request: node.GetNetworkStatusRequest, context: Any
    ) -> node.GetNetworkStatusResponse:
        """Where this replica stands, and its links."""
        height = self.finality.certified_height
        header = self.ledger.header(height)
        replica, connected = self.driver.replica, self.links.connected()
        return node.GetNetworkStatusResponse(
            chain_id=header.chain_id,
            height=height,
            header_hash=header.hash(),
            state_root=header.state_root,
            block_time_ms=header.block_time_ms,
            executed_height=self.ledger.store.last_height,
            view=replica.view,
            primary=replica.primary,
            replica=self.driver.me,
            changing_view=not replica.active,
            catching_up=self.driver.catching_up,
            pending_transactions=len(self.driver.mempool),
            restoring=self.driver.pause is Pause.RESTORING,
            damaged_blocks=len(self.ledger.damaged_heights),
            peers=[
                node.PeerStatus(
                    replica=member.replica,
                    entity_name=member.entity_name,
                    connected=member.replica in connected,
                )
                for member in replica.replica_set.members
                if member.replica != self.driver.me
            ],
            epoch=replica.epoch,
            votes=isinstance(replica, Replica),
            degraded=bool(replica.replica_set.jailed),
            jailed_replicas=replica.replica_set.jailed,
        )

    async def GetBlock(self, request: node.GetBlockRequest, context: Any) -> node.GetBlockResponse:
        """A certified block."""
        block = await self.ledger.read(lambda: self.ledger.block_message(request.height))
        if block is None:
            raise NotFoundError("HEIGHT_UNKNOWN", height=request.height)
        return node.GetBlockResponse(block=block)

    async def GetTransaction(
        self, request: node.GetTransactionRequest, context: Any
    ) -> node.GetTransactionResponse:
        """A final transaction with its result and the proofs of both."""
        identity = caller()

        def answer() -> node.GetTransactionResponse:
            response = self._transaction_response(request.transaction_id)
            if identity.roles.isdisjoint(roles.RESTRICTED_READERS):
                _check_own(response, identity.organisation)
            return response

        return await self.ledger.read(answer)

    async def GetConsensusState(
        self, request: node.GetConsensusStateRequest, context: Any
    ) -> node.GetConsensusStateResponse:
        """A header, its certificate and the set that signed it."""
        height = request.height or self.finality.certified_height
        header = self.ledger.certified_header_message(height)
        if header is None:
            raise NotFoundError("HEIGHT_UNKNOWN", height=height)
        return node.GetConsensusStateResponse(
            certified_header=header, replica_set=self.ledger.set_at(height).encode()
        )

    async def ListSetChanges(
        self, request: node.ListSetChangesRequest, context: Any
    ) -> node.ListSetChangesResponse:
        """The certified set changes after an epoch."""
        changes = await self.ledger.read(lambda: self.ledger.set_changes(request.from_epoch))
        return node.ListSetChangesResponse(set_changes=[change.encode() for change in changes])

    async def ListObjects(
        self, request: node.ListObjectsRequest, context: Any
    ) -> node.ListObjectsResponse:
        """References of the data objects that a block recorded."""
        if not 1 <= request.height <= self.finality.certified_height:
            raise NotFoundError("HEIGHT_UNKNOWN", height=request.height)
        receipts = await self.ledger.read(lambda: self.ledger.receipts(request.height))
        return node.ListObjectsResponse(objects=objects_of_block(receipts, request.height))

    async def GetObject(
        self, request: node.GetObjectRequest, context: Any
    ) -> node.GetObjectResponse:
        """A data object and the place of the transaction that recorded it."""
        found = await self.ledger.read(
            lambda: find_object(self.ledger.store, request.object_id, request.version)
        )
        if found is None and self.ledger.history_from:
            raise self.ledger.history_not_here(0)
        if found is None:
            raise NotFoundError(
                "OBJECT_UNKNOWN", object_id=request.object_id, version=request.version
            )
        return found

    async def GetStateProof(
        self, request: node.GetStateProofRequest, context: Any
    ) -> node.GetStateProofResponse:
        """Proves that a key holds a value, or nothing."""
        header, (found,) = await self._proven([request.key], request.height)
        return node.GetStateProofResponse(
            certified_header=header, present=found.present, value=found.value, proof=found.proof
        )

    async def GetStateProofs(
        self, request: node.GetStateProofsRequest, context: Any
    ) -> node.GetStateProofsResponse:
        """Proves what each of several keys holds, or nothing, under one header."""
        if not 1 <= len(request.keys) <= STATE_KEYS_MAX:
            detail = f"{len(request.keys)} keys, 1 to {STATE_KEYS_MAX} at a time"
            raise InvalidError("REQUEST_MALFORMED", detail=detail)
        header, found = await self._proven(request.keys, request.height)
        return node.GetStateProofsResponse(certified_header=header, values=found)

    async def WatchBlocks(
        self, request: node.WatchBlocksRequest, context: Any
    ) -> AsyncIterator[node.WatchBlocksResponse]:
        """Certified blocks from a height on, for ever."""
        height = max(request.from_height, 1)
        while True:
            await self.finality.wait_certified(height)

            def read(height: int = height) -> ledger_pb2.Block | None:
                return self.ledger.block_message(height)

            block = await self.ledger.read(read)
            assert block is not None, "a certified block is stored"
            yield node.WatchBlocksResponse(block=block)
            height += 1

    async def GetIdentity(
        self, request: node.GetIdentityRequest, context: Any
    ) -> node.GetIdentityResponse:
        """The keys, roles and organisation of a DID at the latest height."""
        with self.ledger.store.state_reader() as state:
            record, height = Identities(state).find(request.did), state.last_header.height
        if record is None:
            raise NotFoundError("IDENTITY_UNKNOWN", did=request.did)
        return node.GetIdentityResponse(
            did=record.did,
            organisation=record.organisation,
            roles=sorted(record.roles),
            active=record.active,
            keys=[
                node.IdentityKey(
                    key_id=key_id,
                    public_key=key.public_key,
                    not_before_ms=key.not_before_ms,
                    not_after_ms=key.not_after_ms,
                    revoked=key.revoked,
                )
                for key_id, key in sorted(record.keys.items())
            ],
            height=height,
        )

    async def _proven(
        self, keys: Sequence[bytes], height: int
    ) -> tuple[ledger_pb2.CertifiedHeader, list[node.ProvenValue]]:
        """The header of a height (0: the latest certified one), and what the keys hold there: one
        of them at least, and as many as `STATE_ANSWER_BYTES_MAX` takes.
        """
        certified = self.finality.certified_height
        height = height or certified
        header = self.ledger.certified_header_message(height)
        if header is None:
            raise NotFoundError("HEIGHT_UNKNOWN", height=height)

        def prove() -> list[node.ProvenValue] | None:
            found: list[node.ProvenValue] = []
            size = 0
            for key in keys:
                proven = self.ledger.store.prove_state(height, key)
                if proven is None:
                    return None
                value, proof = proven
                answer = node.ProvenValue(
                    present=value is not None, value=value or b"", proof=proof.encode()
                )
                size += answer.ByteSize()
                if found and size > STATE_ANSWER_BYTES_MAX:
                    break
                found.append(answer)
            return found

        found = await self.ledger.read(prove)
        if found is None:
            oldest = max(certified - PROVABLE_HEIGHTS + 1, 0)
            raise FailedPreconditionError("HEIGHT_PRUNED", height=height, oldest=oldest)
        return header, found

    async def _take(
        self,
        messages: Sequence[ledger_pb2.Transaction],
        answers: _Answers,
        room: asyncio.Semaphore,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Take the items of one request; what is refused for want of room is no task of its own."""

        async def answer(message: ledger_pb2.Transaction) -> None:
            answers.put_nowait(await self._answer_item(message))

        is_full = False
        for message in messages:
            await room.acquire()
            refusal = self._full_answer(message)
            if refusal is None:
                tasks.create_task(answer(message))
            else:
                self.refusals.count(caller().organisation, "QUEUE_FULL")
                answers.put_nowait(refusal)
                is_full = True
        if is_full:
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)

    async def _answer_item(self, message: ledger_pb2.Transaction) -> node.TransactionAnswer:
        """The answer to one item of a stream; an error of its own does not end the stream."""
        identifier = b""
        try:
            transaction = _transaction(message)
            identifier = transaction.id()
            result = await self.submissions.submit(
                transaction, wait_final=True, client=caller().organisation
            )
        except ServiceError as error:
            self.refusals.count(caller().organisation, error.code)
            return node.TransactionAnswer(
                transaction_id=identifier, error=to_rpc_status(error).SerializeToString()
            )
        return node.TransactionAnswer(transaction_id=identifier, result=result)

    def _full_answer(self, message: ledger_pb2.Transaction) -> node.TransactionAnswer | None:
        """The refusal of an item for want of room, or None where it is to be looked at."""
        try:
            if not self.submissions.is_full_for(message.payload):
                return None
        except ServiceError:
            return None  # Its own task meets the error again, and answers with it.
        identifier = transaction_id(message.payload)
        error = _full_status(len(self.driver.mempool))
        return node.TransactionAnswer(transaction_id=identifier, error=error)

    def _transaction_response(self, transaction_id: bytes) -> node.GetTransactionResponse:
        place = self.ledger.store.get_transaction(transaction_id)
        if place is None and self.ledger.history_from:
            raise self.ledger.history_not_here(0)
        if place is None or place.height > self.ledger.store.last_certified:
            raise NotFoundError("TRANSACTION_UNKNOWN", transaction_id=transaction_id.hex())
        block = self.ledger.store.get_block(place.height)
        header = self.ledger.certified_header_message(place.height)
        assert block is not None, "the block of a certified transaction is stored"
        assert header is not None, "and so is its header"
        return node.GetTransactionResponse(
            result=result_message(place.receipt, block.header, place.index),
            certified_header=header,
            transaction_proof=_list_proof(block.batch.transactions, place.index),
            receipt_proof=_list_proof(block.receipts, place.index),
        )


async def _at_hand(answers: _Answers) -> AsyncIterator[list[node.TransactionAnswer]]:
    """The answers until None; those that are there already together."""
    answer: node.TransactionAnswer | None
    while (answer := await answers.get()) is not None:
        at_hand = []
        while answer is not None:
            at_hand.append(answer)
            if len(at_hand) == ANSWERS_AT_ONCE_MAX or answers.empty():
                break
            answer = answers.get_nowait()
        yield at_hand
        if answer is None:
            return


@functools.lru_cache(maxsize=1)
def _full_status(pending: int) -> bytes:
    """Kept: under overload it is said many times between two blocks."""
    return to_rpc_status(full_error(pending)).SerializeToString()


def _transaction(message: ledger_pb2.Transaction) -> SignedTransaction:
    """The transaction as signed, or the error that names what no admission could read."""
    if message.ByteSize() > TRANSACTION_BYTES_MAX:
        raise TooLargeError(
            "TRANSACTION_TOO_LARGE", bytes=message.ByteSize(), maximum=TRANSACTION_BYTES_MAX
        )
    try:
        return transaction_from_message(message)
    except MalformedError as error:
        raise InvalidError("TRANSACTION_MALFORMED", detail=str(error)) from error


def _list_proof(leaves: Sequence[bytes], index: int) -> ledger_pb2.ListProof:
    return ledger_pb2.ListProof(
        leaf=leaves[index], index=index, count=len(leaves), path=merkle_path(leaves, index)
    )


def _check_own(response: node.GetTransactionResponse, organisation: str) -> None:
    """Raise unless the caller's organisation sent the transaction."""
    signed = SignedTransaction.decode(response.transaction_proof.leaf)
    if parse_payload(signed.payload).organisation != organisation:
        raise ForbiddenError("METHOD_FORBIDDEN", method="GetTransaction")
