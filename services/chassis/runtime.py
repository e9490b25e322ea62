"""What every service beside a chain opens and closes in the same way, so that `app.py` shows only
what is its own.

Settings groups for identity, chain, database and bus; the runtime that holds them open; the gRPC
server with the chain's identities as key directory; the admin port; a clean end on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import structlog
from opentelemetry.trace import Tracer
from pydantic import Field

from guqiao_sdk.client.chain import ChainClient
from guqiao_sdk.client.keys import ChainKeyDirectory
from guqiao_sdk.client.transactions import Identity
from guqiao_sdk.client.trust import ChainTrust
from guqiao_sdk.client.trust_file import load_chain_trust
from guqiao_sdk.gm.keyfile import load_private_key
from guqiao_sdk.gm.provider import GmProvider, open_provider
from services.chassis.admin import AdminServer, Probes
from services.chassis.block_feed.follower import Apply, FeedState, follow_blocks, migrate_follower
from services.chassis.bus.check import BusCheck, ParkedCheck
from services.chassis.bus.consumer import NO_SPANS
from services.chassis.bus.port import Bus, Topic
from services.chassis.bus.positions import migrate_consumer
from services.chassis.bus.settings import BusSettings, open_bus
from services.chassis.bus.transient import Backoff, is_transient
from services.chassis.endings import EXIT_CONFLICT, EXIT_UNAVAILABLE, Ending
from services.chassis.grpc_server import GrpcServer, Policy, ServerLimits, build_server
from services.chassis.grpc_server.nonces_postgres import PRUNE_INTERVAL_SECONDS, PostgresNonceStore
from services.chassis.grpc_server.ports import KeyRecord, PeerLookup
from services.chassis.grpc_server.tunnel_peers import open_peers
from services.chassis.grpc_tracing import span_interceptors
from services.chassis.outbox import migrate_outbox
from services.chassis.postgres import (
    DatabaseOwner,
    Pool,
    PostgresSettings,
    claim_database,
    entered,
    migrate,
    open_pool,
    session,
)
from services.chassis.postgres.errors import OtherOwnerError
from services.chassis.settings import Group, IdentitySettings, ServiceSettings, SettingsError
from services.chassis.supervised import end_within
from services.chassis.telemetry import Telemetry, open_telemetry

STOP_GRACE_SECONDS: Final = 3.0
STOP_SECONDS_MAX: Final = 7.0
DATABASE_WAIT_SECONDS: Final = 30.0
DATABASE_POLL_SECONDS: Final = 0.2
BUS_BACKOFF_FIRST_SECONDS: Final = 0.1
BUS_BACKOFF_MAX_SECONDS: Final = 5.0
NONCE_MIGRATIONS: Final = Path(__file__).parent / "grpc_server" / "migrations"
DATABASE_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    ConnectionError,
)
DATABASE_ENDINGS: Final = (
    Ending((OtherOwnerError,), OtherOwnerError.code, EXIT_CONFLICT),
    Ending((asyncpg.DiskFullError,), "DISK_FULL", EXIT_UNAVAILABLE),
    Ending(
        (
            *DATABASE_AWAY,
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
            TimeoutError,
        ),
        "DATABASE_UNAVAILABLE",
        EXIT_UNAVAILABLE,
    ),
)

log = structlog.get_logger(__name__)


class ChainSettings(Group):
    """The chain that the service stands beside: what it trusts, and where the replicas answer."""

    chain_id: str
    trust_file: Path
    endpoints: Annotated[tuple[str, ...], Field(min_length=1)]


class ChainServiceSettings(ServiceSettings):
    """Settings of a service with a chain, a database of its own, and the domain's bus."""

    identity: IdentitySettings
    chain: ChainSettings
    postgres: PostgresSettings
    bus: BusSettings


