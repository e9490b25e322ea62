"""Whoever connects is known by the tunnel's certificate and speaks for its organisation only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from guqiao_sdk.gm.provider import open_provider
from services.chassis.gm_tls import LinkBrokenError
from services.chassis.gm_tunnel import (
    IdentityMap,
    TunnelClient,
    TunnelRoute,
    TunnelServer,
)
from services.chassis.grpc_server.ports import Decision
from services.chassis.grpc_server.tunnel_peers import TunnelPeers
from tests.integration.chassis.kit import ORGANISATION, World, code_of, path, send, serving, signed
from tests.integration.gm.gm_network import Network

ECHO = path("Echo")
OTHER = "91110000MA9900002X"
OURS_CERTIFICATE = "guqiao:service:shandong/registry"
OTHERS_CERTIFICATE = "guqiao:service:hebei/registry"
SERVER_CERTIFICATE = "guqiao:service:csrc/gateway"
ORGANISATIONS = {OURS_CERTIFICATE: ORGANISATION, OTHERS_CERTIFICATE: OTHER}


async def call(world: World, target: str | None = None) -> bytes:
    return await send(target or world.target, ECHO, b"body", signed(world, ECHO, b"body"))


async def refusal(world: World, target: str | None = None) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(world, target)
    return code_of(caught.value)


@asynccontextmanager
async def tunnelled(network: Network, holder: str) -> AsyncIterator[tuple[World, str]]:
    """The guarded server behind a real tunnel; yields it and the client's end of the tunnel."""
    identities = IdentityMap()
    async with serving(peers=TunnelPeers(identities, ORGANISATIONS.get)) as world:
        inward = TunnelServer(
            network.holder(SERVER_CERTIFICATE).identity(),
            host="127.0.0.1",
            port=0,
            target_port=int(world.target.rpartition(":")[2]),
            accept=set(ORGANISATIONS),
            identities=identities,
        )
        await inward.start()
        route = TunnelRoute(0, "127.0.0.1", inward.port, SERVER_CERTIFICATE)
        outward = TunnelClient(network.holder(holder).identity(), [route])
        await outward.start()
        try:
            yield world, f"127.0.0.1:{outward.ports[0]}"
        finally:
            await outward.close()
            await inward.close()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(open_provider(), tmp_path / "network")


@pytest.mark.req("G2-16-1")
async def test_through_the_tunnel_an_organisation_speaks_for_itself(network: Network) -> None:
    async with tunnelled(network, OURS_CERTIFICATE) as (world, target):
        assert (await call(world, target)).endswith(b"body")


@pytest.mark.req("G2-16-1")
async def test_through_the_tunnel_nobody_speaks_for_another_organisation(network: Network) -> None:
    async with tunnelled(network, OTHERS_CERTIFICATE) as (world, target):
        assert await refusal(world, target) == "ORGANISATION_MISMATCH"


@pytest.mark.req("G2-16-1", "G2-17-2")
async def test_beside_the_tunnel_nobody_gets_in(network: Network) -> None:
    async with tunnelled(network, OURS_CERTIFICATE) as (world, _):
        assert await refusal(world) == "PEER_UNKNOWN"


async def test_a_lookup_that_does_not_answer_lets_nobody_in() -> None:
    class Silent:
        async def identity_of(self, port: int) -> str | None:
            raise LinkBrokenError("no answer")

    async with serving(peers=TunnelPeers(Silent(), ORGANISATIONS.get)) as world:
        assert await refusal(world) == "GM_TLS_LINK_BROKEN"


async def test_a_lookup_with_a_bug_lets_nobody_in_and_is_recorded() -> None:
    class Broken:
        async def identity_of(self, port: int) -> str | None:
            raise KeyError(port)

    async with serving(peers=TunnelPeers(Broken(), ORGANISATIONS.get)) as world:
        assert await refusal(world) == "INTERNAL"
        [record] = world.audit.records
        assert (record.decision, record.code) == (Decision.REFUSED, "INTERNAL")


class Peers:
    """What the tunnel knows: every connection comes from this organisation, or none is known."""

    def __init__(self, organisation: str | None) -> None:
        self.organisation = organisation
        self.asked: list[int] = []

    async def organisation_of(self, source_port: int) -> str | None:
        self.asked.append(source_port)
        return self.organisation


@pytest.mark.req("G2-16-1")
async def test_a_connection_that_the_tunnel_does_not_know_is_refused() -> None:
    async with serving(peers=Peers(None)) as world:
        assert await refusal(world) == "PEER_UNKNOWN"


@pytest.mark.req("G2-16-1")
async def test_an_identity_of_another_organisation_than_the_certificates_is_refused() -> None:
    async with serving(peers=Peers("91110000MA9900002X")) as world:
        assert await refusal(world) == "ORGANISATION_MISMATCH"


async def test_an_identity_of_the_certificates_organisation_is_let_in_by_its_source_port() -> None:
    peers = Peers(ORGANISATION)
    async with serving(peers=peers) as world:
        assert (await call(world)).endswith(b"body")
        assert peers.asked[0] > 0
        assert str(peers.asked[0]) != world.target.rpartition(":")[2]
