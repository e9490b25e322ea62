"""One HTTP/1.1 request on a connection of its own, for small JSON questions to nodes.

Nothing is believed of the other end: the head, the body and the time for both are bounded, and a
body has a length or chunks. Redirections are not followed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from services.gateway.observed.errors import AnswerMalformedError, NodeUnavailableError

HEAD_BYTES_MAX: Final = 16 * 1024
CHUNKS_MAX: Final = 100_000
_OK: Final = 200
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,10}")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_PATH: Final = re.compile(r"/?|(?:/[A-Za-z0-9._~-]{1,64}){1,8}/?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node answers."""

    host: str
    port: int
    path: str
    tls: bool

    @staticmethod
    def parse(url: str) -> Endpoint:
        """Read `http://host:port` or `https://host:port/path`; raises `ValueError`."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or port is None or not _HOST.fullmatch(host):
            raise ValueError(f"{url} is not of the form http://host:port or https://host:port")
        if parts.username or parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
            raise ValueError(f"{url} has more than a host, a port and a plain path")
        return Endpoint(host, port, parts.path or "/", parts.scheme == "https")

    @property
    def name(self) -> str:
        """How refusals name it."""
        return f"{self.host}:{self.port}"


async def post(
    endpoint: Endpoint, body: bytes, tls: ssl.SSLContext | None, *, bytes_max: int
) -> bytes:
    """The body of the answer; the caller bounds the time. Raises `NodeUnavailableError` where the
    connection fails, `AnswerMalformedError` for what is no answer.
    """
    try:
        reader, writer = await asyncio.open_connection(
            endpoint.host,
            endpoint.port,
            ssl=tls if endpoint.tls else None,
            limit=HEAD_BYTES_MAX,
        )
    except (OSError, UnicodeError) as error:  # A name may be one that no resolver takes.
        raise NodeUnavailableError(f"{endpoint.name}: {type(error).__name__}") from error
    try:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        writer.write(
            f"POST {endpoint.path} HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Accept: application/json\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return await read_response(reader, bytes_max=bytes_max)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise NodeUnavailableError(f"{endpoint.name}: {type(error).__name__}") from error
    finally:
        # Without a farewell: a peer that does not answer it must not hold us up.
        writer.transport.abort()


async def read_response(reader: asyncio.StreamReader, *, bytes_max: int) -> bytes:
    """The body of one answer with status 200; raises `AnswerMalformedError`, or
    `asyncio.IncompleteReadError` where it breaks off.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise AnswerMalformedError(f"a head of more than {HEAD_BYTES_MAX} bytes") from None
    status, fields = _head(head)
    if status != _OK:
        raise AnswerMalformedError(f"HTTP status {status}")
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return await _read_chunks(reader, bytes_max)
    length = fields.get(b"content-length", b"")
    if not _LENGTH.fullmatch(length):
        raise AnswerMalformedError("neither a length nor chunks")
    if int(length) > bytes_max:
        raise AnswerMalformedError(f"{int(length)} bytes, at most {bytes_max} are taken")
    return await reader.readexactly(int(length))


def _head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head[:-4].split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise AnswerMalformedError("no HTTP/1.1")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name.isascii() or name != name.strip() or not name:
            raise AnswerMalformedError("a malformed head")
        if name in fields and name in (b"content-length", b"transfer-encoding"):
            raise AnswerMalformedError("two lengths")
        fields[name] = value.strip()
    if b"content-length" in fields and b"transfer-encoding" in fields:
        raise AnswerMalformedError("two lengths")
    return int(found[1]), fields


async def _read_chunks(reader: asyncio.StreamReader, bytes_max: int) -> bytes:
    body = bytearray()
    for _ in range(CHUNKS_MAX):
        try:
            found = _CHUNK.fullmatch(await reader.readuntil(b"\r\n"))
        except asyncio.LimitOverrunError:
            found = None
        if found is None:
            raise AnswerMalformedError("a malformed chunk")
        size = int(found[1], 16)
        if len(body) + size > bytes_max:
            raise AnswerMalformedError(f"more than {bytes_max} bytes")
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise AnswerMalformedError("a malformed chunk")
        if size == 0:
            return bytes(body)
    raise AnswerMalformedError(f"more than {CHUNKS_MAX} chunks")
