"""Open a link, or listen for links. Neither hands out a stream that was not judged and admitted.

In TLS 1.3 a client is done before the server has looked at its certificate. So the server sends one
byte once it has admitted the client, and the client waits for it: `open_connection` returns only
when both sides have said yes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from guqiao_sdk.gm.certificates import IdentityKind, IdentityMalformedError, identity_kind
from services.chassis.gm_tls.errors import (
    GmTlsError,
    LinkBrokenError,
    LinkRefusal,
    PeerRefusedError,
    Refusal,
    RefusedByPeerError,
)
from services.chassis.gm_tls.identity import GmTlsIdentity
from services.chassis.gm_tls.settings import GmTlsSettings
from services.chassis.gm_tls.stream import GmStream
from services.chassis.newcomers import Newcomers

ADMITTED: Final = b"\x01"
BACKLOG: Final = 256

Accept = Callable[[str], bool] | Collection[str]
Handler = Callable[[GmStream], Awaitable[None]]

_log = structlog.get_logger(__name__)
_DEFAULTS: Final = GmTlsSettings()


async def open_connection(
    host: str,
    port: int,
    identity: GmTlsIdentity,
    *,
    expected_peer: str,
    settings: GmTlsSettings = _DEFAULTS,
) -> GmStream:
    """Connect to `expected_peer` and nobody else.

    Raises `PeerRefusedError` (we refuse it), `RefusedByPeerError` (it refuses us), another
    `GmTlsError`, or `OSError` when there is no connection at all.
    """
    loop = asyncio.get_running_loop()
    stream: GmStream | None = None
    try:
        async with asyncio.timeout(settings.handshake_timeout_seconds):
            async with asyncio.timeout(settings.connect_timeout_seconds):
                _, stream = await loop.create_connection(
                    lambda: GmStream(identity, settings, identity.engine(is_server=False)),
                    host,
                    port,
                )
            await stream.established
            _check_peer(stream, [expected_peer], LinkRefusal.WRONG_IDENTITY)
            await _wait_for_admission(stream)
    except TimeoutError:
        error = PeerRefusedError(
            LinkRefusal.HANDSHAKE_TIMEOUT,
            f"no link to {host}:{port} within {_seconds(settings, stream)} s",
        )
        _give_up(stream, identity, error, f"{host}:{port}", expected_peer)
        raise error from None
    except PeerRefusedError as error:
        _give_up(stream, identity, error, f"{host}:{port}", expected_peer)
        raise
    except BaseException:
        if stream is not None:
            stream.abort()
        raise
    return stream


def _seconds(settings: GmTlsSettings, stream: GmStream | None) -> float:
    """What was waited: for an answer at all, or for the whole handshake."""
    if stream is None:
        return min(settings.connect_timeout_seconds, settings.handshake_timeout_seconds)
    return settings.handshake_timeout_seconds


async def start_server(
    handler: Handler,
    host: str,
    port: int,
    identity: GmTlsIdentity,
    *,
    accept: Accept,
    settings: GmTlsSettings = _DEFAULTS,
) -> GmServer:
    """Listen. `handler` runs once a link, for peers whose identity `accept` contains or approves.

    Port 0 lets the system choose; `GmServer.port` tells.
    """
    server = GmServer(handler, identity, accept, settings)
    await server._listen(host, port)
    return server


class GmServer:
    """Listens, judges, and runs the handler for each admitted link."""

    def __init__(
        self, handler: Handler, identity: GmTlsIdentity, accept: Accept, settings: GmTlsSettings
    ) -> None:
        self._handler: Final = handler
        self._identity: Final = identity
        self._accept: Final = accept
        self._settings: Final = settings
        self._links: Final[dict[asyncio.Task[None], GmStream]] = {}
        self._shaking: Final[Newcomers[GmStream]] = Newcomers(
            count_max=settings.handshakes_max,
            source_max=settings.handshakes_per_source_max,
            is_silent=lambda stream: not stream.has_spoken,
        )
        self._server: asyncio.Server

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def links(self) -> int:
        """How many links there are, those still shaking hands included."""
        return len(self._links)

    async def close(self) -> None:
        """Stop listening, end every link, and wait for the handlers."""
        self._server.close()
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> GmServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._welcome, host, port, backlog=BACKLOG)

    def _welcome(self) -> GmStream:
        engine = self._identity.engine(is_server=True)
        return GmStream(self._identity, self._settings, engine, self._begin)

    def _begin(self, stream: GmStream) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._links[task] = stream
        task.add_done_callback(lambda done: self._links.pop(done, None))

    async def _serve(self, stream: GmStream) -> None:
        try:
            await self._admit(stream)
            await self._handler(stream)
        except PeerRefusedError as error:
            refusal = Refusal(stream.address, error.identity, error.reason, error.detail)
            self._identity.on_refusal(refusal)
        except GmTlsError as error:
            _log.info("gm_tls.link_ended", address=stream.address, code=error.code, why=error.en)
        except Exception:
            _log.exception("gm_tls.handler_failed", address=stream.address)
        finally:
            stream.close()
            with contextlib.suppress(asyncio.CancelledError):
                await stream.wait_closed()

    async def _admit(self, stream: GmStream) -> None:
        gone = self._shaking.enter(stream, stream.source)
        if gone is not None:
            gone.give_way(len(self._shaking))
        try:
            await stream.established
        finally:
            self._shaking.leave(stream)
        done = len(self._links) - len(self._shaking)
        if done > self._settings.links_max:
            raise PeerRefusedError(LinkRefusal.TOO_MANY_LINKS, f"{done} links")
        _check_peer(stream, self._accept, LinkRefusal.NOT_ACCEPTED)
        stream.write(ADMITTED)
        await stream.drain()


async def _wait_for_admission(stream: GmStream) -> None:
    try:
        answer = await stream.readexactly(len(ADMITTED))
    except asyncio.IncompleteReadError:
        raise RefusedByPeerError("it closed the link instead of admitting us") from None
    except LinkBrokenError as error:
        raise RefusedByPeerError(error.detail) from None
    if answer != ADMITTED:
        raise PeerRefusedError(LinkRefusal.HANDSHAKE_FAILED, "it does not speak our protocol")


def _check_peer(stream: GmStream, accept: Accept, reason: LinkRefusal) -> None:
    name = stream.peer_certificate.identity
    if name is None:
        raise PeerRefusedError(reason, "its certificate names nobody")
    try:
        kind = identity_kind(name)
    except IdentityMalformedError:
        raise PeerRefusedError(
            reason, "its certificate names no replica or service", name
        ) from None
    accepted = accept(name) if callable(accept) else name in accept
    if kind is IdentityKind.USER or not accepted:
        raise PeerRefusedError(reason, "this identity is not expected here", name)


def _give_up(
    stream: GmStream | None,
    identity: GmTlsIdentity,
    error: PeerRefusedError,
    address: str,
    expected_peer: str,
) -> None:
    if stream is not None:
        stream.abort()
    detail = f"{error.detail}; expected {expected_peer}"
    identity.on_refusal(Refusal(address, error.identity, error.reason, detail))
