"""The relay as a sidecar: `python -m services.chassis.gm_tunnel --config FILE` (TOML).

Runs until it is told to stop. Certificates and CRLs are read again when their files change. A
configuration that cannot be used ends the process with code 2 and says why.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Self

import structlog
import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guqiao_sdk.gm.errors import GmError
from services.chassis.gm_tls import GmTlsFiles, GmTlsIdentity, authority_files
from services.chassis.gm_tunnel.lookup import LookupServer
from services.chassis.gm_tunnel.tunnel import TunnelClient, TunnelRoute, TunnelServer
from services.chassis.settings import AuthoritySettings

EXIT_USAGE = 2

_log = structlog.get_logger(__name__)
_Port = Annotated[int, Field(ge=0, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IdentitySection(_Section):
    """Our certificate and whom we trust."""

    certificate: Path
    private_key: Path
    authorities: tuple[AuthoritySettings, ...] = Field(min_length=1)


class ServerSection(_Section):
    """Links in: where to listen, which loopback port they lead to, who may come."""

    host: str
    port: _Port
    target_port: _Port
    accept: frozenset[str] = Field(min_length=1)
    lookup_socket: Path | None = None


class RouteSection(_Section):
    """One link out."""

    listen_port: _Port
    host: str
    port: _Port
    expected_peer: str


class TunnelConfig(_Section):
    """The whole file: an identity, and a server, routes, or both."""

    identity: IdentitySection
    server: ServerSection | None = None
    routes: tuple[RouteSection, ...] = ()

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.server is None and not self.routes:
            raise ValueError("there is neither a [server] nor a [[routes]] section")
        return self


async def run(config: TunnelConfig, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    own = config.identity
    files = GmTlsFiles(own.certificate, own.private_key, authority_files(own.authorities))
    identity = GmTlsIdentity(files)
    identity.check_own()
    routes = [TunnelRoute(**route.model_dump()) for route in config.routes]
    client = TunnelClient(identity, routes)
    await client.start()
    server, lookup = await _start_server(identity, config.server)
    _log.info(
        "gm_tunnel.started",
        identity=identity.name,
        server_port=server.port if server else None,
        route_ports=client.ports,
    )
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(identity.watch())
        await stop.wait()
        watching.cancel()
    await client.close()
    if server is not None:
        await server.close()
    if lookup is not None:
        await lookup.close()
    _log.info("gm_tunnel.stopped", identity=identity.name)


async def _start_server(
    identity: GmTlsIdentity, section: ServerSection | None
) -> tuple[TunnelServer | None, LookupServer | None]:
    if section is None:
        return None, None
    server = TunnelServer(
        identity,
        host=section.host,
        port=section.port,
        target_port=section.target_port,
        accept=section.accept,
    )
    await server.start()
    if section.lookup_socket is None:
        return server, None
    lookup = LookupServer(server.identities, section.lookup_socket)
    await lookup.start()
    return server, lookup


def main(config: Annotated[Path, typer.Option(help="TOML file / 配置文件")]) -> None:
    """Carry gRPC between machines under GM-TLS."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        settings = TunnelConfig.model_validate(tomllib.loads(config.read_text("utf-8")))
        asyncio.run(_until_signalled(settings))
    except (OSError, tomllib.TOMLDecodeError, ValidationError, GmError) as error:
        _log.error("gm_tunnel.refused_to_start", why=str(error), zh=getattr(error, "zh", None))
        raise typer.Exit(EXIT_USAGE) from None


async def _until_signalled(settings: TunnelConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    typer.run(main)
