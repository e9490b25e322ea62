"""The gateway's composition root: the one place that knows all its parts.

Two doors lead to the same handlers: plain gRPC on loopback for the domain's own staff, behind a
sidecar in production, and a second one behind the GM tunnel of this process for other gateways.
A market's gateway calls the regulator's; that calls nobody, and leaves its questions to be fetched.
Through either tunnel, signatures must match the certificate of their connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import grpc.aio
import structlog

from guqiao.gateway.v1.gateway_service_pb2_grpc import (
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)
from guqiao_sdk.channel import open_channel
from guqiao_sdk.client.set_history import SetHistory
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.signing import RequestSigner
from services.chassis.block_feed import publish_blocks
from services.chassis.bus.consumer import subscribe
from services.chassis.bus.transient import is_transient
from services.chassis.gm_tls import certificate_check, count_refusals, open_identity
from services.chassis.gm_tunnel import IdentityMap
from services.chassis.grpc_server import RpcRefusals
from services.chassis.grpc_server.audit import LogAudit
from services.chassis.grpc_server.tunnel_peers import TunnelPeers
from services.chassis.grpc_tracing import span_interceptors
from services.chassis.postgres import Pool
from services.chassis.runtime import Runtime, open_runtime
from services.gateway.api import POLICIES, GatewayServicer
from services.gateway.consumers import OPERATION_TOPIC, apply_block, note_trace
from services.gateway.domain.client_age import ClientPeriod
from services.gateway.fetched_audit import FetchedAudit
from services.gateway.fetched_calls import FetchedCalls
from services.gateway.fetching import Fetching, fetch_calls_of
from services.gateway.freshness import Freshness
from services.gateway.handlers import Handlers
from services.gateway.links import open_links
from services.gateway.metrics import GatewayMetrics
from services.gateway.observed.comparing import Nodes
from services.gateway.observed.observer import Observer
from services.gateway.questions import CalledGateway, RemoteGateway
from services.gateway.relay import Relay
from services.gateway.revocation_lists import watch_lists
from services.gateway.settings import ObservedSettings, RemoteSettings, Settings
from services.gateway.store import prune_traces

SERVICE: Final = "gateway"
MIGRATIONS: Final = Path(__file__).parent / "migrations"
STOP_GRACE_SECONDS: Final = 2.0
TRACES_KEPT_HOURS: Final = 24
PRUNE_SECONDS: Final = 3_600.0

log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM. Our own certificate is judged before anything is opened."""
    identity = open_identity(settings.gm)
    async with open_runtime(settings, SERVICE, MIGRATIONS) as runtime:
        count_refusals(identity, runtime.telemetry.metrics)
        called = {r.chain_id: channel_to(runtime, r) for r in settings.remotes if r.has_route}
        fetched = {
            r.chain_id: FetchedCalls(r.chain_id, r.organisation)
            for r in settings.remotes
            if not r.has_route
        }
        reached: Mapping[str, RemoteGateway] = {
            **{chain: CalledGateway(GatewayServiceStub(each)) for chain, each in called.items()},
            **fetched,
        }
        relays = {r.chain_id: _relay(runtime, r, reached[r.chain_id]) for r in settings.remotes}
        sets = {chain: relay.remote_sets for chain, relay in relays.items()}
        metrics = GatewayMetrics(runtime.telemetry.metrics)
        handlers = Handlers(runtime.pool, runtime.client, sets, metrics)
        period = ClientPeriod(settings.client_period_seconds)
        fresh = {
            chain: _freshness(runtime, sets[chain], gateway, metrics, period)
            for chain, gateway in reached.items()
        }
        carriers: dict[str, list[Relay | Fetching | Freshness]] = {
            chain: [relay, fresh[chain]] for chain, relay in relays.items()
        }
        observers = [_observer(runtime, each, metrics) for each in settings.observed]
        servicer = GatewayServicer(
            handlers,
            lambda chain: "; ".join(each.last_error for each in carriers[chain] if each.last_error),
            fetched,
            fresh,
            observers,
        )
        for remote in settings.remotes:
            if remote.has_route:
                channel = called[remote.chain_id]
                fetching = _fetching(runtime, remote, channel, servicer, metrics)
                carriers[remote.chain_id].append(fetching)
        gateways = {remote.expected_peer: remote.organisation for remote in settings.remotes}
        identities = IdentityMap()
        staff_server = runtime.build_server(POLICIES)
        peer_server = runtime.build_server(POLICIES, TunnelPeers(identities, gateways.get))
        for server in (staff_server, peer_server):
            add_GatewayServiceServicer_to_server(servicer, server)
        runtime.checks["certificate"] = certificate_check(identity)
        target_port = peer_server.add_insecure_port("127.0.0.1:0")
        await peer_server.start()
        tasks = [
            runtime.follow_blocks("gateway.packets", apply_block),
            _trace(runtime),
            _prune_traces(runtime.pool),
            identity.watch(),
            watch_lists(runtime.pool, settings.chain.chain_id, metrics),
        ]
        if settings.publisher:
            tasks.append(publish_blocks(runtime.bus, runtime.pool, runtime.client))
        tasks += [carrier.run() for each in carriers.values() for carrier in each]
        tasks += [observer.run() for observer in observers]
        try:
            async with open_links(
                identity, settings.tunnel, settings.remotes, identities, target_port
            ):
                await runtime.run(staff_server, tasks)
        finally:
            await peer_server.stop(STOP_GRACE_SECONDS)


