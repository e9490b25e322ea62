"""Two gateways of the regulator behind one address: what one asks is answered to it, or asked again
at once; an answer that reaches the other one is never taken for done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest

from guqiao.gateway.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from guqiao_sdk.proof.packet import Deadline
from services.consensus.domain.contracts.packet_link.messages import DELIVERY
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.domain.errors import LinkBrokenError
from services.gateway.fetched_calls import FetchedCalls
from services.gateway.fetching import Fetching
from services.gateway.relay import Relay
from tests.integration.gateway.senders import RECEIVED, ended, send
from tests.plugins.link_lab import LinkLab, fetching_of, open_unfetched
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until

pytestmark = pytest.mark.req("G2-03-1", "N0-07", "T2-12")


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    async with open_unfetched(new_database, monkeypatch) as opened:
        yield opened


@dataclass
class Address:
    """One address with several gateways behind it: each connection goes to that of `target`."""

    target: int
    connections: list[int] = field(default_factory=list)
    port: int = 0
    _ends: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Address]:
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for end in self._ends:
                end.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(self.target)
        other, out = await asyncio.open_connection("127.0.0.1", self.target)
        self._ends += [writer, out]
        await asyncio.gather(_pump(reader, out), _pump(other, writer), return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    sink.close()


@dataclass
class Gateway:
    """One of the regulator's, with a relay of its own."""

    server: grpc.aio.Server
    port: int
    fetched: FetchedCalls
    relay: Relay


@asynccontextmanager
async def gateway_of(link: LinkLab) -> AsyncIterator[Gateway]:
    fetched = FetchedCalls("shandong", link.market.runtime.identity.organisation)
    servicer = GatewayServicer(link.regulator_handlers, lambda chain: "", {"shandong": fetched})
    server = link.regulator.runtime.build_server(POLICIES, None)
    add_GatewayServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    relay = link.another_relay_back()
    relay.gateway = fetched
    try:
        yield Gateway(server, port, fetched, relay)
    finally:
        await server.stop(0)


@asynccontextmanager
async def running(end: Fetching) -> AsyncIterator[None]:
    task = asyncio.ensure_future(end.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_answer_that_reaches_the_other_gateway_makes_its_asker_ask_again_at_once(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asker closes its door to new connections while its stream goes on, as any server does
    that lets connections end by age: the answer takes a new one, to the other gateway.
    """
    real, gate, taken = link.market_servicer.DeliverPackets, asyncio.Event(), asyncio.Event()

    async def deliver(request: Any, context: Any) -> Any:
        taken.set()
        await gate.wait()
        return await real(request, context)

    monkeypatch.setattr(link.market_servicer, "DeliverPackets", deliver)
    send(link.regulator, link.market, Deadline(height=10**6), port=DELIVERY)
    await link.project()
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(gateway_of(link)) for _ in range(2)]
        address = await stack.enter_async_context(Address(one.port).listening())
        end = fetching_of(
            link.market, link.regulator, address.port, link.market_servicer, link.audited
        )
        await stack.enter_async_context(running(end))
        asking = asyncio.ensure_future(one.relay.deliver_some())
        await taken.wait()
        address.target = other.port
        closing = asyncio.ensure_future(one.server.stop(60))
        gate.set()
        with pytest.raises(LinkBrokenError):
            async with asyncio.timeout(30):  # Half of what a call may take.
                await asking
        assert address.connections[:2] == [one.port, other.port]
        async with asyncio.timeout(30):
            assert await other.relay.deliver_some() == 1

        async def is_over() -> bool:
            return end.last_error == ""

        await wait_until("the market's end has nothing left to say", is_over)
        await one.server.stop(0)
        await closing
    rows = await link.regulator.rows("packets_sent", "sequence")
    assert [row["state"] for row in rows] == [RECEIVED]
    assert ended(link.market, "packet.received") == 1
