"""The admin port answers four paths, says why it is not ready, and outlives whatever is thrown at
it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guqiaoctl.supervisor.process import ProcessState, readiness
from services.chassis import admin as admin_module
from services.chassis.admin import AdminServer, Probes
from services.chassis.telemetry import Metrics


async def well() -> str | None:
    return None


async def away() -> str | None:
    return "no answer from PostgreSQL"


async def broken() -> str | None:
    raise RuntimeError("password=hunter2")


async def stuck() -> str | None:
    await asyncio.Event().wait()
    return None


@asynccontextmanager
async def opened(**ready: Any) -> AsyncIterator[AdminServer]:
    metrics = Metrics()
    metrics.counter("guqiao_trials_total", "Trials").inc()
    probes = Probes(live={"loop": well}, started={"migrations": well}, ready=ready)
    async with AdminServer(host="127.0.0.1", port=0, probes=probes, metrics=metrics) as server:
        yield server


async def exchange(server: AdminServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


async def get(server: AdminServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    status, headers, body = await exchange(
        server, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    assert headers["Connection"] == "close"
    if method != "HEAD":
        assert int(headers["Content-Length"]) == len(body)
    return status, body


@pytest.mark.parametrize("path", ["/livez", "/startupz", "/readyz", "/readyz?verbose"])
async def test_all_well_is_200(path: str) -> None:
    async with opened(postgres=well) as server:
        status, body = await get(server, path)
        assert status == 200
        assert json.loads(body)["status"] == "ok"


@pytest.mark.req("G2-13-2")
async def test_what_is_lacking_is_told_and_callers_are_served_all_the_same() -> None:
    probes = Probes(live={}, started={}, ready={"postgres": well}, degraded={"bus": away})
    async with AdminServer(host="127.0.0.1", port=0, probes=probes, metrics=Metrics()) as server:
        status, body = await get(server, "/readyz")
        assert status == 200
        assert json.loads(body) == {
            "status": "degraded",
            "checks": ["bus", "postgres"],
            "failures": {},
            "degraded": {"bus": "no answer from PostgreSQL"},
        }
        assert await readiness(server.port) == (
            ProcessState.READY,
            "bus: no answer from PostgreSQL",
        )


async def test_whoever_asks_for_readiness_hears_each_failure() -> None:
    unready = ProcessState.UNREADY
    async with opened(postgres=away, loop=well) as server:
        assert await readiness(server.port) == (unready, "postgres: no answer from PostgreSQL")
    async with opened(postgres=well) as server:
        port = server.port
        assert await readiness(port) == (ProcessState.READY, "")
    assert await readiness(port) == (unready, "its admin port does not answer")


@pytest.mark.req("G2-13-2")
async def test_a_replica_restores_only_where_nothing_fails_that_does_not_heal_by_itself() -> None:
    async def restores() -> str:
        return "the replica does not vote: RESTORING, height 3 of 40"

    async def halted() -> str:
        return "the replica does not vote: HALTED"

    said = f"votes: {await restores()}"
    async with opened(votes=restores, quorum=well) as server:
        assert await readiness(server.port) == (ProcessState.RESTORING, said)
    async with opened(votes=restores, level=away) as server:
        assert (await readiness(server.port))[0] is ProcessState.RESTORING
    async with opened(votes=restores, certificate=away) as server:
        assert (await readiness(server.port))[0] is ProcessState.UNREADY
    async with opened(votes=halted) as server:
        assert (await readiness(server.port))[0] is ProcessState.UNREADY


@pytest.mark.req("G2-13-2")
async def test_readiness_names_every_check_that_fails_and_why() -> None:
    async with opened(bus=away, postgres=well, chain=away) as server:
        status, body = await get(server, "/readyz")
        assert status == 503
        answer = json.loads(body)
        assert answer["failures"] == {
            "bus": "no answer from PostgreSQL",
            "chain": "no answer from PostgreSQL",
        }
        assert answer["checks"] == ["bus", "chain", "postgres"]
        assert (await get(server, "/livez"))[0] == 200


async def test_a_check_that_raises_fails_without_its_text() -> None:
    async with opened(bus=broken) as server:
        status, body = await get(server, "/readyz")
        assert status == 503
        assert b"hunter2" not in body
        assert b"RuntimeError" in body


async def test_a_check_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_module, "CHECK_SECONDS_MAX", 0.01)
    async with opened(bus=stuck) as server:
        status, body = await get(server, "/readyz")
        assert status == 503
        assert "no answer" in json.loads(body)["failures"]["bus"]


async def test_metrics_are_in_the_prometheus_format() -> None:
    async with opened() as server:
        status, body = await get(server, "/metrics")
        assert status == 200
        assert b"guqiao_trials_total 1.0" in body


async def test_head_answers_without_a_body() -> None:
    async with opened() as server:
        assert await get(server, "/livez", "HEAD") == (200, b"")


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics/x", "/../etc/passwd", "/debug"])
async def test_nothing_else_is_there(path: str) -> None:
    async with opened() as server:
        assert (await get(server, path))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE", "OPTIONS"])
async def test_no_other_method_is_allowed(method: str) -> None:
    async with opened() as server:
        assert (await get(server, "/livez", method))[0] == 405


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/2\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_proper_request_is_refused(request_bytes: bytes, expected: int) -> None:
    async with opened() as server:
        assert (await exchange(server, request_bytes))[0] == expected
        assert (await get(server, "/livez"))[0] == 200


async def test_a_slow_sender_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_module, "REQUEST_SECONDS_MAX", 0.05)
    async with opened() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /livez HT")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def unanswered(server: AdminServer) -> bool:
    """Whether a proper request gets nothing but an end. A reset is one: it went unread."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"GET /livez HTTP/1.1\r\n\r\n")
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_connections_beyond_the_limit_are_closed_until_others_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bounds in time are out of reach, so that only the bound in number closes anything."""
    monkeypatch.setattr(admin_module, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(admin_module, "REQUEST_SECONDS_MAX", 600)
    monkeypatch.setattr(admin_module, "CHECK_SECONDS_MAX", 600)
    asked: asyncio.Queue[None] = asyncio.Queue()
    leave = asyncio.Event()

    async def held() -> str | None:
        asked.put_nowait(None)
        await leave.wait()
        return None

    async with opened(bus=held) as server:
        holders = [asyncio.ensure_future(get(server, "/readyz")) for _ in range(2)]
        try:
            for _ in holders:
                await asyncio.wait_for(asked.get(), 10)
            assert [await unanswered(server) for _ in range(3)] == [True] * 3
        finally:
            leave.set()
            answers = await asyncio.gather(*holders)
        assert [status for status, _ in answers] == [200, 200]
        assert (await get(server, "/livez"))[0] == 200


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer_and_the_server_lives_on(request_bytes: bytes) -> None:
    async def run() -> None:
        async with opened() as server:
            assert (await exchange(server, request_bytes + b"\r\n\r\n"))[0] in (200, 400, 404, 405)
            assert (await get(server, "/livez"))[0] == 200

    asyncio.run(run())