def channel_to(runtime: Runtime, remote: RemoteSettings) -> grpc.aio.Channel:
    """To the gateway of a remote, through the route; messages of either way are bounded as those
    that this gateway takes from others.
    """
    own = runtime.identity
    signer = RequestSigner(
        own.did, own.key_id, own.private_key, runtime.provider, remote.domain, SERVICE
    )
    return open_channel(
        f"127.0.0.1:{remote.route_port}",
        signer,
        message_bytes_max=runtime.settings.grpc.message_bytes_max,
        interceptors=span_interceptors(runtime.telemetry.tracer),
    )


def _fetching(
    runtime: Runtime,
    remote: RemoteSettings,
    channel: grpc.aio.Channel,
    servicer: GatewayServicer,
    metrics: GatewayMetrics,
) -> Fetching:
    return Fetching(
        runtime.settings.chain.chain_id,
        remote.chain_id,
        fetch_calls_of(channel),
        GatewayServiceStub(channel),
        servicer,
        FetchedAudit(
            runtime.settings.domain,
            SERVICE,
            remote.organisation,
            remote.expected_peer,
            LogAudit(),
            RpcRefusals(runtime.telemetry.metrics),
        ),
        runtime.telemetry.tracer,
        metrics,
    )


def _relay(runtime: Runtime, remote: RemoteSettings, gateway: RemoteGateway) -> Relay:
    trust = load_chain_trust(remote.trust_file)
    return Relay(
        runtime.pool,
        runtime.client,
        SetHistory(trust, runtime.provider.verify),
        gateway,
        runtime.provider.verify,
        runtime.telemetry.tracer,
        GatewayMetrics(runtime.telemetry.metrics),
    )


def _freshness(
    runtime: Runtime,
    remote_sets: SetHistory,
    gateway: RemoteGateway,
    metrics: GatewayMetrics,
    period: ClientPeriod,
) -> Freshness:
    return Freshness(runtime.client, remote_sets, gateway, runtime.provider.verify, metrics, period)


def _observer(runtime: Runtime, observed: ObservedSettings, metrics: GatewayMetrics) -> Observer:
    nodes = Nodes(observed.nodes, runtime.provider.verify, observed.tls())
    return Observer(observed.chain_id, runtime.client, nodes, metrics)


async def _trace(runtime: Runtime) -> None:
    await runtime.ensure_topic(OPERATION_TOPIC)
    await subscribe(
        runtime.bus,
        group="gateway.traces",
        topics=[OPERATION_TOPIC],
        pool=runtime.pool,
        handler=note_trace,
        tracer=runtime.telemetry.tracer,
    )


async def _prune_traces(pool: Pool) -> None:
    while True:
        try:
            async with pool.acquire() as connection:
                await prune_traces(connection, TRACES_KEPT_HOURS)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("traces.prune_failed", error=type(error).__name__)
        await asyncio.sleep(PRUNE_SECONDS)
