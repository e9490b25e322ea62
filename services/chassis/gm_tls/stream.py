"""A GM-TLS link as a stream: read, write with back-pressure, half close, close.

Writes of one turn of the event loop leave as one batch of records. Memory is bounded on both sides:
reading pauses at a full buffer, and `drain` waits for a slow peer, but not for ever.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from guqiao_sdk.gm.certificates import CertificateInfo
from services.chassis.gm_tls.engine import TlsEngine
from services.chassis.gm_tls.errors import (
    GmTlsError,
    IdleTimeoutError,
    LinkBrokenError,
    LinkCutError,
    LinkRefusal,
    PeerRefusedError,
)
from services.chassis.gm_tls.identity import GmTlsIdentity
from services.chassis.gm_tls.settings import GmTlsSettings

_FLUSH_SIZE: Final = 64 * 1024


class GmStream(asyncio.Protocol):
    """One end of a link. Made by `open_connection` and `start_server`; one reader at a time."""

    def __init__(
        self,
        identity: GmTlsIdentity,
        settings: GmTlsSettings,
        engine: TlsEngine,
        on_connected: Callable[[GmStream], None] = lambda _: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._loop: Final = loop
        self._identity: Final = identity
        self._settings: Final = settings
        self._engine: Final = engine
        self._on_connected: Final = on_connected
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._incoming: Final = bytearray()
        self._incoming_wanted = 0
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._flush_scheduled = False
        self._reading_paused = False
        self._writing_paused = False
        self._at_end = False
        self._write_closed = False
        self._error: GmTlsError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Event = asyncio.Event()
        self._drained.set()
        self._peer: CertificateInfo | None = None
        self.address: str = "unknown"
        self.has_spoken: bool = False
        """Whether anything has come from the peer at all."""
        self.established: Final[asyncio.Future[CertificateInfo]] = loop.create_future()
        self._closed: Final[asyncio.Future[None]] = loop.create_future()

    @property
    def peer_certificate(self) -> CertificateInfo:
        """The peer's certificate, judged good at the handshake."""
        assert self._peer is not None, "a stream is handed out after the handshake"
        return self._peer

    @property
    def peer_identity(self) -> str:
        """The URI in the peer's certificate."""
        identity = self.peer_certificate.identity
        assert identity is not None, "a peer without identity is refused"
        return identity

    @property
    def is_closing(self) -> bool:
        """Whether the link is closed, closing or broken."""
        return self._error is not None or self._transport.is_closing()

    def buffered(self) -> int:
        """How many bytes can be read without waiting."""
        return len(self._incoming)

    @property
    def source(self) -> str:
        """The peer's address without its port."""
        return self.address.rpartition(":")[0]

    async def read(self, size_max: int) -> bytes:
        """Return 1 to `size_max` bytes, or b"" at the end; wait for the first byte only."""
        while not self._incoming:
            if self._is_over():
                return b""
            await self._wait_for_data(1)
        return self._take(min(size_max, len(self._incoming)))

    async def readexactly(self, size: int) -> bytes:
        """Return `size` bytes, or raise `IncompleteReadError` if the link ends before."""
        while len(self._incoming) < size:
            if self._is_over():
                raise asyncio.IncompleteReadError(bytes(self._incoming), size)
            await self._wait_for_data(size)
        return self._take(size)

    def write(self, data: bytes) -> None:
        """Queue data for sending at the end of this turn; follow with `drain`."""
        if self._error is not None:
            raise self._error
        if self._write_closed:
            raise LinkBrokenError("this end has closed its writing side")
        self._outgoing.append(data)
        self._outgoing_size += len(data)
        if self._outgoing_size >= _FLUSH_SIZE:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    async def drain(self) -> None:
        """Wait until the peer has taken enough; raise `LinkBrokenError` if it takes nothing."""
        self._flush()
        if self._error is not None:
            raise self._error
        if not self._writing_paused:
            return
        seconds = self._settings.write_stall_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            self._fail(LinkBrokenError(f"the peer read nothing for {seconds} s"))
        if self._error is not None:
            raise self._error

    def write_eof(self) -> None:
        """Say that we send no more. The peer may go on sending, and we may go on reading."""
        if self._write_closed or self.is_closing:
            return
        self._flush()
        self._write_closed = True
        self._engine.say_close()
        self._send_output()

    def close(self) -> None:
        """Send what is queued, say goodbye, and close."""
        if self.is_closing:
            return
        self.write_eof()
        self._close_softly()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._closed)

    def cut(self, reason: str) -> None:
        """End the link at once because the peer's certificate is no longer good."""
        self._fail(LinkCutError(reason))

    def give_way(self, count: int) -> None:
        """End the handshake: `count` of them are under way, and others wait to shake hands."""
        detail = f"it gave way, one of {count}"
        self._fail(PeerRefusedError(LinkRefusal.HANDSHAKE_DROPPED, detail))

    def abort(self) -> None:
        """Drop the connection without saying anything."""
        self._fail(LinkBrokenError("closed by this end"))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass.
        self._transport.set_write_buffer_limits(high=self._settings.write_buffer_size_max)
        _bound_unacknowledged(transport, self._settings.unacknowledged_timeout_seconds)
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else "unknown"
        self._set_timer(self._settings.handshake_timeout_seconds, self._refuse_slow_handshake)
        self._on_connected(self)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Decrypt; wake the reader; hold the sender back when the buffer is full."""
        if self._error is not None:
            return
        self.has_spoken = True
        self._engine.feed(data)
        if self._peer is None and not self._shake_hands():
            return
        try:
            self._at_end = self._engine.decrypt_into(self._incoming) or self._at_end
        except GmTlsError as error:
            self._send_output()
            self._fail(error)
            return
        self._send_output()
        limit = max(self._settings.read_buffer_size_max, self._incoming_wanted)
        if len(self._incoming) > limit and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        if self._at_end or len(self._incoming) >= self._incoming_wanted:
            self._wake_reader()

    def eof_received(self) -> bool:
        """The connection ended: in order only if the peer had said goodbye inside TLS."""
        if not self._at_end:
            self._fail(LinkBrokenError("it ended without a goodbye: data may be missing"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits."""
        if self._error is None and not (self._at_end or self._write_closed):
            self._error = LinkBrokenError(str(exc) if exc else "the connection was lost")
        elif self._error is None and exc is not None:
            self._error = LinkBrokenError(str(exc))
        if not self.established.done():
            self.established.set_exception(self._error or LinkBrokenError("it ended early"))
            self.established.exception()  # Nobody may be waiting for it any more.
        self._at_end = True
        self._set_timer(None, None)
        self._identity.remove_link(self)
        self._wake_reader()
        self._drained.set()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The peer is slow: `drain` waits."""
        self._writing_paused = True
        self._drained.clear()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writing_paused = False
        self._drained.set()

    # What the above is made of.

    def _shake_hands(self) -> bool:
        try:
            done = self._engine.shake_hands()
            if done:
                peer = self._engine.peer()
                self._identity.check_peer(peer)
                self._peer = peer
        except GmTlsError as error:
            self._send_output()  # The alert tells the peer why.
            self._fail(error)
            return False
        self._send_output()
        if self._peer is None:
            return False
        self._set_timer(None, None)
        self._identity.add_link(self)
        if not self.established.done():
            self.established.set_result(self._peer)
        return True

    def _set_timer(self, seconds: float | None, then: Callable[[], None] | None) -> None:
        """One timer a link: for the handshake first, for the closing last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and then is not None:
            self._timer = self._loop.call_later(seconds, then)

    def _close_softly(self) -> None:
        self._transport.close()
        self._set_timer(self._settings.close_timeout_seconds, self._transport.abort)

    def _refuse_slow_handshake(self) -> None:
        if self._peer is None and self._error is None:
            seconds = self._settings.handshake_timeout_seconds
            self._fail(PeerRefusedError(LinkRefusal.HANDSHAKE_TIMEOUT, f"none within {seconds} s"))

    def _fail(self, error: GmTlsError) -> None:
        """The first error stands; everybody who waits gets it."""
        if self._error is not None:
            return
        self._error = error
        if not self.established.done():
            self.established.set_exception(error)
            self.established.exception()
        self._outgoing.clear()
        self._identity.remove_link(self)
        self._wake_reader()
        self._drained.set()
        if isinstance(error, PeerRefusedError):
            self._close_softly()  # After the alert.
        else:
            self._transport.abort()

    def _is_over(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._at_end

    async def _wait_for_data(self, wanted: int) -> None:
        assert self._reader is None, "one reader at a time"
        self._incoming_wanted = wanted
        self._resume_reading()
        self._reader = self._loop.create_future()
        seconds = self._settings.idle_read_timeout_seconds
        try:
            if seconds is None:
                await self._reader
            else:
                async with asyncio.timeout(seconds):
                    await self._reader
        except TimeoutError:
            assert seconds is not None
            raise IdleTimeoutError(seconds) from None
        finally:
            self._reader = None
            self._incoming_wanted = 0

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _take(self, size: int) -> bytes:
        data = bytes(memoryview(self._incoming)[:size])
        del self._incoming[:size]
        if len(self._incoming) <= self._settings.read_buffer_size_max // 2:
            self._resume_reading()
        return data

    def _resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _flush(self) -> None:
        self._flush_scheduled = False
        if not self._outgoing or self._error is not None:
            return
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        self._outgoing_size = 0
        try:
            self._engine.encrypt(data)
        except GmTlsError as error:
            self._fail(error)
            return
        self._send_output()

    def _send_output(self) -> None:
        if not self._transport.is_closing():
            self._transport.writelines(self._engine.take_output())


def _bound_unacknowledged(transport: asyncio.BaseTransport, seconds: float | None) -> None:
    """See `GmTlsSettings.unacknowledged_timeout_seconds`."""
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if seconds is not None and option is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, round(1_000 * seconds))
