"""Whether the nodes of one observed chain say the same (G2-07-3): each is asked by itself for a
header that is known, so no node hides behind the others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guqiao_sdk.proof.errors import ProofError
from guqiao_sdk.proof.fisco.header import CertifiedHeader
from guqiao_sdk.proof.fisco.trusted import ForkError, TrustedFisco
from guqiao_sdk.proof.header import Verify
from services.gateway.observed.errors import (
    AnswerMalformedError,
    ItemUnknownError,
    NodeRefusedError,
    NodeUnavailableError,
)
from services.gateway.observed.fisco import FiscoObserved
from services.gateway.observed.http import Endpoint
from services.gateway.observed.json_rpc import JsonRpcNodes, Limits

DIVERGENCE: Final = "NODE_DIVERGENCE"


class NodeState(IntEnum):
    """What a node was found to be, as `ObservedNodeState` of the protocol numbers it."""

    AGREES = 1
    BEHIND = 2
    AWAY = 3
    DIVERGES = 4


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, when it was last compared. `height` is its own word, 0 where it said none; `fork`
    is another header of the same height that sealers who are believed signed.
    """

    name: str
    state: NodeState
    height: int = 0
    detail: str = ""
    fork: CertifiedHeader | None = None


@dataclass(frozen=True, slots=True)
class Nodes:
    """The addresses of one chain's nodes, all together and each by itself."""

    urls: Sequence[str]
    verify: Verify
    tls: ssl.SSLContext | None = None
    limits: Limits | None = None

    def observed(self, trusted: TrustedFisco, *urls: str) -> FiscoObserved:
        """The chain as these nodes show it, or all; what is believed starts from `trusted`."""
        nodes = JsonRpcNodes(urls or self.urls, self.tls, self.limits)
        return FiscoObserved(trusted, nodes, self.verify)

    async def compare(self, trusted: TrustedFisco) -> list[NodeView]:
        """Ask every node for the header that is believed."""
        return list(await asyncio.gather(*(self._compare(url, trusted) for url in self.urls)))

    async def _compare(self, url: str, trusted: TrustedFisco) -> NodeView:
        name = Endpoint.parse(url).name
        chain = self.observed(trusted, url)
        height = 0
        try:
            height = (await chain.status()).height
            if trusted.number:  # Of the genesis block, `status` has asked already.
                await chain.header(trusted.number)
        except ItemUnknownError:
            return NodeView(name, NodeState.BEHIND, height)
        except ForkError as error:
            return NodeView(name, NodeState.DIVERGES, height, str(error), error.other)
        except ProofError as error:
            return NodeView(name, NodeState.DIVERGES, height, str(error))
        except (NodeUnavailableError, NodeRefusedError, AnswerMalformedError) as error:
            return NodeView(name, NodeState.AWAY, height, str(error))
        return NodeView(name, NodeState.AGREES, height)
