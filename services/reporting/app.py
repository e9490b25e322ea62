"""Reporting's composition root: the one place that knows all its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao.reporting.v1.reporting_service_pb2_grpc import add_ReportingServiceServicer_to_server
from services.chassis.runtime import open_runtime
from services.reporting.api import POLICIES, ReportingServicer
from services.reporting.consumers import apply_block
from services.reporting.handlers import Handlers
from services.reporting.settings import Settings

SERVICE: Final = "reporting"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    async with open_runtime(settings, SERVICE, MIGRATIONS) as runtime:
        handlers = Handlers(runtime.pool, runtime.client.chain_id)
        server = runtime.build_server(POLICIES)
        add_ReportingServiceServicer_to_server(ReportingServicer(handlers), server)
        follow = runtime.follow_blocks("reporting.data_objects", apply_block)
        await runtime.run(server, [follow])
