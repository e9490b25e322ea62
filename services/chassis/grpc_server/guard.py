"""What stands between the wire and every handler: who asks, may they, is it recorded.

The order is cheap first: connection, the message within its time, size, bytes in hand, form, time,
key, signature, nonce, rate, open calls, role. The message is parsed only after all of it held. A
call is let through only after its audit record was taken. One that ends with a code, here or in the
handler, is recorded with it, whoever refused it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import structlog
from grpc.aio import ServicerContext

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.signing import RequestStamp
from services.chassis.errors import ForbiddenError, TooLargeError, UnavailableError
from services.chassis.grpc_server.bytes_held import BytesHeld
from services.chassis.grpc_server.identity import Caller
from services.chassis.grpc_server.limits import ServerLimits
from services.chassis.grpc_server.open_calls import OpenCalls
from services.chassis.grpc_server.policy import Policy
from services.chassis.grpc_server.ports import (
    AuditRecord,
    AuditSink,
    Decision,
    KeyRecord,
    PeerLookup,
)
from services.chassis.grpc_server.rate import RateLimiter
from services.chassis.grpc_server.request_signature import SignatureVerifier, read_signature

_logger = structlog.get_logger("grpc")
_NOTHING_READ: Final = sm3(b"")


@dataclass(slots=True)
class Call:
    """One call on its way in; `stamp`, `key` and `identity` are known once it is admitted, and
    `connection_of`, the organisation whose tunnel it came through, where there is a tunnel.
    """

    method: str
    context: ServicerContext[Any, Any]
    policy: Policy | None  # None: an unsigned method, in development only.
    trace_id: str
    stamp: RequestStamp | None = None
    key: KeyRecord | None = None
    identity: Caller | None = None
    connection_of: str | None = None
    counts_as: Caller | None = None  # Whose open call it is, once it counts as one.
    bytes_held: int = 0  # Of its message that is in hand.
    digest: bytes = _NOTHING_READ
    """SM3 of its message; of no bytes where none came, and where it opens a client stream."""
    is_let_through: bool = False

    @property
    def organisation(self) -> str | None:
        """Whose call it is, as far as that is proven: by the connection, or by the signature."""
        if self.connection_of is not None or self.identity is None:
            return self.connection_of
        return self.identity.organisation

    @property
    def source(self) -> str:
        """Where it came from, before anything of it is proven: the organisation behind the tunnel,
        or the connection.
        """
        return self.connection_of or self.context.peer()

    @property
    def metadata(self) -> list[tuple[str, str | bytes]]:
        """The call's metadata as pairs."""
        return [(str(key), value) for key, value in self.context.invocation_metadata() or ()]


