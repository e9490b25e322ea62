"""The replica sets of a chain as one client has followed them, from the set that it trusts on.

Each step is a header certified by the old set that names the new one; nothing is taken from a
replica unproven. A header is judged by the set of its epoch, and only up to that epoch's end.
"""

from __future__ import annotations

from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.client.endpoints import Endpoints, Stub
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.light_client import SetChange, TrustedChain, follow_set_changes
from guqiao_sdk.proof.quorum import ReplicaSet

CALL_SECONDS: Final = 20.0


class FollowedSets:
    """Sets by epoch; those that are not known yet are asked for and verified."""

    def __init__(self, trust: ChainTrust, provider: GmProvider, endpoints: Endpoints) -> None:
        self._provider = provider
        self._endpoints = endpoints
        self._first = trust.replica_set.epoch
        self._trusted = TrustedChain.from_genesis(trust.genesis_hash, trust.replica_set)
        self._changes: list[SetChange] = []
        self._sets = [trust.replica_set]

    @property
    def changes(self) -> tuple[SetChange, ...]:
        """The set changes so far, from the trusted set on: what a proof bundle carries."""
        return tuple(self._changes)

    async def verified_block(self, message: ledger_pb2.Block) -> VerifiedBlock:
        """The block, verified by the set of its epoch; raises `ProofError`."""
        replica_set = await self.set_of(message.certified_header.header)
        return verify_block(message, replica_set, self._provider.verify)

    async def set_of(self, encoded_header: bytes) -> ReplicaSet:
        """The set that must have certified this header; raises `ProofError`."""
        try:
            header = BlockHeader.decode(encoded_header)
        except MalformedError as error:
            raise ProofError("certified header", str(error)) from error
        while header.epoch > self._trusted.replica_set.epoch:
            await self._follow()
        index = header.epoch - self._first
        piece = f"header of {header.chain_id} height {header.height}"
        if index < 0:
            raise ProofError(piece, f"epoch {header.epoch} is before the trusted one")
        if index < len(self._changes) and header.height > self._changes[index].header.height:
            raise ProofError(piece, f"epoch {header.epoch} ended below it")
        return self._sets[index]

    async def _follow(self) -> None:
        """Take the next set changes; whoever names a later epoch must prove how it began."""
        epoch = self._trusted.replica_set.epoch
        request = node.ListSetChangesRequest(from_epoch=epoch)

        async def attempt(stub: Stub, seconds: float) -> node.ListSetChangesResponse:
            return await stub.ListSetChanges(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        try:
            changes = [SetChange.decode(encoded) for encoded in response.set_changes]
        except MalformedError as error:
            raise ProofError(f"set changes of {self._trusted.chain_id}", str(error)) from error
        if self._trusted.replica_set.epoch != epoch:
            return  # Another call was faster.
        if not changes:
            raise ProofError(
                f"set changes of {self._trusted.chain_id}", f"none is known after epoch {epoch}"
            )
        self._trusted = follow_set_changes(self._trusted, changes, self._provider.verify)
        self._changes += changes
        self._sets += [change.replica_set for change in changes]
