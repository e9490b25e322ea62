"""The default place for audit records: the structured log, one record a line.

A service that keeps audit records on a chain wires its own `AuditSink`; logs alone are not
evidence.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import structlog

from services.chassis.grpc_server.ports import AuditRecord

EVENT: Final = "rpc.audited"


class LogAudit:
    """An `AuditSink` that logs."""

    async def record(self, record: AuditRecord) -> None:
        """Log the record under the event name `rpc.audited`."""
        structlog.get_logger("audit").info(EVENT, **asdict(record))
