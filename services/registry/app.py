"""The registry's composition root: the one place that knows all its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from guqiao.registry.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from guqiao_sdk.gm.keyfile import read_guarded
from services.chassis import outbox
from services.chassis.runtime import Runtime, open_runtime
from services.registry.api import POLICIES, RegistryServicer
from services.registry.checker import RegisterChecker
from services.registry.consumers import apply_block
from services.registry.events import OPERATION_TOPIC
from services.registry.handlers import Handlers
from services.registry.settings import Settings

SERVICE: Final = "registry"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    async with open_runtime(settings, SERVICE, MIGRATIONS) as runtime:
        handlers = Handlers(
            runtime.pool,
            runtime.client,
            runtime.provider,
            identity_key=bytes.fromhex(read_guarded(settings.identity_key_file).decode().strip()),
            body_key=bytes.fromhex(read_guarded(settings.body_key_file).decode().strip()),
        )
        server = runtime.build_server(POLICIES)
        add_RegistryServiceServicer_to_server(RegistryServicer(handlers), server)
        follow = runtime.follow_blocks("registry.read_model", apply_block)
        checker = RegisterChecker(runtime.pool, runtime.client, runtime.telemetry.metrics)
        runtime.alarms["register"] = checker.check
        await runtime.run(server, [follow, _announce(runtime, handlers), checker.run()])


async def _announce(runtime: Runtime, handlers: Handlers) -> None:
    await runtime.ensure_topic(OPERATION_TOPIC)
    await outbox.relay(runtime.pool, runtime.bus, appended=handlers.announced)
