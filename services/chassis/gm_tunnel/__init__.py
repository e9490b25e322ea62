"""The relay that carries gRPC between machines under national cryptography.

gRPC itself has no SM suites, so it listens on loopback only, and this relay takes its connections
across. It can tell the gRPC server whose certificate is behind each connection.
"""

from services.chassis.gm_tunnel.lookup import (
    IdentityLookup,
    IdentityMap,
    LookupServer,
    SocketIdentityLookup,
)
from services.chassis.gm_tunnel.tunnel import TunnelClient, TunnelRoute, TunnelServer

__all__ = [
    "IdentityLookup",
    "IdentityMap",
    "LookupServer",
    "SocketIdentityLookup",
    "TunnelClient",
    "TunnelRoute",
    "TunnelServer",
]
