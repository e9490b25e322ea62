"""The record of a call that this gateway fetched: what its server keeps of a call that comes in,
for one that nobody made here.

No signature of the other gateway stands under such a call. Who asked is known by the certificate of
the tunnel alone, so a record names an organisation and that peer, and neither DID, key nor roles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from guqiao_sdk.gm.sm3 import sm3
from guqiao_sdk.signing import system_time_ms
from services.chassis.errors import UnavailableError
from services.chassis.grpc_server import RpcRefusals
from services.chassis.grpc_server.ports import AuditRecord, AuditSink, Decision

_SERVICE: Final = "/guqiao.gateway.v1.GatewayService"
METHODS: Final = {
    "deliver_packets": f"{_SERVICE}/DeliverPackets",
    "get_packet_receipts": f"{_SERVICE}/GetPacketReceipts",
    "get_packet_absences": f"{_SERVICE}/GetPacketAbsences",
}
"""What a fetched call asks, as the method that asks the same."""

UNKNOWN: Final = "unknown"
"""The method of a message that has no single reading."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchedAudit:
    """Of the calls fetched from one gateway: that of `organisation`, whose certificate is `peer`'s.
    `domain` and `service` are whom it asks.
    """

    domain: str
    service: str
    organisation: str
    peer: str
    sink: AuditSink
    refusals: RpcRefusals
    now_ms: Callable[[], int] = system_time_ms

    async def allow(self, call: str | None, message: bytes, trace_id: str) -> None:
        """Keep that a call is done; raises `UnavailableError` where that cannot be kept, and then
        it must not be done. `message` is what came, whose digest is kept.
        """
        method = METHODS.get(call or "", UNKNOWN)
        try:
            await self.sink.record(self._record(method, message, Decision.ALLOWED, "", trace_id))
        except Exception as error:
            log.exception("audit.failed", method=method)
            raise UnavailableError("AUDIT_UNAVAILABLE") from error

    async def refuse(self, message: bytes, code: str, trace_id: str) -> None:
        """Keep and count that a message is not even read as a call."""
        self.count(code)
        await self._keep(self._record(UNKNOWN, message, Decision.REFUSED, code, trace_id))

    async def end(
        self, decision: Decision, call: str | None, message: bytes, code: str, trace_id: str
    ) -> None:
        """Keep that a call ended with a code, as the server does: `decision` is ENDED where it was
        let through before, else REFUSED.
        """
        method = METHODS.get(call or "", UNKNOWN)
        await self._keep(self._record(method, message, decision, code, trace_id))

    def count(self, code: str) -> None:
        """Count that a call ended with a code."""
        self.refusals.count(self.organisation, code)

    async def _keep(self, record: AuditRecord) -> None:
        """It ends so whether or not that can be kept; a record that is lost is logged."""
        try:
            await self.sink.record(record)
        except Exception:
            log.exception("audit.failed", method=record.method, code=record.code)

    def _record(
        self, method: str, message: bytes, decision: Decision, code: str, trace_id: str
    ) -> AuditRecord:
        return AuditRecord(
            time_ms=self.now_ms(),
            domain=self.domain,
            service=self.service,
            method=method,
            decision=decision,
            code=code,
            did="",
            key_id="",
            organisation=self.organisation,
            roles=(),
            peer=self.peer,
            request_digest=sm3(message).hex(),
            trace_id=trace_id,
        )
