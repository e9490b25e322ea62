"""Whom the tunnel before a gateway refuses is counted by the reason, and nothing else: no call has
come, so the trail of calls is not told, and nothing of the gateway changes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import grpc.aio
import pytest
from OpenSSL import SSL

from guqiao_sdk.gm.certificates import RefusalReason
from services.chassis.gm_tls import (
    GmTlsIdentity,
    LinkRefusal,
    PeerRefusedError,
    RefusedByPeerError,
    count_refusals,
    open_connection,
)
from services.chassis.gm_tunnel import IdentityMap, TunnelClient, TunnelRoute, TunnelServer
from services.chassis.grpc_server.ports import Decision
from services.chassis.grpc_server.tunnel_peers import TunnelPeers
from tests.integration.gateway.refusing_door import FETCH, Door, at_door
from tests.integration.gateway.test_refusals_on_record import counts_of
from tests.integration.gm.gm_network import HOUR, Network
from tests.integration.gm.test_gm_tls_refusals import GATEWAY, REGULATOR, Odd, aes_only, trusting
from tests.plugins.link_lab import KEYS, PEER, LinkLab, open_unfetched
from tests.plugins.postgres import NewDatabase
from tests.plugins.service_lab import wait_until

pytestmark = pytest.mark.req("G2-09-4", "G2-16-1", "G2-19-2")

REASONS: Final = {reason.value for reason in (*LinkRefusal, *RefusalReason)}
TOLD_ELSEWHERE: Final = {
    "bad_signature": "test_gm_tls_refusals: as unknown_issuer, by the names of the authorities",
    "certificate_malformed": "certificates are judged in tests/unit/gm",
    "crl_missing": "certificates are judged in tests/unit/gm",
    "crl_not_believed": "certificates are judged in tests/unit/gm",
    "handshake_dropped": "test_gm_tls_newcomers: gives way to others",
    "handshake_timeout": "test_gm_tls_refusals",
    "other": "certificates are judged in tests/unit/gm",
    "too_many_links": "test_gm_tls_refusals",
    "wrong_identity": "the end that calls: test_gm_tls_refusals",
}
"""Reasons that no attempt below has: what the tunnel does of them is the same."""


@dataclass(frozen=True)
class Tunnel:
    """The tunnel's port, whose certificates it believes and whose not."""

    port: int
    ours: Network
    theirs: Network
    monkeypatch: pytest.MonkeyPatch


Attempt = Callable[[Tunnel], Awaitable[GmTlsIdentity | None]]
"""The identity with which a stranger tries, or None where it has tried already."""


async def not_accepted(tunnel: Tunnel) -> GmTlsIdentity:
    return tunnel.ours.holder("guqiao:service:hebei/gateway").identity()


async def a_user(tunnel: Tunnel) -> GmTlsIdentity:
    return tunnel.ours.holder("did:rem:shandong:u1").identity()


async def expired(tunnel: Tunnel) -> GmTlsIdentity:
    return tunnel.ours.holder(GATEWAY, start=-3 * HOUR, end=-2 * HOUR, tag="-old").identity()


async def not_yet_valid(tunnel: Tunnel) -> GmTlsIdentity:
    return tunnel.ours.holder(GATEWAY, start=2 * HOUR, end=3 * HOUR, tag="-new").identity()


async def of_another_authority(tunnel: Tunnel) -> GmTlsIdentity:
    return Odd(tunnel.theirs.holder(GATEWAY), trusting)


async def foreign_algorithms(tunnel: Tunnel) -> GmTlsIdentity:
    return Odd(tunnel.ours.holder(GATEWAY, tag="-odd"), aes_only)


async def without_certificate(tunnel: Tunnel) -> GmTlsIdentity:
    with tunnel.monkeypatch.context() as patched:
        for method in ("use_certificate", "use_privatekey", "check_privatekey"):
            patched.setattr(SSL.Context, method, lambda *_: None)
        return tunnel.ours.holder(GATEWAY, tag="-naked").identity()


async def plain_text(tunnel: Tunnel) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tunnel.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.read()
    writer.close()