@dataclass(slots=True)
class Runtime:
    """Everything open. `checks` are asked by /readyz; a service adds its own, and to `alarms` what
    is told there though it serves all the same. `peers` knows who is behind the connections that
    the tunnel's sidecar brings.
    """

    service: str
    settings: ChainServiceSettings
    provider: GmProvider
    identity: Identity
    client: ChainClient
    pool: Pool
    bus: Bus
    telemetry: Telemetry
    peers: PeerLookup | None = None
    checks: dict[str, Callable[[], Awaitable[str | None]]] = field(default_factory=dict)
    alarms: dict[str, Callable[[], Awaitable[str | None]]] = field(default_factory=dict)
    feed: FeedState = field(default_factory=FeedState)

    def build_server(
        self, policies: Mapping[str, Policy], peers: PeerLookup | None = None
    ) -> GrpcServer:
        """A server for (domain, service) whose callers are the identities of the chain. `peers`:
        who is behind its connections, unless they come from the sidecar.
        """
        grpc_settings = self.settings.grpc
        return build_server(
            domain=self.settings.domain,
            service=self.service,
            policies=policies,
            keys=ChainKeyDirectory(self.client, KeyRecord),
            nonces=PostgresNonceStore(self.pool),
            verifier=self.provider,
            telemetry=self.telemetry,
            peers=self.peers if peers is None else peers,
            limits=ServerLimits(
                message_bytes_max=grpc_settings.message_bytes_max,
                concurrent_rpcs_max=grpc_settings.concurrent_rpcs_max,
                calls_per_identity_max=grpc_settings.calls_per_identity_max,
                first_message_seconds=grpc_settings.first_message_seconds,
                rate_per_second=grpc_settings.rate_per_second,
                rate_burst=grpc_settings.rate_burst,
            ),
            development=self.settings.development,
        )

    async def run(self, server: GrpcServer, tasks: Sequence[Awaitable[None]]) -> None:
        """Serve until SIGTERM or SIGINT; if a task fails, the process ends with its error."""
        server.add_insecure_port(self.settings.grpc.address)
        await server.start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            ended.set()
            end_within(STOP_SECONDS_MAX)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        bus = BusCheck(self.bus)
        probes = Probes(
            live={},
            started={},
            ready={"database": self._database, "bus": bus.never_reached, **self.checks},
            degraded={
                "bus": bus.away,
                "projection": self.feed.check,
                "events": ParkedCheck(self.pool).check,
                **self.alarms,
            },
        )
        admin = self.settings.admin
        try:
            async with AdminServer(
                host=admin.host, port=admin.port, probes=probes, metrics=self.telemetry.metrics
            ):
                log.info("service.started", grpc=self.settings.grpc.address)
                await _until(ended, [*tasks, self._prune_nonces()])
        finally:
            await server.stop(STOP_GRACE_SECONDS)
            log.info("service.stopped")

    async def follow_blocks(self, group: str, apply: Apply) -> None:
        """The service's projection of its chain's certified blocks, kept up until cancelled."""
        await follow_blocks(
            self.bus,
            self.pool,
            group=group,
            trust=self.client.trust,
            verify=self.provider.verify,
            apply=apply,
            state=self.feed,
            tracer=self.telemetry.tracer,
        )

    async def ensure_topic(self, name: str) -> None:
        """Wait until the bus has the topic: a bus that is away is waited for."""
        backoff = Backoff(BUS_BACKOFF_FIRST_SECONDS, BUS_BACKOFF_MAX_SECONDS)
        while True:
            try:
                await self.bus.ensure_topics([Topic(name)])
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("bus.topic_waited_for", topic=name, error=repr(error))
                await asyncio.sleep(backoff.next_seconds())
            else:
                return

    async def _database(self) -> str | None:
        try:
            async with asyncio.timeout(2.0):
                await self.pool.fetchval("SELECT 1")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            return f"the database does not answer ({type(error).__name__})"
        return None

    async def _prune_nonces(self) -> None:
        store = PostgresNonceStore(self.pool)
        while True:
            await asyncio.sleep(PRUNE_INTERVAL_SECONDS)
            try:
                await store.prune(time.time_ns() // 1_000_000)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("nonces.prune_failed", error=type(error).__name__)


@asynccontextmanager
async def open_runtime(
    settings: ChainServiceSettings, service: str, migrations: Path | None
) -> AsyncIterator[Runtime]:
    """Open everything a service needs; its database is judged and brought up to date first."""
    provider = open_provider(settings.gm.backend)
    identity = load_identity(settings, provider)
    trust = load_chain_trust(settings.chain.trust_file)
    async with AsyncExitStack() as stack:
        telemetry = open_telemetry(settings.telemetry, domain=settings.domain, service=service)
        stack.callback(telemetry.shutdown)
        pool = await stack.enter_async_context(open_database(settings.postgres))
        owner = DatabaseOwner(service, trust.chain_id, trust.genesis_hash)
        await prepare_database(pool, owner, migrations)
        bus = await stack.enter_async_context(open_bus(settings.bus))
        chain = chain_client(settings, identity, trust, provider, telemetry.tracer)
        client = await stack.enter_async_context(chain)
        peers = await stack.enter_async_context(open_peers(settings.grpc))
        yield Runtime(service, settings, provider, identity, client, pool, bus, telemetry, peers)


def load_identity(settings: ChainServiceSettings, provider: GmProvider) -> Identity:
    """The service's own identity on its chain."""
    own = settings.identity
    key = load_private_key(own.key_file, provider)
    return Identity(own.did, own.key_id, own.organisation, key)


def chain_client(
    settings: ChainServiceSettings,
    identity: Identity,
    trust: ChainTrust,
    provider: GmProvider,
    tracer: Tracer = NO_SPANS,
) -> ChainClient:
    """A client of the service's chain, to enter. Raises `SettingsError` where too few replicas are
    named for an answer to count.
    """
    chain = settings.chain
    client = ChainClient(
        chain.chain_id,
        chain.endpoints,
        identity,
        trust,
        provider,
        interceptors=span_interceptors(tracer),
    )
    if client.replicas < client.needed:
        raise SettingsError(
            f"chain.endpoints: {client.replicas} replicas are named, {client.needed} must say"
            f" the same: name more / 列出了 {client.replicas} 个副本，须有 {client.needed} 个"
            "回答一致：请补充"
        )
    return client


async def prepare_database(pool: Pool, owner: DatabaseOwner, migrations: Path | None) -> None:
    """Bring the tables of the chassis and the service up to date, in the owner's database only."""
    async with session(pool) as connection:
        await claim_database(connection, owner)
        await migrate(connection, "grpc_server", NONCE_MIGRATIONS)
        await migrate_consumer(connection)
        await migrate_follower(connection)
        await migrate_outbox(connection)
        if migrations is not None:
            await migrate(connection, owner.service, migrations)


@asynccontextmanager
async def open_database(settings: PostgresSettings) -> AsyncIterator[Pool]:
    """Open the pool; a database that is just starting is waited for, for a bounded time."""
    deadline = time.monotonic() + DATABASE_WAIT_SECONDS
    async with AsyncExitStack() as stack:
        pool: Pool | None = None
        while pool is None:
            try:
                pool = await stack.enter_async_context(entered(open_pool(settings)))
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                if not is_transient(error) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(DATABASE_POLL_SECONDS)
        yield pool


async def _until(ended: asyncio.Event, tasks: Sequence[Awaitable[None]]) -> None:
    """Run the tasks until the event; the first failure ends all."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_as_coroutine(task)) for task in tasks]
        await ended.wait()
        for task in running:
            task.cancel()


async def _as_coroutine(task: Awaitable[None]) -> None:
    await task
