"""Joins the guard to the GM tunnel: from a connection's source port to the organisation of its
peer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.chassis.errors import UnavailableError
from services.chassis.gm_tls.errors import GmTlsError
from services.chassis.gm_tunnel.lookup import IdentityLookup, SocketIdentityLookup
from services.chassis.settings import GrpcSettings


class TunnelPeers:
    """A `PeerLookup` over the tunnel's `IdentityLookup`.

    `organisation_of_identity` maps the identity in a certificate
    (`guqiao:service:shandong/gateway`) to the organisation that DIDs name, or to None when it is
    not known: then the call is refused.
    """

    __slots__ = ("_lookup", "_organisation_of_identity")

    def __init__(
        self, lookup: IdentityLookup, organisation_of_identity: Callable[[str], str | None]
    ) -> None:
        self._lookup = lookup
        self._organisation_of_identity = organisation_of_identity

    async def organisation_of(self, source_port: int) -> str | None:
        """The peer's organisation. A lookup that does not answer refuses: nobody is believed."""
        try:
            identity = await self._lookup.identity_of(source_port)
        except GmTlsError as error:
            raise UnavailableError("GM_TLS_LINK_BROKEN") from error
        return None if identity is None else self._organisation_of_identity(identity)


@asynccontextmanager
async def open_peers(settings: GrpcSettings) -> AsyncIterator[TunnelPeers | None]:
    """Who is behind the connections that the sidecar brings; None where the settings name none.

    The sidecar need not be there yet: until it answers, calls are refused.
    """
    if settings.lookup_socket is None:
        yield None
        return
    lookup = SocketIdentityLookup(settings.lookup_socket)
    try:
        yield TunnelPeers(lookup, settings.organisations.get)
    finally:
        await lookup.close()
