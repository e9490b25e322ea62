"""Opens clients of the network's chains and services in the name of one of its accounts."""

from __future__ import annotations

import grpc.aio

from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider
from guqiao_sdk.signing import RequestSigner
from guqiaoctl.network.genesis import KEY_ID
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import account


def open_identity(network: Network, provider: GmProvider, domain: str, name: str) -> Identity:
    """The account `name` of `domain` with its key."""
    owner = account(domain, name)
    key = load_private_key(network.layout.account(domain, name), provider)
    return Identity(owner.did, KEY_ID, owner.organisation.did, key)


def open_chain(
    network: Network, provider: GmProvider, chain: str, identity: Identity
) -> ChainClient:
    """A client of a chain's node RPC."""
    trust = load_chain_trust(network.layout.chain_trust(chain))
    return ChainClient(chain, network.node_endpoints(chain), identity, trust, provider)


def open_service(
    network: Network, provider: GmProvider, identity: Identity, domain: str, service: str
) -> grpc.aio.Channel:
    """A signed channel to a service of a domain."""
    signer = RequestSigner(
        identity.did, identity.key_id, identity.private_key, provider, domain, service
    )
    return open_channel(network.address(f"{domain}-{service}.grpc"), signer)
