"""GM-TLS ends before the node RPC of the replicas that the market's chain is registered with.

Between machines a sidecar of each replica does this; on one machine the supervisor's own process
serves both ends, with the replica's certificate, and lets in nobody but the regulator's gateway
(G2-10-2e).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from guqiao_sdk.gm.certificates import service_identity
from guqiaoctl.network.layout import LOOPBACK, NODE_ENDS, Network
from guqiaoctl.network.parties import CHAINS, CSRC
from services.chassis.gm_tls import AuthorityFiles, GmTlsFiles, GmTlsIdentity
from services.chassis.gm_tunnel import TunnelServer


@asynccontextmanager
async def open_node_ends(network: Network) -> AsyncIterator[None]:
    """Serve them until the block ends. What is renewed on disk counts without a restart."""
    async with AsyncExitStack() as stack:
        for name in NODE_ENDS:
            identity = _identity(network, name)
            end = TunnelServer(
                identity,
                host=LOOPBACK,
                port=network.ports[f"{name}.tunnel"],
                target_port=network.ports[f"{name}.grpc"],
                accept=frozenset({service_identity(CSRC, "gateway")}),
            )
            await end.start()
            stack.push_async_callback(end.close)
            watching = asyncio.create_task(identity.watch())
            stack.callback(watching.cancel)
        yield


def _identity(network: Network, name: str) -> GmTlsIdentity:
    folder = network.layout.process(name)
    authorities = tuple(
        AuthorityFiles(path / "ca.pem", path / "crl.pem", frozenset({domain}))
        for domain, path in ((each, network.layout.authority(each)) for each in CHAINS)
    )
    return GmTlsIdentity(GmTlsFiles(folder / "tls.pem", folder / "tls.key", authorities))
