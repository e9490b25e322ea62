"""The key directory of a replica: callers' keys as its own state has them."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.grpc_server.ports import KeyRecord
from services.consensus.domain.ledger.authorisation import Identities
from services.consensus.ledger import Ledger


@dataclass(frozen=True, slots=True)
class StateKeyDirectory:
    """A `KeyDirectory` over the state after the last executed block."""

    ledger: Ledger

    async def find(self, did: str, key_id: str) -> KeyRecord | None:
        """The key's record, or None."""
        with self.ledger.store.state_reader() as state:
            identity = Identities(state).find(did)
        key = None if identity is None else identity.keys.get(key_id)
        if identity is None or key is None:
            return None
        return KeyRecord(
            public_key=key.public_key,
            organisation=identity.organisation,
            roles=identity.roles,
            not_before_ms=key.not_before_ms,
            not_after_ms=key.not_after_ms,
            revoked=key.revoked or not identity.active,
        )
