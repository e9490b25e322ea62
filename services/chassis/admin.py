"""The admin port: /livez, /readyz, /startupz and /metrics over a very small HTTP/1.1 responder.

It is unsigned, so it is on loopback unless a management network is named, and it can do nothing
but answer these four. Readiness says why not, in JSON. Every connection is bounded in bytes and in
time and carries one request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Self

import structlog

from services.chassis.telemetry import Metrics

HEAD_BYTES_MAX: Final = 8 * 1024
REQUEST_SECONDS_MAX: Final = 5.0
CHECK_SECONDS_MAX: Final = 2.0
CONNECTIONS_MAX: Final = 64

# A check returns None when all is well, or why not, in words that hold no secret.
Check = Callable[[], Awaitable[str | None]]

_JSON: Final = "application/json; charset=utf-8"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_logger = structlog.get_logger("admin")


@dataclass(frozen=True, slots=True)
class Probes:
    """What each probe asks. Live: is the process worth keeping; started and ready: each named
    check. What is `degraded` is told by /readyz too, but callers are served all the same.
    """

    live: Mapping[str, Check]
    started: Mapping[str, Check]
    ready: Mapping[str, Check]
    degraded: Mapping[str, Check] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Response:
    status: HTTPStatus
    content_type: str
    body: bytes


class AdminServer:
    """Serves the admin port until it is closed: `async with AdminServer(...) as admin`."""

    def __init__(self, *, host: str, port: int, probes: Probes, metrics: Metrics) -> None:
        self._host = host
        self._port = port
        self._probes = probes
        self._metrics = metrics
        self._connections = 0
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is bound."""
        assert self._server is not None, "the admin server is open"
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=HEAD_BYTES_MAX, backlog=CONNECTIONS_MAX
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None, "the admin server was opened"
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections > CONNECTIONS_MAX:
                return
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                method, response = await self._respond_to(reader)
                writer.write(_encoded(response, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, ConnectionError):
            return  # A slow or vanished peer concerns nobody else.
        finally:
            self._connections -= 1
            writer.close()

    async def _respond_to(self, reader: asyncio.StreamReader) -> tuple[str, _Response]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return "GET", _failure(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return "GET", _failure(HTTPStatus.BAD_REQUEST)
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            return "GET", _failure(HTTPStatus.BAD_REQUEST)
        method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
        if method not in ("GET", "HEAD"):
            return "GET", _failure(HTTPStatus.METHOD_NOT_ALLOWED)
        return method, await self._answer(target.partition("?")[0])

    async def _answer(self, path: str) -> _Response:
        match path:
            case "/livez":
                return await _probe(self._probes.live)
            case "/startupz":
                return await _probe(self._probes.started)
            case "/readyz":
                return await _probe(self._probes.ready, self._probes.degraded)
            case "/metrics":
                return _Response(HTTPStatus.OK, _PROMETHEUS, self._metrics.render())
        return _failure(HTTPStatus.NOT_FOUND)


async def _probe(checks: Mapping[str, Check], degraded: Mapping[str, Check] = {}) -> _Response:
    """Run all checks at once; 200 when none has anything to say, else 503 and each failure by its
    name. What the degraded ones say is told beside it.
    """
    failures, lacks = await asyncio.gather(_outcomes(checks), _outcomes(degraded))
    status = HTTPStatus.SERVICE_UNAVAILABLE if failures else HTTPStatus.OK
    body = {
        "status": "failing" if failures else "degraded" if lacks else "ok",
        "checks": sorted({*checks, *degraded}),
        "failures": failures,
        "degraded": lacks,
    }
    return _Response(status, _JSON, json.dumps(body, ensure_ascii=False).encode())


async def _outcomes(checks: Mapping[str, Check]) -> dict[str, str]:
    answers = await asyncio.gather(*(_outcome(name, check) for name, check in checks.items()))
    return {name: said for name, said in zip(checks, answers, strict=True) if said is not None}


async def _outcome(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS_MAX} s"
    except Exception as error:
        # The text may hold anything, so it goes to the log, and only the kind to whoever asks.
        _logger.error("check.failed", check=name, exc_info=error)
        return f"the check failed: {type(error).__name__}"


def _failure(status: HTTPStatus) -> _Response:
    return _Response(status, _JSON, json.dumps({"status": status.phrase}).encode())


def _encoded(response: _Response, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode("latin-1") + (response.body if with_body else b"")
