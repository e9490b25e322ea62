"""What the server needs from outside: keys, nonces, the peer behind a connection, a place for
audit records.

Each port has one implementation in production and a small fake in tests; `app.py` of a service
wires them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One registered signing key. Times are milliseconds since 1970; it is valid while not_before
    <= now < not_after.
    """

    public_key: bytes
    organisation: str
    roles: frozenset[str]
    not_before_ms: int
    not_after_ms: int
    revoked: bool = False


class KeyDirectory(Protocol):
    """Finds registered keys; the identity contract is its truth."""

    async def find(self, did: str, key_id: str) -> KeyRecord | None:
        """The key's record, or None. Raises `UnavailableError` when it cannot be asked."""


class NonceStore(Protocol):
    """Remembers nonces durably, for all instances of a service."""

    async def remember(self, did: str, nonce: str, expires_at_ms: int) -> bool:
        """True the first time, False ever after. The nonce is durable before this returns."""


class Verifier(Protocol):
    """The part of the crypto provider that the server uses."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the SM2 signature (64 bytes r, s) holds; any bytes give an answer."""


class PeerLookup(Protocol):
    """Knows which certificate stands behind a connection of the GM tunnel."""

    async def organisation_of(self, source_port: int) -> str | None:
        """The organisation of the peer whose relay connects from this loopback port, or None if
        unknown.
        """


class Decision(StrEnum):
    """Whether a call was let through, and that one ended otherwise than with an answer."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    ENDED = "ended"
    """It was let through, which is another record, and ended with a code: refused by the service or
    by the chain, failed, or with an outcome that nobody knows yet.
    """


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who asked for what, and what was decided. `code` is empty when allowed; digests and ids are
    hex. A call that was let through and ended with a code has two records, with the same digest and
    trace id.
    """

    time_ms: int
    domain: str
    service: str
    method: str
    decision: Decision
    code: str
    did: str
    key_id: str
    organisation: str
    roles: tuple[str, ...]
    peer: str
    request_digest: str
    trace_id: str


class AuditSink(Protocol):
    """Keeps audit records. A call is let through only after its record was taken."""

    async def record(self, record: AuditRecord) -> None:
        """Keep the record, or raise: then the call is refused."""
