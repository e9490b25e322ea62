"""The gateway's GM-TLS ends: where the gateways of markets come in, and a market's route out to
the regulator's. No gateway has both for the same one.

Every peer is pinned by the name in its certificate. A request that comes in must be signed by the
organisation whose certificate opened the connection it came on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.chassis.gm_tls import GmTlsIdentity
from services.chassis.gm_tunnel import IdentityMap, TunnelClient, TunnelRoute, TunnelServer
from services.gateway.settings import RemoteSettings, TunnelSettings


@asynccontextmanager
async def open_links(
    identity: GmTlsIdentity,
    tunnel: TunnelSettings,
    remotes: Sequence[RemoteSettings],
    identities: IdentityMap,
    target_port: int,
) -> AsyncIterator[None]:
    """Listen for the other gateways, noting who they are in `identities`, and open the routes to
    those that are called instead: who is called does not call.
    """
    accepted = frozenset(remote.expected_peer for remote in remotes if not remote.has_route)
    server = TunnelServer(
        identity,
        host=tunnel.host,
        port=tunnel.port,
        target_port=target_port,
        accept=accepted,
        identities=identities,
    )
    client = TunnelClient(identity, [_route(remote) for remote in remotes if remote.has_route])
    await server.start()
    try:
        await client.start()
        try:
            yield
        finally:
            await client.close()
    finally:
        await server.close()


def _route(remote: RemoteSettings) -> TunnelRoute:
    assert remote.route_port is not None, "settings refuse a route without its port"
    host, _, port = remote.tunnel_address.rpartition(":")
    return TunnelRoute(remote.route_port, host, int(port), remote.expected_peer)
