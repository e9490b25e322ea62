"""Connections of strangers that never shake hands: they keep nobody with a certificate out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.chassis.gm_tls import (
    GmServer,
    GmTlsSettings,
    count_refusals,
    open_connection,
    start_server,
)
from services.chassis.telemetry import Metrics
from tests.integration.gm.gm_network import Holder, Network, wait_until
from tests.integration.gm.test_gm_tls_links import CLIENT, SERVER, echo

FEW = GmTlsSettings(handshake_timeout_seconds=60, handshakes_max=4, handshakes_per_source_max=2)
HALF_A_RECORD_HEADER = b"\x16\x03\x01"


@asynccontextmanager
async def listening(
    server: Holder, settings: GmTlsSettings, metrics: Metrics | None = None
) -> AsyncIterator[GmServer]:
    identity = server.identity()
    if metrics is not None:
        count_refusals(identity, metrics)
    running = await start_server(echo, "127.0.0.1", 0, identity, accept={CLIENT}, settings=settings)
    async with running:
        yield running


class Stranger:
    """A plain connection, of the address that it is bound to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ended = asyncio.ensure_future(reader.read())
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, says: bytes = b"", source: str = "127.0.0.1") -> Stranger:
        stranger = cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))
        stranger._writer.write(says)
        return stranger

    @property
    def is_out(self) -> bool:
        return self._ended.done()

    async def close(self) -> None:
        self._writer.close()
        await asyncio.gather(self._ended, return_exceptions=True)


async def is_let_in(network: Network, port: int) -> bool:
    client = network.holder(CLIENT)
    stream = await open_connection("127.0.0.1", port, client.identity(), expected_peer=SERVER)
    stream.write(b"x")
    answered = await stream.readexactly(1) == b"x"
    stream.close()
    return answered


@pytest.mark.req("G2-13-2")
async def test_more_silent_connections_than_handshakes_keep_no_replica_out(
    network: Network,
) -> None:
    server, metrics = network.holder(SERVER), Metrics()
    async with listening(server, GmTlsSettings(), metrics) as running:
        strangers = [await Stranger.connect(running.port) for _ in range(200)]
        await wait_until(lambda: sum(each.is_out for each in strangers) == 200 - 64)
        assert await is_let_in(network, running.port)
        assert [each.is_out for each in strangers[-63:]] == [False] * 63
        for each in strangers:
            await each.close()
    assert set(server.reasons) >= {"handshake_dropped"}
    counted = 'guqiao_gm_tls_refusals_total{reason="handshake_dropped"} 137.0'
    assert counted in metrics.render().decode()


async def test_who_has_said_something_stays_while_a_silent_one_can_go(network: Network) -> None:
    async with listening(network.holder(SERVER), FEW) as running:
        speaker = await Stranger.connect(running.port, HALF_A_RECORD_HEADER)
        await wait_until(lambda: any(each.has_spoken for each in running._links.values()))
        silent = [await Stranger.connect(running.port) for _ in range(3)]
        await wait_until(lambda: silent[0].is_out and silent[1].is_out)
        assert not speaker.is_out
        assert not silent[2].is_out
        for each in (speaker, *silent):
            await each.close()


async def test_a_source_with_many_takes_nothing_from_one_with_few(network: Network) -> None:
    async with listening(network.holder(SERVER), FEW) as running:
        lone = await Stranger.connect(running.port, source="127.0.0.2")
        many = [
            await Stranger.connect(running.port, source=f"127.0.0.{number}")
            for number in (3, 3, 4, 4, 3, 4)
        ]
        await wait_until(lambda: sum(each.is_out for each in many) == 3)
        assert not lone.is_out
        assert await is_let_in(network, running.port)
        assert not lone.is_out
        for each in (lone, *many):
            await each.close()
