"""What the checks ask of a node, by the list of JR/T 0314, and what they start from.

Nothing that a node answers is believed. A second implementation of `Node` is a test's liar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.trust import ChainTrust


class Node(Protocol):
    """One node's RPC. Every method raises `GuqiaoError` for what it was refused, or for no answer
    within the transport's time.
    """

    async def list_networks(self) -> node.ListNetworksResponse:
        """The chain and its sub-networks."""

    async def get_network_options(self) -> node.GetNetworkOptionsResponse:
        """What the chain speaks."""

    async def get_network_status(self) -> node.GetNetworkStatusResponse:
        """Where the node stands."""

    async def get_block(self, height: int) -> node.GetBlockResponse:
        """A block."""

    async def get_transaction(self, transaction_id: bytes) -> node.GetTransactionResponse:
        """A transaction with its proofs."""

    async def get_consensus_state(self, height: int) -> node.GetConsensusStateResponse:
        """A header, its certificate and the set that signed it."""

    async def list_set_changes(self, from_epoch: int) -> node.ListSetChangesResponse:
        """The set changes after an epoch."""

    async def list_objects(self, height: int) -> node.ListObjectsResponse:
        """The data objects that a block recorded."""

    async def get_object(self, object_id: str, version: int) -> node.GetObjectResponse:
        """A data object."""

    async def get_state_proof(self, key: bytes, height: int) -> node.GetStateProofResponse:
        """What stands under a state key, proven either way."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a node could not be asked: a code of the rule catalogue and its facts. Where only this
    side lacks the means, nothing is known of the node: it was not checked.
    """

    code: str
    facts: Mapping[str, str]
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node as it is registered or named: its address, its number in the chain's replica set
    (None where it is none of it, and then has no RPC), how it was reached, and its RPC or why there
    is none.
    """

    url: str
    replica: int | None
    transport: str
    rpc: Node | Unreachable


@dataclass(frozen=True, slots=True)
class Subject:
    """The chain that is examined, as it was registered or as the caller trusts it.

    `registration_digest` is the digest of the registration in hex, empty where there is none;
    `sub_networks` is None where nobody stated them.
    """

    trust: ChainTrust
    crypto_suite: str
    registration_digest: str = ""
    sub_networks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an examination takes: how far nodes may be apart in heights, how many heights are
    looked through for a sample, and the height of a block with data objects where the caller
    knows one (0: look for it).
    """

    lag_heights_max: int = 10
    scan_heights_max: int = 500
    sample_height: int = field(default=0)
