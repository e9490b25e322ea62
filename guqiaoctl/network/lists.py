"""Publishes the market's revocation list on the regulatory chain, where it is registered.

Whoever runs an authority does so in time, or packets wait (`CRL_STALE`); on one machine the network
itself does, at every start and after every renewal.
"""

from __future__ import annotations

import json
from typing import Final

from guqiao_sdk.gm.provider import GmProvider
from guqiaoctl.network.clients import open_chain, open_identity
from guqiaoctl.network.layout import Network
from guqiaoctl.network.parties import CSRC, MARKET
from services.consensus.domain.contracts.chain_registry.standing import (
    CHAINS,
    IN_FORCE,
    standing_key,
)

READER: Final = (CSRC, "reporting")
PUBLISHER: Final = (CSRC, "tech")
KEPT: Final = "CRL_OLDER"
"""What the chain says of a list that it has."""


async def publish_list(network: Network, provider: GmProvider) -> str:
    """Publish the list that is on disk. Returns the code of a refusal; an empty one also where the
    chain has the list, or where the market's registration is not in force and nobody asks for it.

    Raises `GuqiaoError` or `ProofError` where the chain does not answer, or not well.
    """
    if not await _is_asked_for(network, provider):
        return ""
    pem = (network.layout.authority(MARKET) / "crl.pem").read_text(encoding="ascii")
    publisher = open_identity(network, provider, *PUBLISHER)
    async with open_chain(network, provider, CSRC, publisher) as client:
        result = await client.call(CHAINS, "publish_crl", {"crl": pem})
    return "" if result.code == KEPT else result.code


async def _is_asked_for(network: Network, provider: GmProvider) -> bool:
    reader = open_identity(network, provider, *READER)
    async with open_chain(network, provider, CSRC, reader) as client:
        height = (await client.latest()).height
        if height == 0:  # Genesis, which nobody certified, knows no registration.
            return False
        proven = await client.get_state_proof(f"{CHAINS}/{standing_key(MARKET)}", height)
    return proven.value is not None and json.loads(proven.value)["status"] in IN_FORCE
