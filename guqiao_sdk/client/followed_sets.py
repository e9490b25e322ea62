"""The replica sets of a chain as one client follows them, from the set that it trusts on.

Each step is a header certified by the old set that names the new one; nothing is taken from a
replica unproven.
"""

from __future__ import annotations

from typing import Final

from guqiao.consensus.v1 import ledger_pb2
from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.blocks import VerifiedBlock, verify_block
from guqiao_sdk.client.endpoints import Endpoints, Stub
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.proof.canonical import MalformedError
from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.header import BlockHeader
from guqiao_sdk.proof.light_client import SetChange
from guqiao_sdk.proof.quorum import ReplicaSet

CALL_SECONDS: Final = 20.0


class FollowedSets:
    """Sets by epoch; those that are not known yet are asked for and verified."""

    def __init__(self, trust: ChainTrust, provider: GmProvider, endpoints: Endpoints) -> None:
        self._provider = provider
        self._endpoints = endpoints
        self._history = SetHistory(trust, provider.verify)

    def changes_to(self, epoch: int) -> tuple[SetChange, ...]:
        """The set changes from the trusted set to an epoch that was met: what a proof carries."""
        return self._history.changes_to(epoch)

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
        while header.epoch > self._history.epoch:
            await self._follow()
        return self._history.set_of(header)

    async def _follow(self) -> None:
        """Take the next set changes; whoever names a later epoch must prove how it began."""
        epoch = self._history.epoch
        request = node.ListSetChangesRequest(from_epoch=epoch)

        async def attempt(stub: Stub, seconds: float) -> node.ListSetChangesResponse:
            return await stub.ListSetChanges(request, timeout=seconds)

        response = await self._endpoints.call(attempt, CALL_SECONDS)
        self._history.learn(response.set_changes)
        if self._history.epoch == epoch:
            piece = f"set changes of {self._history.chain_id}"
            raise ProofError(piece, f"none is known after epoch {epoch}")
