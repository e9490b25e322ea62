"""The platform's composition root: the one place that knows all its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao.enablement.v1.enablement_service_pb2_grpc import add_EnablementServiceServicer_to_server
from services.chassis.runtime import open_runtime
from services.enablement.api import POLICIES, EnablementServicer
from services.enablement.consumers import apply_block
from services.enablement.handlers import Handlers
from services.enablement.settings import Settings

SERVICE: Final = "enablement"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    async with open_runtime(settings, SERVICE, MIGRATIONS) as runtime:
        handlers = Handlers(runtime.pool, runtime.client)
        server = runtime.build_server(POLICIES)
        add_EnablementServiceServicer_to_server(EnablementServicer(handlers), server)
        follow = runtime.follow_blocks("enablement.services", apply_block)
        await runtime.run(server, [follow])
