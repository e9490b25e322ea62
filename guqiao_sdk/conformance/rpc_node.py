"""A node over its gRPC: each call is made once and bounded in time; the channel signs it and bounds
the answer. Nothing of the answer is judged here.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

import grpc.aio

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao.consensus.v1 import node_service_pb2_grpc
from guqiao_sdk.errors import error_from_rpc

CALL_SECONDS: Final = 10.0
T = TypeVar("T")


class RpcNode:
    """A `Node` behind an open channel, which stays its opener's to close."""

    def __init__(self, channel: grpc.aio.Channel, call_seconds: float = CALL_SECONDS) -> None:
        self._stub: node_service_pb2_grpc.NodeServiceAsyncStub = (
            node_service_pb2_grpc.NodeServiceStub(channel)
        )
        self._seconds = call_seconds

    async def list_networks(self) -> node.ListNetworksResponse:
        """See `Node`."""
        request = node.ListNetworksRequest()
        return await _answer(self._stub.ListNetworks(request, timeout=self._seconds))

    async def get_network_options(self) -> node.GetNetworkOptionsResponse:
        """See `Node`."""
        request = node.GetNetworkOptionsRequest()
        return await _answer(self._stub.GetNetworkOptions(request, timeout=self._seconds))

    async def get_network_status(self) -> node.GetNetworkStatusResponse:
        """See `Node`."""
        request = node.GetNetworkStatusRequest()
        return await _answer(self._stub.GetNetworkStatus(request, timeout=self._seconds))

    async def get_block(self, height: int) -> node.GetBlockResponse:
        """See `Node`."""
        request = node.GetBlockRequest(height=height)
        return await _answer(self._stub.GetBlock(request, timeout=self._seconds))

    async def get_transaction(self, transaction_id: bytes) -> node.GetTransactionResponse:
        """See `Node`."""
        request = node.GetTransactionRequest(transaction_id=transaction_id)
        return await _answer(self._stub.GetTransaction(request, timeout=self._seconds))

    async def get_consensus_state(self, height: int) -> node.GetConsensusStateResponse:
        """See `Node`."""
        request = node.GetConsensusStateRequest(height=height)
        return await _answer(self._stub.GetConsensusState(request, timeout=self._seconds))

    async def list_set_changes(self, from_epoch: int) -> node.ListSetChangesResponse:
        """See `Node`."""
        request = node.ListSetChangesRequest(from_epoch=from_epoch)
        return await _answer(self._stub.ListSetChanges(request, timeout=self._seconds))

    async def list_objects(self, height: int) -> node.ListObjectsResponse:
        """See `Node`."""
        request = node.ListObjectsRequest(height=height)
        return await _answer(self._stub.ListObjects(request, timeout=self._seconds))

    async def get_object(self, object_id: str, version: int) -> node.GetObjectResponse:
        """See `Node`."""
        request = node.GetObjectRequest(object_id=object_id, version=version)
        return await _answer(self._stub.GetObject(request, timeout=self._seconds))

    async def get_state_proof(self, key: bytes, height: int) -> node.GetStateProofResponse:
        """See `Node`."""
        request = node.GetStateProofRequest(key=key, height=height)
        return await _answer(self._stub.GetStateProof(request, timeout=self._seconds))


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error