ATTEMPTS: Final[Mapping[str, Attempt]] = {
    "not_accepted": not_accepted,
    "wrong_purpose": a_user,
    "expired": expired,
    "not_yet_valid": not_yet_valid,
    "unknown_issuer": of_another_authority,
    "not_gm": foreign_algorithms,
    "no_certificate": without_certificate,
    "handshake_failed": plain_text,
}
BY_THE_LIST: Final = ("revoked", "crl_stale")
"""What the authority's own list says."""


@pytest.fixture
async def link(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LinkLab]:
    async with open_unfetched(new_database, monkeypatch) as opened:
        yield opened


def refusals_of(link: LinkLab) -> Counter[str]:
    registry = link.regulator.runtime.telemetry.metrics.registry
    return Counter(
        {
            sample.labels["reason"]: int(sample.value)
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "guqiao_gm_tls_refusals_total"
        }
    )


async def attempt(tunnel: Tunnel, identity: GmTlsIdentity | None) -> None:
    if identity is not None:
        with pytest.raises((RefusedByPeerError, PeerRefusedError)):
            await open_connection("127.0.0.1", tunnel.port, identity, expected_peer=REGULATOR)


async def test_whom_the_tunnel_refuses_is_counted_and_leaves_nothing_else(
    link: LinkLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = Network(KEYS.provider, tmp_path / "ours")
    theirs = Network(KEYS.provider, tmp_path / "theirs")
    identity = ours.holder(REGULATOR).identity()
    count_refusals(identity, link.regulator.runtime.telemetry.metrics)
    identities = IdentityMap()
    peers = TunnelPeers(identities, {GATEWAY: PEER}.get)
    async with at_door(link, monkeypatch, peers=peers) as door:
        server = TunnelServer(
            identity,
            host="127.0.0.1",
            port=0,
            target_port=door.port,
            accept=frozenset({GATEWAY}),
            identities=identities,
        )
        await server.start()
        tunnel = Tunnel(server.port, ours, theirs, monkeypatch)
        try:
            await door.note()

            async def refused(reason: str, identity: GmTlsIdentity | None) -> None:
                expected = before + Counter({reason: 1})

                async def is_counted() -> bool:
                    return refusals_of(link) != before

                await attempt(tunnel, identity)
                await wait_until(f"{reason} is counted", is_counted)
                assert refusals_of(link) == expected, reason
                assert door.audit.records == [], reason
                assert counts_of(link) == Counter(), reason
                assert await door.everything() == door.before, reason

            for reason, of in ATTEMPTS.items():
                before = refusals_of(link)
                await refused(reason, await of(tunnel))
            revoked = ours.holder(GATEWAY, tag="-revoked")
            ours.write_crl([revoked.serial])
            before = refusals_of(link)
            identity.reload()
            await refused("revoked", Odd(revoked, trusting))
            good = ours.holder(GATEWAY).identity()
            ours.write_crl([], stale=True)
            before = refusals_of(link)
            identity.reload()
            await refused("crl_stale", good)
            ours.write_crl([])
            identity.reload()
            await _is_let_in(door, tunnel, ours.holder(GATEWAY, tag="-good").identity())
        finally:
            await server.close()


async def _is_let_in(door: Door, tunnel: Tunnel, identity: GmTlsIdentity) -> None:
    """Who is believed has a call on record, with the organisation of its certificate."""
    client = TunnelClient(identity, [TunnelRoute(0, "127.0.0.1", tunnel.port, REGULATOR)])
    await client.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{client.ports[0]}") as channel:
            through = replace(door, _channel=channel)
            async with through.standing():
                [record] = door.audit.records
    finally:
        await client.close()
    assert (record.decision, record.method) == (Decision.ALLOWED, FETCH)
    assert record.organisation == PEER


def test_every_reason_of_the_tunnel_is_tried_or_named() -> None:
    assert sorted(REASONS - ATTEMPTS.keys() - {*BY_THE_LIST}) == sorted(TOLD_ELSEWHERE)
