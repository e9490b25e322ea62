"""Callers' keys for a service: what f + 1 replicas of its chain say alike, kept for a few seconds.

A revocation on the chain therefore takes effect at every service within `KEPT_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from guqiao.consensus.v1 import node_service_pb2 as node
from guqiao_sdk.client.chain import ChainClient

KEPT_SECONDS: Final = 5.0
KEPT_MAX: Final = 10_000


R = TypeVar("R")

MakeRecord = Callable[[bytes, str, frozenset[str], int, int, bool], R]
"""(public key, organisation, roles, not before ms, not after ms, revoked) -> a key's record: the
chassis' `KeyRecord` in a service.
"""


class ChainKeyDirectory(Generic[R]):
    """A `KeyDirectory` over node RPC."""

    def __init__(
        self, client: ChainClient, make_record: MakeRecord[R], *, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        self._client = client
        self._make_record = make_record
        self._kept_seconds = kept_seconds
        self._kept: OrderedDict[str, tuple[float, node.GetIdentityResponse | None]] = OrderedDict()

    async def find(self, did: str, key_id: str) -> R | None:
        """The key's record, or None; raises `GuqiaoError` when the chain cannot be asked."""
        identity = await self._identity(did)
        if identity is None:
            return None
        for key in identity.keys:
            if key.key_id == key_id:
                return self._make_record(
                    key.public_key,
                    identity.organisation,
                    frozenset(identity.roles),
                    key.not_before_ms,
                    key.not_after_ms,
                    key.revoked or not identity.active,
                )
        return None

    async def _identity(self, did: str) -> node.GetIdentityResponse | None:
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(did)
        if kept is not None and now - kept[0] < self._kept_seconds:
            return kept[1]
        identity = await self._client.get_identity(did)
        self._kept[did] = (now, identity)
        self._kept.move_to_end(did)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return identity
