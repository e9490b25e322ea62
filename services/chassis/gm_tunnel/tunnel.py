"""The two ends of the relay: plain TCP on loopback at one side, GM-TLS between the machines.

Neither end ever listens for, or speaks, plain TCP beyond 127.0.0.1. Each accepted link becomes one
connection to the gRPC server, whose source port stands for the peer's identity; the entry is made
before the first byte is passed on, so a request can never arrive before its identity is known.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from services.chassis.gm_tls import (
    GmServer,
    GmStream,
    GmTlsError,
    GmTlsIdentity,
    GmTlsSettings,
    LinkBrokenError,
    open_connection,
    start_server,
)
from services.chassis.gm_tls.endpoints import Accept
from services.chassis.gm_tunnel.lookup import IdentityMap

LOOPBACK: Final = "127.0.0.1"
CHUNK_SIZE: Final = 64 * 1024
CONNECT_TIMEOUT_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 1024

_LINGER_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)

_log = structlog.get_logger(__name__)
_DEFAULTS: Final = GmTlsSettings()


class TunnelServer:
    """GM-TLS in, plain TCP to a gRPC server on this machine out."""

    def __init__(
        self,
        identity: GmTlsIdentity,
        *,
        host: str,
        port: int,
        target_port: int,
        accept: Accept,
        identities: IdentityMap | None = None,
        settings: GmTlsSettings = _DEFAULTS,
    ) -> None:
        """`accept` names the peers that may connect; `target_port` is the gRPC server's, which asks
        `identities` where it was made before this.
        """
        self._identity: Final = identity
        self._address: Final = (host, port)
        self._target_port: Final = target_port
        self._accept: Final = accept
        self._settings: Final = settings
        self._server: GmServer
        self.identities: Final = IdentityMap() if identities is None else identities

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Listen."""
        host, port = self._address
        self._server = await start_server(
            self._carry, host, port, self._identity, accept=self._accept, settings=self._settings
        )

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._server.close()

    async def _carry(self, stream: GmStream) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError as error:
            _log.error("gm_tunnel.target_unreachable", port=self._target_port, why=str(error))
            stream.abort()
            return
        port: int = writer.get_extra_info("sockname")[1]
        self.identities.add(port, stream.peer_identity)
        try:
            await relay(stream, reader, writer)
        finally:
            # Before the socket is closed, after which another connection may get the same port.
            self.identities.remove(port)
            writer.close()


@dataclass(frozen=True, slots=True)
class TunnelRoute:
    """One way out: from `listen_port` on loopback to `expected_peer`, or to nobody."""

    listen_port: int
    host: str
    port: int
    expected_peer: str


class TunnelClient:
    """Plain TCP in on loopback, GM-TLS out: one listening port a route."""

    def __init__(
        self,
        identity: GmTlsIdentity,
        routes: Sequence[TunnelRoute],
        *,
        settings: GmTlsSettings = _DEFAULTS,
    ) -> None:
        self._identity: Final = identity
        self._routes: Final = tuple(routes)
        self._settings: Final = settings
        self._servers: Final[list[asyncio.Server]] = []
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    @property
    def ports(self) -> tuple[int, ...]:
        """The listening ports, in the order of the routes."""
        return tuple(server.sockets[0].getsockname()[1] for server in self._servers)

    async def start(self) -> None:
        """Listen on every route's port. Links are opened when somebody connects."""
        for route in self._routes:
            self._servers.append(await self._listen(route))

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def _listen(self, route: TunnelRoute) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._carry(route, reader, writer)
            except asyncio.CancelledError:
                return  # Closed by `close`; nobody awaits this task but its gathering.
            finally:
                self._tasks.discard(task)
                writer.close()

        return await asyncio.start_server(connected, LOOPBACK, route.listen_port, limit=CHUNK_SIZE)

    async def _carry(
        self, route: TunnelRoute, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(self._tasks) > CONNECTIONS_MAX:
            _log.warning("gm_tunnel.too_many_connections", peer=route.expected_peer)
            return
        try:
            stream = await open_connection(
                route.host,
                route.port,
                self._identity,
                expected_peer=route.expected_peer,
                settings=self._settings,
            )
        except (GmTlsError, OSError) as error:
            _log.warning("gm_tunnel.no_link", peer=route.expected_peer, why=str(error))
            _reset(writer)
            return
        try:
            await relay(stream, reader, writer)
        except GmTlsError as error:
            _log.warning("gm_tunnel.link_ended", peer=route.expected_peer, why=error.en)
        finally:
            stream.close()
            await stream.wait_closed()


async def relay(
    stream: GmStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes both ways until both sides have ended; one side's end is passed on as such.

    When either side breaks, or we are cancelled, both are dropped at once: cut-off data must never
    look whole. After an orderly end the caller closes the writer. Raises `GmTlsError`.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_outward(stream, reader))
            tasks.create_task(_inward(stream, writer))
    except BaseException as error:
        stream.abort()
        _reset(writer)
        if isinstance(error, BaseExceptionGroup):
            raise _cause(error) from None
        raise


def _reset(writer: asyncio.StreamWriter) -> None:
    """Drop a plain connection so that its other end sees a reset, and not an end of the data."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    writer.transport.abort()


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The link's own error before the plain side's; anything else is a bug and stays a group."""
    links = [error for error in group.exceptions if isinstance(error, GmTlsError)]
    if links:
        return links[0]
    if group.split(OSError)[1] is None:
        return LinkBrokenError("the local side went away")
    return group


async def _outward(stream: GmStream, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(CHUNK_SIZE):
        stream.write(data)
        await stream.drain()
    stream.write_eof()


async def _inward(stream: GmStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read(CHUNK_SIZE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
