"""Whose certificate is behind a connection? Asked by the source port that the gRPC server sees.

Inside one process the map itself answers; a sidecar answers on a Unix socket: the port in decimal
and a newline in, the identity (or an empty line) and a newline out. A port that is not known has no
identity, and the server must refuse it.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, Protocol

from services.chassis.gm_tls.errors import LinkBrokenError

ANSWER_TIMEOUT_SECONDS: Final = 2.0
SOCKET_MODE: Final = 0o660
_LINE_SIZE_MAX: Final = 512


class IdentityLookup(Protocol):
    """What a gRPC server asks. Both forms of the relay provide it."""

    async def identity_of(self, port: int) -> str | None:
        """Return the identity behind a loopback source port, or None if there is no such link."""


class IdentityMap:
    """The links of one tunnel server. An entry lives exactly as long as its loopback connection."""

    def __init__(self) -> None:
        self._identities: Final[dict[int, str]] = {}

    async def identity_of(self, port: int) -> str | None:
        """See `IdentityLookup`."""
        return self._identities.get(port)

    def add(self, port: int, identity: str) -> None:
        """Note a connection, before its first byte goes to the server."""
        assert port not in self._identities, "the system gives a port to one connection at a time"
        self._identities[port] = identity

    def remove(self, port: int) -> None:
        """Forget a connection."""
        del self._identities[port]

    def __len__(self) -> int:
        return len(self._identities)


class LookupServer:
    """Answers on a Unix socket, for a gRPC server in another process of the same pod."""

    def __init__(self, lookup: IdentityLookup, path: Path) -> None:
        self._lookup: Final = lookup
        self._path: Final = path
        self._server: asyncio.Server
        self._writers: Final[set[asyncio.StreamWriter]] = set()

    async def start(self) -> None:
        """Listen. A socket that an earlier process left behind is replaced, any other file not."""
        self._server = await asyncio.start_unix_server(
            self._answer, self._path, limit=_LINE_SIZE_MAX
        )
        self._path.chmod(SOCKET_MODE)

    async def close(self) -> None:
        """Stop answering and remove the socket."""
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                text = line.strip()
                identity = await self._lookup.identity_of(int(text)) if text.isdigit() else None
                writer.write((identity or "").encode() + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):
            return  # A line that is too long or no number, or a caller that went away.
        finally:
            self._writers.discard(writer)
            writer.close()


class SocketIdentityLookup:
    """Asks a sidecar. Keeps one connection, and connects again once if the sidecar restarted."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._lock: Final = asyncio.Lock()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def identity_of(self, port: int) -> str | None:
        """See `IdentityLookup`. Raises `LinkBrokenError` when the sidecar does not answer."""
        async with self._lock:
            for attempt in range(2):
                try:
                    async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                        return await self._ask(port)
                except (OSError, EOFError, TimeoutError) as error:
                    self._drop()
                    if attempt == 1:
                        raise LinkBrokenError(
                            f"the tunnel's lookup {self._path.name} does not answer: {error!r}"
                        ) from error
                except BaseException:
                    self._drop()  # A cancelled question would leave its answer to the next one.
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close the connection."""
        async with self._lock:
            self._drop()

    async def _ask(self, port: int) -> str | None:
        if self._stream is None:
            self._stream = await asyncio.open_unix_connection(self._path, limit=_LINE_SIZE_MAX)
        reader, writer = self._stream
        writer.write(f"{port}\n".encode())
        await writer.drain()
        line = await reader.readuntil(b"\n")
        return line.strip().decode() or None

    def _drop(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream[1].close()
            self._stream = None
