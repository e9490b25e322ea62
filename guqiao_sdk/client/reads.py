"""Verified pieces of a chain as one replica holds them.

Whichever replica answers is believed in nothing, but it may be behind: that it does not have a
piece says nothing about the others. `ChainClient` asks them too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.blocks import VerifiedBlock, verify_header
from guqiao_sdk.client.endpoints import Endpoints, Stub
from guqiao_sdk.client.followed_sets import FollowedSets
from guqiao_sdk.client.proven import (
    STATE_KEYS_MAX,
    ProvenState,
    ProvenTransaction,
    check_height,
    verify_state,
    verify_states,
    verify_transaction,
)
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader, FinalityCertificate

CALL_SECONDS: Final = 20.0
BLOCKS_KEPT_MAX: Final = 16


class ChainReads:
    """See the module. Every method raises `NotFoundError` for what the replica asked lacks."""

    def __init__(
        self, trust: ChainTrust, endpoints: Endpoints, sets: FollowedSets, provider: GmProvider
    ) -> None:
        self._trust = trust
        self._endpoints = endpoints
        self._sets = sets
        self._provider = provider
        self._blocks: OrderedDict[int, asyncio.Future[VerifiedBlock]] = OrderedDict()

    async def latest(self) -> BlockHeader:
        """The latest certified header, verified; of block 0, which has no certificate, only that it
        is of the chain and the replica set that are trusted.
        """
        response = await self._consensus_state(0)
        if not response.certified_header.certificate:
            return self._genesis_header(response)
        header, _ = await self._verified_header(response, 0)
        return header

    async def get_header(self, height: int = 0) -> tuple[BlockHeader, FinalityCertificate]:
        """The certified header of a height (0: the latest certified one), verified."""
        return await self._verified_header(await self._consensus_state(height), height)

    async def get_block(self, height: int) -> VerifiedBlock:
        """The block of a height, verified whole."""
        known = self._blocks.get(height)
        if known is None:
            known = asyncio.ensure_future(self._fetch_block(height))
            self._blocks[height] = known
            while len(self._blocks) > BLOCKS_KEPT_MAX:
                self._blocks.popitem(last=False)
        try:
            return await asyncio.shield(known)
        except BaseException:
            if known.done():
                self._blocks.pop(height, None)
            raise

    async def _fetch_block(self, height: int) -> VerifiedBlock:
        request = node.GetBlockRequest(height=height)

        async def attempt(stub: Stub, seconds: float) -> node.GetBlockResponse:
            return await stub.GetBlock(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        block = await self._sets.verified_block(response.block)
        check_height("block", block.header, height)
        return block

    async def get_transaction(self, transaction_id: bytes) -> ProvenTransaction:
        """A final transaction, its receipt and the proofs of both, verified."""
        request = node.GetTransactionRequest(transaction_id=transaction_id)

        async def attempt(stub: Stub, seconds: float) -> node.GetTransactionResponse:
            return await stub.GetTransaction(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        replica_set = await self._sets.set_of(response.certified_header.header)
        proven = verify_transaction(response, replica_set, self._provider.verify)
        if proven.transaction.id() != transaction_id:
            raise ProofError(f"transaction {transaction_id.hex()}", "another one was answered")
        return proven

    async def get_state_proof(self, key: str, height: int = 0) -> ProvenState:
        """What stands under a state key (`<contract>/<key>`) at a height, proven either way."""
        request = node.GetStateProofRequest(key=key.encode(), height=height)

        async def attempt(stub: Stub, seconds: float) -> node.GetStateProofResponse:
            return await stub.GetStateProof(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        replica_set = await self._sets.set_of(response.certified_header.header)
        return verify_state(response, key.encode(), height, replica_set, self._provider.verify)

    async def get_state_proofs(self, keys: Sequence[str], height: int = 0) -> list[ProvenState]:
        """What stands under each of the keys, all at one height (0: the latest certified one),
        proven either way; as many calls as bounds of question and answer ask for.
        """
        found: list[ProvenState] = []
        while len(found) < len(keys):
            due = [key.encode() for key in keys[len(found) :][:STATE_KEYS_MAX]]
            found += await self._some_state_proofs(due, height)
            height = found[0].header.height
        return found

    async def _some_state_proofs(self, keys: Sequence[bytes], height: int) -> list[ProvenState]:
        request = node.GetStateProofsRequest(keys=keys, height=height)

        async def attempt(stub: Stub, seconds: float) -> node.GetStateProofsResponse:
            return await stub.GetStateProofs(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        replica_set = await self._sets.set_of(response.certified_header.header)
        return verify_states(response, keys, height, replica_set, self._provider.verify)

    async def list_objects(self, height: int) -> list[node.ObjectReference]:
        """References of the data objects that a block recorded. Prove them by `get_transaction`."""
        request = node.ListObjectsRequest(height=height)

        async def attempt(stub: Stub, seconds: float) -> node.ListObjectsResponse:
            return await stub.ListObjects(request, timeout=seconds)

        return list((await self._endpoints.call(attempt, CALL_SECONDS)).objects)

    async def get_object(self, object_id: str, version: int) -> node.GetObjectResponse:
        """A data object with its place. Prove it by `get_state_proof` or `get_transaction`."""
        request = node.GetObjectRequest(object_id=object_id, version=version)

        async def attempt(stub: Stub, seconds: float) -> node.GetObjectResponse:
            return await stub.GetObject(request, timeout=seconds)

        return await self._endpoints.call(attempt, CALL_SECONDS)

    async def _consensus_state(self, height: int) -> node.GetConsensusStateResponse:
        request = node.GetConsensusStateRequest(height=height)

        async def attempt(stub: Stub, seconds: float) -> node.GetConsensusStateResponse:
            return await stub.GetConsensusState(request, timeout=seconds)

        return await self._endpoints.call(attempt, CALL_SECONDS)

    async def _verified_header(
        self, response: node.GetConsensusStateResponse, height: int
    ) -> tuple[BlockHeader, FinalityCertificate]:
        replica_set = await self._sets.set_of(response.certified_header.header)
        header, certificate = verify_header(
            response.certified_header, replica_set, self._provider.verify
        )
        check_height("consensus state", header, height)
        return header, certificate

    def _genesis_header(self, response: node.GetConsensusStateResponse) -> BlockHeader:
        piece = f"genesis header of {self._trust.chain_id}"
        try:
            header = BlockHeader.decode(response.certified_header.header)
        except MalformedError as error:
            raise ProofError(piece, str(error)) from error
        known = (self._trust.chain_id, 0, self._trust.replica_set.hash())
        if (header.chain_id, header.height, header.next_set_hash) != known:
            raise ProofError(piece, "it is of another chain or set, or of a later block")
        return header