@dataclass(frozen=True, slots=True)
class Guard:
    """Admits or refuses calls to one audience."""

    verifier: SignatureVerifier
    audit: AuditSink
    peers: PeerLookup | None
    limiter: RateLimiter
    limits: ServerLimits
    open_calls: OpenCalls
    bytes_held: BytesHeld
    now_ms: Callable[[], int]

    async def admit(self, call: Call, *, opens_stream: bool) -> bytes:
        """Let the call in, which is recorded, and set `call.identity`, or raise why not. Returns
        its message, which is empty where it opens a client stream.
        """
        message = b""
        call.connection_of = await self._peer_organisation(call)
        if not opens_stream:
            message = await self.open_calls.first_message(call.context.read(), call.source)
            call.digest = sm3(message)
        await self._check(call, message)
        try:
            await self.audit.record(self._record(call, Decision.ALLOWED, ""))
        except Exception as error:
            _logger.error("audit.failed", method=call.method, exc_info=error)
            raise UnavailableError("AUDIT_UNAVAILABLE") from error
        call.is_let_through = True
        return message

    async def record_end(self, call: Call, code: str) -> None:
        """Keep a record of a call that ends with a code. It ends so whether or not that can be
        kept; what must not happen is that nobody learns of the lost record.
        """
        decision = Decision.ENDED if call.is_let_through else Decision.REFUSED
        try:
            await self.audit.record(self._record(call, decision, code))
        except Exception as error:
            _logger.error("audit.failed", method=call.method, code=code, exc_info=error)

    def end(self, call: Call) -> None:
        """The call is over, however it ended."""
        self.let_go(call)
        if call.counts_as is not None:
            self.open_calls.give_back(call.counts_as)
            call.counts_as = None

    def hold(self, call: Call, message: bytes) -> None:
        """Count a message of the call as in hand, or raise QUEUE_FULL."""
        if message:
            self.bytes_held.take(call.source, len(message))
            call.bytes_held += len(message)

    def let_go(self, call: Call) -> None:
        """What came of the call so far is done."""
        if call.bytes_held:
            self.bytes_held.give_back(call.source, call.bytes_held)
            call.bytes_held = 0

    def check_size(self, policy: Policy | None, message: bytes) -> None:
        """Refuse a message above the method's limit."""
        size_max = self.limits.message_bytes_max
        if policy is not None and policy.message_bytes_max is not None:
            size_max = min(size_max, policy.message_bytes_max)
        if len(message) > size_max:
            raise TooLargeError("REQUEST_TOO_LARGE", size=len(message), size_max=size_max)

    async def open_item(self, call: Call, sealed: bytes, counter: int) -> bytes:
        """The message inside one item of a signed stream."""
        assert call.stamp is not None, "items follow the opening"
        assert call.key is not None, "items follow the opening"
        return await self.verifier.open_item(
            sealed, method=call.method, stamp=call.stamp, key=call.key, counter=counter
        )

    async def watch_key(self, call: Call) -> NoReturn:
        """Look at the caller of an open stream now and then; raise when its key may no longer be
        used, or its roles no longer suffice.
        """
        while True:
            await asyncio.sleep(self.limits.key_recheck_seconds)
            if call.identity is not None:
                assert call.stamp is not None, "an identity comes from a stamp"
                call.key = await self.verifier.find_key(call.stamp, self.now_ms())
                _require_role(call, call.key)

    async def _check(self, call: Call, message: bytes) -> None:
        organisation = call.connection_of
        self.check_size(call.policy, message)
        self.hold(call, message)
        if call.policy is None:
            return
        request = read_signature(call.metadata)
        call.stamp = request.stamp
        now_ms = self.now_ms()
        key = await self.verifier.verify(
            request, method=call.method, message=message, now_ms=now_ms
        )
        call.key = key
        call.identity = Caller(request.stamp.did, request.stamp.key_id, key.organisation, key.roles)
        if organisation is not None and organisation != key.organisation:
            raise ForbiddenError("ORGANISATION_MISMATCH", organisation=key.organisation)
        self.limiter.take(request.stamp.did, now_ms)
        self.open_calls.take(call.identity)
        call.counts_as = call.identity
        _require_role(call, key)

    async def _peer_organisation(self, call: Call) -> str | None:
        """The organisation behind the tunnel's certificate; None when no tunnel is configured."""
        if self.peers is None:
            return None
        port = call.context.peer().rpartition(":")[2]
        organisation = await self.peers.organisation_of(int(port)) if port.isdecimal() else None
        if organisation is None:
            raise ForbiddenError("PEER_UNKNOWN")
        return organisation

    def _record(self, call: Call, decision: Decision, code: str) -> AuditRecord:
        identity = call.identity
        return AuditRecord(
            time_ms=self.now_ms(),
            domain=self.verifier.audience.domain,
            service=self.verifier.audience.service,
            method=call.method,
            decision=decision,
            code=code,
            # Until the signature held, the DID is only what somebody claims.
            did=call.stamp.did if call.stamp else "",
            key_id=call.stamp.key_id if call.stamp else "",
            organisation=identity.organisation if identity else "",
            roles=tuple(sorted(identity.roles)) if identity else (),
            peer=call.context.peer(),
            request_digest=call.digest.hex(),
            trace_id=call.trace_id,
        )


def _require_role(call: Call, key: KeyRecord) -> None:
    assert call.policy is not None, "a method without a row admits nobody"
    if not call.policy.allows(key.roles):
        raise ForbiddenError("ROLE_MISSING", roles=", ".join(sorted(call.policy.roles)))
